"""How a runner works, and what it is doing."""

from __future__ import annotations

__all__ = ("AsyncRunnerConfig", "RunnerStatistics")

import attrs

from sentrio import _options as options


@attrs.define(kw_only=True)
class AsyncRunnerConfig(metaclass=options.OptionsMeta):
    """How a runner works.

    :param max_concurrent_checkpoints: how many checkpoints may run at once
    :param trigger_poll_interval: seconds between two questions to a trigger that has to be asked
    :param result_queue_size: how many results are kept for who reads them
    :param stop_on_error: whether the first result with status ``error`` stops the runner
    :param max_consecutive_failures: so many results with status ``error`` in a row, over all checkpoints, stop
        the runner; 0: never
    :param graceful_shutdown_timeout: seconds that running checkpoints get when the runner stops; what runs on is
        cancelled, and its result is ``cancelled``
    :raises OptionValueError: for a bad value
    """

    max_concurrent_checkpoints: int = attrs.field(default=10, validator=options.integer(minimum=1))
    trigger_poll_interval: float = attrs.field(default=1.0, validator=options.number(above=0, finite=True))
    result_queue_size: int = attrs.field(default=1000, validator=options.integer(minimum=1))
    stop_on_error: bool = attrs.field(default=False, validator=options.flag())
    max_consecutive_failures: int = attrs.field(default=10, validator=options.integer(minimum=0))
    graceful_shutdown_timeout: float = attrs.field(default=30.0, validator=options.number(minimum=0))


@attrs.frozen(kw_only=True)
class RunnerStatistics:
    """What a runner is doing, and has done since it was made."""

    running: bool  #: whether triggers are watched
    checkpoints: int  #: checkpoints that were added
    pending_tasks: int  #: runs that go on, or wait for a slot or for room
    queued_results: int  #: results that nobody has read yet
    dropped_results: int  #: results that made room for newer ones while nobody read
    completed_runs: int  #: runs that gave a result
    failed_runs: int  #: of these, with status ``failure`` or ``error``
    consecutive_failures: int  #: results with status ``error`` in a row, up to now
    callback_errors: int  #: callbacks that raised
    trigger_errors: int  #: how many times triggers raised
    missed_firings: int  #: firings that were due while nobody could run them
    abandoned_threads: int  #: calls of this process that nobody waits for any more, and that still run
    stop_reason: str | None  #: why the runner stopped itself; ``None``: it did not
