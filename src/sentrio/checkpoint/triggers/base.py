"""What all triggers share: options, and watching one of them."""

from __future__ import annotations

__all__ = (
    "AsyncBaseTrigger",
    "BaseTrigger",
    "MissedPolicy",
    "Trigger",
    "TriggerConfig",
    "TriggerResult",
    "TriggerStatistics",
    "TriggerWatch",
)

from abc import abstractmethod
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

import anyio
import anyio.lowlevel
import attrs
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

from sentrio import _options as options
from sentrio.async_core._checks import check_number
from sentrio.async_core.background import is_being_cancelled
from sentrio.async_core.clock import Clock, default_clock
from sentrio.async_core.threads import call_sync
from sentrio.checkpoint._configured import Configured

# Blocking triggers of one event loop share these threads, and no others: however many of them hang, reading data and
# acting go on.
_POLLING_THREADS = 40

_threads: RunVar[CapacityLimiter] = RunVar("sentrio_trigger_threads")


class MissedPolicy(StrEnum):
    """What becomes of firings that were due while nobody could run them."""

    RUN_ONCE = "run_once"  #: one run makes up for all of them
    RUN_ALL = "run_all"  #: each has a run of its own, late
    SKIP = "skip"  #: they are reported, and that is all


@attrs.define(kw_only=True)
class TriggerConfig(metaclass=options.OptionsMeta):
    """The options that every trigger has. Derive from it with ``attrs.define`` to add some.

    :param name: how logs call the trigger; ``None``: its type
    :param enabled: a disabled trigger never fires
    :param max_runs: how many times it fires in all; 0: without end
    :param run_immediately: whether it fires at once when it is first watched; that counts towards ``max_runs``
    :param missed: what becomes of firings that were due while the runner was busy, asleep or down: ``run_once``,
        ``run_all`` or ``skip``; they are reported in any case
    :param max_concurrent: how many runs that it started may go on at once
    :param metadata: kept for the user; sentrio does not look at it
    """

    name: str | None = attrs.field(default=None, validator=options.optional(options.text()))
    enabled: bool = attrs.field(default=True, validator=options.flag())
    max_runs: int = attrs.field(default=0, validator=options.integer(minimum=0))
    run_immediately: bool = attrs.field(default=False, validator=options.flag())
    missed: str = attrs.field(default="run_once", validator=options.one_of(tuple(MissedPolicy)))
    max_concurrent: int = attrs.field(default=1, validator=options.integer(minimum=1))
    metadata: Mapping[str, Any] = attrs.field(factory=dict, validator=options.mapping())


@attrs.frozen
class TriggerResult:
    """Whether a trigger is due, and why."""

    should_run: bool = attrs.field(validator=options.flag())
    reason: str = ""  #: for people
    context: Mapping[str, Any] = attrs.field(
        factory=dict, validator=options.mapping()
    )  #: merged into the run's context
    #: how many firings were due, up to this one, while nobody could run them; this one may make up for them
    missed: int = attrs.field(default=0, validator=options.integer(minimum=0))
    due_at: datetime | None = None  #: the moment for which the run was planned, UTC


@attrs.frozen(kw_only=True)
class TriggerStatistics:
    """What a watch has seen."""

    fired: int  #: how many times it was due
    missed: int  #: firings that were due while nobody could run them
    failures: int  #: how many times in a row the trigger has raised, up to now
    next_due: datetime | None  #: when it is due next, as far as that is known
    ended: bool  #: it is never due again


ConfigT = TypeVar("ConfigT", bound=TriggerConfig)


class Trigger(Configured[ConfigT]):
    """What blocking and asynchronous triggers share."""

    trigger_type: ClassVar[str] = "trigger"
    _config_base = TriggerConfig
    _config_class: ClassVar[type] = TriggerConfig

    @property
    def config(self) -> ConfigT:
        """The options."""
        return self._given

    @property
    def _config(self) -> ConfigT:
        return self._given

    @property
    def name(self) -> str:
        """How logs call the trigger."""
        return self._given.name or self.trigger_type

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    @abstractmethod
    async def _ask(self) -> TriggerResult:
        """Ask once whether the trigger is due."""

    async def wait(self, poll_interval: float = 1.0) -> TriggerResult:
        """Wait until the trigger is due.

        This asks every ``poll_interval`` seconds. A trigger that knows better overrides it, and may leave the
        parameter out; a result with ``should_run=False`` says that it will never be due again.

        :param poll_interval: in seconds
        """
        check_number("poll_interval", poll_interval, unit=" seconds")
        while True:
            result = await self._ask()
            if result.should_run:
                return result
            await anyio.sleep(poll_interval)

    def watch(
        self, *, clock: Clock | None = None, poll_interval: float = 1.0, since: datetime | None = None
    ) -> TriggerWatch:
        """Begin to watch the trigger.

        A trigger holds its configuration; what happens from now on (when it was due, how many times) belongs to the
        watch. So the same trigger may be watched by several runners, and again by one that was stopped.

        :param clock: tells the time of day; ``None``: the system's, or the one of ``trio.testing.MockClock``
        :param poll_interval: seconds between two questions, for triggers that have to be asked
        :param since: until when firings are known to have been taken care of, if somebody watched before;
            timezone-aware; a schedule reports those since then as missed. ``None``: watching begins now
        """
        return TriggerWatch(self, clock=clock, poll_interval=poll_interval, since=since)


class BaseTrigger(Trigger[ConfigT]):
    """Base of triggers that are asked by blocking code: override :meth:`should_trigger`.

    A trigger is made as ``Trigger(config)`` or ``Trigger(option=value, ...)``. The class of its configuration is the
    type parameter: ``class RowsArrived(BaseTrigger[RowsConfig])``.

    :param config: the configuration; ``None``: one made of the options
    :raises UnknownOptionError: for an option that the configuration does not know
    :raises OptionValueError: for a bad value
    """

    @abstractmethod
    def should_trigger(self) -> TriggerResult:
        """Tell whether a run is due. It is called in a worker thread."""

    async def _ask(self) -> TriggerResult:
        # In a thread always: nobody can tell beforehand whether it will block this time, and that is 50 us.
        return _result(self, await call_sync(self.should_trigger, limiter=_limiter()))


class AsyncBaseTrigger(Trigger[ConfigT]):
    """Base of triggers that are asked asynchronously: override :meth:`should_trigger_async`.

    A trigger is made as :class:`BaseTrigger` says.

    :param config: the configuration; ``None``: one made of the options
    :raises UnknownOptionError: for an option that the configuration does not know
    :raises OptionValueError: for a bad value
    """

    @abstractmethod
    async def should_trigger_async(self) -> TriggerResult:
        """Tell whether a run is due."""

    async def _ask(self) -> TriggerResult:
        return _result(self, await self.should_trigger_async())


class TriggerWatch:
    """One trigger, watched by one watcher, from a beginning to an end.

    ::

        async with trigger.watch() as watch:
            async for due in watch:
                await checkpoint.run_async(due.context)

    The loop ends when the trigger will never be due again. Events that come, and due times that pass, while the
    watcher is busy elsewhere are not forgotten: the next :meth:`wait` answers for them, as the option ``missed``
    says. So whoever runs only so many things at once waits for a free slot first, and then for the trigger.

    :param trigger: what is watched
    :param clock: tells the time of day; ``None``: as :meth:`BaseTrigger.watch` has it
    :param poll_interval: seconds between two questions
    :param since: until when firings were taken care of; ``None``: watching begins now
    """

    def __init__(
        self,
        trigger: Trigger[Any],
        *,
        clock: Clock | None = None,
        poll_interval: float = 1.0,
        since: datetime | None = None,
    ) -> None:
        check_number("poll_interval", poll_interval, unit=" seconds")
        if since is not None and since.tzinfo is None:
            raise ValueError(f"since must have a time zone, got {since!r}; write datetime(..., tzinfo=UTC)")
        self.trigger = trigger
        self.clock = default_clock() if clock is None else clock
        self.since = since
        self._poll_interval = poll_interval
        self._fired = self._missed = self._failures = 0
        self._begun = self._ended = False
        self._next_poll = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TriggerResult:
        result = await self.wait()
        if not result.should_run:
            raise StopAsyncIteration
        return result

    def close(self) -> None:
        """Stop watching. Harmless when done again."""

    async def wait(self) -> TriggerResult:
        """Wait until the trigger is due.

        What the trigger raises is raised here; the watch may go on waiting afterwards, best after a while.

        :returns: why it is due; ``should_run`` is false if it will never be due again, and ``reason`` says why
        """
        await anyio.lowlevel.checkpoint()
        result = self._opening()
        if result is None:
            try:
                result = await self._due()
            except BaseException as exc:
                # On asyncio a trigger may raise CancelledError although nobody cancels it.
                self._failures += isinstance(exc, Exception) or not is_being_cancelled()
                raise
        return self._closing(result)

    def statistics(self) -> TriggerStatistics:
        """Return what the watch has seen."""
        ended = self._ended or self._exhausted() is not None
        return TriggerStatistics(
            fired=self._fired,
            missed=self._missed,
            failures=self._failures,
            next_due=None if ended else self._next_due(),
            ended=ended,
        )

    def _opening(self) -> TriggerResult | None:
        """Return what is clear without asking the trigger."""
        exhausted = self._exhausted()
        if exhausted is not None:
            return TriggerResult(False, exhausted)
        first, self._begun = not self._begun, True
        return self._at_once() if first and self.trigger.config.run_immediately else None

    def _exhausted(self) -> str | None:
        """Return why the trigger is never due again, whatever it would answer; ``None``: it may be."""
        config = self.trigger.config
        if not config.enabled:
            return "the trigger is disabled"
        if config.max_runs and self._fired >= config.max_runs:
            return f"the trigger has fired max_runs={config.max_runs} times"
        return None

    def _closing(self, result: TriggerResult) -> TriggerResult:
        self._failures = 0
        if result.should_run:
            self._fired += 1
        else:
            self._ended = True
        return result

    def _at_once(self) -> TriggerResult | None:
        """Return the firing at the beginning of the watch; ``None``: it may not fire now."""
        return TriggerResult(True, "run_immediately", due_at=self.clock.now())

    def _next_due(self) -> datetime | None:
        return None

    async def _due(self) -> TriggerResult:
        if type(self.trigger).wait is not Trigger.wait:
            result = _result(self.trigger, await self.trigger.wait())
        else:
            # Without this, a trigger that goes on being due would start one run after the other without a break.
            await anyio.sleep_until(self._next_poll)
            try:
                result = await self.trigger.wait(self._poll_interval)
            finally:
                self._next_poll = anyio.current_time() + self._poll_interval
        self._missed += result.missed
        return result


def _result(trigger: Trigger[Any], answer: object) -> TriggerResult:
    if isinstance(answer, TriggerResult):
        return answer
    if isinstance(answer, bool):
        return TriggerResult(answer)
    raise TypeError(
        f"trigger {trigger.name} must answer with a TriggerResult, got {answer!r}; "
        "write `return TriggerResult(should_run=...)`"
    )


def _limiter() -> CapacityLimiter:
    found = _threads.get(None)
    if found is None:
        found = CapacityLimiter(_POLLING_THREADS)
        _threads.set(found)
    return found
