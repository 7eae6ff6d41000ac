"""Cells as JSON knows them."""

from __future__ import annotations

__all__ = ("json_ready",)

import datetime as dt
import decimal
import math
from collections.abc import Mapping
from typing import Any

# A cell longer than this is cut: a report is no place for documents.
_LONGEST_TEXT = 1000


def json_ready(value: Any) -> Any:
    """Return a value that JSON can hold: times as ISO text, NaN and infinities as text, long text cut."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}... ({len(value):,} characters)"
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta() | decimal.Decimal():
            return str(value)
        case bytes():
            return json_ready(value.hex())
        case Mapping():
            return {str(key): json_ready(each) for key, each in value.items()}
        case list() | tuple():
            return [json_ready(each) for each in value]
        case _:
            return json_ready(str(value))
