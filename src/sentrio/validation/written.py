"""What kind of text a column holds: dates, addresses, and the like, as the ``format`` validator knows them."""

from __future__ import annotations

__all__ = ("Examples", "kind_of")

from collections.abc import Collection, Sequence
from typing import Any

import attrs
import polars as pl

from sentrio.validation.metrics import Metric
from sentrio.validation.validators.formats import Format

# The most particular one first: what is one of them is hardly meant as one that follows.
_KINDS = ("uuid", "date", "datetime", "ipv4", "ipv6", "email", "url")
_ENOUGH = 100


@attrs.frozen
class Examples(Metric):
    """The first texts of a column, up to a hundred."""

    column: str

    def expressions(self, nw: Any) -> Sequence[Any]:
        """Return the first ones that are not null."""
        return (nw.col(self.column).cast(nw.String).drop_nulls().head(_ENOUGH).implode(),)

    def state(self, values: Sequence[Any]) -> list[str]:
        """Return them."""
        return list(values[0])

    def merge(self, earlier: list[str], later: list[str]) -> list[str]:
        """Return the first ones of both."""
        return earlier + later[: _ENOUGH - len(earlier)]


def kind_of(texts: Collection[str]) -> str | None:
    """Return the kind that all texts are of; ``None`` if there is none, or no text."""
    if not texts:
        return None
    frame = pl.DataFrame({"text": list(texts)}, schema={"text": pl.String})
    passing = [Format(kind=kind).passes(pl, "text", pl.String()).all().alias(kind) for kind in _KINDS]
    found = frame.select(passing).row(0, named=True)
    return next((kind for kind in _KINDS if found[kind]), None)
