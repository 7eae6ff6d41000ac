"""Schedules and polling, in virtual time."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from sentrio import AsyncBaseTrigger, ScheduleTrigger, TriggerConfig, TriggerResult
from sentrio.async_core.clock import LoopClock
from sentrio.checkpoint.triggers import TriggerWatch

START = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
HOUR = timedelta(hours=1)


def hourly(**options: Any) -> tuple[LoopClock, TriggerWatch]:
    clock = LoopClock(START)
    return clock, ScheduleTrigger(**{"interval_hours": 1, **options}).watch(clock=clock)


async def firings(watch: TriggerWatch, count: int) -> list[tuple[float, int]]:
    """Hours since the start, and how many were missed, of the next firings."""
    found = []
    for _ in range(count):
        result = await watch.wait()
        assert result.should_run
        found.append(((watch.clock.now() - START) / HOUR, result.missed))
    return found


async def test_the_first_firing_is_one_interval_after_the_start() -> None:
    _, watch = hourly()
    assert await firings(watch, 3) == [(1, 0), (2, 0), (3, 0)]
    assert watch.statistics().next_due == START + 4 * HOUR


async def test_immediately_counts_towards_max_runs_and_does_not_move_the_grid() -> None:
    _, watch = hourly(run_immediately=True, max_runs=3)
    await anyio.sleep(600)
    assert await firings(watch, 3) == [(1 / 6, 0), (1, 0), (2, 0)]
    over = await watch.wait()
    assert (over.should_run, over.reason) == (False, "the trigger has fired max_runs=3 times")
    assert watch.statistics().ended


async def test_firings_do_not_drift() -> None:
    clock = LoopClock(START)
    watch = ScheduleTrigger(interval_seconds=5).watch(clock=clock)
    for n in range(1, 2000):
        result = await watch.wait()
        assert result.due_at == START + n * timedelta(seconds=5)
        assert timedelta() <= clock.now() - result.due_at < timedelta(milliseconds=1)
        await anyio.sleep(n % 5)


async def test_the_parts_of_an_interval_are_added_up() -> None:
    clock = LoopClock(START)
    trigger = ScheduleTrigger(interval_seconds=1, interval_minutes=2, interval_hours=3, interval_days=4)
    await trigger.watch(clock=clock).wait()
    assert clock.now() - START == timedelta(seconds=1, minutes=2, hours=3, days=4)


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        # busy from 1:00 to 4:30; 2, 3 and 4 o'clock are missed
        ("run_once", [(4.5, 3), (5, 0), (6, 0)]),
        ("run_all", [(4.5, 1), (4.5, 1), (4.5, 1), (5, 0)]),
        ("skip", [(5, 3), (6, 0)]),
    ],
)
async def test_firings_that_were_due_while_the_runner_was_busy(
    missed: str, expected: list[tuple[float, int]], caplog: pytest.LogCaptureFixture
) -> None:
    clock, watch = hourly(missed=missed)
    await watch.wait()
    await anyio.sleep(3.5 * 3600)
    with caplog.at_level(logging.WARNING, "sentrio"):
        assert await firings(watch, len(expected)) == expected
    assert watch.statistics().missed == 3
    assert re.search(r": (1 firing|[23] firings) missed, up to the one due at ", caplog.text)
    assert clock.now() == START + expected[-1][0] * HOUR


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        # asleep from 0:30 to 4:10; the one at 4 is ten minutes late, too
        ("run_once", [(4 + 1 / 6, 4), (5, 0)]),
        ("run_all", [(4 + 1 / 6, 1)] * 4 + [(5, 0)]),
        ("skip", [(5, 4), (6, 0)]),
    ],
)
async def test_firings_that_were_due_while_the_machine_was_asleep(
    missed: str, expected: list[tuple[float, int]]
) -> None:
    clock, watch = hourly(missed=missed)
    async with anyio.create_task_group() as tg:
        tg.start_soon(lambda: asleep(clock, after=HOUR / 2, until=4 * HOUR + HOUR / 6))
        assert await firings(watch, len(expected)) == expected
    assert watch.statistics().missed == 4


async def asleep(clock: LoopClock, *, after: timedelta, until: timedelta) -> None:
    await anyio.sleep(after.total_seconds())
    clock.jump(until - after)


async def test_a_firing_that_was_waited_for_and_comes_a_little_late_was_not_missed() -> None:
    clock, watch = hourly(missed="skip")
    async with anyio.create_task_group() as tg:
        tg.start_soon(lambda: asleep(clock, after=HOUR / 2, until=HOUR + timedelta(seconds=50)))
        ((_, missed),) = await firings(watch, 1)
    assert missed == 0


@pytest.mark.parametrize("missed", ["run_once", "run_all"])
async def test_firings_that_were_due_while_the_runner_was_down(missed: str) -> None:
    clock = LoopClock(START)
    trigger = ScheduleTrigger(interval_hours=1, missed=missed)
    watch = trigger.watch(clock=clock, since=START - 2.5 * HOUR)
    expected = [(0, 2), (0.5, 0)] if missed == "run_once" else [(0, 1), (0, 1), (0.5, 0)]
    assert await firings(watch, len(expected)) == expected


async def test_watches_of_one_trigger_have_nothing_to_do_with_each_other() -> None:
    clock = LoopClock(START)
    trigger = ScheduleTrigger(interval_hours=1, run_immediately=True, max_runs=2)
    assert await firings(trigger.watch(clock=clock), 2) == [(0, 0), (1, 0)]
    await anyio.sleep(1800)
    assert await firings(trigger.watch(clock=clock), 2) == [(1.5, 0), (2.5, 0)]


async def test_start_and_end() -> None:
    clock = LoopClock(START)
    watch = ScheduleTrigger(
        interval_hours=6, start_at=START + 2 * HOUR, end_at=START + 14 * HOUR, run_immediately=True
    ).watch(clock=clock)
    assert await firings(watch, 3) == [(2, 0), (8, 0), (14, 0)]
    over = await watch.wait()
    assert (over.should_run, over.reason) == (False, "the schedule has no further due time")
    assert watch.statistics().next_due is None


async def test_a_start_that_has_passed_fixes_the_grid() -> None:
    clock = LoopClock(START)
    watch = ScheduleTrigger(interval_hours=6, start_at=START - 8 * HOUR, run_immediately=True).watch(clock=clock)
    assert await firings(watch, 3) == [(0, 0), (4, 0), (10, 0)]
    watch = ScheduleTrigger(interval_hours=6, start_at=clock.now()).watch(clock=clock)
    assert await firings(watch, 2) == [(10, 0), (16, 0)]


async def test_weekdays_belong_to_a_time_zone() -> None:
    clock = LoopClock(START)
    trigger = ScheduleTrigger(
        interval_hours=12, weekdays=["tue", "Friday"], timezone="Asia/Tokyo", run_immediately=True
    )
    # In Tokyo it is Monday, 21 o'clock: nothing at once, then Tuesday at 9 and 21.
    assert await firings(trigger.watch(clock=clock), 4) == [(12, 0), (24, 0), (84, 0), (96, 0)]


async def test_schedules_follow_the_mock_clock_unless_told_otherwise() -> None:
    trigger = ScheduleTrigger(interval_days=1)
    before, now = anyio.current_time(), datetime.now(UTC)
    first, second = await trigger.wait(), await trigger.wait()
    assert anyio.current_time() - before == pytest.approx(2 * 86400)
    assert first.due_at is not None
    assert second.due_at is not None
    assert second.due_at - first.due_at == timedelta(days=1)
    assert timedelta() <= first.due_at - now - timedelta(days=1) < timedelta(minutes=1)
    assert not trigger.should_trigger().should_run
    await anyio.sleep(3 * 86400)
    late = trigger.should_trigger()
    assert (late.should_run, late.missed) == (True, 2)


async def test_two_who_share_the_own_watch_of_a_trigger_have_each_firing_once() -> None:
    trigger = ScheduleTrigger(interval_hours=1)
    seen: list[datetime | None] = []

    async def wait() -> None:
        seen.append((await trigger.wait()).due_at)

    async with anyio.create_task_group() as tg:
        tg.start_soon(wait)
        tg.start_soon(wait)
    assert len(set(seen)) == 2


class Asked(AsyncBaseTrigger[TriggerConfig]):
    """Answers as its script says, and notes when it was asked."""

    def __init__(self, *script: bool | Exception, **options: Any) -> None:
        super().__init__(**options)
        self.script = list(script)
        self.times: list[float] = []

    async def should_trigger_async(self) -> TriggerResult:
        self.times.append(anyio.current_time())
        answer = self.script.pop(0) if self.script else True
        if isinstance(answer, Exception):
            raise answer
        return TriggerResult(answer, context={"asked": len(self.times)})


async def test_a_trigger_is_asked_at_regular_intervals() -> None:
    trigger = Asked(False, False, True, False, True)
    start = anyio.current_time()
    watch = trigger.watch(poll_interval=2.5)
    assert [(await watch.wait()).context["asked"] for _ in range(2)] == [3, 5]
    assert [time - start for time in trigger.times] == [0, 2.5, 5, 7.5, 10]


async def test_a_trigger_that_is_always_due_does_not_run_hot() -> None:
    trigger = Asked()
    start = anyio.current_time()
    async with trigger.watch(poll_interval=3) as watch:
        async for result in watch:
            if result.context["asked"] == 4:
                break
    assert [time - start for time in trigger.times] == [0, 3, 6, 9]


async def test_what_a_trigger_raises_comes_out_and_it_can_be_asked_again() -> None:
    trigger = Asked(OSError("no"), OSError("no"), True)
    watch = trigger.watch(poll_interval=1)
    for failures in (1, 2):
        with pytest.raises(OSError, match="no"):
            await watch.wait()
        assert watch.statistics().failures == failures
    assert (await watch.wait()).should_run
    assert watch.statistics().failures == 0
    assert [round(later - trigger.times[0], 3) for later in trigger.times] == [0, 1, 2]


async def test_immediately_is_for_any_trigger() -> None:
    trigger = Asked(False, run_immediately=True)
    watch = trigger.watch()
    assert (await watch.wait()).reason == "run_immediately"
    assert trigger.times == []
    await watch.wait()
    assert len(trigger.times) == 2


async def test_runs_longer_than_the_interval_come_one_at_a_time_and_keep_to_the_grid() -> None:
    """As a runner does it: first a slot, then the trigger."""
    clock = LoopClock(START)
    watch = ScheduleTrigger(interval_seconds=10, max_runs=4).watch(clock=clock)
    slots = anyio.CapacityLimiter(1)
    runs: list[tuple[float, int]] = []
    began = anyio.current_time()

    async def run(owner: object, result: TriggerResult) -> None:
        runs.append((anyio.current_time() - began, result.missed))
        await anyio.sleep(14.5 if len(runs) < 3 else 1)
        slots.release_on_behalf_of(owner)

    async with anyio.create_task_group() as tg:
        while True:
            owner = object()
            await slots.acquire_on_behalf_of(owner)
            result = await watch.wait()
            if not result.should_run:
                break
            tg.start_soon(run, owner, result)
    # The third run ends in the very moment at which the next one is due.
    assert [(round(time, 3), missed) for time, missed in runs] == [(10, 0), (24.5, 1), (39, 1), (40, 0)]


@given(
    missed=st.sampled_from(["run_once", "run_all", "skip"]),
    immediately=st.booleans(),
    events=st.lists(st.tuples(st.sampled_from(["wait", "busy", "asleep"]), st.floats(0, 30)), max_size=20),
)
def test_each_due_time_is_run_or_reported(missed: str, immediately: bool, events: list[tuple[str, float]]) -> None:
    """Whatever happens, nothing is lost and nothing is doubled."""

    async def main() -> None:
        clock = LoopClock(START)
        interval = timedelta(seconds=10)
        trigger = ScheduleTrigger(interval_seconds=10, missed=missed, run_immediately=immediately)
        watch = trigger.watch(clock=clock)
        results: list[TriggerResult] = []

        async def collect(seconds: float, *, jump: bool) -> None:
            with anyio.move_on_after(seconds):
                if jump:
                    await anyio.sleep(seconds / 2)
                    clock.jump(timedelta(seconds=seconds * 3))
                await anyio.sleep_forever()

        for kind, seconds in events:
            if kind == "busy":
                await anyio.sleep(seconds)
                continue
            async with anyio.create_task_group() as tg:

                async def watching() -> None:
                    while True:
                        results.append(await watch.wait())

                tg.start_soon(watching)
                await collect(seconds, jump=kind == "asleep")
                tg.cancel_scope.cancel()
        with anyio.move_on_after(10):  # what is still to be made up for
            while True:
                results.append(await watch.wait())
        grid = [result for result in results if result.reason != "run_immediately"]
        assert len(results) - len(grid) == immediately
        due = [result.due_at for result in grid]
        assert due == sorted(set(due))  # type: ignore[type-var]
        last = max((moment for moment in due if moment is not None), default=START)
        total = (last - START) // interval
        if missed == "run_all":
            assert len(grid) == total
            assert all(result.missed <= 1 for result in grid)
        elif missed == "skip":
            assert len(grid) + sum(result.missed for result in grid) == total
        else:
            late = sum(1 for result in grid if result.missed)
            assert total - late <= len(grid) + sum(result.missed for result in grid) - late <= total
        assert watch.statistics().missed >= sum(result.missed for result in grid)

    anyio.run(main, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})
