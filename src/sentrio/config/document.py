"""YAML with positions, after the core schema of YAML 1.2.

PyYAML scans and composes; what a plain scalar means is decided here. YAML 1.1 reads ``no`` as false, ``1:30`` as
90 and ``2026-11-20`` as a date, each of them a well-known trap. In the core schema only ``true`` and ``false``
are booleans, and dates and times stay text. Every node knows its line and column.
"""

from __future__ import annotations

__all__ = ("Key", "MappingNode", "Node", "ScalarNode", "SequenceNode", "from_plain", "parse", "to_plain")

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import yaml

from sentrio.errors import ConfigurationError, Problem

# A configuration of this size is no configuration; and aliases that expand to more nodes are a bomb.
_MOST_BYTES = 2 * 2**20
_MOST_NODES = 100_000

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@attrs.frozen
class Node:
    """A piece of a document; line and column count from 1, and are ``None`` outside YAML."""

    line: int | None
    column: int | None


@attrs.frozen
class ScalarNode(Node):
    """A single value."""

    text: str  #: as written, without quotes
    value: Any  #: what the core schema makes of it
    plain: bool  #: written without quotes


@attrs.frozen
class Key(Node):
    """A key of a mapping; always text."""

    text: str


@attrs.frozen
class MappingNode(Node):
    """Keys and values, in the order of the document."""

    items: tuple[tuple[Key, Node], ...]

    def get(self, name: str) -> Node | None:
        """Return the value of a key, or ``None``."""
        return next((node for key, node in self.items if key.text == name), None)

    def key(self, name: str) -> Key | None:
        """Return a key with its position, or ``None``."""
        return next((key for key, _ in self.items if key.text == name), None)


@attrs.frozen
class SequenceNode(Node):
    """A list."""

    items: tuple[Node, ...]


def resolve(text: str) -> Any:
    """Return what a plain scalar means in the core schema of YAML 1.2 (specification, section 10.3)."""
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 400:
            return text  # beyond every number anybody means; Python refuses to convert thousands of digits
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if special := _SPECIAL.fullmatch(text):
        return float("nan") if special.group(3) else float(f"{special.group(1)}inf")
    return text


def parse(text: str | bytes, file: str) -> Node:
    """Parse one document.

    :param file: how messages call it
    :raises ConfigurationError: for everything that is wrong with it, in the order of the file
    """
    if len(text) > _MOST_BYTES:
        raise ConfigurationError([Problem("", f"the file is larger than {_MOST_BYTES // 2**20} MiB", file)])
    converter = _Converter(file)
    try:
        loader = yaml.BaseLoader(text)
        try:
            root = loader.get_node() if loader.check_node() else None
            if loader.check_node():
                second = loader.get_node()
                where = None if second is None else second.start_mark
                converter.note("", "a second document begins here; a file holds exactly one", where)
        finally:
            loader.dispose()
        if root is None:
            raise ConfigurationError([Problem("", "the file is empty; `sentrio init` writes an example", file)])
        node = converter.convert(root, "")
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        message = "; ".join(filter(None, (exc.context, exc.problem)))
        converter.note("", f"not valid YAML: {message}", mark)
    except yaml.YAMLError as exc:
        converter.note("", f"not valid YAML: {' '.join(str(exc).split())}", None)
    except UnicodeDecodeError as exc:
        converter.note("", f"not UTF-8 text: {exc.reason} at byte {exc.start}", None)
    except RecursionError:
        converter.note("", "nested too deeply", None)
    except _TooMuch:
        converter.note("", f"its aliases expand to more than {_MOST_NODES:,} values", None)
    if converter.problems:
        raise ConfigurationError(sorted(converter.problems, key=lambda each: (each.line or 0, each.column or 0)))
    return node


class _TooMuch(Exception):
    pass


@attrs.define
class _Converter:
    file: str
    problems: list[Problem] = attrs.field(factory=list)
    seen: int = 0
    above: list[int] = attrs.field(factory=list)

    def note(self, path: str, message: str, mark: Any) -> None:
        """Remember a problem."""
        line, column = (None, None) if mark is None else (mark.line + 1, mark.column + 1)
        self.problems.append(Problem(path, message, self.file, line, column))

    def convert(self, node: yaml.Node, path: str) -> Node:
        self.seen += 1
        if self.seen > _MOST_NODES:
            raise _TooMuch
        mark = node.start_mark
        place = (mark.line + 1, mark.column + 1)
        if id(node) in self.above:
            self.note(path, "an alias refers to what contains it", mark)
            return ScalarNode(*place, "", None, plain=True)
        self.above.append(id(node))
        try:
            return self._convert(node, path, place)
        finally:
            self.above.pop()

    def _convert(self, node: yaml.Node, path: str, place: tuple[int, int]) -> Node:
        if node.tag not in _TAGS[type(node)]:
            self.note(path, f"tag {node.tag!r} is not supported; write the plain value", node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            plain = node.style is None and node.tag == _TEXT_TAG
            return ScalarNode(*place, node.value, resolve(node.value) if plain else node.value, plain)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for i, item in enumerate(node.value):
                child = f"{path}[{i}]"
                if isinstance(item, yaml.ScalarNode) and item.style is None and not item.value:
                    self.note(child, "the item is empty", item.start_mark)
                items.append(self.convert(item, child))
            return SequenceNode(*place, tuple(items))
        return MappingNode(*place, tuple(self._pairs(node, path)))

    def _pairs(self, node: yaml.Node, path: str) -> Iterator[tuple[Key, Node]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            mark = key.start_mark
            if not isinstance(key, yaml.ScalarNode):
                self.note(path, "a key must be text", mark)
                continue
            name = key.value
            child = f"{path}.{name}" if path else name
            if name == "<<" and key.style is None:
                self.note(child, "merge keys are not part of YAML 1.2; use `defaults`", mark)
            elif name in seen:
                self.note(child, f"the key {name!r} is given twice, first in line {seen[name]}", mark)
                continue
            seen[name] = mark.line + 1
            yield Key(mark.line + 1, mark.column + 1, name), self.convert(value, child)


_TEXT_TAG = "tag:yaml.org,2002:str"
_TAGS: dict[type, set[str]] = {
    # "!" is how a quoted scalar says that it is no plain one.
    yaml.ScalarNode: {_TEXT_TAG, "!"},
    yaml.SequenceNode: {"tag:yaml.org,2002:seq", "!"},
    yaml.MappingNode: {"tag:yaml.org,2002:map", "!"},
}


def from_plain(value: Any) -> Node:
    """Make a tree without positions, for configurations that are not YAML."""
    if isinstance(value, Mapping):
        return MappingNode(None, None, tuple((Key(None, None, str(k)), from_plain(v)) for k, v in value.items()))
    if isinstance(value, list):
        return SequenceNode(None, None, tuple(map(from_plain, value)))
    return ScalarNode(None, None, str(value), value, plain=not isinstance(value, str))


def to_plain(node: Node, text: Callable[[ScalarNode], Any] | None = None) -> Any:
    """Return the plain value of a tree.

    :param text: maps scalars that are text
    """
    if isinstance(node, MappingNode):
        return {key.text: to_plain(child, text) for key, child in node.items}
    if isinstance(node, SequenceNode):
        return [to_plain(child, text) for child in node.items]
    assert isinstance(node, ScalarNode)
    return text(node) if text is not None and isinstance(node.value, str) else node.value
