"""What a pipeline is doing: a live table on a terminal, a line for each site elsewhere; on standard error."""

from __future__ import annotations

__all__ = ("LiveView", "View", "opened_view")

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from sentrio.checkpoint.formats.table import visible
from sentrio.cli.printing import say
from sentrio.pipeline import PipelineConfig, SiteAttempt, SiteResult
from sentrio.pipeline.result import shown

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_DRAW_EVERY_SECONDS = 0.2

# The rest of a screen is the shell's and the log's.
_ROWS_AROUND = 6
_FAILURES_SHOWN = 5
_WIDEST_ERROR = 100


def _short(text: str | None) -> str:
    line = visible(text or "")
    return line if len(line) <= _WIDEST_ERROR else f"{line[: _WIDEST_ERROR - 3]}..."


def _name(site: str) -> str:
    return visible(shown(site))


class View:
    """Lines, for a log or a file."""

    def __init__(self, total: int, config: PipelineConfig) -> None:
        self.total, self.config = total, config
        self._old = 0

    def attempt(self, news: SiteAttempt) -> None:
        """Tell of an attempt that begins or has failed."""

    def done(self, done: int, total: int, result: SiteResult, *, is_old: bool) -> None:
        """Tell of a site.

        :param is_old: it was done before this run, or never began
        """
        if is_old:
            return  # thousands may be, and nothing has happened to them
        width = len(str(total))
        error = f", {_short(result.error)}" if result.error else ""
        again = f" (attempt {result.attempts} of {self.config.retry_count})" if result.attempts > 1 else ""
        seconds = f", {result.duration_ms / 1000:.1f} s" if result.attempts else ""
        self.say(f"[{done:>{width}}/{total}] {_name(result.site)}: {result.status}{seconds}{error}{again}")

    def say(self, text: str) -> None:
        """Print a line; hours of work do not end because nobody watches any more."""
        with suppress(SystemExit):
            say(text, sys.stderr)

    async def keep_drawing(self) -> None:
        """Draw until cancelled."""


@attrs.define
class _Busy:
    """A site that is being worked at."""

    site: str
    attempt: int
    since: float
    error: str | None = None  #: of its latest attempt, while it waits for the next one
    until: float | None = None


class LiveView(View):
    """A table that is drawn anew; :attr:`live` shows it."""

    live: Live

    def __init__(self, total: int, config: PipelineConfig) -> None:
        super().__init__(total, config)
        self._begun = time.monotonic()
        self._busy: dict[str, _Busy] = {}
        self._failures: list[SiteResult] = []
        self._done = self._failed = 0

    def attempt(self, news: SiteAttempt) -> None:
        now = time.monotonic()
        until = None if news.wait_seconds is None else now + news.wait_seconds
        self._busy[news.site] = _Busy(news.site, news.attempt, now, news.error, until)

    def done(self, done: int, total: int, result: SiteResult, *, is_old: bool) -> None:
        self._busy.pop(result.site, None)
        self._done = done
        if not result.success:
            self._failed += 1
            if result.attempts:
                self._failures.append(result)
                del self._failures[:-_FAILURES_SHOWN]

    def say(self, text: str) -> None:
        from rich.text import Text

        self.live.console.print(Text(text))

    async def keep_drawing(self) -> None:
        while True:
            self.live.update(self.table(self.live.console.height), refresh=True)
            await anyio.sleep(_DRAW_EVERY_SECONDS)

    def table(self, height: int) -> Table:
        """Return what is going on, in so many lines at most."""
        from rich.table import Table
        from rich.text import Text

        now = time.monotonic()
        table = Table.grid(padding=(0, 3, 0, 0), expand=True)
        for widest, ratio in ((40, None), (None, None), (None, None), (None, 1)):
            table.add_column(no_wrap=True, overflow="ellipsis", max_width=widest, ratio=ratio)
        running = [each for each in self._busy.values() if each.error is None]
        waiting = [each for each in self._busy.values() if each.error is not None]
        for result in self._failures:
            table.add_row(Text(_name(result.site)), Text(result.status, "red"), "", Text(_short(result.error)))
        room = max(1, height - _ROWS_AROUND - len(self._failures))
        rows = [(each, f"attempt {each.attempt}", f"{now - each.since:.0f} s", "") for each in running]
        for each in waiting:
            until = max(0.0, (each.until or now) - now)
            rows.append((each, f"after attempt {each.attempt}", f"in {until:.0f} s", _short(each.error)))
        for busy, attempt, seconds, error in rows[:room]:
            table.add_row(Text(_name(busy.site)), attempt, seconds, Text(error))
        if len(rows) > room:
            table.add_row(f"and {len(rows) - room} more", "", "", "")
        parts = [f"{self._done} of {self.total} sites done", f"{self._failed} failed", f"{len(running)} running"]
        if waiting:
            parts.append(f"{len(waiting)} waiting")
        outer = Table.grid(expand=True)
        outer.add_row(table)
        outer.add_row(Text(f"{', '.join(parts)}   {now - self._begun:.0f} s", "bold"))
        return outer


@contextmanager
def opened_view(total: int, config: PipelineConfig, *, is_quiet: bool) -> Iterator[View]:
    """Return what shows a run on standard error, and takes it away afterwards.

    :param is_quiet: keep out of the log what is seen here in any case
    """
    with _without_failed_sites(is_quiet):
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            yield View(total, config)
            return

        from rich.console import Console
        from rich.live import Live

        view = LiveView(total, config)
        # No thread: the run itself draws.
        with Live(
            console=Console(stderr=True), auto_refresh=False, transient=True, redirect_stdout=False
        ) as view.live:
            with _log_above():
                yield view


@contextmanager
def _log_above() -> Iterator[None]:
    """Have the log written above the live table, which has taken the place of standard error."""
    handlers = [each for each in logging.getLogger("sentrio").handlers if isinstance(each, logging.StreamHandler)]
    before = [each.setStream(sys.stderr) for each in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)


@contextmanager
def _without_failed_sites(wanted: bool) -> Iterator[None]:
    def keep(record: logging.LogRecord) -> Any:
        return not hasattr(record, "site")

    logger = logging.getLogger("sentrio.pipeline")
    if wanted:
        logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
