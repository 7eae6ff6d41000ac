"""From ``sentrio.yaml`` to checkpoints, or to a list of everything that is wrong with it."""

from __future__ import annotations

__all__ = ("Config", "load_config", "parse_entry", "parse_mapping")

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from sentrio._environment import Environment
from sentrio._options import known_options
from sentrio.checkpoint.actions import make_action
from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.checkpoint.triggers import make_trigger
from sentrio.config.document import parse
from sentrio.config.nodes import Key, MappingNode, Node, ScalarNode, SequenceNode, from_plain, step, to_plain
from sentrio.config.plugins import load_plugin
from sentrio.errors import (
    ConfigurationError,
    OptionValueError,
    PluginError,
    Problem,
    UnknownNameError,
    UnknownOptionError,
    suggestion,
)
from sentrio.validation.validators import make_validator

T = TypeVar("T")

FILE_NAME = "sentrio.yaml"

_TOP = ("version", "plugins", "defaults", "checkpoints", "pipeline")
_NOT_IN_FILES = {"name", "on_complete", "on_error", "base_dir"}
_KEYS = tuple(name for name in known_options(Checkpoint) if name not in _NOT_IN_FILES)

# One wrong file may be wrong in every line; nobody reads further than this.
_MOST_PROBLEMS = 100

# As much as the reader of YAML takes, and a little more, so that it is the one who refuses.
_MOST_BYTES = 2 * 2**20 + 1


@attrs.frozen
class Config:
    """A configuration that was read."""

    path: Path  #: the file
    checkpoints: dict[str, Checkpoint]  #: by name, in the order of the file


def load_config(path: str | os.PathLike[str] | None = None) -> Config:
    """Read a configuration.

    :param path: a YAML file, or a ``pyproject.toml`` with a table ``tool.sentrio``; ``None``: ``sentrio.yaml``, then
        ``pyproject.toml``, in the working directory or the nearest folder above it
    :raises ConfigurationError: for everything that is wrong with it; each problem names file, line, column and key
    """
    file = Path(path) if path is not None else _search(Path.cwd())
    return _Builder(str(path if path is not None else _shown(file)), file).build()


def _shown(file: Path) -> str:
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def _search(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
        if (folder / "pyproject.toml").is_file() and _tool_table(folder / "pyproject.toml") is not None:
            return folder / "pyproject.toml"
    problem = f"there is no {FILE_NAME}, and no pyproject.toml with [tool.sentrio], in {start} or above it"
    raise ConfigurationError([Problem("", f"{problem}; `sentrio init` writes one, --config names another")])


def _bytes(file: Path) -> bytes:
    # Not read_bytes: somebody may name a device or a pipe that never ends.
    with file.open("rb") as opened:
        return opened.read(_MOST_BYTES)


def _tool_table(file: Path) -> Any:
    try:
        tool = tomllib.loads(_bytes(file).decode()).get("tool")
    except tomllib.TOMLDecodeError as exc:
        line, column = _toml_place(str(exc))
        raise ConfigurationError([Problem("", f"not valid TOML: {exc}", str(file), line, column)]) from None
    except UnicodeDecodeError as exc:
        raise ConfigurationError([Problem("", f"not UTF-8 text: byte {exc.start}", str(file))]) from None
    except RecursionError:
        raise ConfigurationError([Problem("", "nested too deeply", str(file))]) from None
    return tool.get("sentrio") if isinstance(tool, dict) else None


def _toml_place(message: str) -> tuple[int, int] | tuple[None, None]:
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    return (int(found[1]), int(found[2])) if found else (None, None)


def parse_entry(text: str, option: str) -> str | dict[str, Any]:
    """Parse an entry of a list of validators, as it stands in YAML.

    :param option: how messages call the text
    :raises ConfigurationError: if it is neither a name nor one name with its options
    """
    builder = _Builder(option, Path())
    entry = builder.entry(parse(text, option, empty="write a name, as in not_null"), "")
    builder.finish()
    assert entry is not None
    name, options = entry
    return name if options is None else {name: to_plain(options)}


def parse_mapping(text: str, option: str) -> dict[str, Any]:
    """Parse a mapping, as it stands in YAML.

    :raises ConfigurationError: if it is none
    """
    node = parse(text, option, empty="write it as 'name: value'")
    if not isinstance(node, MappingNode):
        raise ConfigurationError([Problem("", f"write it as 'name: value', got {text!r}", option)])
    found: dict[str, Any] = to_plain(node)
    return found


class _Builder:
    """Builds checkpoints from a tree, and collects what is wrong."""

    def __init__(self, name: str, file: Path) -> None:
        self.name, self.file = name, file
        self.problems: list[Problem] = []
        self.notes = 0  # repeats counted, so that each user of a bad default knows of it
        self.environment = Environment(os.environ)

    def note(self, path: str, message: str, node: Node | None) -> None:
        line, column = (None, None) if node is None else (node.line, node.column)
        problem = Problem(path, self.environment.hidden(message), self.name, line, column)
        self.notes += 1
        # What is wrong in `defaults`, or behind an alias, is met again by each that uses it.
        if problem not in self.problems:
            self.problems.append(problem)
        if len(self.problems) >= _MOST_PROBLEMS:
            self.finish()

    def finish(self) -> None:
        if not self.problems:
            return
        problems = sorted(self.problems, key=lambda each: (each.line or 0, each.column or 0))
        if len(problems) >= _MOST_PROBLEMS:
            problems.append(Problem("", "there may be more problems; these are the first", self.name))
        raise ConfigurationError(problems)

    def build(self) -> Config:
        root = self._read()
        if not isinstance(root, MappingNode):
            self.note("", "a configuration is a mapping with the key `checkpoints`", root)
            self.finish()
        assert isinstance(root, MappingNode)
        self._known(root, _TOP, "")
        self._version(root)
        self._plugins(root.get("plugins"))
        defaults = self._defaults(root.get("defaults"))
        checkpoints: dict[str, Checkpoint] = {}
        section = self._section(root.get("checkpoints"), "checkpoints")
        if section is not None and not section.items:
            self.note("", "there are no `checkpoints`", root.key("checkpoints") or root)
        for key, node in section.items if section else ():
            where = step("checkpoints", key.text)
            made = self._checkpoint(key.text, self._mapping(node, where, key), defaults)
            if made is not None:
                checkpoints[key.text] = made
        self.finish()
        return Config(self.file, checkpoints)

    def _read(self) -> Node:
        try:
            if self.file.suffix == ".toml":
                table = _tool_table(self.file)
                if table is None:
                    raise ConfigurationError([Problem("", "there is no table [tool.sentrio]", self.name)])
                return from_plain(table)
            return parse(_bytes(self.file), self.name)
        except (FileNotFoundError, NotADirectoryError):
            problem = "there is no such file"
        except IsADirectoryError:
            problem = f"this is a folder; name the file, as in {self.name.rstrip('/')}/{FILE_NAME}"
        except OSError as exc:
            problem = f"it can not be read: {exc.strerror or exc}"
        except ConfigurationError:
            raise
        except ValueError as exc:
            problem = f"this names no file: {exc}"  # a path with a null character
        raise ConfigurationError([Problem("", problem, self.name)])

    def _version(self, root: MappingNode) -> None:
        node = root.get("version")
        if node is not None and not (isinstance(node, ScalarNode) and node.value == 1 and node.value is not True):
            self.note("version", "this sentrio reads version 1", node)

    def _plugins(self, node: Node | None) -> None:
        """Import the modules that define validators and actions of the project's own."""
        if node is None or (isinstance(node, ScalarNode) and node.plain and node.value is None):
            return
        for i, item in enumerate(node.items if isinstance(node, SequenceNode) else (None,)):
            where = f"plugins[{i}]"
            if not isinstance(item, ScalarNode) or not isinstance(item.value, str):
                found = _described(item if item is not None else node)
                problem = f"must be a list of modules, as in `plugins: [my_project.rules]`, got {found}"
                self.note("plugins" if item is None else where, problem, item or node)
            elif problem := load_plugin(item.value, self.file.parent):
                self.note(where, problem, item)

    def _known(self, node: MappingNode, known: tuple[str, ...], path: str) -> None:
        for key, _ in node.items:
            if key.text not in known:
                self.note(path, f"unknown key {key.text!r}{suggestion(key.text, known)}", key)

    def _mapping(self, node: Node | None, path: str, key: Key | None = None) -> MappingNode | None:
        if node is None or isinstance(node, MappingNode):
            return node
        # Where nothing is written, the key is what a reader can see.
        place = key if key is not None and isinstance(node, ScalarNode) and not node.text else node
        self.note(path, f"must be a mapping, got {_described(node)}", place)
        return None

    def _section(self, node: Node | None, path: str) -> MappingNode | None:
        # With nothing under its key it is empty: every line there may be a comment.
        if node is None or (isinstance(node, ScalarNode) and node.plain and node.value is None):
            return MappingNode(None, None, ())
        return self._mapping(node, path)

    def _defaults(self, node: Node | None) -> dict[str, tuple[Key, Node]]:
        defaults = self._section(node, "defaults")
        if defaults is None:
            return {}
        self._known(defaults, _KEYS, "defaults")
        return {key.text: (key, child) for key, child in defaults.items if key.text in _KEYS}

    def _checkpoint(
        self, name: str, node: MappingNode | None, defaults: Mapping[str, tuple[Key, Node]]
    ) -> Checkpoint | None:
        if node is None:
            return None
        path, before = step("checkpoints", name), self.notes
        self._known(node, _KEYS, path)
        own = {key.text: (key, child) for key, child in node.items if key.text in _KEYS}
        given = {**defaults, **own}
        paths = {key: f"{path if key in own else 'defaults'}.{key}" for key in given}
        if "data_source" not in given:
            self.note(path, "`data_source` is missing: a path, or a mapping with a path", node)
        config = self._config(given, paths)
        options: dict[str, Any] = {}
        for key, (_, child) in given.items():
            where = paths[key]
            match key:
                case "validators":
                    options[key] = self._validators(child, config, where)
                case "actions":
                    options[key] = self._list(child, where, self._action)
                case "triggers":
                    options[key] = self._list(child, where, self._trigger)
                case "validator_config":
                    continue
                case _:
                    options[key] = self._filled(child, where)
        self._unused(config, given, paths)
        if self.notes > before:
            return None
        try:
            return Checkpoint(name=name, base_dir=self.file.parent, **options)
        except (UnknownOptionError, OptionValueError) as exc:
            self._explain(exc, given, paths, path, node)
        return None

    def _config(self, given: Mapping[str, tuple[Key, Node]], paths: Mapping[str, str]) -> MappingNode | None:
        if "validator_config" not in given:
            return None
        return self._mapping(given["validator_config"][1], paths["validator_config"])

    def _unused(
        self, config: MappingNode | None, given: Mapping[str, tuple[Key, Node]], paths: Mapping[str, str]
    ) -> None:
        if config is None:
            return
        entries = given["validators"][1] if "validators" in given else None
        items = entries.items if isinstance(entries, SequenceNode) else ()
        plain = {item.text for item in items if isinstance(item, ScalarNode)}
        for key, _ in config.items:
            if key.text not in plain:
                problem = f"no validator is given by the name {key.text!r} alone{suggestion(key.text, plain)}"
                self.note(paths["validator_config"], problem, key)

    def _explain(
        self,
        exc: UnknownOptionError | OptionValueError,
        given: Mapping[str, tuple[Key, Node]],
        paths: Mapping[str, str],
        path: str,
        node: MappingNode,
    ) -> None:
        """Point at the key that an error of the constructor is about."""
        place: Node = node
        if exc.owner in {"data_source", "split"} and exc.owner in given:
            place, path = given[exc.owner][1], paths[exc.owner]
            outer, _, inner = exc.option.partition(".")
            if isinstance(place, MappingNode) and (key := place.key(outer)) is not None:
                below = place.get(outer)
                place = (below.key(inner) if isinstance(below, MappingNode) else None) or key
        elif exc.option in given:
            place, path = given[exc.option][0], paths[exc.option]
        self.note(path, exc.problem, place)

    def _list(self, node: Node, path: str, make: Callable[[Node, str], T | None]) -> list[T]:
        if not isinstance(node, SequenceNode):
            self.note(path, f"must be a list, got {_described(node)}", node)
            return []
        made = (make(item, f"{path}[{i}]") for i, item in enumerate(node.items))
        return [item for item in made if item is not None]

    def _validators(self, node: Node, config: MappingNode | None, path: str) -> list[Any]:
        def make(item: Node, where: str) -> Any:
            entry = self.entry(item, where)
            if entry is None:
                return None
            name, options = entry
            if isinstance(item, ScalarNode) and config is not None and (extra := config.key(name)) is not None:
                options = self._options(config.get(name), where, extra)
            return self._made(make_validator, name, options, item, where, expand=True)

        return self._list(node, path, make)

    def _action(self, node: Node, path: str) -> Any:
        entry = self.entry(node, path)
        # Text options are left to the action, which fills them when it runs.
        return self._made(self._make_action, *entry, node, path, expand=False) if entry is not None else None

    def _make_action(self, entry: Any) -> Any:
        return make_action(entry, self.file.parent)

    def _trigger(self, node: Node, path: str) -> Any:
        entry = self.entry(node, path)
        return self._made(make_trigger, *entry, node, path, expand=True) if entry is not None else None

    def entry(self, node: Node, path: str) -> tuple[str, MappingNode | None] | None:
        """Return name and options of an entry; ``None``, with a problem noted, if it is none."""
        if isinstance(node, ScalarNode):
            return node.text, None
        if isinstance(node, MappingNode) and len(node.items) == 1:
            ((key, value),) = node.items
            options = self._options(value, step(path, key.text), key)
            return None if options is None else (key.text, options)
        problem = "an entry is a name, or one name with its options, as in `range: {min: 0}`"
        if isinstance(node, MappingNode) and node.items:
            problem += f"; this one has the keys {', '.join(key.text for key, _ in node.items)}: indent the options"
        self.note(path, problem, node)
        return None

    def _options(self, node: Node | None, path: str, key: Key) -> MappingNode | None:
        """Return the options under a name; none if nothing stands there."""
        if isinstance(node, ScalarNode) and node.plain and node.value is None:
            return MappingNode(key.line, key.column, ())
        if not isinstance(node, MappingNode):
            self.note(path, f"options must be a mapping, got {_described(node)}", node)
            return None
        return node

    def _made(
        self, make: Callable[[Any], T], name: str, options: MappingNode | None, node: Node, path: str, *, expand: bool
    ) -> T | None:
        place = node.items[0][0] if isinstance(node, MappingNode) else node
        where = step(path, name)
        before = self.notes
        plain = {} if options is None else self._filled(options, where) if expand else to_plain(options)
        if self.notes > before:
            return None
        try:
            return make({name: plain})
        except (UnknownNameError, PluginError) as exc:
            self.note(path, str(exc), place)
        except (UnknownOptionError, OptionValueError) as exc:
            key = options.key(exc.option) if options is not None else None
            self.note(where, exc.problem, key or place)
        return None

    def _filled(self, node: Node, path: str) -> Any:
        """Return the plain value of a node, with ``${NAME}`` filled in."""

        def fill(scalar: ScalarNode) -> str:
            text, problems = self.environment.fill(scalar.text)
            for problem in problems:
                self.note(path, problem, scalar)
            return text

        return to_plain(node, fill)


def _described(node: Node | None) -> str:
    if isinstance(node, ScalarNode):
        shown = repr(node.value)
        return "nothing" if node.value is None else shown if len(shown) <= 80 else f"{shown[:77]}..."
    return "a list" if isinstance(node, SequenceNode) else "a mapping"
