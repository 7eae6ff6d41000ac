"""Reading a configuration: the file, its variables, and everything that is wrong with it at once."""

from __future__ import annotations

__all__ = ("Reader", "described", "in_order", "tool_table")

import os
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from sentrio._environment import Environment
from sentrio._yaml.document import EMPTY, parse
from sentrio._yaml.nodes import Key, MappingNode, Node, ScalarNode, from_plain, to_plain
from sentrio.errors import ConfigurationError, OptionValueError, Problem, UnknownOptionError, suggestion

T = TypeVar("T")

# One wrong file may be wrong in every line; nobody reads further than this.
_MOST_PROBLEMS = 100

# As much as the reader of YAML takes, and a little more, so that it is the one who refuses.
_MOST_BYTES = 2 * 2**20 + 1


class Reader:
    """Collects what is wrong with one configuration, under the name that messages give it."""

    def __init__(self, name: str, file: Path) -> None:
        self.name, self.file = name, file
        self.problems: list[Problem] = []
        self.notes = 0  # repeats counted, so that each user of a bad default knows of it
        self.environment = Environment(os.environ)

    def note(self, path: str, message: str, node: Node | None) -> None:
        """Note a problem with a node."""
        problem = self.problem(path, message, node)
        self.notes += 1
        # What is wrong in `defaults`, or behind an alias, is met again by each that uses it.
        if problem not in self.problems:
            self.problems.append(problem)
        if len(self.problems) >= _MOST_PROBLEMS:
            self.finish()

    def problem(self, path: str, message: str, node: Node | None) -> Problem:
        """Return a problem with a node, and note it nowhere."""
        line, column = (None, None) if node is None else (node.line, node.column)
        return Problem(path, self.environment.hidden(message), self.name, line, column)

    def finish(self) -> None:
        """Raise what was noted, in the order of the file; do nothing if there is nothing.

        :raises ConfigurationError: with every problem
        """
        if not self.problems:
            return
        problems = in_order(self.problems)
        if len(problems) >= _MOST_PROBLEMS:
            problems.append(Problem("", "there may be more problems; these are the first", self.name))
        raise ConfigurationError(problems)

    def read(self, *, example: str, empty: str = EMPTY, only: str | None = None) -> Node:
        """Return the tree of the file, YAML or the table ``tool.sentrio`` of TOML.

        :param example: the name that such a file usually has
        :param empty: what to say if there is nothing in it
        :param only: the top-level key that is ours; what is wrong with others is passed over
        :raises ConfigurationError: if it can not be read, or is not valid
        """
        try:
            if self.file.suffix == ".toml":
                table = tool_table(self.file)
                if table is None:
                    raise ConfigurationError([Problem("", "there is no table [tool.sentrio]", self.name)])
                return from_plain(table)
            return parse(_bytes(self.file), self.name, empty=empty, only=only)
        except (FileNotFoundError, NotADirectoryError):
            problem = "there is no such file"
        except IsADirectoryError:
            problem = f"this is a folder; name the file, as in {self.name.rstrip('/')}/{example}"
        except OSError as exc:
            problem = f"it can not be read: {exc.strerror or exc}"
        except ConfigurationError:
            raise
        except ValueError as exc:
            problem = f"this names no file: {exc}"  # a path with a null character
        raise ConfigurationError([Problem("", problem, self.name)])

    def known(self, node: MappingNode, known: Iterable[str], path: str) -> None:
        """Note the keys of a mapping that nobody knows."""
        names = tuple(known)
        for key, _ in node.items:
            if key.text not in names:
                self.note(path, f"unknown key {key.text!r}{suggestion(key.text, names)}", key)

    def mapping(self, node: Node | None, path: str, key: Key | None = None) -> MappingNode | None:
        """Return a node that is a mapping, or nothing; note a problem with any other."""
        if node is None or isinstance(node, MappingNode):
            return node
        # Where nothing is written, the key is what a reader can see.
        place = key if key is not None and isinstance(node, ScalarNode) and not node.text else node
        self.note(path, f"must be a mapping, got {described(node)}", place)
        return None

    def section(self, node: Node | None, path: str) -> MappingNode | None:
        """Return a section; with nothing under its key it is empty, since every line there may be a comment."""
        if node is None or (isinstance(node, ScalarNode) and node.plain and node.value is None):
            return MappingNode(None, None, ())
        return self.mapping(node, path)

    def filled(self, node: Node, path: str) -> Any:
        """Return the plain value of a node, with ``${NAME}`` filled in."""

        def fill(scalar: ScalarNode) -> str:
            text, problems = self.environment.fill(scalar.text)
            for problem in problems:
                self.note(path, problem, scalar)
            return text

        return to_plain(node, fill)

    def made(
        self,
        make: Callable[[dict[str, Any]], T],
        options: dict[str, Any],
        locate: Callable[[UnknownOptionError | OptionValueError], tuple[tuple[str, ...], str, Node]],
        *,
        incomplete: bool = False,
    ) -> T | None:
        """Make something of options; note everything that is wrong with them, and return ``None`` if something is.

        An option with a fault is left out, to see what is wrong with the others.

        :param options: as they were given; they are changed
        :param locate: tells what an error is about: the keys that lead to it in ``options``, none if it is about
            nothing that was given; and the path and the node to name
        :param incomplete: something that was given is not among them, since a problem with it was noted
        """
        noted: list[str] = []
        left_out: set[str] = set()
        while True:
            try:
                result = make(options)
            except (UnknownOptionError, OptionValueError) as exc:
                keys, path, node = locate(exc)
                # What is said once something was left out may be because of that.
                missing = exc.problem.startswith(f"option {exc.option!r} is missing") and exc.option not in left_out
                misspelt = any(f"did you mean {exc.option!r}" in problem for problem in noted)
                certain = not incomplete and (not noted or (missing and not misspelt))
                if certain or _holds(options, keys):
                    self.note(path, exc.problem, node)
                    noted.append(exc.problem)
                while keys and not _holds(options, keys):
                    keys = keys[:-1]  # without what was left out of it, the whole is of no use
                if not keys:
                    return None
                _leave_out(options, keys)
                left_out.add(keys[-1])
            else:
                return None if noted else result


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems in the order of the file."""
    return sorted(problems, key=lambda each: (each.line or 0, each.column or 0))


def _holds(options: dict[str, Any], keys: tuple[str, ...]) -> bool:
    """Tell whether keys lead to something in options."""
    if not keys or keys[0] not in options:
        return False
    below = options[keys[0]]
    return len(keys) == 1 or (isinstance(below, dict) and _holds(below, keys[1:]))


def _leave_out(options: dict[str, Any], keys: tuple[str, ...]) -> None:
    *outer, last = keys
    for key in outer:
        options[key] = dict(options[key])  # a value of `defaults` is shared
        options = options[key]
    del options[last]


def described(node: Node | None) -> str:
    """Return what a node is, for messages about what it should have been."""
    if isinstance(node, ScalarNode):
        shown = repr(node.value)
        return "nothing" if node.value is None else shown if len(shown) <= 80 else f"{shown[:77]}..."
    return "a mapping" if isinstance(node, MappingNode) else "a list"


def tool_table(file: Path) -> Any:
    """Return the table ``tool.sentrio`` of a TOML file, or ``None`` if it has none.

    :raises ConfigurationError: if it is no TOML
    :raises OSError: if it can not be read
    """
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


def _bytes(file: Path) -> bytes:
    # Not read_bytes: somebody may name a device or a pipe that never ends.
    with file.open("rb") as opened:
        return opened.read(_MOST_BYTES)
