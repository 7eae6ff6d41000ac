"""Objects with a configuration: what actions and triggers share."""

from __future__ import annotations

__all__ = ("Configured",)

import dataclasses
from abc import ABC
from typing import Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin

import attrs

from sentrio._options import known_options
from sentrio.errors import OptionValueError, UnknownOptionError

ConfigT = TypeVar("ConfigT")


class Configured(ABC, Generic[ConfigT]):
    """Made as ``Class(config)`` or ``Class(option=value, ...)``.

    The class of the configuration is the type parameter: ``class OpenTicket(AsyncBaseAction[TicketConfig])``.
    """

    #: what every configuration of this kind derives from
    _config_base: ClassVar[type]
    _config_class: ClassVar[type]

    _given: ConfigT

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__dict__.get("__orig_bases__", ()):
            origin, found = get_origin(base), next(iter(get_args(base)), None)
            if isinstance(origin, type) and issubclass(origin, Configured) and isinstance(found, type):
                cls._config_class = found

    def __init__(self, config: ConfigT | None = None, **given: Any) -> None:
        owner = type(self).__name__
        if config is not None and given:
            raise OptionValueError(owner, "config", f"give a config or options, not both: got {', '.join(given)}")
        if config is not None and not (attrs.has(type(config)) or dataclasses.is_dataclass(config)):
            wanted = self._config_class.__name__
            problem = f"config must be a {wanted}, got a {type(config).__name__}; options are given by their names"
            raise OptionValueError(owner, "config", problem)
        made: Any = self._made_of(given) if config is None else config
        kind = self._config_base.__name__
        if dataclasses.is_dataclass(type(made)) or not isinstance(made, self._config_base):
            problem = (
                f"{type(made).__name__} must be a subclass of {kind} made with @attrs.define(kw_only=True), "
                "not with @dataclass"
            )
            raise OptionValueError(owner, "config", problem)
        if not isinstance(made, self._config_class):
            problem = f"config must be a {self._config_class.__name__}, got a {type(made).__name__}"
            raise OptionValueError(owner, "config", problem)
        self._given = cast("ConfigT", made)

    @classmethod
    def _default_config(cls) -> Any:
        """Make the configuration of an object that was made without one. Overriding it is optional."""
        return cls._config_class()

    def _made_of(self, given: dict[str, Any]) -> Any:
        own = type(self)._default_config.__func__  # type: ignore[attr-defined]  # a class method's
        if own is Configured._default_config.__func__:  # type: ignore[attr-defined]
            return self._config_class(**given)
        default = self._default_config()
        if given and attrs.has(type(default)):
            known = known_options(type(default))
            for name in given:
                if name not in known:
                    raise UnknownOptionError(type(self).__name__, name, known)
            return attrs.evolve(default, **given)
        return default
