"""Triggers: their options, their due times, and what happens when they are watched."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import anyio.to_thread
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentrio import AsyncBaseTrigger, BaseTrigger, ScheduleTrigger, TriggerConfig, TriggerResult
from sentrio.async_core.clock import Clock
from sentrio.checkpoint.triggers import make_trigger
from sentrio.checkpoint.triggers._grid import Grid
from sentrio.errors import OptionValueError, UnknownNameError, UnknownOptionError
from sentrio.testing import Backend, HandTrigger, cancel_everywhere

BAD_OPTIONS = [
    ({}, "an interval is missing"),
    ({"interval_minutes": 0}, "an interval is missing"),
    ({"interval_minutes": -1}, "interval_minutes must be a number of at least 0, got -1"),
    ({"interval_minutes": float("nan")}, "interval_minutes must be a number of at least 0, got nan"),
    ({"interval_minutes": float("inf")}, "from 0.001 s to 100 years"),
    ({"interval_days": 1e300}, "from 0.001 s to 100 years"),
    ({"interval_seconds": 1e-9}, "from 0.001 s to 100 years"),
    ({"interval_minutes": "15"}, "interval_minutes must be a number"),
    ({"interval_minutes": True}, "interval_minutes must be a number"),
    ({"interval_hours": 1, "weekdays": "mon"}, "weekdays must be a list"),
    ({"interval_hours": 1, "weekdays": []}, "weekdays must not be empty"),
    ({"interval_hours": 1, "weekdays": [7]}, "weekdays must be names like 'mon'"),
    ({"interval_hours": 1, "weekdays": [True]}, "weekdays must be names like 'mon'"),
    ({"interval_hours": 1, "weekdays": ["mo"]}, "weekdays must be names like 'mon'"),
    ({"interval_hours": 1, "timezone": "Europe/Berlim"}, "got 'Europe/Berlim'; did you mean 'Europe/Berlin'?"),
    ({"interval_hours": 1, "timezone": ""}, "timezone must name a time zone"),
    ({"interval_hours": 1, "timezone": "../etc/passwd"}, "timezone must name a time zone"),
    ({"interval_hours": 1, "timezone": 3}, "timezone must name a time zone"),
    ({"interval_hours": 1, "start_at": "soon"}, "start_at must be a date and time"),
    ({"interval_hours": 1, "end_at": 3}, "end_at must be a date and time"),
    ({"interval_hours": 1, "start_at": "2026-01-02", "end_at": "2026-01-01"}, "end_at must not be before start_at"),
    ({"interval_hours": 1, "start_at": datetime.max, "timezone": "America/Lima"}, "between the years 1 and 9999"),
    ({"interval_days": 7, "start_at": "2026-03-02", "weekdays": ["tue"]}, "falls on one of the weekdays"),
    ({"interval_hours": 1, "max_runs": -1}, "max_runs must be a whole number of at least 0"),
    ({"interval_hours": 1, "max_concurrent": 0}, "max_concurrent must be a whole number of at least 1"),
    ({"interval_hours": 1, "missed": "ignore"}, "missed must be one of run_once, run_all, skip, got 'ignore'"),
    ({"interval_hours": 1, "run_immediately": "yes"}, "run_immediately must be true or false"),
    ({"interval_hours": 1, "name": ""}, "name must be text that is not empty"),
]


@pytest.mark.parametrize(("options", "problem"), BAD_OPTIONS)
def test_bad_values_are_refused_when_built(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(OptionValueError) as caught:
        ScheduleTrigger(**options)
    assert problem in str(caught.value)
    assert str(caught.value).startswith("ScheduleTrigger: ")


def test_unknown_options_are_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(UnknownOptionError, match="ScheduleTrigger: unknown option 'interval_minuts'; did you mean"):
        ScheduleTrigger(interval_minuts=3)


def test_moments_without_a_time_zone_have_that_of_the_schedule() -> None:
    config = ScheduleTrigger(interval_hours=1, start_at="2026-07-01 06:00", timezone="Europe/Berlin").config
    assert config.start_at == datetime(2026, 7, 1, 4, tzinfo=UTC)
    config = ScheduleTrigger(interval_hours=1, end_at="2026-07-01T06:00+09:00", timezone="Europe/Berlin").config
    assert config.end_at == datetime(2026, 6, 30, 21, tzinfo=UTC)
    config = ScheduleTrigger(interval_hours=1, start_at=datetime(2026, 7, 1).date()).config
    assert config.start_at == datetime(2026, 7, 1, tzinfo=UTC)
    assert ScheduleTrigger(interval_hours=1, weekdays=("SUN", "monday", 0)).config.weekdays == (0, 6)


def test_entries() -> None:
    trigger = make_trigger({"schedule": {"interval_minutes": 15, "weekdays": ["mon"]}})
    assert isinstance(trigger, ScheduleTrigger)
    assert trigger.config.interval == timedelta(minutes=15)
    assert make_trigger(trigger) is trigger
    with pytest.raises(UnknownNameError, match="unknown trigger 'shedule'; did you mean 'schedule'"):
        make_trigger("shedule")
    with pytest.raises(OptionValueError, match="an interval is missing"):
        make_trigger("schedule")
    with pytest.raises(OptionValueError, match="an entry must be a name, or one name with its options"):
        make_trigger({"schedule": 15})
    strange: tuple[object, ...] = (15, ScheduleTrigger, {"schedule": {}, "cron": {}}, None)
    for entry in strange:
        with pytest.raises(TypeError, match="a trigger must be a trigger object, or a name with options"):
            make_trigger(entry)


def test_a_trigger_pickles_without_the_state_of_its_watch() -> None:
    trigger = ScheduleTrigger(interval_hours=1, name="mine", timezone="Europe/Berlin")
    trigger.should_trigger()
    copy = pickle.loads(pickle.dumps(trigger))  # noqa: S301  # our own
    assert (copy.name, copy.config) == ("mine", trigger.config)
    assert repr(copy) == "<ScheduleTrigger 'mine'>"


@attrs.define(kw_only=True)
class TopicConfig(TriggerConfig):
    topic: str
    missed: str = "skip"


class Topic(AsyncBaseTrigger[TopicConfig]):
    trigger_type = "topic"

    async def should_trigger_async(self) -> TriggerResult:
        await anyio.lowlevel.checkpoint()
        return TriggerResult(should_run=self.config.topic == self._config.topic)


@pytest.mark.parametrize("given", [{"max_runs": 1, "run_immediately": True}, {"enabled": False}], ids=str)
async def test_a_watch_that_is_over_says_so_before_it_is_asked_again(given: dict[str, Any]) -> None:
    async with ScheduleTrigger(interval_hours=1, **given).watch() as watch:
        assert (await watch.wait()).should_run is ("max_runs" in given)
        assert watch.statistics().ended
        assert watch.statistics().next_due is None


def test_options_come_from_the_type_parameter() -> None:
    assert Topic(topic="orders").config.topic == "orders"
    assert Topic(topic="orders").name == "topic"
    assert Topic(TopicConfig(topic="x", name="mine")).name == "mine"
    with pytest.raises(OptionValueError, match="'topic' is missing"):
        Topic()
    with pytest.raises(UnknownOptionError, match="did you mean 'topic'"):
        Topic(topics="orders")
    with pytest.raises(OptionValueError, match="not both"):
        Topic(TopicConfig(topic="x"), topic="y")
    with pytest.raises(
        OptionValueError, match="config must be a TopicConfig, got a dict; options are given by their names"
    ):
        Topic({"topic": "x"})  # type: ignore[arg-type]


async def test_a_default_configuration_may_be_given_as_the_reference_does() -> None:
    class Documented(AsyncBaseTrigger[TopicConfig]):
        @classmethod
        def _default_config(cls) -> TopicConfig:
            return TopicConfig(topic="orders")

        async def should_trigger_async(self) -> TriggerResult:
            return TriggerResult(should_run=True)

    assert Documented().config.topic == "orders"
    assert Documented(topic="other", max_runs=3).config == TopicConfig(topic="other", max_runs=3)
    with pytest.raises(UnknownOptionError, match="did you mean 'topic'"):
        Documented(topik="other")
    assert (await Documented().wait()).should_run


class Blocking(BaseTrigger[TriggerConfig]):
    """Blocks in its thread until it is let go."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = list(answers)
        self.threads: list[threading.Thread] = []

    def should_trigger(self) -> Any:
        self.threads.append(threading.current_thread())
        time.sleep(0.05)
        return self.answers.pop(0)


async def test_a_blocking_trigger_does_not_hold_up_the_loop() -> None:
    trigger = Blocking(False, TriggerResult(True, "now"))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.001)
            ticks += 1

    async with anyio.create_task_group() as tg:
        tg.start_soon(tick)
        assert (await trigger.wait(poll_interval=0)).reason == "now"
        tg.cancel_scope.cancel()
    assert ticks > 3
    assert threading.main_thread() not in trigger.threads


@pytest.mark.parametrize("answer", [None, 1, "yes"])
async def test_strange_answers_are_errors_that_say_so(answer: Any) -> None:
    with pytest.raises(TypeError, match=f"must answer with a TriggerResult, got {answer!r}"):
        await Blocking(answer).wait()


async def test_strange_questions_are_errors_that_say_so() -> None:
    trigger = HandTrigger()
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="poll_interval"):
            trigger.watch(poll_interval=seconds)
        with pytest.raises(ValueError, match="poll_interval"):
            await Topic(topic="x").wait(seconds)
    with pytest.raises(ValueError, match="since must have a time zone"):
        trigger.watch(since=datetime(2026, 1, 1))


async def test_a_trigger_may_wait_in_its_own_way() -> None:
    class Own(AsyncBaseTrigger[TriggerConfig]):
        left = 3

        async def should_trigger_async(self) -> TriggerResult:
            raise AssertionError("nobody asks")

        async def wait(self) -> TriggerResult:  # type: ignore[override]  # the parameter may be left out
            self.left -= 1
            return TriggerResult(self.left >= 0, f"{self.left} left", missed=1 if self.left else 0)

    async with Own().watch(poll_interval=1000) as watch:
        assert [result.reason async for result in watch] == ["2 left", "1 left", "0 left"]
    assert watch.statistics().missed == 3
    assert watch.statistics().ended


async def test_a_schedule_with_a_condition_of_its_own_is_asked() -> None:
    class Unless(ScheduleTrigger):
        asked = 0

        def should_trigger(self) -> TriggerResult:
            self.asked += 1
            return TriggerResult(super().should_trigger().should_run and self.asked > 3)

    trigger = Unless(interval_seconds=0.001)
    assert (await trigger.wait(poll_interval=0.01)).should_run
    assert trigger.asked > 3
    async with trigger.watch() as watch:
        assert (await watch.wait()).should_run


def test_a_machine_without_time_zones_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoneinfo.available_timezones", set)
    with pytest.raises(OptionValueError, match="no time zone database: install the package tzdata"):
        ScheduleTrigger(interval_hours=1, timezone="Europe/Berlim")
    assert ScheduleTrigger(interval_hours=1, timezone="utc").config.timezone is UTC


async def test_a_disabled_trigger_never_fires() -> None:
    async with HandTrigger(enabled=False, run_immediately=True).watch() as watch:
        assert [result async for result in watch] == []
        assert (await watch.wait()).reason == "the trigger is disabled"


async def test_a_trigger_is_fired_by_hand_from_any_thread() -> None:
    trigger = HandTrigger()
    async with trigger.watch() as watch:
        async with anyio.create_task_group() as tg:
            tg.start_soon(anyio.to_thread.run_sync, lambda: trigger.fire(file="a.csv"))
            result = await watch.wait()
    assert (result.context, result.missed) == ({"file": "a.csv"}, 0)
    assert (trigger.fired, trigger.watched) == (1, 0)


async def test_firings_by_hand_are_merged_while_nobody_waits() -> None:
    trigger = HandTrigger()
    trigger.fire(before=True)
    async with trigger.watch() as first, trigger.watch() as second:
        assert [(await watch.wait()).context for watch in (first, second)] == [{"before": True}] * 2
        trigger.fire(a=1, b=1)
        trigger.fire(b=2)
        result = await first.wait()
        assert (result.context, result.missed) == ({"a": 1, "b": 2}, 1)
        with anyio.move_on_after(0.01) as scope:
            await first.wait()
        assert scope.cancelled_caught
        assert first.statistics().fired == 2
    async with trigger.watch() as later:
        with anyio.move_on_after(0.01) as scope:
            await later.wait()
        assert scope.cancelled_caught


async def test_each_firing_by_hand_is_kept_if_asked_for() -> None:
    trigger = HandTrigger(missed="run_all", max_runs=3)
    for number in range(5):
        trigger.fire(number=number)
    async with trigger.watch() as watch:
        assert [(result.context["number"], result.missed) async for result in watch] == [(0, 0), (1, 0), (2, 0)]
    assert (await trigger.should_trigger_async()).context == {"number": 3}
    assert (await trigger.wait()).context == {"number": 4}
    assert not (await trigger.should_trigger_async()).should_run


def test_no_firing_by_hand_is_lost_between_threads() -> None:
    """Fired from four threads at once, while the watches come and go."""
    trigger = HandTrigger(missed="run_all")
    seen: list[int] = []

    def fire(first: int) -> None:
        for number in range(first, first + 200):
            trigger.fire(number=number)

    async def main() -> None:
        async with anyio.create_task_group() as tg:
            for first in range(4):
                tg.start_soon(anyio.to_thread.run_sync, fire, first * 1000)
            while len(seen) < 800:
                async with trigger.watch() as watch:
                    seen.extend([(await watch.wait()).context["number"] for _ in range(10)])

    anyio.run(main)
    assert sorted(seen) == sorted(first * 1000 + number for first in range(4) for number in range(200))


def test_cancelled_anywhere_a_watch_leaves_nothing(backend: Backend) -> None:
    async def operation() -> None:
        trigger = HandTrigger(run_immediately=True)
        clock = Clock()
        schedule = ScheduleTrigger(interval_seconds=0.001)
        async with trigger.watch() as watch, schedule.watch(clock=clock) as timed, schedule.watch() as other:
            await watch.wait()
            trigger.fire()
            await watch.wait()
            async with anyio.create_task_group() as tg:
                tg.start_soon(timed.wait)
                tg.start_soon(other.wait)
                tg.start_soon(Blocking(True).wait)

    # Few: a due time that the clock has passed already costs no point.
    assert cancel_everywhere(operation, backend=backend, allow_abandoned=True).points >= 3


ZONES = [
    UTC,
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("America/Sao_Paulo"),
    ZoneInfo("Asia/Tehran"),
    timezone(timedelta(hours=14)),
]


def naive(grid: Grid, count: int) -> Iterator[datetime]:
    """The first due times of a grid, found by walking along it."""
    for number in range(count):
        moment = grid.first + number * grid.interval
        if grid.weekdays and moment.astimezone(grid.zone).weekday() not in grid.weekdays:
            continue
        if grid.end is None or moment <= grid.end:
            yield moment


@given(
    first=st.datetimes(datetime(2015, 1, 1), datetime(2026, 12, 31)),
    interval=st.timedeltas(timedelta(minutes=37), timedelta(days=20)),
    weekdays=st.frozensets(st.integers(0, 6)),
    zone=st.sampled_from(ZONES),
    length=st.integers(1, 300),
    ends=st.booleans(),
    data=st.data(),
)
def test_the_arithmetic_agrees_with_a_walk(
    first: datetime,
    interval: timedelta,
    weekdays: frozenset[int],
    zone: Any,
    length: int,
    ends: bool,
    data: st.DataObject,
) -> None:
    first = first.replace(tzinfo=UTC)
    last = first + (length - 1) * interval
    grid = Grid(first, interval, last if ends else None, weekdays, zone)
    due = [moment for moment in naive(grid, length) if moment <= last]
    # Walking by next_after meets all of them, and nothing else.
    moment, met = first - timedelta.resolution, []
    while (found := grid.next_after(moment)) is not None and found <= last:
        met.append(found)
        moment = found
    assert met == due
    offsets = st.timedeltas(timedelta(days=-2), last - first + timedelta(days=2))
    after, until = sorted(first + data.draw(offsets) for _ in range(2))
    until = min(until, last)
    between = [moment for moment in due if after < moment <= until]
    assert grid.passed(after, until) == (len(between), between[-1] if between else after)


def test_a_year_of_missed_seconds_is_counted_at_once() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    grid = Grid(first, timedelta(seconds=1), None, frozenset({0}), ZoneInfo("Europe/Berlin"))
    calls = time.perf_counter()
    count, last = grid.passed(first, datetime(2027, 1, 1, tzinfo=UTC))
    assert count == 52 * 86400
    assert last == datetime(2026, 12, 28, 22, 59, 59, tzinfo=UTC)
    assert time.perf_counter() - calls < 5  # a walk takes minutes


def test_the_end_of_the_calendar() -> None:
    grid = Grid(datetime(9999, 12, 31, tzinfo=UTC), timedelta(hours=13), None, frozenset(), UTC)
    assert grid.next_after(datetime(9999, 12, 31, 1, tzinfo=UTC)) == datetime(9999, 12, 31, 13, tzinfo=UTC)
    assert grid.next_after(datetime(9999, 12, 31, 13, tzinfo=UTC)) is None
