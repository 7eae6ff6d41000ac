"""What the first rows tell of the columns of text files, wherever these rows stand."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import sentrio
from sentrio.validation.sources.files import make_source


def types(folder: Path, files: Mapping[str, str], **options: Any) -> dict[str, pl.DataType]:
    """Return the types of the columns of some files."""
    for name, content in files.items():
        data = content.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    source = make_source({"path": str(folder), **options})
    try:
        for _ in source.prepare():
            pass
        return dict(source.describe().schema)
    finally:
        source.close()


@pytest.mark.parametrize(
    ("first", "second", "dtype"),
    [
        ("", "1", pl.Int64()),  # the first file has no rows
        ("1", "2.5", pl.Float64()),
        ("1", "x", pl.Int64()),  # x is a finding
        ("true", "1", pl.Boolean()),
        ("x", "1", pl.String()),
        ("", "x", pl.String()),
        ("true", "FALSE", pl.Boolean()),
        ("1", '"2"', pl.Int64()),  # quotes do not make text of a number
        ("1", str(2**70), pl.Int128()),
        ("1", "-", pl.Int64()),  # which stands for null
        ('"1,5"', '"a ""b""\n"', pl.String()),
        ("-", "-", pl.Null()),
    ],
)
@pytest.mark.parametrize("name", ["2.csv", "2.csv.gz"])
def test_types_of_csv_are_told_by_several_files(
    first: str, second: str, dtype: pl.DataType, name: str, tmp_path: Path
) -> None:
    row = f"{first},0\n" if first else ""
    files = {"1.csv": f"a,b\n{row}", name: f"a,b\n{second},0\n"}
    assert types(tmp_path, files, format="csv", null_values=["-"]) == {"a": dtype, "b": pl.Int64()}


def test_no_more_than_the_first_rows_tell(tmp_path: Path) -> None:
    files = {"1.csv": "a\n" + "1\n" * 6000, "2.csv": "a\n" + "1\n" * 4000 + "2.5\n", "3.csv": "a\nx\n"}
    assert types(tmp_path, files) == {"a": pl.Int64()}
    assert types(tmp_path, files, schema={"a": "string"}) == {"a": pl.String()}
    files["2.csv"] = "a\n" + "1\n" * 3999 + "2.5\n"
    assert types(tmp_path, files) == {"a": pl.Float64()}


def test_files_without_a_header(tmp_path: Path) -> None:
    files = {"1.csv": "1;x\n", "2.csv": "2.5;\n"}
    found = types(tmp_path, files, has_header=False, separator=";", quote_char=None)
    assert list(found.values()) == [pl.Float64(), pl.String()]


def test_what_is_wrong_with_a_later_file_is_said_as_ever(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("a,b\n1,2\n1,2,3\n")
    result = sentrio.check(tmp_path, ["not_null"])
    assert result.error is not None
    assert "2.csv: line 3 has 3 fields" in result.error
    (tmp_path / "2.csv").write_text("b,a\n1,2\n")
    result = sentrio.check(tmp_path, ["not_null"])
    assert result.error is not None
    assert result.error.endswith("2.csv has other columns than 1.csv")


def test_keys_of_ndjson_are_those_of_several_files(tmp_path: Path) -> None:
    files = {
        "1.ndjson": '{"a": 1}\n',
        "2.ndjson": "\n",
        "3.ndjson": '{"a": 2.5, "b": {"c": 1}}\n',
        "4.ndjson.gz": '{"a": null, "b": {"d": "x"}, "e": true}\n',
    }
    assert types(tmp_path, files, format="ndjson") == {
        "a": pl.Float64(),
        "b": pl.Struct({"c": pl.Int64, "d": pl.String}),
        "e": pl.Boolean(),
    }
    source = {"path": str(tmp_path), "format": "ndjson"}
    result = sentrio.check(source, ["not_null", {"row_count": {"min": 3, "max": 3}}])
    assert [check.failed_count for check in result.report.checks] == [1, 1, 2, None]
    assert result.report.checks[-1].passed


def test_no_more_than_the_first_lines_tell(tmp_path: Path) -> None:
    files = {"1.ndjson": '{"a": 1}\n' * 9999, "2.ndjson": '{"a": 1, "b": 1}\n{"c": 1}\n'}
    assert list(types(tmp_path, files)) == ["a", "b"]


def test_objects_beside_lists_are_text(tmp_path: Path) -> None:
    lines = (
        '{"a": {"x": 1}, "n": 1}\n{"a": [1], "n": 2.5}\n\n{"a": null, "o": {"p": []}}\n{"a": "t", "o": {"p": {}}}\n'
    )
    assert types(tmp_path, {"1.ndjson": lines}) == {"a": pl.String(), "n": pl.Float64(), "o": pl.String()}
    rule = {"in_set": {"column": "a", "values": ["[1]", "t"]}}
    (check,) = sentrio.check(tmp_path / "1.ndjson", [rule]).report.checks
    assert (check.failed_count, check.evaluated_count) == (1, 3)
    assert check.sample[0].values == {"a": '{"x": 1}'}
    # A line that is wrong is named all the same.
    (tmp_path / "1.ndjson").write_text(lines + '{"a": NaN}\n')
    assert "line 6: no JSON: it has no NaN" in str(sentrio.check(tmp_path / "1.ndjson", [rule]).error)


def test_files_of_partitions_are_told_apart(tmp_path: Path) -> None:
    for year, column in ((2025, "a"), (2026, "b")):
        (tmp_path / f"year={year}").mkdir()
        pl.DataFrame({column: [1]}).write_parquet(tmp_path / f"year={year}" / "part-0.parquet")
    error = sentrio.check(tmp_path, ["not_null"]).error
    assert error is not None
    first, second = (str(Path(f"year={year}") / "part-0.parquet") for year in (2025, 2026))
    assert error.endswith(f"{second} has other columns or types than {first}")


def test_rows_that_take_several_lines_are_rows_all_the_same(tmp_path: Path) -> None:
    content = "a,b\n" + '1,"x\ny\nz"\n' * 8000 + "2.5,\n"
    assert types(tmp_path, {"1.csv": content}) == {"a": pl.Float64(), "b": pl.String()}


@pytest.mark.parametrize("name", ["1.csv", "1.csv.gz"])
def test_a_file_of_nothing_but_names_is_an_empty_table(name: str, tmp_path: Path) -> None:
    types(tmp_path, {name: "a,b\n"})
    report = sentrio.check(tmp_path / name, ["not_null", {"row_count": {"max": 0}}]).report
    assert [check.outcome for check in report.checks] == ["passed"] * 3
    assert report.complete
