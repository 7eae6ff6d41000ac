"""YAML with positions, after the core schema of YAML 1.2.

PyYAML scans and parses into events; the tree is built here, without recursion, so that depth, aliases and
repeated keys are ours to judge. PyYAML's own scanner is used, never libyaml's, although that is faster: the
two differ in what they accept, and a file must mean the same on every machine.

Keys are text as written, so that ``null: {column: age}`` names a validator. Merge keys (``<<``) are not part of
YAML 1.2 and are refused.
"""

from __future__ import annotations

__all__ = ("EMPTY", "parse")

import re
from collections.abc import Sequence
from typing import Any

import attrs
import yaml

from sentrio._yaml.nodes import Key, MappingNode, Node, ScalarNode, SequenceNode, resolve, step
from sentrio.errors import ConfigurationError, Problem, suggestion

# A configuration beyond these is none: it is a wrong file, or made to keep a reader busy.
_MOST_BYTES = 2 * 2**20
_MOST_NODES = 100_000  # aliases count as what they stand for
_MOST_DEPTH = 100

_BREAK = re.compile(r"\r\n|\r|\n")
# YAML's printable characters, less a byte order mark in the middle, and less U+0085, U+2028 and U+2029: these
# were line breaks in YAML 1.1, PyYAML still folds them, and in YAML 1.2 they are ordinary characters.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")

_CORE = "tag:yaml.org,2002:"
_KINDS: dict[str, tuple[type, ...]] = {"null": (type(None),), "bool": (bool,), "int": (int,), "float": (float, int)}

#: pieces of PyYAML's messages, and what to do about them
_HINTS = (
    (r"found character '\\t'", "a tab can not indent or separate; use spaces"),
    (r"found character '(?P<c>.)'", "text that begins with {c} must stand in quotes"),
    (r"mapping values are not allowed here", "text that contains ': ' must stand in quotes"),
    (r"^while scanning an alias", "text that begins with * must stand in quotes"),
    (r"^while scanning an anchor", "text that begins with & must stand in quotes"),
    (r"tag handle|^while (scanning|parsing) a (tag|node)", "text that begins with ! must stand in quotes"),
    (r"could not find expected ':'", "a key is followed by a colon and a space"),
    (r"expected <block end>", "check the indentation: keys of one mapping, or items of one list, line up"),
    (r"unknown escape character", "in double quotes a backslash is written twice, in single quotes once"),
    (r"^while scanning a quoted scalar.*unexpected end", "the quote is never closed"),
    (r"expected ',' or '[\]}]'", "the bracket is not closed"),
)


#: what to say of an empty ``sentrio.yaml``
EMPTY = "the file is empty; `sentrio init` writes an example"


def parse(text: str | bytes, file: str, *, empty: str = EMPTY, only: str | None = None) -> Node:
    """Parse one document.

    :param file: how messages call it
    :param empty: what to say if there is nothing in it
    :param only: the top-level key that the caller reads: others may hold what this reader refuses, such as tags
    :raises ConfigurationError: for everything that is wrong with it, in the order of the file
    """
    builder = _Builder(file)
    try:
        root = builder.build(builder.decoded(text))
    except _Stop:
        root = None
    if root is not None and only is not None:
        builder.problems = [each for each in builder.problems if not each.path or _is_below(each.path, only)]
    if root is None and not builder.problems:
        builder.problems.append(Problem("", empty, file))
    if builder.problems:
        raise ConfigurationError(sorted(builder.problems, key=lambda each: (each.line or 0, each.column or 0)))
    assert root is not None
    return root


def _is_below(path: str, name: str) -> bool:
    return path == name or path.startswith((f"{name}.", f"{name}["))


class _Stop(Exception):
    """What was noted makes the rest meaningless."""


@attrs.define
class _Frame:
    """A list or mapping that is being read."""

    path: str
    place: tuple[int, int]
    anchor: str | None
    is_list: bool
    items: list[Any] = attrs.field(factory=list)
    seen: dict[str, int] = attrs.field(factory=dict)
    awaits_value: bool = False
    key: Key | None = None  # ``None`` while a value is awaited: its key was refused
    size: int = 1

    def child_path(self) -> str:
        if self.is_list:
            return f"{self.path}[{len(self.items)}]"
        return self.path if self.key is None else step(self.path, self.key.text)

    def node(self) -> Node:
        make: Any = SequenceNode if self.is_list else MappingNode
        built: Node = make(*self.place, tuple(self.items))
        return built


def _place(mark: Any) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


@attrs.define
class _Builder:
    file: str
    problems: list[Problem] = attrs.field(factory=list)
    frames: list[_Frame] = attrs.field(factory=list)
    anchors: dict[str, tuple[Node, int]] = attrs.field(factory=dict)
    root: Node | None = None

    def note(self, path: str, message: str, place: tuple[int, int] | tuple[None, None]) -> None:
        self.problems.append(Problem(path, message, self.file, *place))

    def stop(self, message: str, place: tuple[int, int] | tuple[None, None]) -> _Stop:
        self.note(self.frames[-1].child_path() if self.frames else "", message, place)
        return _Stop()

    def decoded(self, given: str | bytes) -> str:
        """Return text that PyYAML can not misread."""
        if len(given) > _MOST_BYTES:
            raise self.stop(f"the file is larger than {_MOST_BYTES // 2**20} MiB", (None, None))
        text = (given if isinstance(given, str) else self._utf8(given)).removeprefix("\ufeff")
        if found := _FORBIDDEN.search(text):
            code = ord(found.group())
            written = f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
            problem = f"the character U+{code:04X} must not stand in YAML; in double quotes write {written}"
            raise self.stop(problem, _position(text[: found.start()]))
        return text

    def _utf8(self, given: bytes) -> str:
        if given.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise self.stop("the file is UTF-16 text; save it as UTF-8", (1, 1))
        try:
            return given.decode()
        except UnicodeDecodeError as exc:
            problem = f"byte 0x{given[exc.start]:02x} is not UTF-8 text; save the file as UTF-8"
            raise self.stop(problem, _position(given[: exc.start].decode())) from None

    def build(self, text: str) -> Node | None:
        """Read the events of the one document."""
        loader: Any = yaml.BaseLoader(text)
        documents = 0
        try:
            while loader.check_event():
                event = loader.get_event()
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    self._document(event, documents)
                self._take(event)
        except yaml.MarkedYAMLError as exc:
            raise self._syntax_error(exc) from None
        except (ValueError, OverflowError):
            # What PyYAML leaves unchecked: escapes beyond Unicode, a version of a thousand digits.
            place = _place(loader.get_mark())
            raise self.stop("not valid YAML: there is no such character or number", place) from None
        finally:
            loader.dispose()
        return self.root

    def _document(self, event: yaml.DocumentStartEvent, number: int) -> None:
        place = _place(event.start_mark)
        if number > 1:
            raise self.stop("a second document begins here; a file holds exactly one", place)
        if event.version not in {None, (1, 2)}:
            self.note("", "the file is read as YAML 1.2; take the %YAML line away", place)

    def _syntax_error(self, exc: yaml.MarkedYAMLError) -> _Stop:
        message = "; ".join(filter(None, (exc.context, exc.problem)))
        mark: Any = exc.problem_mark or exc.context_mark
        if exc.context_mark is not None and exc.context_mark.line != mark.line:
            if "unexpected end of stream" in message:
                mark = exc.context_mark
            else:
                message += f" (it begins in line {exc.context_mark.line + 1})"
        for pattern, hint in _HINTS:
            if found := re.search(pattern, message):
                message += f": {hint.format(**found.groupdict())}"
                break
        place = _place(mark)
        if "<stream end>" in message and self.frames:
            # Only brackets reach the end: what is indented ends by itself.
            message, place = "the bracket that opens here is not closed", self.frames[-1].place
        self.note("", f"not valid YAML: {message}", place)
        return _Stop()

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event), 1, event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            frame = self.frames.pop()
            self._add(frame.node(), frame.size, frame.anchor)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        place = _place(event.start_mark)
        if len(self.frames) == _MOST_DEPTH:
            self.note("", f"nested deeper than {_MOST_DEPTH} levels", place)
            raise _Stop
        is_list = isinstance(event, yaml.SequenceStartEvent)
        path = self.frames[-1].child_path() if self.frames else ""
        if event.tag not in {None, "!", _CORE + ("seq" if is_list else "map")}:
            self._unknown_tag(path, event.tag, place)
        # From here on the name means this collection, not an earlier one.
        self.anchors.pop(event.anchor or "", None)
        self.frames.append(_Frame(path, place, event.anchor, is_list))

    def _unknown_tag(self, path: str, tag: str, place: tuple[int, int]) -> None:
        shown = tag.replace(_CORE, "!!")
        self.note(path, f"the tag {shown!r} is not supported; write the plain value, or text in quotes", place)

    def _scalar(self, event: yaml.ScalarEvent) -> ScalarNode:
        place, frame = _place(event.start_mark), self.frames[-1] if self.frames else None
        path = frame.child_path() if frame else ""
        plain = event.style is None and event.tag is None
        is_key = frame is not None and not frame.is_list and not frame.awaits_value
        if plain and not event.value and frame and frame.is_list:
            self.note(path, "the item is empty; write null for no value", place)
        if plain and not event.value and is_key:
            self.note(path, "a key is missing before the colon", place)
        tag = event.tag or "!"
        text = value = self._whole_characters(event.value, path, place)
        if is_key and event.tag is None:
            return ScalarNode(*place, text, value, plain)
        if plain or tag not in {"!", f"{_CORE}str"}:
            kinds = () if plain else _KINDS.get(tag.removeprefix(_CORE))
            if kinds is None:
                self._unknown_tag(path, tag, place)
                kinds = ()
            try:
                value = resolve(text)
            except ValueError as exc:
                self.note(path, str(exc), place)
            if kinds and (not isinstance(value, kinds) or isinstance(value, bool) != (bool in kinds)):
                self.note(path, f"the tag {tag.replace(_CORE, '!!')!r} does not fit {_short(text)}", place)
        return ScalarNode(*place, text, value, plain)

    def _whole_characters(self, text: str, path: str, place: tuple[int, int]) -> str:
        """Join surrogates as JSON writes them, in pairs of escapes."""
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self.note(path, "the text has half a character, a \\u escape between \\ud800 and \\udfff alone", place)
            return ""

    def _alias(self, event: yaml.AliasEvent) -> None:
        place, name = _place(event.start_mark), event.anchor or ""
        path = self.frames[-1].child_path() if self.frames else ""
        if any(frame.anchor == name for frame in self.frames):
            self.note(path, f"the alias *{name} refers to what contains it", place)
        elif name not in self.anchors:
            problem = f"no &{name} stands above{suggestion(name, self.anchors)}"
            self.note(path, f"{problem}; text that begins with * must stand in quotes", place)
        else:
            node, size = self.anchors[name]
            self._add(attrs.evolve(node, line=place[0], column=place[1]), size, None)
            return
        self._add(ScalarNode(*place, f"*{name}", None, plain=True), 1, None)

    def _add(self, node: Node, size: int, anchor: str | None) -> None:
        # A collection's own children were counted when they came, an alias's are counted with it.
        if anchor is not None:
            self.anchors[anchor] = (node, size)
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        frame.size += size
        if sum(each.size for each in self.frames) > _MOST_NODES:
            problem = f"more than {_MOST_NODES:,} values, those that aliases repeat counted"
            raise self.stop(problem, _place_of(node))
        if frame.is_list:
            frame.items.append(node)
        elif not frame.awaits_value:
            frame.key = self._key(frame, node)
            frame.awaits_value = True
        else:
            if frame.key is not None:
                frame.items.append((frame.key, node))
            frame.awaits_value, frame.key = False, None

    def _key(self, frame: _Frame, node: Node) -> Key | None:
        place: Any = _place_of(node)
        if not isinstance(node, ScalarNode):
            self.note(frame.path, "a key must be text", place)
            return None
        name = node.text
        if name == "<<" and node.plain:
            self.note(step(frame.path, name), "merge keys are not part of YAML 1.2; use `defaults`", place)
            return None
        if name in frame.seen:
            problem = f"the key {_short(name)} is given twice, first in line {frame.seen[name]}"
            self.note(step(frame.path, name), problem, place)
            return None
        frame.seen[name] = place[0]
        return Key(place[0], place[1], name)


def _place_of(node: Node) -> tuple[int, int]:
    assert node.line is not None
    assert node.column is not None
    return node.line, node.column


def _short(name: str) -> str:
    return repr(name) if len(name) <= 60 else f"{name[:57]!r}..."


def _position(before: str) -> tuple[int, int]:
    lines: Sequence[str] = _BREAK.split(before.removeprefix("\ufeff"))
    return len(lines), len(lines[-1]) + 1
