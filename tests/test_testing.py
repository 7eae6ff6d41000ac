"""The helper must find what it is there to find."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

import anyio
import pytest

from sentrio.testing import Backend, LeftBehind, cancel_everywhere


async def three_points() -> None:
    for _ in range(3):
        await anyio.lowlevel.checkpoint()


def test_tries_every_point(backend: Backend) -> None:
    report = cancel_everywhere(three_points, backend=backend)
    assert report.points >= 3
    assert report.tries == report.points * (1 if backend == "trio" else 2)


def test_counts_points_of_children(backend: Backend) -> None:
    async def with_children() -> None:
        async with anyio.create_task_group() as tg:
            tg.start_soon(three_points)
            tg.start_soon(three_points)

    assert cancel_everywhere(with_children, backend=backend).points >= 6


def test_finds_a_task(backend: Backend) -> None:
    kept = []

    async def leaves_a_task() -> None:
        if backend == "trio":
            import trio

            trio.lowlevel.spawn_system_task(trio.sleep_forever)
        else:
            kept.append(asyncio.create_task(asyncio.sleep(30)))
        await anyio.lowlevel.checkpoint()

    with pytest.raises(LeftBehind, match="tasks left"):
        cancel_everywhere(leaves_a_task, backend=backend)


def test_finds_a_borrowed_token(backend: Backend) -> None:
    limiter: list[anyio.CapacityLimiter] = []

    async def keeps_a_token() -> None:
        limiter[:] = [anyio.CapacityLimiter(1)]
        await limiter[0].acquire_on_behalf_of(object())
        await anyio.lowlevel.checkpoint()
        limiter[0] = anyio.CapacityLimiter(1)

    with pytest.raises(LeftBehind, match="still borrowed"):
        cancel_everywhere(keeps_a_token, backend=backend, limiters=lambda: limiter)


def test_finds_an_open_file(backend: Backend, tmp_path: Path) -> None:
    kept = []

    async def keeps_a_file() -> None:
        handle = tempfile.TemporaryFile(dir=tmp_path)  # noqa: SIM115
        kept.append(handle)
        await anyio.lowlevel.checkpoint()
        handle.close()

    with pytest.raises(LeftBehind, match="open files left"):
        cancel_everywhere(keeps_a_file, backend=backend)
    for handle in kept:
        handle.close()


def test_finds_an_operation_that_hangs_behind_a_shield(backend: Backend) -> None:
    async def hangs() -> None:
        with contextlib.suppress(BaseException):
            await anyio.lowlevel.checkpoint()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.1)

    with pytest.raises(LeftBehind, match="still running after 0.05 s"):
        cancel_everywhere(hangs, backend=backend, deadline=0.05)


def test_finds_a_coroutine_that_was_never_awaited(backend: Backend) -> None:
    async def forgets() -> None:
        three_points()  # type: ignore[unused-coroutine]
        await anyio.lowlevel.checkpoint()

    with pytest.raises(LeftBehind, match="never awaited"):
        cancel_everywhere(forgets, backend=backend)


def test_finds_a_fault_through_the_callers_own_check(backend: Backend) -> None:
    def fault() -> None:
        raise LeftBehind("mine")

    with pytest.raises(LeftBehind, match="mine"):
        cancel_everywhere(three_points, backend=backend, check=fault)
