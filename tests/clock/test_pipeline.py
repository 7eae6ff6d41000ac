"""Waits, widths and deadlines of pipelines, in virtual time."""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from typing import Any

import anyio
import pytest

from sentrio.pipeline import AsyncPipelineExecutor, SiteAttempt, process


async def second(_: str) -> None:
    await anyio.sleep(1)


async def test_ten_sites_of_a_second_take_two_seconds_at_width_five() -> None:
    made = AsyncPipelineExecutor({"command": second, "max_concurrent_sites": 5})
    begun = anyio.current_time()
    results = await made.run_detailed(map(str, range(10)))
    assert anyio.current_time() - begun == pytest.approx(2)
    assert [result.duration_ms for result in results] == pytest.approx([1000] * 10)


class Failing:
    """A site that fails after a second, and notes when each attempt began."""

    def __init__(self) -> None:
        self.begun: defaultdict[str, list[float]] = defaultdict(list)

    async def __call__(self, site: str) -> bool:
        self.begun[site].append(anyio.current_time())
        await anyio.sleep(1)
        return False

    def waits(self, site: str) -> list[float]:
        return [later - earlier - 1 for earlier, later in itertools.pairwise(self.begun[site])]


@pytest.mark.parametrize(
    ("kind", "waits"),
    [("exponential", [3, 6, 12, 24]), ("linear", [3, 6, 9, 12]), ("fixed", [3, 3, 3, 3])],
)
async def test_each_kind_of_back_off(kind: str, waits: list[float]) -> None:
    site, news = Failing(), list[SiteAttempt]()
    options = {"command": site, "retry_count": 5, "retry_delay_seconds": 3, "async_settings": {"retry_backoff": kind}}
    (result,) = await AsyncPipelineExecutor(options).run_detailed(["a"], on_attempt=news.append)
    assert site.waits("a") == pytest.approx(waits)
    assert [each.wait_seconds for each in news if each.error] == pytest.approx(waits)
    assert result.duration_ms == pytest.approx(1000 * (5 + sum(waits)))  # and no wait after the last one


async def test_jitter_is_a_share_of_each_wait() -> None:
    site = Failing()
    options = {
        "command": site, "retry_count": 60, "retry_delay_seconds": 10, "retry_backoff": "fixed", "retry_jitter": 0.5,
    }  # fmt: skip
    await AsyncPipelineExecutor(options).run_detailed(["a", "b"])
    waits = site.waits("a")
    assert all(4.99 <= wait <= 15.01 for wait in waits)
    assert max(waits) - min(waits) > 2
    assert waits != pytest.approx(site.waits("b"))  # sites that fail together do not come back together


@pytest.mark.parametrize("width", [1, 2, 5])
async def test_waits_hold_no_slot(width: int) -> None:
    """Four sites that fail three times, with a minute between: all wait at once, whatever the width."""
    site = Failing()
    options: dict[str, Any] = {"command": site, "retry_count": 3, "retry_delay_seconds": 60, "retry_backoff": "fixed"}
    begun = anyio.current_time()
    await AsyncPipelineExecutor({**options, "max_concurrent_sites": width}).run_detailed(list("abcd"))
    assert anyio.current_time() - begun < 60 + 60 + 3 * 4 + 1


async def test_a_timeout_is_for_each_attempt() -> None:
    async def endless(_: str) -> None:
        await anyio.sleep_forever()

    options = {"command": endless, "timeout": 7, "retry_count": 2, "retry_delay_seconds": 5}
    begun = anyio.current_time()
    (result,) = await AsyncPipelineExecutor(options).run_detailed(["a"])
    assert anyio.current_time() - begun == pytest.approx(7 + 5 + 7)
    assert (result.status, result.attempts, result.error) == ("timed_out", 2, "timed out after 7 s")


async def test_a_halt_ends_who_runs_and_who_waits_at_once() -> None:
    seconds = {"bad": 1, "waits": 16, "runs": 1000}

    async def site(name: str) -> bool:
        await anyio.sleep(seconds[name])
        return False

    options = {"command": site, "retry_count": 2, "retry_delay_seconds": 15, "halt": "now,fail=1"}
    begun = anyio.current_time()
    results = await AsyncPipelineExecutor(options).run_detailed(["bad", "runs", "waits"])
    assert anyio.current_time() - begun == pytest.approx(1 + 15 + 1)
    assert [(each.status, each.attempts) for each in results] == [("failed", 2), ("cancelled", 1), ("cancelled", 1)]
    assert results[2].error == "cancelled while it ran: 1 failed site halted the run"


class Unkillable:
    """A process that hangs inside the kernel: no signal ends it, and its output stays open."""

    pid = 2**22 + 1
    returncode = None

    def __init__(self) -> None:
        self._send, self.stdout = anyio.create_memory_object_stream[bytes](10)
        self._send.send_nowait(b"last words\n")

    async def wait(self) -> int:
        await anyio.sleep_forever()
        return 0


async def test_a_process_that_can_not_be_killed_does_not_hang_us(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[Unkillable] = []

    async def open_process(*_: object, **__: object) -> Unkillable:
        made.append(Unkillable())
        return made[-1]

    sent: list[str] = []

    def note(_: object, name: str) -> bool:
        sent.append(name)
        return True

    monkeypatch.setattr(anyio, "open_process", open_process)
    monkeypatch.setattr(process, "_signal", note)
    monkeypatch.setattr(process, "_is_alive", lambda _: True)
    executor = AsyncPipelineExecutor({"command": ["x"], "timeout": 10, "kill_grace_seconds": 5, "retry_count": 1})
    begun = anyio.current_time()
    with caplog.at_level(logging.ERROR, "sentrio.pipeline.process"):
        (result,) = await executor.run_detailed(["a"])
    # Its time, the grace, two seconds for the kill, a quarter for its output.
    assert anyio.current_time() - begun == pytest.approx(10 + 5 + 2 + 0.25)
    assert sent == ["SIGTERM", "SIGCONT", "SIGKILL"]
    assert (result.status, result.exit_code, result.output_tail) == ("timed_out", None, "last words")
    assert [record.getMessage() for record in caplog.records] == [
        f"process group {Unkillable.pid} was killed and has not ended; it hangs in the kernel"
    ]
    assert made[0].stdout.statistics().open_receive_streams == 0
    made[0]._send.close()
