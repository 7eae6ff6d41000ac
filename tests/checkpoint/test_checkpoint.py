from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import pytest

import sentrio
from sentrio import Checkpoint, CheckpointResult
from sentrio.errors import (
    CheckpointFailed,
    CheckpointUndecided,
    OptionValueError,
    RunningLoopError,
    UnknownNameError,
    UnknownOptionError,
)
from sentrio.validation import InRange, NotNull
from sentrio.validation.run import Progress


def test_statuses_follow_severity(frame: pl.DataFrame) -> None:
    def status(*validators: Any, **options: Any) -> str:
        return sentrio.check(frame, list(validators), **options).status

    assert status({"not_null": {"column": "id"}}) == "success"
    assert status("not_null") == "failure"
    assert status({"not_null": {"severity": "medium"}}) == "warning"
    assert status({"not_null": {"severity": "medium"}}, fail_on="medium") == "failure"
    assert status({"not_null": {"severity": "critical"}}, fail_on="never") == "warning"
    assert status() == "error"
    assert status("not_null", {"regex": {"column": "id", "pattern": "x"}}) == "error"


def test_results_are_true_if_they_passed(frame: pl.DataFrame) -> None:
    good = sentrio.check(frame, [{"not_null": {"column": "id"}}])
    bad = sentrio.check(frame, ["not_null"])
    assert good
    assert good.raise_for_status() is good
    assert not bad
    with pytest.raises(CheckpointFailed, match=r"not_null name 1 of 3"):
        bad.raise_for_status()
    with pytest.raises(CheckpointUndecided, match="no validators") as caught:
        sentrio.check(frame, []).raise_for_status()
    assert caught.value.result.status == "error"


def test_one_bad_check_takes_no_other_down(frame: pl.DataFrame) -> None:
    result = sentrio.check(
        frame,
        [
            {"not_null": {"column": "id"}},
            {"not_null": {"column": "nmae"}},
            {"regex": {"column": "name", "pattern": "(unclosed"}},
            {"range": {"column": "name", "min": 1}},
            {"not_null": {"column": "name", "where": "no such sql ("}},
            {"not_null": {"column": "name", "where": "nothing > 3"}},
            {"in_set": {"column": "id", "values": ["a"]}},
        ],
    )
    outcomes = [check.outcome for check in result.report.checks]
    assert outcomes == ["passed", *["error"] * 6]
    messages = [check.message for check in result.report.errors]
    assert messages[0] == "no column 'nmae'; did you mean 'name'?"
    assert "'(unclosed' is not a regular expression" in messages[1]
    assert "column 'name' is String; the rule applies to numeric columns" in messages[2]
    assert "can not hold the values 'a'" in messages[5]


def test_no_column_that_fits_is_an_error() -> None:
    result = sentrio.check(pl.DataFrame({"a": [1]}), [{"regex": {"pattern": "x"}}])
    assert result.status == "error"
    assert "no column fits: it applies to text columns; there are a (Int64)" in result.report.errors[0].message


def test_tolerances() -> None:
    frame = pl.DataFrame({"a": [1] * 9 + [None]})

    def passed(**options: Any) -> bool:
        return sentrio.check(frame, [{"not_null": {"column": "a", **options}}]).passed

    assert not passed()
    assert passed(mostly=0.9)
    assert not passed(mostly=0.91)
    assert passed(max_failed=1)
    assert not passed(max_failed=0)
    assert not passed(max_failed=1, mostly=0.95)
    assert passed(max_failed=1, mostly=0.9)


def test_empty_frames_and_columns_without_values() -> None:
    empty = pl.DataFrame({"a": []}, schema={"a": pl.Int64})
    rows = [
        "not_null",
        {"range": {"column": "a", "min": 0}},
        {"unique": {"column": "a"}},
        {"in_set": {"values": [1]}},
    ]
    assert sentrio.check(empty, rows).status == "success"
    mean = sentrio.check(empty, [{"mean": {"column": "a", "min": 0}}])
    assert mean.report.failed[0].message == "there are no values"
    nulls = pl.DataFrame({"a": [None, None]})
    assert sentrio.check(nulls, [{"range": {"column": "a", "min": 0}}, {"unique": {"column": "a"}}]).passed
    assert sentrio.check(nulls, [{"mean": {"column": "a", "min": 0}}]).status == "failure"
    assert sentrio.check(pl.DataFrame(), ["not_null"]).status == "error"
    assert sentrio.check(empty, [{"row_count": {"min": 1}}]).status == "failure"


def test_repeated_checks_have_ids_of_their_own(frame: pl.DataFrame) -> None:
    entry = {"not_null": {"column": "id"}}
    result = sentrio.check(frame, [entry, entry, {"not_null": {"column": "id", "name": "mine"}}])
    assert [check.id for check in result.report.checks] == ["not_null:id", "not_null:id#2", "mine"]
    assert "mine" in str(result)


def test_frames_of_other_libraries(frame: pl.DataFrame) -> None:
    for other in (frame.to_pandas(), frame.to_arrow(), frame.lazy()):
        result = sentrio.check(other, ["not_null", {"unique": {"column": "id"}}])
        assert [check.failed_count for check in result.report.checks] == [0, 1, 1, 0]


def test_secrets_of_columns_show_nowhere(frame: pl.DataFrame) -> None:
    frame = frame.with_columns(amount=pl.Series([424242, 1, 515151]))
    result = sentrio.check(
        frame.with_columns(secret=pl.Series(["hush-a", "hush-b", "hush-b"])),
        [
            {"unique": {"column": "secret"}},
            {"regex": {"column": "secret", "pattern": "^x"}},
            {"range": {"column": "amount", "max": 10}},
            {"mean": {"column": "amount", "max": 10}},
            {"not_null": {"column": "name"}},
        ],
        key_columns=["secret", "amount"],
        redact_columns=["secret", "amount"],
    )
    assert [len(check.sample) for check in result.report.checks] == [2, 3, 2, 0, 1]
    for text in (str(result), repr(result), str(result.to_dict()), result._repr_html_(), result.explain()):
        for secret in ("hush", "424242", "515151", str((424242 + 1 + 515151) / 3)[:6]):
            assert secret not in text


def test_the_representation_of_a_result_is_short_and_holds_no_rows() -> None:
    # asyncio writes it whenever a main task ends, and people log it.
    columns = {f"c{number}": ["hush"] * 10 for number in range(100)}
    result = sentrio.check(pl.DataFrame(columns), [{"regex": {"columns": list(columns), "pattern": "^x"}}])
    assert repr(result.report) == (
        "<ValidationReport checks=100, failed=100, errors=0, rows_scanned=10, complete=True>"
    )
    assert repr(result.report) in repr(result)
    assert "hush" not in repr(result)


def test_without_samples_no_value_shows() -> None:
    frame = pl.DataFrame({"a": [424242, 5], "b": ["hush", None]})
    entries = [
        {"range": {"column": "a", "max": 1}},
        {"regex": {"column": "b", "pattern": "^x"}},
        {"unique": {"column": "b"}},
    ]
    result = sentrio.check(frame, entries, sample_failures=0, key_columns=["b"])
    assert result.status == "failure"
    for text in (str(result), repr(result), str(result.to_dict())):
        assert "424242" not in text
        assert "hush" not in text


def test_a_misspelt_column_to_be_redacted_is_no_leak(frame: pl.DataFrame) -> None:
    result = sentrio.check(frame, ["not_null"], redact_columns=["secrt"])
    assert result.status == "error"
    assert "redact_columns names column 'secrt', which is not there" in str(result.error)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Checkpoint("a", "b.csv", ["nulll"]), UnknownNameError, "did you mean 'null'"),
        (lambda: Checkpoint("a", "b.csv", [{"range": {"mim": 0}}]), UnknownOptionError, "did you mean 'min'"),
        (lambda: NotNull(mostyl=0.5), UnknownOptionError, "not_null: unknown option 'mostyl'; did you mean 'mostly'"),  # type: ignore[call-arg]
        (lambda: NotNull(column="a", columns=["b"]), OptionValueError, "either 'column' or 'columns'"),
        (lambda: NotNull(columns=["a", "a"]), OptionValueError, "without repeats"),
        (lambda: NotNull(mostly=95), OptionValueError, "share from 0 to 1, got 95"),
        (lambda: NotNull(mostly=float("nan")), OptionValueError, "share from 0 to 1"),
        (lambda: NotNull(max_failed=0.5), OptionValueError, "whole number of at least 0, got 0.5"),  # type: ignore[arg-type]
        (lambda: NotNull(severity="hihg"), OptionValueError, "critical, high, medium, low"),
        (lambda: InRange(min="0"), OptionValueError, "min must be a number, got '0'"),  # type: ignore[arg-type]
        (lambda: InRange(min=3, max=2), OptionValueError, "no number lies in it"),
        (lambda: Checkpoint("a", "b.csv", "null"), OptionValueError, r"did you mean \['null'\]"),
        (
            lambda: Checkpoint("a", "b.csv", [{"range": {}, "mean": {}}]),
            OptionValueError,
            "one name with its options",
        ),
        (lambda: Checkpoint("a", "b.csv", ["null"], timeout=3), UnknownOptionError, "'timeout_seconds'"),  # type: ignore[call-arg]
        (lambda: Checkpoint("a", "b.csv", ["null"], timeout_seconds=0), OptionValueError, "above 0, got 0"),
        (lambda: Checkpoint("a", "b.csv", ["null"], fail_on="hihg"), OptionValueError, "never, got 'hihg'"),
        (lambda: Checkpoint("a", "b.xyz", ["null"]), OptionValueError, "'.xyz' of 'b.xyz' names no format"),
        (lambda: Checkpoint("a", {"path": "b.csv", "sep": ";"}, []), UnknownOptionError, "unknown option 'sep'"),
        (lambda: Checkpoint("a", {"path": "b.parquet", "separator": ";"}, []), OptionValueError, "is for CSV"),
        (lambda: Checkpoint("a", {"path": "b.csv", "encoding": "utf-88"}, []), OptionValueError, "Python codec"),
        (lambda: Checkpoint("a", {"path": "b.csv", "schema": {"x": "intger"}}, []), OptionValueError, "'integer'"),
        (lambda: Checkpoint("a", 42, []), OptionValueError, "must be a path, a frame, or a mapping"),
        (lambda: Checkpoint("", "b.csv", []), OptionValueError, "not empty"),
        (lambda: Checkpoint("a", "b.csv", ["null"], validator_config={"nul": {}}), UnknownOptionError, "'null'"),
        (lambda: Checkpoint("a", "b.csv", [], actions=["stor"]), UnknownNameError, "did you mean 'store'"),
        (lambda: Checkpoint("a", "b.csv", [], actions=[42]), TypeError, "must be an action, a function"),
        (lambda: Checkpoint("a", "b.csv", [], execution_strategy="concurent"), OptionValueError, "concurrent"),
        (
            lambda: Checkpoint("a", "b.csv", [], execution_strategy={"concurrent": [1]}),
            OptionValueError,
            r"options in a mapping, or a strategy, got \{'concurrent': \[1\]\}$",
        ),
        (lambda: Checkpoint("a", "b.csv", [], base_dir=5), OptionValueError, "base_dir must be a folder, got 5"),
        (lambda: Checkpoint("a", "b.csv", ["null"], timeout_seconds=10**400), OptionValueError, "must be a number"),
        (lambda: sentrio.check("b.csv", ["null"], data_source="c.csv"), OptionValueError, "are the first argument"),
        (lambda: Checkpoint("a", "b.csv", ["null"]).run(["x"]), OptionValueError, r"a mapping, got \['x'\]"),  # type: ignore[arg-type]
        (lambda: Checkpoint("a", "b.csv", [], on_complete=3), OptionValueError, "must be a function"),  # type: ignore[arg-type]
        (
            lambda: Checkpoint("a", "b.csv", [{"null": {"name": "x"}}, {"range": {"name": "x"}}]),
            OptionValueError,
            "two validators are named 'x'",
        ),
    ],
)
def test_bad_options_are_errors_when_the_object_is_made(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        make()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


def test_urls_with_credentials_show_nowhere() -> None:
    with pytest.raises(OptionValueError, match="no reader of files for 'postgresql' URLs") as caught:
        Checkpoint("a", "postgresql://user:hunter2@host/db?token=abc", ["null"])
    assert "hunter2" not in str(caught.value)
    assert "token" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)


async def test_run_inside_a_loop_names_what_to_use(frame: pl.DataFrame) -> None:
    checkpoint = Checkpoint("a", frame, ["not_null"])
    with pytest.raises(RunningLoopError, match=r"await checkpoint.run_async\(\)"):
        checkpoint.run()
    with pytest.raises(RunningLoopError, match=r"await sentrio.check_async\(\)"):
        sentrio.check(frame, ["not_null"])
    assert (await sentrio.check_async(frame, ["not_null"])).status == "failure"


@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_backend_of_blocking_calls(name: str, frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def note(result: CheckpointResult) -> None:
        seen.append(type(anyio.lowlevel.current_token().native_token).__module__)

    monkeypatch.setenv("SENTRIO_BACKEND", name)
    Checkpoint("a", frame, ["not_null"], actions=[note]).run()
    assert seen[0].startswith(name)
    monkeypatch.setenv("SENTRIO_BACKEND", "curio")
    with pytest.raises(OptionValueError, match="'asyncio' or 'trio', got 'curio'"):
        Checkpoint("a", frame, ["not_null"]).run()


async def test_runs_in_a_worker_thread(frame: pl.DataFrame) -> None:
    result = await anyio.to_thread.run_sync(Checkpoint("a", frame, ["not_null"]).run)
    assert result.status == "failure"


async def test_same_checkpoint_ten_times_at_once(penguins: dict[str, object]) -> None:
    checkpoint = Checkpoint("p", penguins, ["not_null", {"unique": {"column": "island"}}], morsel_rows=50)
    results = []

    async def run() -> None:
        results.append(await checkpoint.run_async())

    async with anyio.create_task_group() as tg:
        for _ in range(10):
            tg.start_soon(run)
    reports = [result.report.to_dict() | {"duration_ms": 0} for result in results]
    assert all(report == reports[0] for report in reports)
    assert len({result.run_id for result in results}) == 10


async def test_timeout_keeps_the_partial_report_and_still_acts(large_file: Path) -> None:
    acted: list[CheckpointResult] = []
    checkpoint = Checkpoint(
        "slow",
        large_file,
        [
            "not_null",
            {"regex": {"column": "text", "pattern": "(a|b|[0-9])+@example.com$"}},
            {"unique": {"column": "text"}},
        ],
        actions=[acted.append],
        timeout_seconds=0.25,
        morsel_rows=5_000,
    )
    result = await checkpoint.run_async()
    assert (result.status, result.error) == ("error", "timed out after 0.25 s")
    assert not result.report.complete
    assert result.report.row_count == 4_000_000
    assert result.report.rows_scanned < 4_000_000
    assert result.report.checks[-1].outcome == "not_evaluated"
    assert [each.run_id for each in acted] == [result.run_id]
    assert f"{result.report.rows_scanned:,} of 4,000,000 rows read" in str(result)


async def test_fail_fast_stops_reading(large_file: Path) -> None:
    checkpoint = Checkpoint(
        "fast",
        large_file,
        [{"range": {"column": "id", "min": 10}}, {"unique": {"column": "id"}}],
        fail_fast=True,
        morsel_rows=10_000,
    )
    result = await checkpoint.run_async()
    assert result.status == "failure"
    assert [check.outcome for check in result.report.checks] == ["failed", "not_evaluated"]
    assert result.report.rows_scanned < 400_000
    assert not result.report.complete
    assert "stopped at the first failure" in str(result)


async def test_progress(large_file: Path) -> None:
    seen: list[Progress] = []
    entries = [{"range": {"column": "id", "max": 10}}]
    await Checkpoint("p", large_file, entries, morsel_rows=500_000).run_async(on_progress=seen.append)
    assert [progress.rows for progress in seen] == [500_000 * i for i in range(1, 9)]
    assert {progress.total for progress in seen} == {4_000_000}
    assert all(progress.failed == ("range:id",) for progress in seen)


async def test_callbacks_follow_the_status_and_can_not_hurt(
    frame: pl.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[tuple[str, str]] = []

    async def complete(result: CheckpointResult) -> None:
        called.append(("complete", result.status))
        raise RuntimeError("broken callback")

    def failed(result: CheckpointResult) -> None:
        called.append(("error", result.status))

    for validators in (["not_null"], []):
        await Checkpoint("a", frame, validators, on_complete=complete, on_error=failed).run_async()
    assert called == [("complete", "failure"), ("error", "error")]
    assert "its callback raised" in caplog.text
    assert "broken callback" in caplog.text


async def test_context_is_merged_over_metadata(frame: pl.DataFrame) -> None:
    checkpoint = Checkpoint("a", frame, ["not_null"], metadata={"team": "x", "tier": 1})
    result = await checkpoint.run_async({"tier": 2, "path": Path("p")})
    assert result.metadata == {"team": "x", "tier": 2, "path": "p"}
    assert checkpoint.metadata == {"team": "x", "tier": 1}


def test_pickling(frame: pl.DataFrame) -> None:
    checkpoint = Checkpoint("a", frame, ["not_null", {"unique": {"column": "id"}}])
    first = checkpoint.run()
    twin = pickle.loads(pickle.dumps(checkpoint))  # noqa: S301
    assert twin.run().report.checks == first.report.checks
    assert pickle.loads(pickle.dumps(first)) == first  # noqa: S301


def test_relative_paths_start_from_the_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d.csv").write_text("a\n1\n")
    result = Checkpoint("a", "d.csv", ["not_null"], actions=[{"store": {"path": "out"}}], base_dir=tmp_path).run()
    assert result.status == "success"
    assert result.data_asset == "d.csv"
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_source_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pl.DataFrame({"a": range(1000)}).write_parquet(path)

    def change(progress: Progress) -> None:
        os.utime(path, ns=(1, 1))

    checkpoint = Checkpoint("a", path, ["not_null"], morsel_rows=100)
    result = anyio.run(lambda: checkpoint.run_async(on_progress=change))
    assert result.status == "error"
    assert "changed while it was read" in str(result.error)


def test_an_ordinary_run_logs_no_warning(penguins: dict[str, object], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        sentrio.check(penguins, ["not_null"])
    records = [record for record in caplog.records if record.name.startswith("sentrio")]
    assert [record.levelname for record in records] == ["INFO", "DEBUG", "INFO"]


async def test_a_progress_that_is_no_function_is_refused_before_anything_is_read() -> None:
    checkpoint = Checkpoint("a", "no/such/file.csv", ["not_null"])
    with pytest.raises(OptionValueError, match="Checkpoint: on_progress must be a function, got 'tqdm'"):
        await checkpoint.run_async(on_progress="tqdm")  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_interruption_of_a_task_is_raised_as_it_is(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trio raises it in any task, and a task group would wrap it."""
    monkeypatch.setenv("SENTRIO_BACKEND", backend)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sentrio.validation.run.Validation._merge", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Checkpoint("a", pl.DataFrame({"a": range(20_000)}), ["not_null"], morsel_rows=5_000).run()
