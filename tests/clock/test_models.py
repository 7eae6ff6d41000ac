"""Scheduler and pool against models, with random loads in virtual time."""

from __future__ import annotations

import contextlib
import heapq
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from sentrio.async_core.resources import ResourcePool
from sentrio.async_core.scheduler import TaskPriority, TaskScheduler
from sentrio.errors import PoolClosedError


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(main, clock=MockClock(autojump_threshold=0))


# --- the scheduler against a simulated queue -------------------------------------------------------------


@attrs.frozen
class Job:
    number: int
    arrival: float
    seconds: float
    priority: TaskPriority
    timeout: float | None


# A fraction of its own for each kind of moment and each job: no two things happen at once.
@st.composite
def loads(draw: st.DrawFn) -> list[Job]:
    jobs = []
    for number in range(draw(st.integers(1, 25))):
        timeout = draw(st.none() | st.integers(0, 30))
        jobs.append(
            Job(
                number,
                arrival=draw(st.integers(0, 40)) + number * 0.0001,
                seconds=draw(st.integers(0, 12)) + 0.01 + number * 0.0003,
                priority=draw(st.sampled_from(TaskPriority)),
                timeout=None if timeout is None else timeout + 0.005 + number * 0.0007,
            )
        )
    return sorted(jobs, key=lambda job: job.arrival)


Outcome = tuple[str, float, float | None]  # how it ended, when, and when it had started


def simulate(jobs: list[Job], slots: int, aging: float | None) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    events: list[tuple[float, int, str, Job]] = []
    for job in jobs:
        heapq.heappush(events, (job.arrival, job.number, "arrives", job))
        if job.timeout is not None:
            heapq.heappush(events, (job.arrival + job.timeout, job.number, "times out", job))
    waiting: list[Job] = []
    running: dict[int, float] = {}

    def urgency(job: Job) -> tuple[float, float]:
        return (job.priority if aging is None else job.arrival + job.priority * aging, job.arrival)

    while events:
        now, number, what, job = heapq.heappop(events)
        if number in outcomes:
            continue
        if what == "arrives":
            waiting.append(job)
        else:
            outcomes[number] = (what, now, running.pop(number, None))
            waiting = [other for other in waiting if other is not job]
        while waiting and len(running) < slots:
            first = min(waiting, key=urgency)
            waiting.remove(first)
            running[first.number] = now
            heapq.heappush(events, (now + first.seconds, first.number, "ends", first))
    return outcomes


@given(jobs=loads(), slots=st.integers(1, 4), aging=st.none() | st.sampled_from([0.7, 3.0, 10.0]))
def test_the_scheduler_does_what_a_simulated_queue_does(jobs: list[Job], slots: int, aging: float | None) -> None:
    async def main() -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        starts: dict[int, float] = {}
        scheduler = TaskScheduler(slots, aging_seconds=aging)

        async def work(job: Job) -> None:
            starts[job.number] = anyio.current_time() - begin
            await anyio.sleep(job.seconds)

        async def submit(job: Job) -> None:
            await trio.sleep_until(begin + job.arrival)
            how = "ends"
            try:
                await scheduler.submit(work(job), job.priority, job.timeout)
            except TimeoutError:
                how = "times out"
            outcomes[job.number] = (how, anyio.current_time() - begin, starts.get(job.number))

        async with scheduler, anyio.create_task_group() as tg:
            begin = anyio.current_time()
            for job in jobs:
                tg.start_soon(submit, job)
        statistics = scheduler.statistics()
        assert (statistics.running, statistics.waiting, scheduler._slots._free) == (0, 0, slots)
        return outcomes

    expected = simulate(jobs, slots, aging)
    seen = run(main)
    assert {n: how for n, (how, _, _) in seen.items()} == {n: how for n, (how, _, _) in expected.items()}
    for number, (_, end, start) in expected.items():
        assert seen[number][1] == pytest.approx(end)
        assert seen[number][2] == (None if start is None else pytest.approx(start))


# --- nested tasks ----------------------------------------------------------------------------------------


@attrs.frozen
class Node:
    seconds: float
    timeout: float | None
    together: bool  #: its children run at the same time, not one after the other
    children: tuple[Node, ...]


nodes = st.recursive(
    st.builds(Node, st.floats(0, 3), st.none() | st.floats(0, 9), st.booleans(), st.just(())),
    lambda inner: st.builds(
        Node,
        st.floats(0, 1),
        st.none() | st.floats(0, 9),
        st.booleans(),
        st.tuples(inner, inner) | st.tuples(inner),
    ),
    max_leaves=12,
)


@given(
    roots=st.lists(nodes, min_size=1, max_size=5),
    slots=st.integers(1, 3),
    stop_after=st.none() | st.floats(0.1, 8),
)
def test_nested_tasks_end_within_the_limit_and_give_everything_back(
    roots: list[Node], slots: int, stop_after: float | None
) -> None:
    working = peak = 0

    async def main() -> None:
        scheduler = TaskScheduler(slots)

        async def work(node: Node) -> None:
            nonlocal working, peak
            working += 1
            peak = max(peak, working)
            try:
                await anyio.sleep(node.seconds)
            finally:
                working -= 1
            if node.together:
                async with anyio.create_task_group() as tg:
                    for child in node.children:
                        tg.start_soon(submit, child)
            else:
                for child in node.children:
                    await submit(child)

        async def submit(node: Node) -> None:
            with contextlib.suppress(TimeoutError):
                await scheduler.submit(work(node), timeout=node.timeout)

        with anyio.fail_after(1000):
            async with scheduler:
                with anyio.move_on_after(stop_after):
                    async with anyio.create_task_group() as tg:
                        for root in roots:
                            tg.start_soon(submit, root)
        statistics = scheduler.statistics()
        assert (statistics.running, statistics.waiting, scheduler._slots._free) == (0, 0, slots)

    run(main)
    assert working == 0
    assert peak <= slots


# --- the pool --------------------------------------------------------------------------------------------


@attrs.frozen
class Use:
    arrival: float
    seconds: float
    timeout: float | None
    discard: bool


uses = st.lists(
    st.builds(Use, st.floats(0, 20), st.floats(0, 5), st.none() | st.floats(0, 6), st.booleans()), max_size=20
)


@given(
    uses=uses,
    size=st.integers(1, 3),
    make_seconds=st.floats(0, 2),
    close_after=st.none() | st.floats(0, 25),
    max_idle=st.none() | st.integers(0, 2),
)
def test_a_pool_lends_each_resource_to_one_and_cleans_each_once(
    uses: list[Use],
    size: int,
    make_seconds: float,
    close_after: float | None,
    max_idle: int | None,
) -> None:
    made: list[list[int]] = []
    cleaned: list[list[int]] = []
    lent: set[int] = set()
    answers: list[str] = []
    arrived: list[int] = []
    served: list[int] = []

    async def main() -> None:
        async def make() -> list[int]:
            await anyio.sleep(make_seconds)
            made.append([])
            assert len(made) - len(cleaned) <= size
            return made[-1]

        async def clean(resource: list[int]) -> None:
            cleaned.append(resource)
            await anyio.sleep(0.1)

        pool = ResourcePool(size, make, clean, max_idle=max_idle)

        async def use(number: int, how: Use) -> None:
            await anyio.sleep(how.arrival)
            arrived.append(number)
            try:
                async with pool.acquire(how.timeout) as resource:
                    served.append(number)
                    assert id(resource) not in lent
                    assert not any(resource is other for other in cleaned)
                    lent.add(id(resource))
                    await anyio.sleep(how.seconds)
                    lent.remove(id(resource))
                    if how.discard:
                        pool.discard(resource)
                answers.append("served")
            except TimeoutError:
                answers.append("timed out")
            except PoolClosedError:
                answers.append("closed")

        async with anyio.create_task_group() as tg:
            for number, how in enumerate(uses):
                tg.start_soon(use, number, how)
            if close_after is not None:
                await anyio.sleep(close_after)
                await pool.close()
        statistics = pool.statistics()
        assert (statistics.in_use, statistics.waiting) == (0, 0)
        await pool.close()
        assert pool.statistics().idle == 0

    run(main)
    assert len(answers) == len(uses)
    assert Counter(map(id, cleaned)) == Counter(map(id, made))
    if size == 1:
        assert served == [number for number in arrived if number in served]
