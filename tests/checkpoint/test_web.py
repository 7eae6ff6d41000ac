"""The examples of docs/examples/fastapi: a runner that lives and ends with a web application."""

from __future__ import annotations

import runpy
import shutil
import socket
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import hypercorn.asyncio
import hypercorn.trio
import pytest
from hypercorn.config import Config
from tests.async_core._moments import until

from sentrio import AsyncCheckpointRunner
from sentrio.async_core.threads import thread_statistics
from sentrio.checkpoint.runner import RunnerStatistics

EXAMPLES = Path(__file__).parents[2] / "docs/examples"

# httpx's ASGITransport does not close the iterator over a request's body, and trio says so.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'httpx._content.ByteStream:ResourceWarning")

SLOW = """
checkpoints:
  slow:
    data_source: {path}
    validators: [unique, {{unique: {{columns: [id, text]}}}}, {{regex: {{column: text, pattern: "^(.*a)*(.*b)*x"}}}}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the example, as its working directory."""
    for name in ("fastapi", "quickstart"):
        shutil.copytree(EXAMPLES / name, tmp_path / name)
    folder = tmp_path / "fastapi"
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "disconnect", raising=False)
    return folder


class Example:
    """An example's application, and its runner."""

    def __init__(self, path: Path) -> None:
        names = runpy.run_path(str(path))
        self.app: Any = names["app"]
        self.runner: AsyncCheckpointRunner = names["runner"]

    def statistics(self) -> RunnerStatistics:
        return self.runner.statistics()

    @asynccontextmanager
    async def alive(self) -> AsyncGenerator[httpx.AsyncClient]:
        """Start the application up, and shut it down afterwards, as a server does."""
        tell, told = anyio.create_memory_object_stream[dict[str, str]](1)
        answer, answers = anyio.create_memory_object_stream[dict[str, str]](1)
        transport = httpx.ASGITransport(self.app)
        async with tell, told, answer, answers, anyio.create_task_group() as tg:
            tg.start_soon(self.app, {"type": "lifespan", "asgi": {"version": "3.0"}}, told.receive, answer.send)
            await tell.send({"type": "lifespan.startup"})
            assert await answers.receive() == {"type": "lifespan.startup.complete"}
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
                yield client
            await tell.send({"type": "lifespan.shutdown"})
            assert await answers.receive() == {"type": "lifespan.shutdown.complete"}


@pytest.mark.parametrize("name", ["app.py", "starlette_app.py"])
async def test_it_runs_on_triggers_and_on_demand(folder: Path, name: str) -> None:
    example = Example(folder / name)
    assert not example.statistics().running
    async with example.alive() as client:
        assert example.statistics().running
        await until(lambda: example.statistics().completed_runs == 1)  # its schedule, at once
        answer = await client.post("/checkpoints/penguins/runs")
        assert (answer.status_code, answer.json()["status"]) == (200, "success")
        assert answer.json()["report"]["row_count"] == 344
        unknown = await client.post("/checkpoints/penguin/runs")
        assert unknown.status_code == 404
        assert "did you mean 'penguins'" in unknown.json()["detail"]
        if name == "starlette_app.py":
            assert (await client.get("/statistics")).json()["completed_runs"] == 2
    assert not example.statistics().running
    assert example.statistics().completed_runs == 2


async def test_a_query_that_takes_too_long_is_ended(folder: Path, large_file: Path) -> None:
    (folder / "sentrio.yaml").write_text(SLOW.format(path=large_file))
    source = (folder / "app.py").read_text()
    assert "fail_after(20)" in source
    (folder / "app.py").write_text(source.replace("20", "0.1"))
    example = Example(folder / "app.py")
    async with example.alive() as client:
        answer = await client.post("/checkpoints/slow/runs")
        assert (answer.status_code, answer.json()) == (504, {"detail": "slow took more than 0.1 s"})
        assert example.statistics().pending_tasks == 0
        await until(lambda: thread_statistics().running == 0)
        cpu = time.process_time()
        await anyio.sleep(0.3)
        assert time.process_time() - cpu < 0.15
    assert example.statistics().completed_runs == 0


async def test_a_client_that_leaves_ends_its_query(folder: Path, large_file: Path) -> None:
    (folder / "sentrio.yaml").write_text(SLOW.format(path=large_file))
    example = Example(folder / "app.py")
    messages = [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await until(lambda: example.statistics().pending_tasks)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/checkpoints/slow/runs", "raw_path": b"/checkpoints/slow/runs", "query_string": b"",
        "root_path": "", "headers": [], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    async with example.alive():
        await example.app(scope, receive, send)
        assert sent == []
        assert example.statistics().pending_tasks == 0
    assert example.statistics().completed_runs == 0


@asynccontextmanager
async def served(app: Any, backend: str) -> AsyncGenerator[str]:
    """Serve an application on the loopback, and give its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # the server closes it
    config.graceful_timeout = 5
    config.accesslog = config.errorlog = None
    end = anyio.Event()
    serve: Any = hypercorn.trio.serve if backend == "trio" else hypercorn.asyncio.serve
    async with anyio.create_task_group() as tg:

        async def serve_until_told() -> None:
            await serve(app, config, shutdown_trigger=end.wait)

        tg.start_soon(serve_until_told)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            end.set()


async def test_a_real_server(folder: Path, large_file: Path, anyio_backend_name: str) -> None:
    with (folder / "sentrio.yaml").open("a") as file:
        file.write("\n".join(SLOW.format(path=large_file).splitlines()[2:]))
    example = Example(folder / "app.py")
    async with served(example.app, anyio_backend_name) as address:
        async with httpx.AsyncClient(base_url=address, timeout=20) as client:
            answer = await client.post("/checkpoints/penguins/runs")
            assert (answer.status_code, answer.json()["status"]) == (200, "success")
            assert (await client.post("/checkpoints/penguin/runs")).status_code == 404
            await until(lambda: example.statistics().completed_runs == 2)  # the other one is its schedule's

        async with httpx.AsyncClient(base_url=address) as impatient:
            with anyio.move_on_after(20) as scope:
                async with anyio.create_task_group() as tg:
                    tg.start_soon(impatient.post, "/checkpoints/slow/runs")
                    await until(lambda: example.statistics().pending_tasks == 1)
                    tg.cancel_scope.cancel()
            assert not scope.cancelled_caught
        await until(lambda: example.statistics().pending_tasks == 0)
        assert example.statistics().running
    assert not example.statistics().running
    assert example.statistics().completed_runs == 2
