"""The guide to asynchronous execution, in each language: it runs on asyncio and on trio, and prints what it shows."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import io
import re
import signal
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import pytest
import trio
from trio.testing import MockClock

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("async-execution.md", "async-execution.ko.md")

BLOCK = re.compile(
    r"^```(?P<language>python|ipython)\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)


def blocks(page: str) -> list[tuple[int, str, str, str]]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start()) + 2, match["language"], match["code"], match["output"] or "")
        for match in BLOCK.finditer(text)
    ]


def masked(text: str) -> str:
    return re.sub(r"\d+\.\d\d s\b", "# s", text)


def compiled(page: str, line: int, code: str, flags: int = 0) -> types.CodeType:
    made: types.CodeType = compile("\n" * (line - 1) + code, str(DOCS / page), "exec", flags=flags, dont_inherit=True)
    return made


@pytest.fixture(params=["asyncio", "trio"])
def loop_of_the_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The backend on which the page's blocking calls run, too."""
    name: str = request.param
    monkeypatch.setattr(anyio, "run", functools.partial(anyio.run, backend=name))
    monkeypatch.setenv("SENTRIO_BACKEND", name)
    before = signal.getsignal(signal.SIGTERM)
    yield name
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("page", PAGES)
def test_its_blocks_print_what_it_shows(
    page: str, loop_of_the_page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    ran = 0
    for line, language, code, output in blocks(page):
        if language != "python" or (loop_of_the_page == "trio" and "asyncio" in code):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compiled(page, line, code), names)  # noqa: S102  # our own pages
        assert masked(printed.getvalue()) == masked(output), f"{page}:{line}"
        ran += 1
    assert ran > 10


@pytest.mark.parametrize("page", PAGES)
def test_its_cells_run_as_those_of_a_notebook(
    page: str, loop_of_the_page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each one in a task of its own, in one event loop."""
    names: dict[str, Any] = {}
    setting = next(code for _, language, code, _ in blocks(page) if language == "python")
    exec(setting, names)  # noqa: S102
    capsys.readouterr()

    async def cell(line: int, code: str) -> None:
        answer = types.FunctionType(compiled(page, line, code, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)()
        if inspect.isawaitable(answer):
            await answer

    async def notebook() -> None:
        for line, language, code, _ in blocks(page):
            if language == "ipython":
                async with anyio.create_task_group() as tg:
                    tg.start_soon(cell, line, code)

    anyio.run(notebook)
    assert capsys.readouterr().out == "failure\n<AsyncCheckpointRunner stopped, 1 checkpoints>\n"


@pytest.mark.parametrize("page", PAGES)
def test_the_trio_service_fires_again_and_ends_when_it_can_not_tell(
    page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A quarter of an hour passes at once; then the data are gone."""

    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data" / "orders" / "1.parquet"
    data.parent.mkdir(parents=True)
    pl.DataFrame({"order_id": [1, 2, 3]}).write_parquet(data)
    clock = MockClock(autojump_threshold=0.05)
    monkeypatch.setattr(trio, "run", functools.partial(trio.run, clock=clock))
    (service,) = [code for _, _, code, _ in blocks(page) if "open_nursery" in code]
    lines: list[str] = []

    def show(text: str) -> None:
        lines.append(text)
        if len(lines) == 3:
            data.unlink()

    names: dict[str, Any] = {"print": show}
    exec("from sentrio import AsyncCheckpointRunner, Checkpoint", names)  # noqa: S102
    exec(service, names)  # noqa: S102
    assert [line.partition(",")[0] for line in lines] == ["orders: success"] * 3 + ["orders: error"]
    assert clock.current_time() >= 3 * 15 * 60


def without_comments(code: str) -> str:
    return re.sub(r"  # .*", "", code)


def test_both_languages_say_the_same() -> None:
    english, korean = (blocks(page) for page in PAGES)
    assert [(language, without_comments(code), output) for _, language, code, output in korean] == [
        (language, without_comments(code), output) for _, language, code, output in english
    ]

    def structure(page: str) -> list[str]:
        text = BLOCK.sub("", (DOCS / page).read_text(encoding="utf-8"))
        return [line.split(" ")[0] for line in text.splitlines() if line.startswith(("#", "| "))]

    assert structure(PAGES[0]) == structure(PAGES[1])
