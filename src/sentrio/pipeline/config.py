"""How a pipeline runs its sites."""

from __future__ import annotations

__all__ = ("Command", "Halt", "PipelineConfig")

import inspect
import math
import os
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from sentrio import _options as options
from sentrio.errors import OptionValueError, UnknownOptionError
from sentrio.pipeline._checkpoint import check_template

if TYPE_CHECKING:
    from sentrio.checkpoint.checkpoint import Checkpoint

#: A list of arguments, or a function of the site.
Command: TypeAlias = "tuple[str, ...] | Callable[[str], Any]"

_OWNER = "pipeline"
_BACKOFFS = ("exponential", "linear", "fixed")
_EXAMPLE = "[python, -m, shop.fetch, '--site', '{site}']"

#: What `async_settings` may hold, and the option that each of its keys stands for.
SETTINGS = {
    "semaphore_limit": "max_concurrent_sites",
    "retry_backoff": "retry_backoff",
    "progress_reporting": "progress_reporting",
    "error_aggregation": "error_aggregation",
}
_HALT = re.compile(r"(soon|now),fail=([1-9][0-9]*)")


@attrs.frozen
class Halt:
    """When failed sites end the run."""

    at: float = math.inf  #: so many failed sites
    now: bool = False  #: also cancel what runs


def _command(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if callable(value) and (inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value)):
        problem = "command must not be a generator function: calling it runs nothing; take the `yield` out of it"
        raise OptionValueError(_OWNER, "command", problem)
    if value is None or callable(value):
        return
    if isinstance(value, str):
        problem = f"command must be a list, one item an argument (there is no shell), as in {_EXAMPLE}; got text"
    elif not isinstance(value, tuple) or not value or not all(isinstance(item, str) for item in value):
        problem = f"command must be a list of texts, as in {_EXAMPLE}, or a function of the site"
    elif any("\0" in item for item in value):
        problem = "command must not hold a null character"
    else:
        return
    raise OptionValueError(_OWNER, "command", problem)


def _variables(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    # Without the values: what stands in an environment may be a password.
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise OptionValueError(_OWNER, "env", "env must be a mapping of texts")
    for name, text in value.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise OptionValueError(_OWNER, "env", f"env has {name!r}, which can not be the name of a variable")
        if not isinstance(text, str) or "\0" in text:
            raise OptionValueError(_OWNER, "env", f"env must hold texts, and {name!r} is none; write it in quotes")


def _halt(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if value != "never" and not (isinstance(value, str) and _HALT.fullmatch(value)):
        problem = f"halt must be 'never', 'soon,fail=N' or 'now,fail=N' with N from 1, got {value!r}"
        raise OptionValueError(_OWNER, "halt", problem)


def _checkpoint(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        check_template(value)


def _sites(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(site, str) for site in value):
        raise OptionValueError(_OWNER, "sites", f"sites must be a list of texts, got {value!r}")


def _folder(value: Any) -> Any:
    return Path(value) if isinstance(value, str | os.PathLike) and str(value) else value


def _path(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, Path):
        raise OptionValueError(_OWNER, field.name, f"{field.name} must be a path, got {value!r}")


class _Flat(options.OptionsMeta):
    """Takes ``async_settings`` apart before the options are looked at."""

    def __call__(cls, /, *args: Any, **given: Any) -> Any:  # noqa: N805  # a metaclass, though ruff can not see it
        known = (*options.known_options(cls), "async_settings")
        for name in given:
            if name not in known:
                raise UnknownOptionError(_OWNER, name, known)
        settings = given.pop("async_settings", None)
        return super().__call__(*args, **_merged(given, {} if settings is None else settings))


def _merged(given: dict[str, Any], settings: Any) -> dict[str, Any]:
    if not isinstance(settings, Mapping):
        raise OptionValueError(_OWNER, "async_settings", f"async_settings must be a mapping, got {settings!r}")
    for name, value in settings.items():
        if name not in SETTINGS:
            raise UnknownOptionError(f"{_OWNER}.async_settings", str(name), tuple(SETTINGS))
        option = SETTINGS[name]
        if option in given and given[option] != value:
            problem = f"{option} is {given[option]!r}, and async_settings.{name} is {value!r}; they mean the same"
            raise OptionValueError(_OWNER, option, problem)
        given[option] = value
    return given


@attrs.frozen(kw_only=True)
class PipelineConfig(metaclass=_Flat):
    """How a pipeline runs its sites.

    The four keys of ``async_settings``, a mapping, are taken as well: ``semaphore_limit`` (which is
    ``max_concurrent_sites``), ``retry_backoff``, ``progress_reporting`` and ``error_aggregation``. The same option
    given twice, with two values, is an error.

    :param command: what to run for a site: a list of texts, in which ``{site}`` is replaced literally (never a
        shell's line), or a function of the site, sync (then in a worker thread) or async; ``False`` or an
        exception means failure, anything else success; ``None``: nothing but the checkpoint
    :param checkpoint: a :class:`sentrio.Checkpoint` that says, after a command that has succeeded, whether its
        data are good; ``{site}`` in its ``data_source`` is replaced literally by a site that can be one segment of
        a path (no separator, no ``..``, nothing of a pattern), and other sites fail before anything is run for
        them. A bad verdict makes the site ``failed`` and is not tried again; one that could not be told is
    :param sites: what ``sentrio pipeline`` runs when it is told no sites
    :param timeout: seconds for one attempt, the checkpoint included; ``None`` for no limit
    :param retry_count: attempts in all, at least 1
    :param retry_backoff: how the waits between attempts grow: ``exponential``, ``linear`` or ``fixed``
    :param retry_delay_seconds: the first wait
    :param retry_jitter: share of a wait by which chance may shorten or lengthen it, 0 to 1
    :param max_concurrent_sites: how many attempts may run at once in one call
    :param use_async: what ``UniversalRunner.run_pipeline`` does unless it is told
    :param progress_reporting: log each site that is done, with the count, at level INFO
    :param error_aggregation: true: go on after failures; false: the first failed site cancels the rest
    :param halt: ``never``, ``soon,fail=N`` (after N failed sites begin no other) or ``now,fail=N`` (also cancel
        what runs); ``None``: what ``error_aggregation`` says
    :param kill_grace_seconds: from asking a command to end to killing it
    :param tail_lines: how many lines of output a result keeps
    :param cwd: where commands run; ``None``: the working directory
    :param env: variables to be added to the environment of commands
    :param log_dir: a folder for each site's full output; ``None``: it is not kept
    :param job_log: a file for one JSON line a finished site, which ``resume`` and ``retry_failed`` need
    :raises sentrio.errors.OptionValueError: (a ``ValueError``) if a value is out of range, NaN included
    :raises sentrio.errors.UnknownOptionError: (a ``TypeError``) for an option that is not listed here
    """

    option_owner = _OWNER

    command: Command | None = attrs.field(default=None, converter=options.as_tuple, validator=_command, repr=False)
    checkpoint: Checkpoint | None = attrs.field(default=None, validator=_checkpoint)
    sites: tuple[str, ...] = attrs.field(default=(), converter=options.as_tuple, validator=_sites)
    timeout: float | None = attrs.field(default=3600, validator=options.optional(options.number(above=0)))
    retry_count: int = attrs.field(default=3, validator=options.integer(minimum=1))
    retry_backoff: str = attrs.field(default="exponential", validator=options.one_of(_BACKOFFS))
    retry_delay_seconds: float = attrs.field(default=1.0, validator=options.number(minimum=0))
    retry_jitter: float = attrs.field(default=0.0, validator=options.share())
    max_concurrent_sites: int = attrs.field(default=5, validator=options.integer(minimum=1))
    use_async: bool = attrs.field(default=True, validator=options.flag())
    progress_reporting: bool = attrs.field(default=True, validator=options.flag())
    error_aggregation: bool = attrs.field(default=True, validator=options.flag())
    halt: str | None = attrs.field(default=None, validator=options.optional(_halt))
    kill_grace_seconds: float = attrs.field(default=5.0, validator=options.number(minimum=0))
    tail_lines: int = attrs.field(default=20, validator=options.integer(minimum=0))
    cwd: Path | None = attrs.field(default=None, converter=_folder, validator=_path)
    env: Mapping[str, str] | None = attrs.field(default=None, validator=_variables, repr=False)
    log_dir: Path | None = attrs.field(default=None, converter=_folder, validator=_path)
    job_log: Path | None = attrs.field(default=None, converter=_folder, validator=_path)

    def __attrs_post_init__(self) -> None:
        if self.command is None and self.checkpoint is None:
            problem = f"command is missing: what to run for each site, as in {_EXAMPLE}, or a function of the site"
            raise OptionValueError(_OWNER, "command", problem)
        if self.halt is not None and not self.error_aggregation and self.halt != "now,fail=1":
            problem = f"halt is {self.halt!r}, and error_aggregation false means 'now,fail=1'; take one of them away"
            raise OptionValueError(_OWNER, "halt", problem)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> PipelineConfig:
        """Make a configuration of a mapping, as it stands in YAML.

        :param given: the options, or a mapping that holds them under ``pipeline``
        :raises sentrio.errors.OptionValueError: if a value is wrong, or ``given`` is no mapping
        :raises sentrio.errors.UnknownOptionError: for an option that does not exist
        """
        section: Any = given
        if isinstance(section, Mapping):
            section = section.get("pipeline", section)
        if not isinstance(section, Mapping):
            raise OptionValueError(
                _OWNER, "pipeline", f"a pipeline's options are a mapping, got {type(section).__name__}"
            )
        made: PipelineConfig = cls(**{str(name): value for name, value in section.items()})
        return made

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after a failed attempt, with jitter; the first attempt is 1."""
        factor: float = 1.0
        if self.retry_backoff == "linear":
            factor = attempt
        elif self.retry_backoff == "exponential":
            factor = math.inf if attempt > 1000 else 2.0 ** (attempt - 1)
        chance = random.uniform(1 - self.retry_jitter, 1 + self.retry_jitter) if self.retry_jitter else 1.0  # noqa: S311
        return self.retry_delay_seconds * factor * chance if self.retry_delay_seconds else 0.0

    def halting(self) -> Halt:
        """Return when failed sites end the run."""
        found = _HALT.fullmatch(self.halt or ("never" if self.error_aggregation else "now,fail=1"))
        return Halt(int(found[2]), found[1] == "now") if found else Halt()
