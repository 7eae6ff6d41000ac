"""Wall-clock time, in virtual time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import anyio
import pytest

from sentrio.async_core.clock import Clock, LoopClock

START = datetime(2026, 3, 29, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def test_a_year_passes_at_once() -> None:
    clock = LoopClock(START)
    await clock.sleep_until(START + 365 * 24 * HOUR)
    assert clock.now() == START + 365 * 24 * HOUR
    assert anyio.current_time() == pytest.approx(365 * 24 * 3600)


async def test_sleeps_to_the_very_moment() -> None:
    clock = LoopClock(START)
    for n in range(1, 500):
        moment = START + n * timedelta(minutes=7, microseconds=333_333)
        await clock.sleep_until(moment)
        assert timedelta() <= clock.now() - moment < timedelta(milliseconds=1)


async def test_a_moment_that_has_passed_is_now_but_a_checkpoint_all_the_same() -> None:
    clock = LoopClock(START)
    assert clock.now() == START
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep_until(START - HOUR)
    assert scope.cancelled_caught
    await clock.sleep_until(START - HOUR)
    assert clock.now() == START


async def test_any_time_zone_will_do() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    clock = LoopClock(datetime(2026, 3, 29, 1, tzinfo=berlin))
    assert (clock.now(), clock.now().tzinfo) == (datetime(2026, 3, 29, 0, tzinfo=UTC), UTC)
    # Two hours on Berlin's wall, of which the change to summer time takes one.
    await clock.sleep_until(datetime(2026, 3, 29, 3, tzinfo=berlin))
    assert anyio.current_time() == pytest.approx(3600)


@pytest.mark.parametrize("clock", [Clock(), LoopClock(START)], ids=["Clock", "LoopClock"])
async def test_a_moment_without_a_time_zone_is_an_error(clock: Clock) -> None:
    with pytest.raises(ValueError, match="moment must have a time zone"):
        await clock.sleep_until(datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="start must have a time zone"):
        LoopClock(datetime(2026, 1, 1))


async def test_sleepers_notice_at_once_when_the_clock_is_set() -> None:
    clock = LoopClock(START)
    woken: list[float] = []

    async def sleeper(until: datetime) -> None:
        await clock.sleep_until(until)
        woken.append(anyio.current_time())

    async with anyio.create_task_group() as tg:
        tg.start_soon(sleeper, START + 2 * HOUR)
        tg.start_soon(sleeper, START + 10 * HOUR)
        await anyio.sleep(600)
        clock.jump(5 * HOUR)
        assert clock.now() == START + 5 * HOUR + timedelta(minutes=10)
        await anyio.sleep(600)
        clock.jump(-HOUR)
    assert woken == pytest.approx([600, 600 + 5 * 3600 + 3000])


class Settable(Clock):
    """A system's clock: it can be set, and tells nobody."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self) -> datetime:
        return START + timedelta(seconds=anyio.current_time()) + self.offset


@pytest.mark.parametrize(("jump", "woken"), [(5 * HOUR, (601, 660)), (-HOUR, (3 * 3600, 3 * 3600 + 1))])
async def test_a_clock_that_is_set_unnoticed_is_noticed_within_a_minute(
    jump: timedelta, woken: tuple[float, float]
) -> None:
    clock = Settable()
    async with anyio.create_task_group() as tg:
        tg.start_soon(clock.sleep_until, START + 2 * HOUR)
        await anyio.sleep(601)
        clock.offset = jump
    assert woken[0] <= anyio.current_time() <= woken[1]


async def test_the_system_clock_shows_utc() -> None:
    before = datetime.now(UTC)
    now = Clock().now()
    assert now.tzinfo is UTC
    assert before <= now <= datetime.now(UTC)


def test_outside_of_a_loop_a_loop_clock_does_not_go() -> None:
    with pytest.raises(anyio.NoEventLoopError):
        LoopClock(START).now()


async def test_many_sleepers_cost_one_look_a_minute() -> None:
    looks = 0
    woken: list[int] = []

    class Counted(Settable):
        def now(self) -> datetime:
            nonlocal looks
            looks += 1
            return super().now()

    clock = Counted()

    async def sleeper(number: int) -> None:
        await clock.sleep_until(START + HOUR + timedelta(seconds=number % 7))
        woken.append(number)

    async with anyio.create_task_group() as tg:
        for number in range(1000):
            tg.start_soon(sleeper, number)
        await anyio.sleep(30)
        looks = 0
        await anyio.sleep(3000)
        assert looks <= 2 * 51
    assert sorted(woken) == list(range(1000))
    assert [number % 7 for number in woken] == sorted(number % 7 for number in woken)


async def test_whoever_leaves_hands_the_watch_over() -> None:
    clock = LoopClock(START)
    woken: list[tuple[int, float]] = []
    scopes: dict[int, anyio.CancelScope] = {}
    began = anyio.current_time()

    async def sleeper(number: int) -> None:
        with anyio.CancelScope() as scope:
            scopes[number] = scope
            await clock.sleep_until(START + number * HOUR)
            woken.append((number, anyio.current_time() - began))

    async with anyio.create_task_group() as tg:
        for number in (5, 3, 4, 1, 2, *range(6, 200)):
            tg.start_soon(sleeper, number)
        await anyio.sleep(60)
        for number in (5, 3, 1, *range(6, 200)):
            scopes[number].cancel()
        await anyio.sleep(60)
        tg.start_soon(sleeper, 0)
        tg.start_soon(sleeper, 1)
    assert woken == [(0, 120), (1, 3600), (2, 7200), (4, 14400)]


@pytest.mark.parametrize("left", range(4))
async def test_the_watch_goes_on_when_who_should_take_it_over_leaves_too(left: int) -> None:
    clock = LoopClock(START)
    scopes: dict[int, anyio.CancelScope] = {}
    woken: list[int] = []

    async def sleeper(number: int) -> None:
        with anyio.CancelScope() as scope:
            scopes[number] = scope
            await clock.sleep_until(START + (number + 1) * HOUR)
            woken.append(number)

    async with anyio.create_task_group() as tg:
        for number in range(5):
            tg.start_soon(sleeper, number)
        await anyio.sleep(1)
        for number in range(left):
            scopes[number].cancel()
        tg.start_soon(sleeper, 9)
    assert woken == [*range(left, 5), 9]
