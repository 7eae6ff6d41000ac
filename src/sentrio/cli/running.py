"""Running checkpoints from the command: progress on standard error, results on standard output."""

from __future__ import annotations

__all__ = ("Outputs", "run_checkpoints")

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import anyio
import attrs

from sentrio.async_core.file import write_atomically
from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.checkpoint.formats import FORMATS, SUFFIXES, renderer, table
from sentrio.checkpoint.result import CheckpointResult
from sentrio.cli.exits import ended_by, exit_code
from sentrio.cli.printing import say, shows_marks, terminal_colours
from sentrio.cli.signals import END, watch_signals
from sentrio.errors import OptionValueError
from sentrio.validation.run import Progress

# Without a terminal, one line says how far a long run has come.
_LINE_EVERY_SECONDS = 5.0
_DRAW_EVERY_SECONDS = 0.1


@attrs.frozen
class Outputs:
    """Where results go and how.

    :raises OptionValueError: if a format or a suffix is not known
    """

    formats: ClassVar[Sequence[str]] = FORMATS
    suffixes: ClassVar[Mapping[str, str]] = SUFFIXES

    format: str = "table"
    files: tuple[Path, ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.format not in self.formats:
            problem = f"--format must be one of {', '.join(self.formats)}, got {self.format!r}"
            raise OptionValueError("sentrio", "--format", problem)
        for file in self.files:
            if file.suffix not in self.suffixes:
                problem = f"--output {file}: the suffix names no format; known are {', '.join(self.suffixes)}"
                raise OptionValueError("sentrio", "--output", problem)
            if not file.parent.is_dir():
                # Said now, and not when an hour of checking is over.
                raise OptionValueError("sentrio", "--output", f"--output {file}: there is no folder {file.parent}")

    def rendered(self, name: str, results: Sequence[Any], code: int) -> str:
        """Return results in a format other than ``table``."""
        return renderer(name)(results, exit_code=code)

    def show(self, result: CheckpointResult, *, first: bool) -> None:
        """Print a result as soon as it is there, if the format allows it."""
        if self.format == "ndjson":
            say(renderer("ndjson")([result], exit_code=0))
        elif self.format == "table":
            text = table.render(result, colour=terminal_colours(sys.stdout), ascii_only=not shows_marks(sys.stdout))
            say(text if first else f"\n{text}")

    def finish(self, results: Sequence[Any], code: int) -> None:
        """Print what needs all results, and write the files.

        :raises OptionValueError: if a file can not be written
        """
        if self.format not in {"table", "ndjson"}:
            say(self.rendered(self.format, results, code))
        for file in self.files:
            text = self.rendered(self.suffixes[file.suffix], results, code)
            try:
                write_atomically(file, text.encode("utf-8", "replace"))
            except OSError as exc:
                problem = f"--output {file}: {exc.strerror or exc}"
                raise OptionValueError("sentrio", "--output", problem) from exc


def run_checkpoints(checkpoints: Sequence[Checkpoint], outputs: Outputs, *, backend: str) -> int:
    """Run checkpoints one after another, print their results, and return the exit code."""
    run = _Run(checkpoints, outputs)
    try:
        anyio.run(run.main, backend=backend)
    except* KeyboardInterrupt:  # trio delivers it to any task, and so within a group
        run.signal = signal.SIGINT
    if run.signal is not None:
        say("interrupted", sys.stderr)
        return ended_by(run.signal)
    code = exit_code(run.results)
    outputs.finish(run.results, code)
    return code


@attrs.define(eq=False)
class _Run:
    """A run as the command sees it."""

    checkpoints: Sequence[Checkpoint]
    outputs: Outputs
    results: list[CheckpointResult] = attrs.field(factory=list)
    signal: int | None = None  #: which one has ended it

    async def main(self) -> None:
        failure: Exception | SystemExit | None = None
        async with anyio.create_task_group() as tg:

            def end(number: int) -> None:
                self.signal = number
                tg.cancel_scope.cancel()

            # Ctrl-C comes as KeyboardInterrupt, also before anything listens.
            tg.start_soon(watch_signals, END, end, name="sentrio: signals")
            try:
                await self._work()
            except (Exception, SystemExit) as exc:  # noqa: BLE001  # raised below, outside of the group, as it is
                failure = exc
            tg.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _work(self) -> None:
        for checkpoint in self.checkpoints:
            with _progress(checkpoint.name) as advance:
                result = await checkpoint.run_async(on_progress=advance)
            self.outputs.show(result, first=not self.results)
            self.results.append(result)


@contextmanager
def _progress(name: str) -> Iterator[Callable[[Progress], object]]:
    """Show progress on standard error: a bar on a terminal, now and then a line elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines(table.visible(name)).advance
        return

    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        "rows",
        TimeElapsedColumn(),
        console=Console(stderr=True),
        auto_refresh=False,  # no thread: the run itself draws
        transient=True,
    )
    with bars:
        yield _Bar(bars, bars.add_task(escape(table.visible(name)), total=None)).advance


@attrs.define
class _Bar:
    bars: Any
    task: Any
    drawn: float = 0.0

    def advance(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self.drawn >= _DRAW_EVERY_SECONDS:
            self.drawn = now
            self.bars.update(self.task, completed=progress.rows, total=progress.total, refresh=True)


@attrs.define
class _Lines:
    name: str
    said: float = attrs.field(factory=time.monotonic)

    def advance(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self.said >= _LINE_EVERY_SECONDS:
            self.said = now
            total = "" if progress.total is None else f" of {progress.total:,}"
            failed = f", {len(progress.failed)} failed" if progress.failed else ""
            say(f"{self.name}: {progress.rows:,}{total} rows{failed}", sys.stderr)
