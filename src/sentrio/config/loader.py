"""From ``sentrio.yaml`` to checkpoints, or to a list of everything that is wrong with it."""

from __future__ import annotations

__all__ = ("Config", "examine_config", "load_config", "parse_entry", "parse_mapping")

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from sentrio._options import known_options
from sentrio._yaml.document import parse
from sentrio._yaml.nodes import Key, MappingNode, Node, ScalarNode, SequenceNode, step, to_plain
from sentrio._yaml.reader import Reader, described, tool_table
from sentrio.checkpoint.actions import make_action
from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.checkpoint.triggers import make_trigger
from sentrio.config.plugins import load_plugin, look_in
from sentrio.errors import (
    ConfigurationError,
    OptionValueError,
    PluginError,
    Problem,
    UnknownNameError,
    UnknownOptionError,
    suggestion,
)
from sentrio.pipeline.config import PipelineConfig
from sentrio.pipeline.file import make_config
from sentrio.validation.validators import make_validator

T = TypeVar("T")

FILE_NAME = "sentrio.yaml"

_TOP = ("version", "plugins", "defaults", "checkpoints", "pipeline")
_NOT_IN_FILES = {"name", "on_complete", "on_error", "base_dir"}
_STRATEGIES = {"ConcurrentStrategy", "PipelineStrategy", "SequentialStrategy"}
_ANY_DATA = "data.csv"
_KEYS = tuple(name for name in known_options(Checkpoint) if name not in _NOT_IN_FILES)


@attrs.frozen
class Config:
    """A configuration that was read."""

    path: Path  #: the file
    checkpoints: dict[str, Checkpoint]  #: by name, in the order of the file
    pipeline: PipelineConfig | None = None  #: what ``sentrio pipeline`` runs, if there is such a section


def load_config(path: str | os.PathLike[str] | None = None) -> Config:
    """Read a configuration.

    :param path: a YAML file, or a ``pyproject.toml`` with a table ``tool.sentrio``; ``None``: ``sentrio.yaml``, then
        ``pyproject.toml``, in the working directory or the nearest folder above it
    :raises ConfigurationError: for everything that is wrong with it; each problem names file, line, column and key
    """
    builder = _builder(path)
    config = builder.build()
    builder.finish()
    return config


def examine_config(
    path: str | os.PathLike[str] | None = None,
) -> tuple[Config, list[Problem], Mapping[str, list[Problem]]]:
    """Read a configuration as far as it can be read, and tell everything that is wrong with it.

    :param path: as :func:`load_config` has it
    :return: what could be made; why something could not; and what is wrong with the checkpoints that were made, as
        far as can be told without reading data, by their names
    :raises ConfigurationError: if there is no such file, or nothing can be made of it
    """
    builder = _builder(path)
    return builder.build(), builder.problems, builder.faults


def _builder(path: str | os.PathLike[str] | None) -> _Builder:
    file = Path(path) if path is not None else _search(Path.cwd())
    return _Builder(str(path if path is not None else _shown(file)), file)


def _shown(file: Path) -> str:
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def _search(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
        if (folder / "pyproject.toml").is_file() and tool_table(folder / "pyproject.toml") is not None:
            return folder / "pyproject.toml"
    problem = f"there is no {FILE_NAME}, and no pyproject.toml with [tool.sentrio], in {start} or above it"
    raise ConfigurationError([Problem("", f"{problem}; `sentrio init` writes one, --config names another")])


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


def _entry_path(path: str, name: str) -> str:
    return path if "://" in name else step(path, name)  # a URL in the wrong place may be secret


class _Builder(Reader):
    """Builds checkpoints from a tree, and collects what is wrong."""

    def __init__(self, name: str, file: Path) -> None:
        super().__init__(name, file)
        self._broken: list[str] = []  # plugins, whose names nobody knows
        self.faults: defaultdict[str, list[Problem]] = defaultdict(list)  #: of checkpoints that were made

    def build(self) -> Config:
        root = self.read(example=FILE_NAME)
        if not isinstance(root, MappingNode):
            self.note("", "a configuration is a mapping with the key `checkpoints`", root)
            self.finish()
        assert isinstance(root, MappingNode)
        self.known(root, _TOP, "")
        self._version(root)
        self._plugins(root.get("plugins"))
        defaults = self._defaults(root.get("defaults"))
        section, of_pipeline = self.section(root.get("checkpoints"), "checkpoints"), root.key("pipeline")
        if section is not None and not section.items and of_pipeline is None:
            self.note("", "there are no `checkpoints`", root.key("checkpoints") or root)
        made: dict[str, Checkpoint | None] = {}
        for key, node in section.items if section else ():
            where = step("checkpoints", key.text)
            made[key.text] = self._checkpoint(key.text, self.mapping(node, where, key), defaults)
        pipeline = None
        if of_pipeline is not None:
            folder = self.file.absolute().parent
            pipeline = make_config(self, root.get("pipeline"), of_pipeline, made, cwd=folder)
        return Config(self.file, {name: each for name, each in made.items() if each is not None}, pipeline)

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
                found = described(item if item is not None else node)
                problem = f"must be a list of modules, as in `plugins: [my_project.rules]`, got {found}"
                self.note("plugins" if item is None else where, problem, item or node)
            elif problem := load_plugin(item.value, self.file.parent):
                self.note(where, problem, item)
                self._broken.append(problem.partition("; ")[0])

    def _defaults(self, node: Node | None) -> dict[str, tuple[Key, Node]]:
        defaults = self.section(node, "defaults")
        if defaults is None:
            return {}
        self.known(defaults, _KEYS, "defaults")
        return {key.text: (key, child) for key, child in defaults.items if key.text in _KEYS}

    def _checkpoint(
        self, name: str, node: MappingNode | None, defaults: Mapping[str, tuple[Key, Node]]
    ) -> Checkpoint | None:
        if node is None:
            return None
        path, before = step("checkpoints", name), self.notes
        self.known(node, _KEYS, path)
        own = {key.text: (key, child) for key, child in node.items if key.text in _KEYS}
        given = {**defaults, **own}
        paths = {key: f"{path if key in own else 'defaults'}.{key}" for key in given}
        if "data_source" not in given:
            self.note(path, "`data_source` is missing: a path, or a mapping with a path", node)
        config = self._config(given, paths)
        options: dict[str, Any] = {}
        for key, (_, child) in given.items():
            where, earlier = paths[key], self.notes
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
                    filled = self.filled(child, where)
                    if self.notes == earlier:
                        options[key] = filled
        self._unused(config, given, paths)

        def make(options: dict[str, Any]) -> Checkpoint:
            # Whose data are in doubt, its other options may be wrong all the same.
            return Checkpoint(name=name, base_dir=self.file.parent, **{"data_source": _ANY_DATA, **options})

        def locate(exc: UnknownOptionError | OptionValueError) -> tuple[tuple[str, ...], str, Node]:
            return _located(exc, given, paths, path, node)

        made = self.made(make, options, locate, incomplete=self.notes > before)
        if made is None or self.notes > before:
            return None
        for (key, number), text in made._faults():
            place, where = given.get(key, (None, node))[1], f"checkpoints.{name}"
            if isinstance(place, SequenceNode) and place.items:
                place, where = place.items[number], f"{paths[key]}[{number}]"
            self.faults[name].append(self.problem(where, text, place))
        return made

    def _config(self, given: Mapping[str, tuple[Key, Node]], paths: Mapping[str, str]) -> MappingNode | None:
        if "validator_config" not in given:
            return None
        return self.mapping(given["validator_config"][1], paths["validator_config"])

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

    def _list(self, node: Node, path: str, make: Callable[[Node, str], T | None]) -> list[T]:
        if not isinstance(node, SequenceNode):
            self.note(path, f"must be a list, got {described(node)}", node)
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
        # What stands where options should be may be the URL of a webhook.
        entry = self.entry(node, path, secret=True)
        # Text options are left to the action, which fills them when it runs.
        return self._made(self._make_action, *entry, node, path, expand=False) if entry is not None else None

    def _make_action(self, entry: Any) -> Any:
        if "custom" in entry:
            look_in(self.file.parent)  # a callback of the project's own
        return make_action(entry, self.file.parent)

    def _trigger(self, node: Node, path: str) -> Any:
        entry = self.entry(node, path)
        return self._made(make_trigger, *entry, node, path, expand=True) if entry is not None else None

    def entry(self, node: Node, path: str, *, secret: bool = False) -> tuple[str, MappingNode | None] | None:
        """Return name and options of an entry; ``None``, with a problem noted, if it is none.

        :param secret: show nothing of what stands in the place of options
        """
        if isinstance(node, ScalarNode):
            return node.text, None
        if isinstance(node, MappingNode) and len(node.items) == 1:
            ((key, value),) = node.items
            options = self._options(value, _entry_path(path, key.text), key, secret=secret)
            return None if options is None else (key.text, options)
        problem = "an entry is a name, or one name with its options, as in `range: {min: 0}`"
        if isinstance(node, MappingNode) and node.items:
            problem += f"; this one has the keys {', '.join(key.text for key, _ in node.items)}: indent the options"
        self.note(path, problem, node)
        return None

    def _options(self, node: Node | None, path: str, key: Key, *, secret: bool = False) -> MappingNode | None:
        """Return the options under a name; none if nothing stands there."""
        if isinstance(node, ScalarNode) and node.plain and node.value is None:
            return MappingNode(key.line, key.column, ())
        if not isinstance(node, MappingNode):
            got = "something else" if secret else described(node)
            self.note(path, f"options must be a mapping, got {got}", node)
            return None
        return node

    def _made(
        self, make: Callable[[Any], T], name: str, options: MappingNode | None, node: Node, path: str, *, expand: bool
    ) -> T | None:
        place = node.items[0][0] if isinstance(node, MappingNode) else node
        where = _entry_path(path, name)
        before = self.notes
        plain = {} if options is None else self.filled(options, where) if expand else to_plain(options)
        if self.notes > before:
            return None

        def locate(exc: UnknownOptionError | OptionValueError) -> tuple[tuple[str, ...], str, Node]:
            key = options.key(exc.option) if options is not None else None
            return (() if key is None else (exc.option,)), where, key or place

        try:
            return self.made(lambda given: make({name: given}), plain, locate)
        except PluginError as exc:
            self.note(path, str(exc), place)
        except UnknownNameError as exc:
            broken = (*exc.broken, *self._broken)
            self.note(path, str(UnknownNameError(exc.kind, exc.name, exc.known, broken)), place)
        return None


def _located(
    exc: UnknownOptionError | OptionValueError,
    given: Mapping[str, tuple[Key, Node]],
    paths: Mapping[str, str],
    path: str,
    node: MappingNode,
) -> tuple[tuple[str, ...], str, Node]:
    """Tell what an error of a checkpoint's constructor is about: keys, path and place."""
    if exc.owner in {"data_source", "split"} and exc.owner in given:
        place: Node = given[exc.owner][1]
        outer, _, inner = exc.option.partition(".")
        keys: tuple[str, ...] = (exc.owner,)
        if isinstance(place, MappingNode):
            key, below = place.key(outer), place.get(outer)
            innermost = below.key(inner) if isinstance(below, MappingNode) else None
            if innermost is not None:
                keys = (exc.owner, outer, inner)
            elif key is not None or "is missing" in exc.problem:
                keys = (exc.owner, outer)
            place = innermost or key or place
        return keys, paths[exc.owner], place
    if exc.owner in _STRATEGIES and "execution_strategy" in given:
        place = given["execution_strategy"][1]
        below = place.items[0][1] if isinstance(place, MappingNode) and place.items else None
        place = (below.key(exc.option) if isinstance(below, MappingNode) else None) or place
        return ("execution_strategy",), paths["execution_strategy"], place
    if exc.option in given:
        return (exc.option,), paths[exc.option], given[exc.option][0]
    return (), path, node
