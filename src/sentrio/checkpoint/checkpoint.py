"""A checkpoint: data, validators, and what is done about the result."""

from __future__ import annotations

__all__ = ("Checkpoint",)

import datetime as dt
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs

from sentrio import _options as options
from sentrio.async_core._checks import require_callback
from sentrio.async_core.background import default_backend
from sentrio.checkpoint.actions import AsyncExecutable, make_action
from sentrio.checkpoint.names import own_name
from sentrio.checkpoint.params import fill_path
from sentrio.checkpoint.result import CheckpointResult
from sentrio.checkpoint.run import CheckpointRun
from sentrio.checkpoint.strategies import ConcurrentStrategy, ExecutionStrategy, make_strategy
from sentrio.checkpoint.triggers import Trigger, make_trigger
from sentrio.errors import OptionValueError, RunningLoopError, UnknownOptionError
from sentrio.validation.report import Severity
from sentrio.validation.run import Progress
from sentrio.validation.sources.base import Source
from sentrio.validation.sources.files import make_source
from sentrio.validation.split import Split, SplitTargets
from sentrio.validation.validators import Validator, make_validator
from sentrio.validation.wording import count_of

Callback = Callable[[CheckpointResult], Any]

_FAIL_ON = (*Severity, "never")


def _list_of(what: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str | Mapping) or not isinstance(value, list | tuple | set | frozenset):
        problem = f"{what} must be a list, got {value!r}"
        if isinstance(value, str):
            problem += f"; did you mean [{value!r}]?"
        raise OptionValueError("Checkpoint", what, problem)
    return list(value)


def _validators(value: Any) -> list[Any]:
    return _list_of("validators", value)


def _actions(value: Any) -> list[Any]:
    return _list_of("actions", value)


def _triggers(value: Any) -> list[Any]:
    return _list_of("triggers", value)


def _texts(value: Any) -> Any:
    return () if value is None else options.as_tuple(value)


def _mapping(value: Any) -> Any:
    return {} if value is None else value


def _folder(value: Any) -> Path | None:
    if value is None or isinstance(value, Path):
        return value
    if not isinstance(value, str | os.PathLike):
        raise OptionValueError("Checkpoint", "base_dir", f"base_dir must be a folder, got {value!r}")
    return Path(value)


def _split(value: Any) -> Any:
    return Split(**value) if isinstance(value, Mapping) and all(isinstance(key, str) for key in value) else value


def _split_or_none(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, Split):
        problem = f"split must be a Split, or a mapping of its options, got {value!r}"
        raise OptionValueError("Checkpoint", "split", problem)


def _callback(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    require_callback("Checkpoint", field.name, value)


@attrs.define(eq=False, repr=False)
class Checkpoint(metaclass=options.OptionsMeta):
    """Data to be read, what must hold for them, and what is done about the result.

    A checkpoint holds no state of a run: the same one may run many times at once.

    :param name: how results call it
    :param data_source: a path (file, folder or glob pattern), a mapping with ``path`` and options of the
        source, or a frame of Polars, pandas or pyarrow
    :param validators: names, mappings of one name to its options, or validator objects
    :param actions: run after each validation: action objects, functions, or entries like the validators'
    :param triggers: when a runner runs it: trigger objects, or entries like the validators'
    :param validator_config: options for validators that are given by name only
    :param where: a Polars SQL condition; only rows for which it is true are looked at
    :param execution_strategy: how the actions run: ``concurrent``, ``sequential``, one of these with its options
        (``{"concurrent": {"max_concurrency": 2}}``), or a strategy object
    :param timeout_seconds: for reading and validating; ``None``: none. On expiry the result is ``error``, with
        the partial report, and the actions still run
    :param fail_fast: stop reading as soon as a check has failed for certain that fails the run
    :param fail_on: the least severity that makes the status ``failure``; ``never``: none does
    :param sample_failures: how many failing rows are shown for each check; with 0, no row's values appear
    :param key_columns: shown beside each failing value
    :param redact_columns: shown nowhere
    :param split: write the rows that pass and those that fail into files of their own: a :class:`sentrio.Split`, or a
        mapping of its options
    :param morsel_rows: rows read at once; ``None``: as many as take about 40 ms
    :param description: for people; kept in the configuration
    :param owner: for people; kept in the configuration
    :param tags: to select checkpoints by
    :param metadata: JSON-ready values that each result carries
    :param on_complete: called after each ``success``, ``warning`` and ``failure``; sync or async
    :param on_error: called after each ``error``; sync or async
    :param base_dir: the folder that relative paths of entries start from; ``None``: the working directory
    :raises UnknownNameError: for a validator or action that nobody registered
    :raises UnknownOptionError: for an option that nobody knows
    :raises OptionValueError: for a bad value
    """

    name: str = attrs.field(validator=options.text())
    data_source: Any
    validators: list[Validator] = attrs.field(factory=list, converter=_validators)
    actions: list[AsyncExecutable] = attrs.field(factory=list, converter=_actions)
    triggers: list[Trigger[Any]] = attrs.field(factory=list, converter=_triggers)
    validator_config: Mapping[str, Any] | None = attrs.field(
        default=None, kw_only=True, validator=options.optional(options.mapping())
    )
    where: str | None = attrs.field(default=None, kw_only=True, validator=options.optional(options.text()))
    execution_strategy: ExecutionStrategy = attrs.field(
        factory=ConcurrentStrategy, kw_only=True, converter=make_strategy
    )
    timeout_seconds: float | None = attrs.field(
        default=None, kw_only=True, validator=options.optional(options.number(above=0))
    )
    fail_fast: bool = attrs.field(default=False, kw_only=True, validator=options.flag())
    fail_on: str = attrs.field(default="high", kw_only=True, validator=options.one_of(_FAIL_ON))
    sample_failures: int = attrs.field(default=5, kw_only=True, validator=options.integer(minimum=0))
    key_columns: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=_texts, validator=options.texts())
    redact_columns: tuple[str, ...] = attrs.field(
        default=(), kw_only=True, converter=_texts, validator=options.texts()
    )
    split: Split | None = attrs.field(default=None, kw_only=True, converter=_split, validator=_split_or_none)
    morsel_rows: int | None = attrs.field(
        default=None, kw_only=True, validator=options.optional(options.integer(minimum=1))
    )
    description: str | None = attrs.field(
        default=None, kw_only=True, validator=options.optional(options.text(empty=True))
    )
    owner: str | None = attrs.field(default=None, kw_only=True, validator=options.optional(options.text(empty=True)))
    tags: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=_texts, validator=options.texts())
    metadata: Mapping[str, Any] = attrs.field(
        default=None,
        kw_only=True,
        converter=_mapping,
        validator=options.mapping(),
    )
    on_complete: Callback | None = attrs.field(default=None, kw_only=True, validator=_callback)
    on_error: Callback | None = attrs.field(default=None, kw_only=True, validator=_callback)
    base_dir: Path | None = attrs.field(default=None, kw_only=True, converter=_folder)
    _plans: dict[Any, Any] = attrs.field(factory=dict, init=False)
    _label: str = attrs.field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self._label = self.source().label  # a bad data source is an error now, not when it runs
        if (targets := self.split_targets("0", dt.datetime.now(dt.UTC))) is not None:
            targets.check()
        self.validators = self._make_validators(self.validators)
        self.actions = [make_action(entry, self.base_dir) for entry in self.actions]
        self.triggers = [make_trigger(entry) for entry in self.triggers]
        names = [validator.name for validator in self.validators if validator.name is not None]
        for name in names:
            if names.count(name) > 1:
                raise OptionValueError("Checkpoint", "validators", f"two validators are named {name!r}")

    def _make_validators(self, entries: Sequence[Any]) -> list[Validator]:
        given = dict(self.validator_config or {})
        named = [{entry: given[entry]} if isinstance(entry, str) and entry in given else entry for entry in entries]
        plain = tuple(entry for entry in entries if isinstance(entry, str))
        for name in given:
            if name not in plain:
                raise UnknownOptionError("validator_config", name, plain)
        return [make_validator(entry) for entry in named]

    def __repr__(self) -> str:
        return f"Checkpoint({self.name!r}, {self._label!r}, {count_of(len(self.validators), 'validator')})"

    def __getstate__(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        return {**state, "_plans": {}}  # compiled anew where it is needed

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def source(self) -> Source:
        """Return the data source, opened by nobody yet."""
        return make_source(self.data_source, self.base_dir)

    def split_targets(self, run_id: str, run_time: dt.datetime) -> SplitTargets | None:
        """Return where the rows of a run are to be written; ``None`` without a split.

        :raises OptionValueError: if the split does not go with the other options
        """
        if self.split is None:
            return None
        if self.fail_fast:
            raise OptionValueError(
                "split", "fail_fast", "a split needs all rows, and fail_fast stops before; take one away"
            )
        severity = self.split.severity or (None if self.fail_on == "never" else Severity(self.fail_on))
        if severity is None:
            problem = "with fail_on='never' nothing says which checks count; give the split a severity"
            raise OptionValueError("split", "severity", problem)
        values = {"run_id": run_id, "checkpoint": own_name(self.name), "date": run_time.date().isoformat()}
        base = self.base_dir or Path()
        paths = {
            kind: base / fill_path(template, values, owner="split", option=kind)
            for kind, template in (("valid", self.split.valid), ("failing", self.split.failing))
            if template is not None
        }
        return SplitTargets(paths=paths, severity=severity, data_source=self.data_source, base=self.base_dir)

    def add_action(self, action: Any) -> Checkpoint:
        """Add an action, given as in ``actions``; return the checkpoint itself."""
        self.actions.append(make_action(action, self.base_dir))
        return self

    def add_trigger(self, trigger: Any) -> Checkpoint:
        """Add a trigger, given as in ``triggers``; return the checkpoint itself."""
        self.triggers.append(make_trigger(trigger))
        return self

    def validate(self) -> list[str]:
        """Return what is wrong with the configuration, as far as can be told without reading data."""
        return [problem for _, problem in self._faults()]

    def _faults(self) -> list[tuple[tuple[str, int], str]]:
        """Return what is wrong, and with which item of which option."""
        faults = []
        if not self.validators:
            faults.append((("validators", 0), "there are no validators, so a run could tell nothing"))
        try:
            self.execution_strategy.check(len(self.actions))
        except OptionValueError as exc:
            faults.append((("execution_strategy", 0), str(exc)))
        for number, action in enumerate(self.actions):
            faults += [(("actions", number), problem) for problem in getattr(action, "validate", list)()]
        return faults

    async def run_async(
        self,
        context: Mapping[str, Any] | None = None,
        *,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> CheckpointResult:
        """Read, validate and act.

        Bad data and a source that can not be read are results, never exceptions. A cancellation stops the
        query between two morsels and passes through.

        :param context: merged over ``metadata`` into the result; JSON-ready values
        :param on_progress: called in the event loop after each morsel
        :raises OptionValueError: if ``context`` is no mapping, or ``on_progress`` no function
        """
        return await CheckpointRun(self, context, on_progress).execute()

    def run(self, context: Mapping[str, Any] | None = None) -> CheckpointResult:
        """Read, validate and act, and wait for the result.

        It uses asyncio, or trio if the environment variable ``SENTRIO_BACKEND`` is ``trio``.

        :param context: merged over ``metadata`` into the result; JSON-ready values
        :raises OptionValueError: if ``context`` is no mapping
        :raises RunningLoopError: if an event loop runs in this thread; use :meth:`run_async` there
        """
        if loop_is_running():
            raise RunningLoopError("Checkpoint.run()", "checkpoint.run_async()")
        with plain_interruption():
            return anyio.run(self.run_async, context, backend=default_backend())


@contextmanager
def plain_interruption() -> Iterator[None]:
    """Raise a ``KeyboardInterrupt`` as it is.

    When Ctrl-C comes, Trio raises one in any task; it then comes out of a task group, wrapped.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        raise KeyboardInterrupt from group


def loop_is_running() -> bool:
    """Tell whether an event loop runs in this thread."""
    try:
        anyio.lowlevel.current_token()
    except anyio.NoEventLoopError:
        return False
    return True
