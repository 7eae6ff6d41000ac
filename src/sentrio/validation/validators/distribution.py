"""Rules about how values are distributed."""

from __future__ import annotations

__all__ = ("Distribution",)

from typing import ClassVar

import attrs

from sentrio.validation.validators.outliers import Outliers


@attrs.define(kw_only=True)
class Distribution(Outliers):
    """Few values are far from the others; see :class:`Outliers`."""

    validator_name: ClassVar[str] = "distribution"
    aliases: ClassVar[tuple[str, ...]] = ("drift",)
