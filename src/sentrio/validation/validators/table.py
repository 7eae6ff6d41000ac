"""Rules about the table as a whole."""

from __future__ import annotations

__all__ = ("RowCount",)

from collections.abc import Mapping
from typing import ClassVar

import attrs

from sentrio import _options as options
from sentrio.validation.metrics import Count, Metric
from sentrio.validation.report import CheckOutcome
from sentrio.validation.validators._base import Bounded, Check, TableRule, Values, Verdict


@attrs.define(kw_only=True)
class RowCount(TableRule, Bounded):
    """The number of rows lies within ``min`` and ``max``."""

    validator_name: ClassVar[str] = "row_count"

    min: int | None = attrs.field(default=None, validator=options.optional(options.integer(minimum=0)))
    max: int | None = attrs.field(default=None, validator=options.optional(options.integer(minimum=0)))

    def __attrs_post_init__(self) -> None:
        self.check_bounds()

    def metrics(self) -> Mapping[str, Metric]:
        """Return the count of rows."""
        return {"rows": Count()}

    def judge(self, check: Check, values: Values) -> Verdict:
        """Compare the number of rows with the bounds."""
        rows = values["rows"]
        if self.within(rows):
            return Verdict(outcome=CheckOutcome.PASSED, observed=rows)
        message = f"there are {rows:,} rows, expected {self.expected}"
        return Verdict(outcome=CheckOutcome.FAILED, observed=rows, message=message)

    def certain(self, check: Check, values: Values) -> bool:
        """Tell whether there are too many rows already."""
        return self.max is not None and values["rows"] > self.max
