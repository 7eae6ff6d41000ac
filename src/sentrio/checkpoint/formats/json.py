"""Results as JSON, for machines."""

from __future__ import annotations

__all__ = ("render", "render_lines", "schema")

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from sentrio.checkpoint.result import SCHEMA_VERSION, CheckpointResult


def render(results: Sequence[CheckpointResult], *, exit_code: int) -> str:
    """Return one document, for one result as for many.

    :param exit_code: what the command exits with
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "exit_code": exit_code,
        "results": [result.to_dict() for result in results],
    }
    return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)


def render_lines(results: Sequence[CheckpointResult], *, exit_code: int) -> str:
    """Return one line a result, each a document of its own."""
    return "\n".join(json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False) for result in results)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the document; that of one result is its ``$defs/result``."""
    text = files("sentrio.checkpoint.formats").joinpath("result.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
