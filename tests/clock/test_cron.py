"""Cron expressions, as Debian's cron reads them."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import polars as pl
import pytest

from sentrio import AsyncCheckpointRunner, Checkpoint, CronTrigger
from sentrio.async_core.clock import LoopClock
from sentrio.checkpoint.triggers import make_trigger
from sentrio.errors import OptionValueError, UnknownOptionError

BERLIN = ZoneInfo("Europe/Berlin")


async def firings(expression: str, start: datetime, count: int, **given: Any) -> list[str]:
    clock = LoopClock(start)
    async with CronTrigger(expression=expression, **given).watch(clock=clock) as watch:
        found = []
        for _ in range(count):
            due = await watch.wait()
            assert due.due_at is not None
            assert timedelta() <= clock.now() - due.due_at < timedelta(seconds=0.01)
            found.append(due.due_at.astimezone(BERLIN).strftime("%a %Y-%m-%d %H:%M:%S"))
        return found


async def test_working_days_at_six() -> None:
    start = datetime(2026, 11, 20, 12, tzinfo=UTC)  # a Friday
    assert await firings("0 6 * * 1-5", start, 2, timezone="Europe/Berlin") == [
        "Mon 2026-11-23 06:00:00",
        "Tue 2026-11-24 06:00:00",
    ]


@pytest.mark.parametrize("sunday", ["0", "7", "SUN"])
async def test_sundays(sunday: str) -> None:
    start = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert (await firings(f"0 12 * * {sunday}", start, 1))[0].startswith("Sun 2026-11-22")


async def test_with_six_fields_the_first_is_seconds() -> None:
    start = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert [text[-8:] for text in await firings("*/5 * * * * *", start, 4)] == [
        "13:00:05", "13:00:10", "13:00:15", "13:00:20",
    ]  # fmt: skip


async def test_leap_days_are_found_at_once() -> None:
    assert await firings("0 0 29 2 *", datetime(2026, 1, 1, tzinfo=UTC), 2, timezone=BERLIN) == [
        "Tue 2028-02-29 00:00:00",
        "Sun 2032-02-29 00:00:00",
    ]


async def test_where_clocks_change() -> None:
    spring = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert await firings("30 2 * * *", spring, 2, timezone="Europe/Berlin") == [
        "Sun 2026-03-29 03:00:00",  # half past two does not exist
        "Mon 2026-03-30 02:30:00",
    ]
    autumn = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert await firings("30 2 * * *", autumn, 2, timezone="Europe/Berlin") == [
        "Sun 2026-10-25 02:30:00",  # half past two comes twice
        "Mon 2026-10-26 02:30:00",
    ]


@pytest.mark.parametrize(("missed", "runs"), [("run_once", 1), ("run_all", 3), ("skip", 0)])
async def test_missed_firings_are_reported(missed: str, runs: int, caplog: pytest.LogCaptureFixture) -> None:
    clock = LoopClock(datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC))
    async with CronTrigger(expression="0 * * * *", missed=missed).watch(clock=clock) as watch:
        await watch.wait()  # at 13:00
        clock.jump(timedelta(hours=3, minutes=30))  # a lid was closed
        got = []
        with anyio.move_on_after(60):
            while True:
                got.append(await watch.wait())
        assert len(got) == runs
        assert watch.statistics().missed == 3
    assert "missed, up to the one due at" in caplog.text


async def test_years_of_missed_firings_take_no_time() -> None:
    clock = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with CronTrigger(expression="* * * * *").watch(clock=clock) as watch:
        await watch.wait()
        clock.jump(timedelta(days=3650))
        assert (await watch.wait()).missed == 999  # no more are counted


async def test_a_runner_runs_what_cron_says() -> None:
    runner = AsyncCheckpointRunner()
    trigger = CronTrigger(expression="*/10 * * * * *", run_immediately=True)
    runner.add_checkpoint(Checkpoint("c", pl.DataFrame({"a": [1]}), ["not_null"], triggers=[trigger]))
    async with runner:
        await anyio.sleep(60)  # which holds six due times, whenever it begins
    assert runner.statistics().completed_runs == 7


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (
            {"expression": "61 * * * *"},
            OptionValueError,
            r"expression '61 \* \* \* \*' is no cron expression \(bad minute",
        ),
        ({"expression": "* * *"}, OptionValueError, "its fields are minute, hour"),
        ({"expression": "0 0 31 2 *"}, OptionValueError, "is no cron expression"),
        ({"expression": 5}, OptionValueError, "must be text of five or six fields, .* got 5"),
        ({}, OptionValueError, "'expression' is missing"),
        ({"expression": "* * * * *", "timezone": "Berlin"}, OptionValueError, "CronTrigger.*'Europe/Berlin'"),
        ({"expression": "* * * * *", "timzone": "UTC"}, UnknownOptionError, "did you mean 'timezone'"),
    ],
)
def test_bad_options_are_refused(given: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        CronTrigger(**given)


def test_as_an_entry_and_pickled() -> None:
    trigger = make_trigger({"cron": {"expression": "0 6 * * 1-5", "timezone": "Europe/Berlin"}})
    assert isinstance(trigger, CronTrigger)
    assert pickle.loads(pickle.dumps(trigger)).config == trigger.config  # noqa: S301
