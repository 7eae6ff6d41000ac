"""CSV read by pieces gives the rows that Polars reads of the whole file, however the pieces are cut."""

from __future__ import annotations

import csv
import io
import random
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import attrs
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sentrio
from sentrio.validation.sources import csv_chunks
from sentrio.validation.sources.base import Morsel
from sentrio.validation.sources.files import make_source


@attrs.frozen
class Written:
    """How a file is written."""

    separator: str
    quote: str | None
    quoting: Literal[0, 1]
    end: str
    mark: bool
    header: bool
    ended: bool  #: whether the last line ends with a line break

    def bytes(self, rows: list[list[str]]) -> bytes:
        """Return the file."""
        file = io.StringIO()
        if self.quote is None:
            file.write("".join(self.separator.join(row) + self.end for row in rows))
        else:
            writer = csv.writer(
                file, delimiter=self.separator, quotechar=self.quote, quoting=self.quoting, lineterminator=self.end
            )
            writer.writerows(rows)
        text = file.getvalue()
        if not self.ended and rows and rows[-1][-1]:
            text = text.removesuffix(self.end)
        return (b"\xef\xbb\xbf" if self.mark else b"") + text.encode()

    @property
    def options(self) -> dict[str, Any]:
        """What a reader is told."""
        return {"separator": self.separator, "quote_char": self.quote, "has_header": self.header}


styles = st.builds(
    Written,
    separator=st.sampled_from([",", ";", "\t"]),
    quote=st.sampled_from(['"', "'", None]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    header=st.booleans(),
    ended=st.booleans(),
)
#: marks, quotes, separators and line breaks among ordinary letters
LETTERS = st.sampled_from(["a", "b", "ä", "\ufeff", " ", '"', "'", ",", ";", "\t", "\n"])


@st.composite
def files(draw: st.DrawFn) -> tuple[Written, list[list[str]]]:
    """Return a style, and rows of texts that it can write; the first names the columns."""
    style = draw(styles)
    width = draw(st.integers(1, 4))
    text = st.text(LETTERS, max_size=6)
    if style.quote is None:
        text = text.map(
            lambda given: given.replace(style.separator, "").replace("\n", "").replace('"', "").replace("'", "")
        )
    if width == 1:
        text = text.filter(bool)  # an empty line, which the standard library would quote
    rows = draw(st.lists(st.lists(text, min_size=width, max_size=width), min_size=1, max_size=25))
    return style, [[f"c{number}" for number in range(width)], *rows] if style.header else rows


def morsels(source: dict[str, Any], rows: int) -> list[Morsel]:
    """Return all morsels of a source."""
    found = make_source(source)
    for _ in found.prepare():
        pass
    reader = found.open(found.describe())
    try:
        read = []
        while (morsel := reader.read(rows)) is not None:
            read.append(morsel)
        for _ in found.verify():
            pass
        return read
    finally:
        reader.close()
        found.close()


def rows_of(found: list[Morsel]) -> list[tuple[Any, ...]]:
    """Return the rows of some morsels."""
    return pl.concat([morsel.frame.lazy() for morsel in found]).collect().rows()


def small_pieces(patch: pytest.MonkeyPatch, least: int) -> None:
    """Have pieces begin with so few bytes."""
    patch.setattr(csv_chunks, "_LEAST_BYTES", least)
    patch.setattr(csv_chunks, "_MOST_BYTES", least)
    patch.setattr(csv_chunks, "_TAIL", min(4, least))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=files(), least=st.integers(1, 60), rows=st.integers(1, 30))
def test_pieces_are_the_rows_that_polars_reads_of_the_whole(
    file: tuple[Written, list[list[str]]], least: int, rows: int, tmp_path: Path
) -> None:
    style, cells = file
    path = tmp_path / "a.csv"
    path.write_bytes(style.bytes(cells))
    whole = pl.read_csv(path, infer_schema=False, **style.options)
    source = {"path": path, "schema": dict.fromkeys(whole.columns, "string"), **style.options}
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch, least)
        read = morsels(source, rows)
    assert rows_of(read) == whole.rows()
    assert [morsel.first_row for morsel in read] == [sum(each.rows for each in read[:i]) for i in range(len(read))]
    assert all(morsel.rows <= rows for morsel in read)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=files(), least=st.integers(1, 60), data=st.data())
def test_a_line_that_lacks_fields_is_found_among_those_that_end_with_nulls(
    file: tuple[Written, list[list[str]]], least: int, data: st.DataObject, tmp_path: Path
) -> None:
    style, cells = file
    if len(cells[0]) == 1:
        return
    for row in cells[1:]:
        nulls = data.draw(st.integers(1, len(row)))
        row[-nulls:] = [""] * nulls
    path = tmp_path / "a.csv"
    short = data.draw(st.none() | st.integers(1, len(cells) - 1)) if len(cells) > 1 else None
    if short is not None:
        cells[short] = cells[short][: data.draw(st.integers(1, len(cells[short]) - 1))]
        if not "".join(cells[short]):
            cells[short][0] = "x"
    path.write_bytes(style.bytes(cells))
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch, least)
        result = sentrio.check({"path": path, **style.options}, [{"row_count": {"min": 0}}], morsel_rows=3)
    if short is None:
        assert result.status == "success", result.error
        assert result.report is not None
        assert result.report.row_count == len(cells) - style.header
    else:
        assert result.status == "error"
        assert f"has {len(cells[short])} field" in str(result.error), result.error


@st.composite
def folders(draw: st.DrawFn) -> list[tuple[Written, list[list[str]]]]:
    """Return several files with the same columns, some of them without rows."""
    style, first = draw(files())
    header, rows = (first[:1], first[1:]) if style.header else ([], first)
    cut = draw(st.lists(st.integers(0, len(rows)), max_size=4).map(sorted))
    found = []
    for begin, end in pairwise([0, *cut, len(rows)]):
        alike = attrs.evolve(style, end=draw(st.sampled_from(["\n", "\r\n"])), ended=draw(st.booleans()))
        if header or begin < end:
            found.append((attrs.evolve(alike, mark=draw(st.booleans())), [*header, *rows[begin:end]]))
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(folder=folders(), least=st.integers(1, 60), most=st.integers(1, 400), rows=st.integers(1, 60), data=st.data())
def test_many_files_are_the_rows_that_polars_reads_of_each(
    folder: list[tuple[Written, list[list[str]]]],
    least: int,
    most: int,
    rows: int,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("files")
    blank = data.draw(st.sampled_from([b"", b"\n", b"\r\n"]))
    for number, (style, cells) in enumerate(folder):
        body = style.bytes(cells)
        if style.header and not style.mark and len(cells[0]) == 1:
            body = blank + body  # is passed over before the names of the columns
        (root / f"{number}.csv").write_bytes(body)
    options = folder[0][0].options
    each = [pl.read_csv(path, infer_schema=False, **options) for path in sorted(root.iterdir())]
    whole = pl.concat(each)
    source = {"path": str(root / "*.csv"), "schema": dict.fromkeys(whole.columns, "string"), **options}
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch, least)
        patch.setattr(csv_chunks, "_MOST_BYTES", max(least, most))
        read = morsels(source, rows)
    assert rows_of(read) == whole.rows()
    assert [morsel.first_row for morsel in read] == [sum(each.rows for each in read[:i]) for i in range(len(read))]


def test_a_quote_that_does_not_end_in_one_file_takes_nothing_from_the_next(tmp_path: Path) -> None:
    (tmp_path / "0.csv").write_bytes(b"a,b\n0,w\n")
    (tmp_path / "1.csv").write_bytes(b'a,b\n1,"x\n')
    (tmp_path / "2.csv").write_bytes(b'a,b\n2,y"\n')  # together they would be well-formed
    result = sentrio.check(str(tmp_path / "*.csv"), [{"row_count": {"min": 0}}])
    assert result.status == "error"
    assert "a quoted field that does not end" in str(result.error), result.error


def test_columns_in_another_order_are_seen_although_the_rows_would_fit(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_bytes(b"a,b\n1,x\n")
    (tmp_path / "2.csv").write_bytes(b"a,b\n2,y\n")
    (tmp_path / "3.csv").write_bytes(b"b,a\n3,z\n")
    result = sentrio.check(str(tmp_path / "*.csv"), [{"row_count": {"min": 0}}])
    assert result.status == "error"
    assert "3.csv has other columns than 1.csv" in str(result.error), result.error


@pytest.mark.parametrize("head", [b'"a\nx",b', b"\na,b", b"\r\n\na,b", b"\xef\xbb\xbfa,b"])
def test_names_that_are_not_the_first_line_do_not_become_rows(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "1.csv").write_bytes(head.lstrip(b"\r\n") + b"\n1,x\n")
    for number in (2, 3):
        (tmp_path / f"{number}.csv").write_bytes(head + b"\n%d,y\n" % number)
    assert rows_of(morsels({"path": str(tmp_path / "*.csv")}, 100)) == [(1, "x"), (2, "y"), (3, "y")]


@pytest.mark.parametrize(("one", "other"), [(b'"a\nx"', b'"a\ny"'), (b"\na", b"\nb"), (b"a", b"b")])
def test_other_columns_behind_an_equal_first_line_are_seen(tmp_path: Path, one: bytes, other: bytes) -> None:
    (tmp_path / "1.csv").write_bytes(one + b"\n1\n")
    (tmp_path / "2.csv").write_bytes(other + b"\n2\n")
    result = sentrio.check(str(tmp_path / "*.csv"), [{"row_count": {"min": 0}}])
    assert result.status == "error"
    assert "2.csv has other columns than 1.csv" in str(result.error), result.error


def test_quotes_count_where_only_a_later_file_has_them(tmp_path: Path) -> None:
    for number, line in enumerate([b"0,w", b"1,x", b'2,"y,z"', b"3,w"]):
        (tmp_path / f"{number}.csv").write_bytes(b"a,b\n" + line + b"\n")
    assert rows_of(morsels({"path": str(tmp_path / "*.csv")}, 100)) == [(0, "w"), (1, "x"), (2, "y,z"), (3, "w")]


def test_a_line_that_lacks_fields_is_found_in_whichever_file_it_is(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_bytes(b'a,b\n"x\ny",z\n')
    (tmp_path / "2.csv").write_bytes(b"a,b\n1\n")
    result = sentrio.check(str(tmp_path / "*.csv"), [{"row_count": {"min": 0}}])
    assert result.status == "error"
    assert "2.csv: line 2 has 1 field where 2 are expected" in str(result.error), result.error


@pytest.mark.parametrize("byte", [b",", b'"', b"\t", b"|", b"\x01", b" "])
def test_bytes_are_counted_as_python_counts_them(byte: bytes) -> None:
    dice = random.Random(5)
    letters = [byte, byte, b"\n", b"\r\n", b'"', b",", b"a", b"\xef\xbb\xbf", b"\0", b"#", b"\xff"]
    for size in [1, 2, 3, 10, 100, 70_000, 2_000_000]:
        data = b"".join(dice.choices(letters, k=size))
        assert csv_chunks.count_of(data, byte) == data.count(byte)


def test_a_zero_byte_far_behind_the_beginning_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + b"1,x\n" * 40_000 + b"2,y\0z\n" + b"3,x\n" * 1000)
    result = sentrio.check(path, ["not_null"])
    assert result.status == "error"
    assert "line 40002 holds a zero byte" in str(result.error), result.error


def test_a_quote_that_does_not_end_is_an_error_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + b"1,x\n" * 30_000 + b'2,"' + b"y,z\n" * 100_000)
    monkeypatch.setattr(csv_chunks, "_MOST_BYTES", 2**16)
    monkeypatch.setattr(csv_chunks, "_LONGEST_ROW", 2**17)
    read: list[int] = []
    piece = csv_chunks.ChunkReader._bytes

    def noted(self: Any, file: Any, size: int) -> bytes:
        read.append(size)
        return piece(self, file, size)

    monkeypatch.setattr(csv_chunks.ChunkReader, "_bytes", noted)
    result = sentrio.check(path, ["not_null"])
    assert result.status == "error"
    assert "a quoted field that does not end" in str(result.error), result.error
    assert max(read) <= 2**17


def test_small_files_share_a_morsel(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.csv").write_text(f"a,b\n{number},x\n{number},\n")
    found = morsels({"path": str(tmp_path / "*.csv")}, 40)
    assert len(found) <= 3
    assert rows_of(found) == [(n // 2, None if n % 2 else "x") for n in range(60)]


@pytest.mark.parametrize("count", [1, 2, 8, 9, 40])
@pytest.mark.parametrize("rule", ["in_set", "not_in_set"])
def test_sets_of_any_size_count_alike(rule: str, count: int) -> None:
    values = [f"{'long ' * (n % 3)}{n}" for n in range(count)]
    texts = [*values, None, "x", "", None, *values[:1]]
    result = sentrio.check(pl.DataFrame({"t": texts}), [{rule: {"column": "t", "values": values}}])
    assert result.report is not None
    (found,) = result.report.checks
    inside = sum(text in values for text in texts)
    outside = sum(text is not None for text in texts) - inside
    assert found.failed_count == (outside if rule == "in_set" else inside)
    assert found.evaluated_count == inside + outside


_PLAIN = {
    "whole": ["0", "-7", "123456789012345678"],
    "real": ["1.5", "-2", "0.25"],
    "flag": ["true", "false"],
    "text": ["a"],
}
_ODD = [
    "",
    " 1",
    "+1",
    "1.",
    ".5",
    "1e5",
    "nan",
    "NaN",
    "inf",
    "9223372036854775808",
    "True",
    "x",
    '"1"',
    "-",
    "٣",
    "1_0",
]


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(sorted(_PLAIN)), min_size=2, max_size=4),
    st.lists(st.tuples(st.integers(0, 399), st.integers(0, 3), st.sampled_from(_ODD)), max_size=3),
    st.sampled_from([None, "x"]),
    st.booleans(),
)
def test_types_are_those_that_polars_infers_of_all_the_first_rows(
    tmp_path_factory: pytest.TempPathFactory,
    kinds: list[str],
    odd: list[tuple[int, int, str]],
    null: str | None,
    empty: bool,
) -> None:
    rows = [[_PLAIN[kind][number % len(_PLAIN[kind])] for kind in kinds] for number in range(400)]
    if empty:  # nothing at the beginning tells the type of the first column
        for row in rows[:150]:
            row[0] = ""
    for number, column, value in odd:
        rows[number][column % len(kinds)] = value
    path = tmp_path_factory.mktemp("told") / "a.csv"
    names = ",".join(f"c{number}" for number in range(len(kinds)))
    path.write_text("\n".join([names, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    options = {} if null is None else {"null_values": [null]}
    source = make_source({"path": str(path), **options})
    list(source.prepare())
    told = pl.scan_csv(path, infer_schema_length=10_000, null_values=null).collect_schema()
    assert source.describe().schema == dict(told)
