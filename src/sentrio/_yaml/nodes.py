"""The tree of a configuration: plain values that remember where they stand.

What an unquoted scalar means follows the core schema of YAML 1.2. YAML 1.1 reads ``no`` as false, ``1:30`` as 90
and ``2026-11-20`` as a date, each of them a well-known trap. In the core schema only ``true`` and ``false`` are
booleans, and dates and times stay text.
"""

from __future__ import annotations

__all__ = ("Key", "MappingNode", "Node", "ScalarNode", "SequenceNode", "from_plain", "resolve", "step", "to_plain")

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

# Longer numbers are beyond what anybody means, and Python refuses to convert thousands of digits.
_MOST_DIGITS = 400

# A name in a path tells where to look; one that is a page long does not.
_MOST_OF_A_NAME = 60


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
    """A key of a mapping; always text, as written."""

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
    """Return what a plain scalar means in the core schema of YAML 1.2 (specification, section 10.3).

    :raises ValueError: for a number that is too large
    """
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > _MOST_DIGITS:
            raise ValueError("the number is too large; in quotes it is text")
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number in {float("inf"), float("-inf")}:
            raise ValueError("the number is too large; in quotes it is text, and .inf is infinity")
        return number
    if special := _SPECIAL.fullmatch(text):
        return float("nan") if special.group(3) else float(f"{special.group(1)}inf")
    return text


def step(path: str, name: str) -> str:
    """Return the path of a key; what could disturb a terminal is escaped."""
    shown = name if len(name) <= _MOST_OF_A_NAME else f"{name[: _MOST_OF_A_NAME - 1]}…"
    shown = shown if shown.isprintable() and shown else repr(shown)
    return f"{path}.{shown}" if path else shown


def from_plain(value: Any) -> Node:
    """Make a tree without positions, for configurations that are not YAML; dates and times become text."""
    if isinstance(value, Mapping):
        return MappingNode(None, None, tuple((Key(None, None, str(k)), from_plain(v)) for k, v in value.items()))
    if isinstance(value, list):
        return SequenceNode(None, None, tuple(map(from_plain, value)))
    if isinstance(value, dt.date | dt.time):
        value = value.isoformat()
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
