"""What a validation found: one :class:`CheckResult` a check, all of them in a :class:`ValidationReport`."""

from __future__ import annotations

__all__ = ("CheckOutcome", "CheckResult", "SampleRow", "Severity", "SplitResult", "ValidationReport")

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import polars as pl


class Severity(StrEnum):
    """How bad it is if a check fails, from worst to least."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for ``low`` up to 3 for ``critical``."""
        return _RANKS[self]


_RANKS = {Severity.LOW: 0, Severity.MEDIUM: 1, Severity.HIGH: 2, Severity.CRITICAL: 3}


class CheckOutcome(StrEnum):
    """What became of a check. "failed" and "could not tell" are different words."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"  #: it could not be evaluated, for a reason that the message gives
    NOT_EVALUATED = "not_evaluated"  #: reading stopped before it saw anything


@attrs.frozen
class SampleRow:
    """A row that failed a check."""

    row: int  #: counted from 0 through the whole source
    values: Mapping[str, Any]  #: of the key columns and of the offending ones; JSON-ready


@attrs.frozen(kw_only=True)
class CheckResult:
    """What one check found."""

    id: str  #: the ``name`` option, else ``validator:column``; unique within the report
    name: str  #: the canonical name of the validator
    column: str | None  #: the column, several joined by ``,``; ``None`` for checks of the whole table
    outcome: CheckOutcome
    severity: Severity
    failed_count: int | None = None  #: rows that failed; ``None`` for checks that are not about rows
    row_count: int | None = None  #: rows seen after ``where``
    evaluated_count: int | None = None  #: rows seen less the nulls passed over
    failed_ratio: float | None = None  #: failed over evaluated, 0 to 1; ``None`` where nothing was evaluated
    observed: int | float | str | None = None
    expected: str = ""
    sample: tuple[SampleRow, ...] = ()
    message: str = ""
    description: str | None = None
    dimension: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the check was evaluated and held."""
        return self.outcome is CheckOutcome.PASSED

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        fields: dict[str, Any] = attrs.asdict(self, recurse=False)
        fields |= {"outcome": str(self.outcome), "severity": str(self.severity)}
        fields["sample"] = [{"row": item.row, "values": dict(item.values)} for item in self.sample]
        return fields

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CheckResult:
        """Rebuild a result from :meth:`to_dict`; fields that this version does not know are ignored."""
        fields = {field.name: data[field.name] for field in attrs.fields(cls) if field.name in data}
        fields["outcome"] = CheckOutcome(fields["outcome"])
        fields["severity"] = Severity(fields["severity"])
        fields["sample"] = tuple(SampleRow(item["row"], dict(item["values"])) for item in fields.get("sample", ()))
        return cls(**fields)


@attrs.frozen(kw_only=True)
class SplitResult:
    """How many rows passed and failed, and where they were written."""

    valid_rows: int
    failing_rows: int
    paths: Mapping[str, str] = attrs.field(factory=dict)  #: of ``valid``, ``failing`` or both

    def __str__(self) -> str:
        return f"Split: {self.valid_rows:,} valid, {self.failing_rows:,} failing"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return attrs.asdict(self, recurse=False) | {"paths": dict(self.paths)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SplitResult:
        """Rebuild a result from :meth:`to_dict`; fields that this version does not know are ignored."""
        return cls(**{field.name: data[field.name] for field in attrs.fields(cls) if field.name in data})


@attrs.frozen(kw_only=True, repr=False)
class ValidationReport:
    """What all checks of one validation found, in the order of their definition."""

    checks: tuple[CheckResult, ...] = ()
    row_count: int | None = None  #: rows of the source; ``None`` where reading stopped before that was known
    rows_scanned: int = 0  #: rows that were read
    complete: bool = False  #: false after fail-fast, a timeout, a cancellation, or an error of the source
    duration_ms: float = 0.0

    def __repr__(self) -> str:
        # Short and without samples: asyncio writes the result of its main task in full, and debuggers log it.
        checks = f"checks={len(self.checks)}, failed={len(self.failed)}, errors={len(self.errors)}"
        return f"<{type(self).__name__} {checks}, rows_scanned={self.rows_scanned}, complete={self.complete}>"

    @property
    def passed(self) -> bool:
        """Whether there is a check, every check passed, and the whole source was read."""
        return self.complete and bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.outcome is CheckOutcome.FAILED)

    @property
    def errors(self) -> tuple[CheckResult, ...]:
        """The checks that could not be evaluated."""
        return tuple(check for check in self.checks if check.outcome is CheckOutcome.ERROR)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        fields: dict[str, Any] = attrs.asdict(self, recurse=False)
        return fields | {"checks": [check.to_dict() for check in self.checks]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ValidationReport:
        """Rebuild a report from :meth:`to_dict`; fields that this version does not know are ignored."""
        fields = {field.name: data[field.name] for field in attrs.fields(cls) if field.name in data}
        return cls(**fields | {"checks": tuple(map(CheckResult.from_dict, fields["checks"]))})

    def to_polars(self) -> pl.DataFrame:
        """Return a frame with one row a check; ``observed`` is text, ``sample`` is left out."""
        import polars as pl

        text, count = pl.String, pl.Int64
        schema = {
            "id": text, "name": text, "column": text, "outcome": text, "severity": text,
            "failed_count": count, "row_count": count, "evaluated_count": count,
            "failed_ratio": pl.Float64, "observed": text, "expected": text, "message": text,
        }  # fmt: skip
        rows = []
        for check in self.checks:
            fields = check.to_dict()
            fields["observed"] = None if check.observed is None else str(check.observed)
            rows.append([fields[name] for name in schema])
        return pl.DataFrame(rows, schema=schema, orient="row")
