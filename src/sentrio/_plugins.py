"""Names of kinds of objects: built-in ones, those of imported modules, and those of installed packages.

An installed package offers a class in an entry-point group such as ``sentrio.validators``. It is imported when
a name is asked for that is not built in, and not before: what is installed costs nothing until it is used.
"""

from __future__ import annotations

__all__ = ("Registry",)

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from sentrio.errors import OptionValueError, PluginError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes of one kind by their names.

    :param kind: how messages call one, as in ``validator``; the entry-point group is ``sentrio.<kind>s``
    :param base: what a class must inherit from
    :param names_of: returns the names of a class; none for one that is only a base of others
    """

    def __init__(self, kind: str, base: type, names_of: Callable[[type[T]], Iterable[str]]) -> None:
        self.kind, self.base, self.names_of = kind, base, names_of
        self.group = f"sentrio.{kind}s"
        self._built_in: dict[str, type[T]] = {}
        self._added: dict[str, type[T]] = {}
        self._broken: dict[str, PluginError] = {}

    def build_in(self, classes: Iterable[type[T]]) -> None:
        """Add classes of sentrio's own, whose names nobody else can take."""
        self._built_in |= {name: cls for cls in classes for name in self.names_of(cls)}

    def add(self, cls: type[T]) -> None:
        """Add a class; a new definition replaces an older one of the same place, as in a notebook.

        :raises OptionValueError: if its name is built in, or belongs to a class of another place
        """
        for name in self.names_of(cls):
            other = self._built_in.get(name) or self._added.get(name)
            if other is not None and _place(other) != _place(cls):
                whose = "is built in" if name in self._built_in else f"belongs to {_place(other)}"
                problem = f"the {self.kind} name {name!r} {whose}; give {_place(cls)} another one"
                raise OptionValueError(name, "name", problem)
            self._added[name] = cls

    def adopt(self, module: ModuleType) -> None:
        """Add the classes that a module defines.

        :raises OptionValueError: if a name is taken
        """
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, self.base) and value.__module__ == module.__name__:
                self.add(cast("type[T]", value))

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted; entry points are listed and not imported."""
        offered = (point.name for point in entry_points(group=self.group))
        return tuple(sorted({*self._built_in, *self._added, *offered}))

    def find(self, name: str) -> type[T]:
        """Return the class of a name.

        :raises UnknownNameError: if there is none
        :raises PluginError: if a package offers it, and it can not be used
        """
        found = self._built_in.get(name) or self._added.get(name)
        if found is not None:
            return found
        points = tuple(entry_points(group=self.group, name=name))
        if not points:
            installed = {point.value for point in entry_points(group=self.group)}
            broken = tuple(str(fault) for value, fault in self._broken.items() if value in installed)
            raise UnknownNameError(self.kind, name, self.names(), broken)
        return self._loaded(name, points)

    def _loaded(self, name: str, points: tuple[EntryPoint, ...]) -> type[T]:
        point = points[0]
        # One package may be found twice, installed and as the sources of an editable install.
        if len({(_package(each), each.value) for each in points}) > 1:
            others = ", ".join(sorted({_package(each) for each in points}))
            raise self._fault(point, f"several packages offer it: {others}; uninstall all but one")
        try:
            loaded: Any = point.load()
        except (Exception, SystemExit) as exc:  # somebody's module may raise anything
            # A module offers more names than those of its entry points, and they will be asked for.
            fault = self._broken[point.value] = self._fault(point, f"importing it raised {type(exc).__name__}: {exc}")
            raise fault from exc
        self._broken.pop(point.value, None)
        if isinstance(loaded, ModuleType):
            self.adopt(loaded)
            loaded = self._added.get(name, loaded)
        if not (isinstance(loaded, type) and issubclass(loaded, self.base)):
            raise self._fault(point, f"it is {_described(loaded)}, not a subclass of {self.base.__name__}")
        cls = self._added[name] = cast("type[T]", loaded)
        return cls

    def _fault(self, point: EntryPoint, problem: str) -> PluginError:
        return PluginError(self.kind, point.name, _package(point), f"{self.group}: {point.value}", problem)


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


def _described(value: object) -> str:
    return f"a module without {value.__name__!r}" if isinstance(value, ModuleType) else repr(value)
