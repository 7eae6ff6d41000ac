"""``${NAME}`` in texts: those of a configuration when it is read, those of an action's options when it acts.

In a configuration it is filled in after parsing, so what a variable holds is always text and never becomes
structure. Before a brace a dollar sign is written twice to stand for itself: ``$${NAME}`` is the text ``${NAME}``,
``$$${NAME}`` a dollar sign and the variable. Dollar signs elsewhere, as at the end of a regular expression, are
ordinary characters.
"""

from __future__ import annotations

__all__ = ("REFERENCE", "Environment", "faults", "refers")

import re
from collections.abc import Mapping

import attrs

#: What may be a reference to a variable; an even number of dollar signs stands for half as many.
REFERENCE = re.compile(r"(?P<dollars>\$+)\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})?")

# Shorter values stand in messages by chance: hiding each 1 would make numbers unreadable.
_SHORTEST_HIDDEN = 3

_NO_NAME = "`${` begins the name of a variable, as in ${NAME}; for the text write `$${`"


def refers(text: str) -> bool:
    """Tell whether there is anything to be filled in, be it only a doubled dollar sign."""
    return REFERENCE.search(text) is not None


def faults(text: str) -> list[str]:
    """Return what is wrong with a text whatever the environment holds."""
    found = (match for match in REFERENCE.finditer(text) if len(match["dollars"]) % 2)
    return [_NO_NAME for match in found if match["name"] is None]


@attrs.define
class Environment:
    """Fills in variables, and remembers their values, so that no message shows them."""

    _variables: Mapping[str, str]
    _used: dict[str, str] = attrs.field(factory=dict, init=False)

    def fill(self, text: str) -> tuple[str, list[str]]:
        """Return the text with its variables filled in, and what is wrong with it."""
        problems: list[str] = []

        def value(match: re.Match[str]) -> str:
            dollars, name = match["dollars"], match["name"]
            literal, is_reference = "$" * (len(dollars) // 2), len(dollars) % 2
            rest = match.group()[len(dollars) :]
            if not is_reference:
                return literal + rest
            if name is None:
                problems.append(_NO_NAME)
                return literal + rest
            found = self._variables.get(name)
            if found is None:
                problem = f"environment variable {name!r} is not set"
                problems.append(f"{problem}; for the text ${{{name}}} write $${{{name}}}")
                return literal
            self._used[name] = found
            return literal + found

        return REFERENCE.sub(value, text), problems

    def hidden(self, message: str) -> str:
        """Return a message in which the values of variables are written as their names."""
        for name, value in sorted(self._used.items(), key=lambda used: -len(used[1])):
            if len(value) >= _SHORTEST_HIDDEN:
                for form in dict.fromkeys((repr(value)[1:-1], value)):
                    message = message.replace(form, f"${{{name}}}")
        return message
