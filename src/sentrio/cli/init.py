"""A first configuration: a commented example, or one about a given file."""

from __future__ import annotations

__all__ = ("starter",)

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio

from sentrio.async_core.background import default_backend
from sentrio.checkpoint.formats.table import visible
from sentrio.cli.naming import is_url, name_of
from sentrio.validation.profile import Profile, profile
from sentrio.validation.sources.base import Source
from sentrio.validation.sources.files import make_source
from sentrio.validation.suggestions import Suggestion, proven, suggestions

# Words that mean themselves without quotes, which numbers, booleans and null do not.
_PLAIN = re.compile(r"(?!(?i:null|true|false)\b)[A-Za-z][A-Za-z0-9_]*")
# Dollar signs before a brace are doubled, or they would begin the name of a variable.
_DOLLAR = re.compile(r"(\$+)\{")
# What may not stand in YAML as it is, is a line break to some readers of it, or turns the direction of writing.
_ESCAPED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")

_HEAD = """\
# sentrio.yaml: what must hold for your data, and what is done about it. Paths are relative to this file.
#
#   sentrio validate    say what is wrong with this file, without reading data
#   sentrio run         run all checkpoints; exit code 1: a check failed, 3: it could not be told
"""

_TAIL = """\
    # actions:                            # done after each run
    #   - store: {path: results, partition_by: date}
"""

_EXAMPLE = """\
checkpoints:
  orders:
    data_source: data/orders.csv          # .csv, .tsv, .parquet, a folder, or a pattern like data/*.parquet
    # data_source: {path: data/orders.csv, separator: ";", null_values: [NA]}
    # key_columns: [order_id]             # shown beside each failing value
    # redact_columns: [email]             # shown nowhere
    # timeout_seconds: 300
    validators:
      - row_count: {min: 1}
      - not_null                          # every column, one check each
      # - unique: {column: order_id, severity: critical}
      # - range: {column: amount, min: 0, mostly: 0.999, severity: medium}
      # - in_set: {column: status, values: [new, paid, shipped]}
      # - regex: {column: email, pattern: "^[^@]+@[^@]+$"}
      # - mean: {column: amount, min: 10, max: 100}
"""


def starter(data: str | None, folder: Path, source: Mapping[str, Any] | None = None) -> str:
    """Return the text of a configuration; blocks.

    :param data: what it is about: a file, a folder or a pattern; ``None``: an example
    :param folder: where the configuration will stand
    :param source: further options of the source
    :raises SourceError: if the data can not be read
    """
    if data is None:
        return f"{_HEAD}\n{_EXAMPLE}{_TAIL}"
    given = {"path": data, **(source or {})}
    found, checks = anyio.run(_checks, given, backend=default_backend())
    path = data if is_url(data) else os.path.relpath(data, folder)
    options = _with_text(given, found.as_text) | {"path": path}
    lines = [
        "checkpoints:",
        f"  {_word(name_of(data))}:",
        f"    data_source: {_flow(options['path'] if len(options) == 1 else options)}",
    ]
    keys = [each.options["column"] for each in checks if each.name == "unique" and each.options["column"]]
    if keys:
        lines.append(f"    key_columns: {_flow(keys[:1])}          # shown beside each failing value")
    lines += [
        "    fail_on: high                         # the checks below are guesses: they only warn for now",
        "    validators:",
        *map(_line, checks),
    ]
    return f"{_HEAD}\n" + "\n".join(lines) + f"\n{_TAIL}"


async def _checks(given: Mapping[str, Any]) -> tuple[Profile, list[Suggestion]]:
    def source(as_text: Sequence[str]) -> Source:
        return make_source(_with_text(given, as_text))

    found = await profile(source)
    return found, await proven(source, found, suggestions(found))


def _with_text(given: Mapping[str, Any], as_text: Sequence[str]) -> dict[str, Any]:
    """Return the options of a source that reads some columns as text: they hold what their first rows did not say."""
    if not as_text:
        return dict(given)
    return {**given, "schema": {**given.get("schema", {}), **dict.fromkeys(as_text, "string")}}


def _line(suggestion: Suggestion) -> str:
    remark = f"# {visible(suggestion.remark)}" if suggestion.remark else ""
    if not suggestion.name:
        return f"      {remark}"
    entry = f"      - {suggestion.name}: {_flow({**suggestion.options, 'severity': 'medium'})}"
    return f"{entry}   {remark}".rstrip()


def _flow(value: Any) -> str:
    """Write a value as YAML on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_word(key)}: {_flow(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, value))}]"
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    return _word(_DOLLAR.sub(lambda match: match[1] * 2 + "{", str(value)))


def _word(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    """Write text in double quotes, with every character escaped that YAML forbids or folds."""
    quoted = json.dumps(text, ensure_ascii=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)
