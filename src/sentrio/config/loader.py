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

from sentrio._options import known_options
from sentrio.checkpoint.actions import make_action
from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.config.document import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    from_plain,
    parse,
    to_plain,
)
from sentrio.errors import (
    ConfigurationError,
    OptionValueError,
    Problem,
    UnknownNameError,
    UnknownOptionError,
    suggestion,
)
from sentrio.validation.validators import make_validator

T = TypeVar("T")

FILE_NAME = "sentrio.yaml"

_TOP = ("version", "defaults", "checkpoints", "pipeline")
_NOT_IN_FILES = {"name", "on_complete", "on_error", "base_dir"}
_KEYS = tuple(name for name in known_options(Checkpoint) if name not in _NOT_IN_FILES)

_VARIABLE = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)\}")


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


def _tool_table(file: Path) -> Any:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("sentrio")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError([Problem("", f"not valid TOML: {exc}", str(file))]) from exc


def parse_entry(text: str, option: str) -> str | dict[str, Any]:
    """Parse an entry of a list of validators, as it stands in YAML.

    :param option: how messages call the text
    :raises ConfigurationError: if it is neither a name nor one name with its options
    """
    builder = _Builder(option, Path())
    name, options = builder.entry(parse(text, option), option)
    builder.finish()
    return name if options is None else {name: to_plain(options)}


def parse_mapping(text: str, option: str) -> dict[str, Any]:
    """Parse a mapping, as it stands in YAML.

    :raises ConfigurationError: if it is none
    """
    node = parse(text, option)
    if not isinstance(node, MappingNode):
        raise ConfigurationError([Problem("", f"write it as 'name: value', got {text!r}", option)])
    found: dict[str, Any] = to_plain(node)
    return found


class _Builder:
    """Builds checkpoints from a tree, and collects what is wrong."""

    def __init__(self, name: str, file: Path) -> None:
        self.name, self.file = name, file
        self.problems: list[Problem] = []

    def note(self, path: str, message: str, node: Node | None) -> None:
        line, column = (None, None) if node is None else (node.line, node.column)
        self.problems.append(Problem(path, message, self.name, line, column))

    def finish(self) -> None:
        if self.problems:
            raise ConfigurationError(sorted(self.problems, key=lambda each: (each.line or 0, each.column or 0)))

    def build(self) -> Config:
        root = self._read()
        if not isinstance(root, MappingNode):
            self.note("", "a configuration is a mapping with the key `checkpoints`", root)
            self.finish()
        assert isinstance(root, MappingNode)
        self._known(root, _TOP, "")
        self._version(root)
        defaults = self._mapping(root.get("defaults"), "defaults")
        if defaults is not None:
            self._known(defaults, _KEYS, "defaults")
        checkpoints: dict[str, Checkpoint] = {}
        section = self._mapping(root.get("checkpoints"), "checkpoints")
        if root.get("checkpoints") is None:
            self.note("", "there are no `checkpoints`", root)
        for key, node in section.items if section else ():
            made = self._checkpoint(key.text, self._mapping(node, f"checkpoints.{key.text}"), defaults)
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
            return parse(self.file.read_bytes(), self.name)
        except FileNotFoundError:
            problem = "there is no such file"
        except IsADirectoryError:
            problem = f"this is a folder; name the file, as in {self.name.rstrip('/')}/{FILE_NAME}"
        except OSError as exc:
            problem = exc.strerror or str(exc)
        raise ConfigurationError([Problem("", problem, self.name)])

    def _version(self, root: MappingNode) -> None:
        node = root.get("version")
        if node is not None and not (isinstance(node, ScalarNode) and node.value == 1 and node.value is not True):
            self.note("version", "this sentrio reads version 1", node)

    def _known(self, node: MappingNode, known: tuple[str, ...], path: str) -> None:
        for key, _ in node.items:
            if key.text not in known:
                self.note(path, f"unknown key {key.text!r}{suggestion(key.text, known)}", key)

    def _mapping(self, node: Node | None, path: str) -> MappingNode | None:
        if node is None or isinstance(node, MappingNode):
            return node
        self.note(path, f"must be a mapping, got {_described(node)}", node)
        return None

    def _checkpoint(self, name: str, node: MappingNode | None, defaults: MappingNode | None) -> Checkpoint | None:
        if node is None:
            return None
        path, before = f"checkpoints.{name}", len(self.problems)
        self._known(node, _KEYS, path)
        own = {key.text: child for key, child in node.items}
        given = {key.text: child for key, child in defaults.items} if defaults else {}
        given |= own
        given = {key: child for key, child in given.items() if key in _KEYS}
        if "data_source" not in given:
            self.note(path, "`data_source` is missing: a path, or a mapping with a path", node)
        options: dict[str, Any] = {}
        for key, child in given.items():
            where = f"{path}.{key}"
            match key:
                case "validators":
                    options[key] = self._validators(child, given.get("validator_config"), where)
                case "actions":
                    options[key] = self._list(child, where, self._action)
                case "validator_config":
                    continue
                case _:
                    options[key] = to_plain(child, lambda scalar, where=where: self._expanded(scalar, where))  # type: ignore[misc]
        if len(self.problems) > before:
            return None
        try:
            return Checkpoint(name=name, base_dir=self.file.parent, **options)
        except (UnknownOptionError, OptionValueError) as exc:
            self._explain(exc, given, path, node)
        return None

    def _explain(
        self, exc: UnknownOptionError | OptionValueError, given: Mapping[str, Node], path: str, node: MappingNode
    ) -> None:
        """Point at the key that an error of the constructor is about."""
        place: Node = node
        if exc.owner == "data_source":
            place, path = given["data_source"], f"{path}.data_source"
            if isinstance(place, MappingNode):
                inner = place.get(exc.option.partition(".")[0])
                place = place.key(exc.option.partition(".")[0]) or place
                if "." in exc.option and isinstance(inner, MappingNode):
                    place = inner.key(exc.option.partition(".")[2]) or place
        elif exc.option in given:
            place, path = node.key(exc.option) or given[exc.option], f"{path}.{exc.option}"
        self.note(path, exc.problem, place)

    def _list(self, node: Node, path: str, make: Callable[[Node, str], T | None]) -> list[T]:
        if not isinstance(node, SequenceNode):
            self.note(path, f"must be a list, got {_described(node)}", node)
            return []
        made = (make(item, f"{path}[{i}]") for i, item in enumerate(node.items))
        return [item for item in made if item is not None]

    def _validators(self, node: Node, config: Node | None, path: str) -> list[Any]:
        extra = self._mapping(config, path.replace("validators", "validator_config")) if config else None
        plain: set[str] = set()

        def make(item: Node, where: str) -> Any:
            name, options = self.entry(item, where)
            if not name:
                return None
            if isinstance(item, ScalarNode):
                plain.add(name)
                options = self._mapping(extra.get(name), where) if extra and extra.get(name) else None
            return self._made(make_validator, name, options, item, where, expand=True)

        made = self._list(node, path, make)
        for key, _ in extra.items if extra else ():
            if key.text not in plain:
                problem = f"no validator is given by the name {key.text!r}{suggestion(key.text, plain)}"
                self.note(path.replace("validators", "validator_config"), problem, key)
        return made

    def _action(self, node: Node, path: str) -> Any:
        name, options = self.entry(node, path)
        # Text options are left to the action, which fills them when it runs.
        return self._made(self._make_action, name, options, node, path, expand=False) if name else None

    def _make_action(self, entry: Any) -> Any:
        return make_action(entry, self.file.parent)

    def entry(self, node: Node, path: str) -> tuple[str, MappingNode | None]:
        """Return name and options of an entry; an empty name if it is none."""
        if isinstance(node, ScalarNode):
            return node.text, None
        if isinstance(node, MappingNode) and len(node.items) == 1:
            ((key, value),) = node.items
            if isinstance(value, MappingNode):
                return key.text, value
            if isinstance(value, ScalarNode) and value.value is None:
                return key.text, MappingNode(value.line, value.column, ())
            self.note(f"{path}.{key.text}", f"options must be a mapping, got {_described(value)}", value)
            return "", None
        problem = "an entry is a name, or one name with its options, as in `range: {min: 0}`"
        if isinstance(node, MappingNode) and node.items:
            problem += f"; this one has the keys {', '.join(key.text for key, _ in node.items)}: indent the options"
        self.note(path, problem, node)
        return "", None

    def _made(
        self, make: Callable[[Any], T], name: str, options: MappingNode | None, node: Node, path: str, *, expand: bool
    ) -> T | None:
        place = node.items[0][0] if isinstance(node, MappingNode) else node
        where = f"{path}.{name}"
        before = len(self.problems)
        text = (lambda scalar: self._expanded(scalar, where)) if expand else None
        plain = to_plain(options, text) if options is not None else {}
        if len(self.problems) > before:
            return None
        try:
            return make({name: plain})
        except UnknownNameError as exc:
            self.note(path, str(exc), place)
        except (UnknownOptionError, OptionValueError) as exc:
            key = options.key(exc.option) if options is not None else None
            self.note(where, exc.problem, key or place)
        return None

    def _expanded(self, scalar: ScalarNode, path: str) -> str:
        """Fill ``${NAME}`` from the environment; ``$${NAME}`` stands for itself."""

        def value(match: re.Match[str]) -> str:
            escaped, name = match.groups()
            if escaped:
                return f"${{{name}}}"
            found = os.environ.get(name)
            if found is None:
                problem = f"environment variable {name!r} is not set; for a literal ${{{name}}} write $${{{name}}}"
                self.note(path, problem, scalar)
            return found or ""

        return _VARIABLE.sub(value, scalar.text)


def _described(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return "nothing" if node.value is None else repr(node.value)
    return "a list" if isinstance(node, SequenceNode) else "a mapping"
