"""Stand-ins for users' tests; :mod:`sentrio.testing` is their address."""

from __future__ import annotations

__all__ = ("HandTrigger", "RecordingAction")

from collections.abc import Mapping
from typing import Any, ClassVar

import anyio
import attrs

from sentrio import _options as options
from sentrio.async_core.threads import loop_poster
from sentrio.checkpoint.actions import ActionConfig, AsyncBaseAction
from sentrio.checkpoint.result import ActionResult, CheckpointResult
from sentrio.checkpoint.triggers import AsyncBaseTrigger, MissedPolicy, TriggerConfig, TriggerResult, TriggerWatch


class HandTrigger(AsyncBaseTrigger[TriggerConfig]):
    """A trigger that is due when a test says so.

    ::

        trigger = HandTrigger()
        checkpoint.add_trigger(trigger)
        ...
        trigger.fire(file="orders.csv")

    Whoever watches it gets each firing; what is fired while nobody watches goes to the next one who does. Several
    firings that come while a watcher is busy are merged into one, unless ``missed="run_all"``.
    """

    trigger_type: ClassVar[str] = "hand"

    def __init__(self, config: TriggerConfig | None = None, **given: Any) -> None:
        super().__init__(config, **given)
        self._firings: list[Mapping[str, Any]] = []
        self._taken = 0
        self._watches: list[_HandWatch] = []
        self._own: _HandWatch | None = None

    @property
    def fired(self) -> int:
        """How many times it was fired."""
        return len(self._firings)

    @property
    def watched(self) -> int:
        """How many watches there are now."""
        return len(self._watches)

    def fire(self, **context: Any) -> None:
        """Fire now; callable in any thread.

        :param context: merged into the run's context
        """
        # No lock: a watch puts itself on the list first and looks at the firings then.
        self._firings.append(context)
        for watch in tuple(self._watches):
            watch.wake()

    def watch(self, **given: Any) -> TriggerWatch:
        """Begin to watch; see :meth:`sentrio.BaseTrigger.watch`. Closing the watch takes it off the list."""
        return _HandWatch(self, **given)

    async def wait(self, poll_interval: float = 1.0) -> TriggerResult:
        """Wait until it is fired."""
        if self._own is None:
            self._own = _HandWatch(self)
        return await self._own.wait()

    async def should_trigger_async(self) -> TriggerResult:
        """Tell whether it was fired since it was asked last."""
        if self._own is None:
            self._own = _HandWatch(self)
        return self._own.take() or TriggerResult(False)


class _HandWatch(TriggerWatch):
    def __init__(self, trigger: HandTrigger, **given: Any) -> None:
        super().__init__(trigger, **given)
        self._hand = trigger
        self._post = loop_poster()
        self._fired_now = anyio.Event()
        self._index = trigger._taken
        trigger._watches.append(self)

    def close(self) -> None:
        if self in self._hand._watches:
            self._hand._watches.remove(self)

    def wake(self) -> None:
        self._post(self._wake)

    def _wake(self) -> None:
        self._fired_now.set()

    def take(self) -> TriggerResult | None:
        waiting = self._hand._firings[self._index :]
        if not waiting:
            return None
        if self._hand.config.missed == MissedPolicy.RUN_ALL:
            waiting = waiting[:1]
        self._index += len(waiting)
        self._hand._taken = max(self._hand._taken, self._index)
        context = {name: value for firing in waiting for name, value in firing.items()}
        return TriggerResult(True, "fired by hand", context, missed=len(waiting) - 1, due_at=self.clock.now())

    async def _due(self) -> TriggerResult:
        while True:
            self._fired_now = anyio.Event()
            result = self.take()
            if result is not None:
                self._missed += result.missed
                return result
            await self._fired_now.wait()


@attrs.define(kw_only=True)
class RecordingConfig(ActionConfig):
    """Options of :class:`RecordingAction`."""

    option_owner: ClassVar[str] = "RecordingAction"

    delay: float = attrs.field(default=0.0, validator=options.number(minimum=0))
    fail_times: int = attrs.field(default=0, validator=options.integer(minimum=0))


class RecordingAction(AsyncBaseAction[RecordingConfig]):
    """An action that remembers the results it was given.

    :param delay: seconds that each attempt takes
    :param fail_times: so many attempts raise before one succeeds
    """

    action_type: ClassVar[str] = "recording"

    def __init__(self, config: RecordingConfig | None = None, **given: Any) -> None:
        super().__init__(config, **given)
        self.results: list[CheckpointResult] = []  #: those for which an attempt ended well
        self.attempts = 0  #: attempts that began
        self.running = 0  #: attempts that are under way
        self.most_running = 0  #: the most attempts that were under way at once

    async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        self.attempts += 1
        number = self.attempts
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await anyio.sleep(self.config.delay)
        finally:
            self.running -= 1
        if number <= self.config.fail_times:
            raise RuntimeError(f"attempt {number} fails, as it was told to")
        self.results.append(checkpoint_result)
        return self.success(f"recorded {len(self.results)}")
