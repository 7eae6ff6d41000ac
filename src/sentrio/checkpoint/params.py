"""Words in braces that stand for values of a run."""

from __future__ import annotations

__all__ = ("BUILT_IN", "fill_path")

import re
from collections.abc import Mapping

from sentrio.errors import OptionValueError, suggestion

#: The words that are always there.
BUILT_IN = ("run_id", "checkpoint", "date")

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def fill_path(template: str, values: Mapping[str, str], *, owner: str, option: str) -> str:
    """Return a path with ``{word}`` filled in; ``{{`` and ``}}`` stand for braces.

    Each value is one segment of a path, or a part of one.

    :raises OptionValueError: for a word that is not there, a brace that stands alone, or a value that leads elsewhere
    """

    def fill(match: re.Match[str]) -> str:
        piece, word = match[0], match[1]
        if piece in {"{{", "}}"}:
            return piece[0]
        if word is None:
            problem = f"the brace in {template!r} begins no word; write {piece * 2!r} for a brace"
            raise OptionValueError(owner, option, problem)
        if word not in values:
            problem = f"nothing is called {word!r} in {template!r}{suggestion(word, values)}"
            raise OptionValueError(owner, option, f"{problem} (write '{{{{' and '}}}}' for braces)")
        value = values[word]
        if value in {"", ".", ".."} or re.search(r"[/\\\0]", value):
            raise OptionValueError(owner, option, f"{word} is {value!r}, which is no name of a file")
        return value

    return _PIECE.sub(fill, template)
