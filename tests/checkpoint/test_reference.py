"""The documented snippets of asynchronous execution run as they are written, but for the name of the package.

What a snippet takes for granted (checkpoints, a consumer, an HTTP library) is made here. Those that name asyncio run on
asyncio, the others on every backend.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import selectors
import sys
import threading
import types
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Protocol, Self, runtime_checkable

import anyio.lowlevel
import attrs
import polars as pl
import pytest

from sentrio import Checkpoint, CheckpointPool, CheckpointResult, CheckpointStatus
from sentrio.checkpoint.actions import ActionResult, ActionStatus, AsyncBaseAction, BaseAction, SlackNotification
from sentrio.checkpoint.async_base import (
    ActionConfig,
    ConcurrentStrategy,
    SequentialStrategy,
    SyncActionAdapter,
    TriggerConfig,
    TriggerResult,
    adapt_to_async,
)
from sentrio.checkpoint.registry import register_checkpoint, unregister_checkpoint
from sentrio.checkpoint.runner import AsyncCheckpointRunner, run_checkpoint_async
from sentrio.testing import HandTrigger

ONLY_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def run_in(names: dict[str, Any], text: str) -> None:
    """Run a snippet as a notebook cell runs, where these names are known."""
    code = compile(text, "the reference", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    names.setdefault("__builtins__", builtins)  # Python 3.11 sets it by itself
    answer = types.FunctionType(code, names)()
    if inspect.isawaitable(answer):
        await answer


async def run(text: str, **names: Any) -> dict[str, Any]:
    """Run a snippet with these names known; return all the names that are known afterwards."""
    await run_in(names, text)
    return names


def checkpoint(name: str = "my_checkpoint", *actions: Any, **given: Any) -> Checkpoint:
    return Checkpoint(name, pl.DataFrame({"a": [1, 2, 3]}), ["not_null"], actions=list(actions), **given)


@pytest.fixture
async def result() -> CheckpointResult:
    return await checkpoint().run_async()


class Recorder(AsyncBaseAction[ActionConfig]):
    """Says when it ran."""

    def __init__(self, log: list[str], **given: Any) -> None:
        super().__init__(**given)
        self.log = log

    async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        self.log.append(f"{self.name} begins")
        await anyio.wait_all_tasks_blocked()
        self.log.append(f"{self.name} ends")
        return self.success()


class Blocking:
    """A sync action of somebody else's, which knows nothing of sentrio's bases."""

    name = "blocking"

    def __init__(self) -> None:
        self.threads: list[str] = []

    def execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
        self.threads.append(threading.current_thread().name)
        return ActionResult(action_name=self.name, action_type="blocking", status=ActionStatus.SUCCESS)


class Web(types.ModuleType):
    """Stands in for aiohttp, as there is no network here: it answers 200 and remembers what was sent."""

    def __init__(self) -> None:
        super().__init__("aiohttp")
        self.sent: list[tuple[str, Any]] = []
        self.refusals = 0
        web = self

        class ClientSession:
            async def __aenter__(self) -> Self:
                return self

            async def __aexit__(self, *exc: object) -> None:
                await anyio.lowlevel.checkpoint()

            @asynccontextmanager
            async def post(self, url: str, json: object = None) -> Any:
                web.sent.append((url, json))
                await anyio.lowlevel.checkpoint()
                if web.refusals:
                    web.refusals -= 1
                    raise ConnectionError("refused")
                yield Response()

            def get(self, url: str) -> Any:
                return self.post(url)

        class Response:
            ok = True

            async def json(self) -> object:
                await anyio.lowlevel.checkpoint()
                return {"fine": True}

        self.ClientSession = ClientSession


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    module = Web()
    monkeypatch.setitem(sys.modules, "aiohttp", module)
    return module


async def test_an_action(result: CheckpointResult, web: Web) -> None:
    @attrs.define(kw_only=True)
    class MyConfig(ActionConfig):
        retry_count: int = 1
        retry_delay_seconds: float = 0.0

    names = await run(
        """
from sentrio.checkpoint.async_base import AsyncBaseAction, ActionConfig

class MyAsyncAction(AsyncBaseAction[MyConfig]):
    action_type = "my_async_action"

    @classmethod
    def _default_config(cls) -> MyConfig:
        return MyConfig()

    async def _execute_async(self, checkpoint_result) -> ActionResult:
        async with aiohttp.ClientSession() as session:
            async with session.post(self.url, json=payload) as resp:
                return ActionResult(
                    status=ActionStatus.SUCCESS,
                    action_name=self.name,
                    action_type=self.action_type,
                )
""",
        MyConfig=MyConfig,
        ActionResult=ActionResult,
        ActionStatus=ActionStatus,
        aiohttp=web,
        payload={"a": 1},
    )
    action = names["MyAsyncAction"]()
    action.url = "http://localhost/hook"
    web.refusals = 1
    outcome = await action.execute_async(result)
    assert (outcome.status, outcome.action_name, outcome.attempts) == ("success", "my_async_action", 2)
    assert web.sent == [("http://localhost/hook", {"a": 1})] * 2
    skipped = await names["MyAsyncAction"](notify_on="failure").execute_async(result)
    assert skipped.status == "skipped"


async def test_a_trigger() -> None:
    class Consumer:
        async def poll(self) -> object:
            await anyio.lowlevel.checkpoint()
            return messages.pop(0) if messages else None

    messages: list[Any] = [None, "a message"]
    names = await run(
        """
from sentrio.checkpoint.async_base import AsyncBaseTrigger, TriggerConfig

class MyAsyncTrigger(AsyncBaseTrigger[MyTriggerConfig]):
    trigger_type = "my_async_trigger"

    @classmethod
    def _default_config(cls) -> MyTriggerConfig:
        return MyTriggerConfig()

    async def should_trigger_async(self) -> TriggerResult:
        # Asynchronous condition check
        message = await self._consumer.poll()
        return TriggerResult(should_run=message is not None)
""",
        MyTriggerConfig=TriggerConfig,
        TriggerResult=TriggerResult,
    )
    trigger = names["MyAsyncTrigger"]()
    trigger._consumer = Consumer()
    runner = AsyncCheckpointRunner(trigger_poll_interval=0.001).add_checkpoint(checkpoint("c", triggers=[trigger]))
    async with runner:
        with anyio.fail_after(20):
            assert (await anext(runner.iter_results_async())).checkpoint_name == "c"
    assert messages == []


async def test_the_protocols(result: CheckpointResult) -> None:
    names = await run(
        """
from sentrio.checkpoint.async_base import AsyncExecutable

@runtime_checkable
class AsyncExecutable(Protocol):
    async def execute_async(self, checkpoint_result) -> ActionResult:
        ...
""",
        runtime_checkable=runtime_checkable,
        Protocol=Protocol,
        ActionResult=ActionResult,
    )
    names = await run(
        """
from sentrio.checkpoint.async_base import SyncExecutable

@runtime_checkable
class SyncExecutable(Protocol):
    def execute(self, checkpoint_result) -> ActionResult:
        ...
""",
        **names,
    )

    asynchronous: Any = names["AsyncExecutable"]
    synchronous: Any = names["SyncExecutable"]

    class Theirs(asynchronous):  # type: ignore[misc]
        async def execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
            await anyio.lowlevel.checkpoint()
            return ActionResult(action_name="theirs", action_type="theirs", status=ActionStatus.SUCCESS)

    class TheirsSync(synchronous):  # type: ignore[misc]
        def execute(self, checkpoint_result: CheckpointResult) -> ActionResult:
            return ActionResult(action_name="sync", action_type="sync", status=ActionStatus.SUCCESS)

    assert isinstance(Recorder([]), asynchronous)
    done = (await checkpoint("c", Theirs(), TheirsSync()).run_async()).action_results
    assert [(each.action_name, each.status) for each in done] == [("theirs", "success"), ("sync", "success")]


async def test_the_sync_action_adapter(result: CheckpointResult) -> None:
    names = await run(
        """
from sentrio.checkpoint.async_base import SyncActionAdapter, adapt_to_async
from sentrio.checkpoint.actions import SlackNotification

# Wrap synchronous action
sync_action = SlackNotification(webhook_url="...")
async_action = SyncActionAdapter(sync_action)

# Or use adapt_to_async
async_action = adapt_to_async(sync_action)

# Execute asynchronously (uses ThreadPoolExecutor)
await async_action.execute_async(checkpoint_result)
""",
        checkpoint_result=result,
    )
    assert names["async_action"] is names["sync_action"]  # it is asynchronous already
    failed = attrs.evolve(result, status=CheckpointStatus.FAILURE)
    for action in (names["async_action"], SyncActionAdapter(names["sync_action"])):
        outcome = await action.execute_async(failed)
        assert outcome.status == "error"
        assert "placeholder" in str(outcome.error)  # "..." is nowhere to post to


async def test_an_executor_of_ones_own(result: CheckpointResult) -> None:
    sync_action = Blocking()
    names = await run(
        """
from concurrent.futures import ThreadPoolExecutor

# Use custom executor
executor = ThreadPoolExecutor(max_workers=8)
async_action = adapt_to_async(sync_action, executor=executor)
""",
        adapt_to_async=adapt_to_async,
        sync_action=sync_action,
    )
    with names["executor"]:
        assert (await names["async_action"].execute_async(result)).status == "success"
    assert "ThreadPoolExecutor" in sync_action.threads[0]


async def test_one_after_another(result: CheckpointResult) -> None:
    log: list[str] = []
    names = await run(
        """
from sentrio.checkpoint.async_base import (
    SequentialStrategy,
    AsyncExecutionContext,
)

strategy = SequentialStrategy()
context = AsyncExecutionContext(cancel_on_first_error=True)

results = await strategy.execute(
    actions=[action1, action2, action3],
    checkpoint_result=result,
    context=context,
)
""",
        action1=Recorder(log, name="first"),
        action2=adapt_to_async(lambda result: 1 / 0),
        action3=Recorder(log, name="third"),
        result=result,
    )
    assert [each.status for each in names["results"]] == ["success", "error", "skipped"]
    assert log == ["first begins", "first ends"]


async def test_at_once(result: CheckpointResult) -> None:
    log: list[str] = []
    names = await run(
        """
from sentrio.checkpoint.async_base import ConcurrentStrategy

strategy = ConcurrentStrategy(max_concurrency=5)

results = await strategy.execute(
    actions=actions,
    checkpoint_result=result,
)
""",
        actions=[Recorder(log, name=str(number)) for number in range(7)],
        result=result,
    )
    assert [each.action_name for each in names["results"]] == list("0123456")
    assert sorted(log[:5]) == [f"{number} begins" for number in range(5)]
    assert log[5].endswith("ends")


async def test_in_stages(result: CheckpointResult) -> None:
    log: list[str] = []
    names = await run(
        """
from sentrio.checkpoint.async_base import PipelineStrategy

# 3 stages: [0,1] → [2] → [3,4]
strategy = PipelineStrategy(stages=[[0, 1], [2], [3, 4]])

results = await strategy.execute(
    actions=[a0, a1, a2, a3, a4],
    checkpoint_result=result,
)
""",
        result=result,
        **{f"a{number}": Recorder(log, name=f"a{number}") for number in range(5)},
    )
    assert [each.action_name for each in names["results"]] == ["a0", "a1", "a2", "a3", "a4"]
    assert sorted(log[:2]) == ["a0 begins", "a1 begins"]
    assert log[4:6] == ["a2 begins", "a2 ends"]
    assert sorted(log[6:8]) == ["a3 begins", "a4 begins"]


@ONLY_ASYNCIO
async def test_an_execution_context(anyio_backend: str, result: CheckpointResult) -> None:
    blocking = Blocking()
    names = await run(
        """
from sentrio.checkpoint.async_base import AsyncExecutionContext

context = AsyncExecutionContext(
    executor=ThreadPoolExecutor(max_workers=4),  # For sync actions
    semaphore=asyncio.Semaphore(10),             # Concurrency limit
    timeout=30.0,                                 # Default timeout
    cancel_on_first_error=False,                  # Abort on error
)

async with context:
    results = await strategy.execute(actions, result, context)
""",
        ThreadPoolExecutor=ThreadPoolExecutor,
        asyncio=asyncio,
        strategy=SequentialStrategy(),
        actions=[Recorder([]), adapt_to_async(blocking)],
        result=result,
    )
    assert [each.status for each in names["results"]] == ["success", "success"]
    assert "ThreadPoolExecutor" in blocking.threads[0]
    executor: Executor = names["context"].executor
    executor.submit(int).result()  # whoever has made it also shuts it down
    executor.shutdown()


async def test_the_runner(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    begun: list[str] = []

    async def stop_with_the_third(result: CheckpointResult) -> None:
        begun.append(result.checkpoint_name)
        if len(begun) == 3:
            await names["runner"].stop_async(wait=False)

    def at_once(name: str, times: int) -> Checkpoint:
        triggers = [HandTrigger(run_immediately=True) for _ in range(times)]
        return checkpoint(name, stop_with_the_third, triggers=triggers)

    names.update(checkpoint1=at_once("one", 1), checkpoint2=at_once("two", 2))
    with anyio.fail_after(20):
        await run_in(
            names,
            """
from sentrio.checkpoint.async_runner import (
    AsyncCheckpointRunner,
    AsyncRunnerConfig,
)

# Configuration
config = AsyncRunnerConfig(
    max_concurrent_checkpoints=10,    # Concurrent checkpoints
    trigger_poll_interval=1.0,        # Trigger polling interval
    result_queue_size=1000,           # Result queue size
    stop_on_error=False,              # Stop on error
    max_consecutive_failures=10,      # Maximum consecutive failures
    graceful_shutdown_timeout=30.0,   # Shutdown timeout
)

# Create runner
runner = AsyncCheckpointRunner(
    config=config,
    result_callback=lambda r: print(f"Completed: {r.checkpoint_name}"),
    error_callback=lambda e: print(f"Error: {e}"),
)

# Register checkpoints
runner.add_checkpoint(checkpoint1)
runner.add_checkpoint(checkpoint2)

# Start background execution
await runner.start_async()

# Stream results
async for result in runner.iter_results_async():
    print(f"Result: {result.status}")

# Shutdown
await runner.stop_async()
""",
        )
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == ["Completed: one", "Completed: two", "Completed: two", *["Result: success"] * 3]


async def test_the_runner_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    runner = AsyncCheckpointRunner().add_checkpoint(checkpoint()).add_checkpoint(checkpoint("other"))
    names = await run(
        """
# Execute by name
result = await runner.run_once_async("my_checkpoint")

# Execute by object
result = await runner.run_once_async(checkpoint, context={"key": "value"})
""",
        runner=runner,
        checkpoint=checkpoint("by object"),
    )
    assert (names["result"].checkpoint_name, names["result"].metadata) == ("by object", {"key": "value"})
    names = await run('results = await runner.run_all_async(context={"shared": "data"})\n', runner=runner)
    assert [(each.checkpoint_name, each.metadata) for each in names["results"]] == [
        ("my_checkpoint", {"shared": "data"}),
        ("other", {"shared": "data"}),
    ]
    await run(
        """
stats = runner.get_stats()
print(f"Running: {stats['running']}")
print(f"Checkpoints: {stats['checkpoints']}")
print(f"Pending tasks: {stats['pending_tasks']}")
print(f"Queued results: {stats['queued_results']}")
""",
        runner=runner,
    )
    shown = capsys.readouterr().out
    assert shown == "Running: False\nCheckpoints: 2\nPending tasks: 0\nQueued results: 4\n"


async def test_functions_for_one_and_for_many(capsys: pytest.CaptureFixture[str]) -> None:
    register_checkpoint(checkpoint())
    try:
        names = await run(
            """
from sentrio.checkpoint.async_runner import run_checkpoint_async

# Execute by name (looks up in registry)
result = await run_checkpoint_async("my_checkpoint")

# Execute by object
result = await run_checkpoint_async(checkpoint, context={"key": "value"})
""",
            checkpoint=checkpoint("by object"),
        )
    finally:
        unregister_checkpoint("my_checkpoint")
    assert (names["result"].checkpoint_name, names["result"].metadata) == ("by object", {"key": "value"})
    assert names["run_checkpoint_async"] is run_checkpoint_async

    names = await run(
        """
from sentrio.checkpoint.async_runner import run_checkpoints_parallel

results = await run_checkpoints_parallel(
    checkpoints=[cp1, cp2, cp3],
    max_concurrent=5,
    context={"shared": "data"},
    on_complete=lambda r: print(f"Done: {r.checkpoint_name}"),
)
""",
        **{f"cp{number}": checkpoint(f"cp{number}") for number in (1, 2, 3)},
    )
    assert [each.checkpoint_name for each in names["results"]] == ["cp1", "cp2", "cp3"]
    assert all(each.metadata == {"shared": "data"} for each in names["results"])
    assert sorted(capsys.readouterr().out.splitlines()) == ["Done: cp1", "Done: cp2", "Done: cp3"]


async def test_the_pool(capsys: pytest.CaptureFixture[str]) -> None:
    names = await run(
        """
from sentrio.checkpoint.async_runner import CheckpointPool

async with CheckpointPool(workers=10) as pool:
    # Single submission
    result = await pool.submit(checkpoint)

    # Multiple submissions
    results = await pool.submit_many([cp1, cp2, cp3])
""",
        checkpoint=checkpoint(),
        **{f"cp{number}": checkpoint(f"cp{number}") for number in (1, 2, 3)},
    )
    assert names["result"].passed
    assert [each.checkpoint_name for each in names["results"]] == ["cp1", "cp2", "cp3"]
    names = await run(
        """
pool = CheckpointPool(
    workers=10,
    result_callback=lambda r: print(f"Completed: {r.checkpoint_name}"),
)

await pool.start()

# Submit work...
result = await pool.submit(checkpoint)

await pool.stop()
""",
        CheckpointPool=CheckpointPool,
        checkpoint=checkpoint(),
    )
    assert capsys.readouterr().out == "Completed: my_checkpoint\n"
    assert names["pool"].statistics().completed_runs == 1


async def test_with_retry(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await anyio.lowlevel.checkpoint()

    names = await run(
        """
from sentrio.checkpoint.async_base import with_retry

@with_retry(max_retries=3, delay=1.0, backoff=2.0)
async def fetch_data():
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as resp:
            return await resp.json()
""",
        aiohttp=web,
        url="http://localhost/data",
    )
    web.refusals = 3
    monkeypatch.setattr(anyio, "sleep", sleep)
    assert await names["fetch_data"]() == {"fine": True}
    assert waits == [1.0, 2.0, 4.0]
    assert len(web.sent) == 4


class Jumping(selectors.DefaultSelector):
    """Where asyncio would wait for a while, the while is over."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.passed += timeout
        return ready


def test_with_timeout() -> None:
    names = asyncio.run(
        run(
            """
from sentrio.checkpoint.async_base import with_timeout

@with_timeout(seconds=30.0)
async def slow_operation():
    await asyncio.sleep(60)  # Raises TimeoutError
""",
            asyncio=asyncio,
        )
    )
    selector = Jumping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.passed  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner, pytest.raises(TimeoutError):
        runner.run(names["slow_operation"]())
    assert 29 < selector.passed < 31


@ONLY_ASYNCIO
async def test_with_semaphore(anyio_backend: str) -> None:
    running: list[int] = []
    inside = 0

    async def do_work() -> None:
        nonlocal inside
        inside += 1
        running.append(inside)
        await asyncio.sleep(0)
        inside -= 1

    names = await run(
        """
from sentrio.checkpoint.async_base import with_semaphore

semaphore = asyncio.Semaphore(5)

@with_semaphore(semaphore)
async def limited_operation():
    # Maximum 5 concurrent executions
    await do_work()
""",
        asyncio=asyncio,
        do_work=do_work,
    )
    async with asyncio.TaskGroup() as tg:
        for _ in range(12):
            tg.create_task(names["limited_operation"]())
    assert (len(running), max(running)) == (12, 5)


async def test_sync_and_async_actions_together(result: CheckpointResult) -> None:
    class MyAsyncWebhook:
        def __init__(self, url: str) -> None:
            self.name = url

        async def execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
            await anyio.lowlevel.checkpoint()
            return ActionResult(action_name=self.name, action_type="hook", status=ActionStatus.SUCCESS)

    names = await run(
        """
from sentrio.checkpoint.async_base import adapt_to_async, ConcurrentStrategy

# Synchronous action
sync_action = SlackNotification(webhook_url="...")

# Asynchronous action
async_action = MyAsyncWebhook(url="...")

# Convert all to async
actions = [
    adapt_to_async(sync_action),  # Runs in ThreadPoolExecutor
    async_action,                  # Native async execution
]

# Execute concurrently
strategy = ConcurrentStrategy(max_concurrency=5)
results = await strategy.execute(actions, checkpoint_result)
""",
        SlackNotification=SlackNotification,
        MyAsyncWebhook=MyAsyncWebhook,
        checkpoint_result=result,
    )
    assert [(each.action_name, each.status) for each in names["results"]] == [
        ("slack", "skipped"),
        ("...", "success"),
    ]
    assert names["ConcurrentStrategy"] is ConcurrentStrategy
    assert isinstance(sync := names["sync_action"], AsyncBaseAction)
    assert not isinstance(sync, BaseAction)
