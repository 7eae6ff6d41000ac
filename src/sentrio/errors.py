"""Every error that sentrio raises on purpose.

::

    SentrioError
    ├── UnknownOptionError (TypeError)       an option that nobody knows
    ├── OptionValueError (ValueError)        an option whose value is out of range or of the wrong type
    ├── UnknownNameError (LookupError)       a validator, action, trigger, ... that nobody registered
    │   └── UnknownCheckpointError           a checkpoint that nobody registered
    ├── PluginError                          what an installed package offers can not be used
    ├── ConfigurationError (ValueError)      what is wrong with a configuration file, with positions
    ├── SourceError                          a source that can not be read, or changed while it was read
    ├── RunningLoopError (RuntimeError)      a blocking call inside a running event loop
    ├── ClosedError (RuntimeError)           something that was not started yet, or was closed
    │   ├── PoolClosedError                  a pool
    │   └── RunnerClosedError                a task scheduler or an async runner
    ├── CircuitOpenError (RuntimeError)      a circuit breaker refused an attempt
    ├── QueueClosedError (RuntimeError)      a queue that takes or gives nothing more
    ├── HTTPRequestError                     a request that got no usable answer
    │   ├── HTTPTimeoutError                 it took too long
    │   ├── HTTPStatusError                  the answer is an error status, where one is not welcome
    │   └── ChecksumError                    the content is not the one that was expected
    ├── UnsetVariableError                   an option of an action refers to a variable that is not set
    ├── DeliveryError                        what an action sent was not accepted, or did not arrive
    ├── JobLogError                          a pipeline's job log that can not be read or written
    └── RunError                             a result that is not the one that was asked for
        ├── CheckpointFailed                 the data are bad
        ├── CheckpointUndecided              it could not be told whether the data are good
        └── SiteFailed                       a site of a pipeline that did not succeed

Each class passes its constructor's arguments on to :class:`Exception`, so that errors survive pickling, and
builds its text in ``__str__``.
"""

from __future__ import annotations

__all__ = (
    "CheckpointFailed",
    "CheckpointUndecided",
    "ChecksumError",
    "CircuitOpenError",
    "ClosedError",
    "ConfigurationError",
    "DeliveryError",
    "HTTPRequestError",
    "HTTPStatusError",
    "HTTPTimeoutError",
    "JobLogError",
    "OptionValueError",
    "PluginError",
    "PoolClosedError",
    "Problem",
    "QueueClosedError",
    "RunError",
    "RunnerClosedError",
    "RunningLoopError",
    "SentrioError",
    "SiteFailed",
    "SourceError",
    "UnknownCheckpointError",
    "UnknownNameError",
    "UnknownOptionError",
    "UnsetVariableError",
    "suggestion",
)

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import attrs


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, else what is known.

    The nearest name is found by :func:`difflib.get_close_matches`.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), [other.lower() for other in names], n=1, cutoff=0.6)
    if near:
        match = next(other for other in names if other.lower() == near[0])
        return f"; did you mean {match!r}?"
    return f"; known are: {', '.join(names)}" if names else ""


class SentrioError(Exception):
    """The base of all errors that sentrio raises on purpose."""


class UnknownOptionError(SentrioError, TypeError):
    """An option that its owner does not know, with the nearest one that it does."""

    def __init__(self, owner: str, option: str, known: Sequence[str]) -> None:
        super().__init__(owner, option, tuple(known))
        self.owner = owner
        self.option = option
        self.known = tuple(known)

    @property
    def problem(self) -> str:
        """The text without the owner, for messages that name the place themselves."""
        return f"unknown option {self.option!r}{suggestion(self.option, self.known)}"

    def __str__(self) -> str:
        return f"{self.owner}: {self.problem}"


class OptionValueError(SentrioError, ValueError):
    """An option whose value is out of range or of the wrong type."""

    def __init__(self, owner: str, option: str, problem: str) -> None:
        super().__init__(owner, option, problem)
        self.owner = owner
        self.option = option
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.owner}: {self.problem}"


class UnknownNameError(SentrioError, LookupError):
    """A name that nobody registered, with the nearest one that somebody did.

    :param broken: what could not be imported, and so may be where the name is defined; one text each
    """

    def __init__(self, kind: str, name: str, known: Sequence[str], broken: Sequence[str] = ()) -> None:
        super().__init__(kind, name, tuple(known), tuple(broken))
        self.kind = kind
        self.name = name
        self.known = tuple(known)
        self.broken = tuple(broken)

    def __str__(self) -> str:
        hint = suggestion(self.name, self.known)
        if self.broken:
            near = hint if "did you mean" in hint else ""
            hint = f"{near or ';'} perhaps because {'; '.join(self.broken)}"
        return f"unknown {self.kind} {self.name!r}{hint}"


class UnknownCheckpointError(UnknownNameError):
    """A checkpoint that is not known here."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__("checkpoint", name, known)
        self.args = (name, tuple(known))


class PluginError(SentrioError):
    """A validator, action, ... that an installed package offers and that can not be used."""

    def __init__(self, kind: str, name: str, package: str, entry_point: str, problem: str) -> None:
        super().__init__(kind, name, package, entry_point, problem)
        self.kind = kind
        self.name = name
        self.package = package
        self.entry_point = entry_point
        self.problem = problem

    def __str__(self) -> str:
        place = f"package {self.package!r}, entry point [{self.entry_point}]"
        return f"{self.kind} {self.name!r} can not be used ({place}): {self.problem}"


@attrs.frozen
class Problem:
    """One thing that is wrong with a configuration."""

    path: str  #: where in the configuration, like ``checkpoints.orders.validators[3].range``
    message: str  #: what is wrong, and what to do
    file: str = ""  #: the file's name, empty if there is no file
    line: int | None = None  #: counted from 1
    column: int | None = None  #: counted from 1

    def __str__(self) -> str:
        place = self.file
        if self.line is not None:
            place += f":{self.line}:{self.column}"
        where = f"{place}  " if place else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class ConfigurationError(SentrioError, ValueError):
    """A configuration that can not be used; ``problems`` lists everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class SourceError(SentrioError):
    """A source that can not be read, or that changed while it was read."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(source, problem)
        self.source = source
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.source}: {self.problem}"


class RunningLoopError(SentrioError, RuntimeError):
    """A blocking call was made where an event loop runs; it would stop the loop."""

    def __init__(self, called: str, instead: str) -> None:
        super().__init__(called, instead)
        self.called = called
        self.instead = instead

    def __str__(self) -> str:
        return (
            f"{self.called} blocks, and an event loop is running in this thread; use `await {self.instead}` instead"
        )


class CircuitOpenError(SentrioError, RuntimeError):
    """A circuit breaker refused an attempt, because too many before it have failed."""

    def __init__(self, circuit: str, retry_in: float) -> None:
        super().__init__(circuit, retry_in)
        self.circuit = circuit
        self.retry_in = retry_in

    def __str__(self) -> str:
        what = f"the circuit of {self.circuit}" if self.circuit else "the circuit"
        if self.retry_in:
            return f"{what} is open after too many failures; try again in {self.retry_in:.3g} s"
        return f"{what} is half open and its probes are on their way; try again when they have answered"


class QueueClosedError(SentrioError, RuntimeError):
    """A queue was closed: nothing can be put any more, and what was in it has been got."""

    def __init__(self, operation: str) -> None:
        super().__init__(operation)
        self.operation = operation

    def __str__(self) -> str:
        if self.operation == "put":
            return "the queue is closed and takes nothing more"
        return "the queue is closed and empty; a loop over it ends without this error"


class HTTPRequestError(SentrioError):
    """A request without a usable answer. Its URL is shown without credentials and query values."""

    def __init__(self, method: str, url: str, attempts: int, problem: str) -> None:
        # Not through super(): the HTTP client's variants have httpx's classes as further bases, for code that
        # catches those, and their constructors want other arguments.
        Exception.__init__(self, method, url, attempts, problem)
        self.method = method
        self.url = url
        self.attempts = attempts
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.method} {self.url} failed at attempt {self.attempts}: {self.problem}"


class HTTPTimeoutError(HTTPRequestError):
    """A request that took longer than it was allowed to."""


class HTTPStatusError(HTTPRequestError):
    """An error status where one is not welcome: in a stream or a download."""

    def __init__(self, method: str, url: str, attempts: int, status: int, reason: str = "") -> None:
        problem = f"the server answered {status} {reason}".rstrip()
        super().__init__(method, url, attempts, problem)
        self.args = (method, url, attempts, status, reason)
        self.status = status
        self.reason = reason


class ChecksumError(HTTPRequestError):
    """Content that arrived whole but is not the expected one; the destination was left as it was."""

    def __init__(self, method: str, url: str, attempts: int, algorithm: str, expected: str, actual: str) -> None:
        problem = f"its {algorithm} is {actual}, expected {expected}; it was not saved"
        super().__init__(method, url, attempts, problem)
        self.args = (method, url, attempts, algorithm, expected, actual)
        self.algorithm = algorithm
        self.expected = expected
        self.actual = actual


class ClosedError(SentrioError, RuntimeError):
    """Something that takes no work, since it was not started yet or was closed."""

    def __init__(self, owner: str, problem: str) -> None:
        super().__init__(owner, problem)
        self.owner = owner
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.owner} {self.problem}"


class PoolClosedError(ClosedError):
    """A pool that is closed: it takes no work, and whoever waited for it gets this error."""


class RunnerClosedError(ClosedError):
    """A scheduler or runner that does not run: it takes no work, and what it had to drop gets this error."""


class UnsetVariableError(SentrioError):
    """An option of an action refers to an environment variable that is not set."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(option, problem)
        self.option = option
        self.problem = problem

    def __str__(self) -> str:
        return f"option {self.option!r}: {self.problem}"


class DeliveryError(SentrioError):
    """What an action sent was not accepted, or did not arrive. Of the URL only the host is known here."""

    def __init__(self, host: str, problem: str, status: int | None = None) -> None:
        super().__init__(host, problem, status)
        self.host = host
        self.problem = problem
        self.status = status  #: of the answer; ``None``: there was none

    def __str__(self) -> str:
        return f"{self.host}: {self.problem}"


class JobLogError(SentrioError):
    """A pipeline's job log that can not be read or written."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"job log {self.path}: {self.problem}"


class RunError(SentrioError):
    """A result that is not the one that was asked for; it is kept in ``result``."""

    def __init__(self, result: Any) -> None:
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        return str(self.result.explain())


class CheckpointFailed(RunError):
    """The data are bad: at least one check of severity ``fail_on`` or above failed."""


class CheckpointUndecided(RunError):
    """It could not be told whether the data are good: status ``error`` or ``cancelled``."""


class SiteFailed(RunError):
    """A site of a pipeline that did not succeed: it failed, timed out, or was cancelled."""
