"""Valid and failing rows into files of their own, in the pass that checks them.

Rows are judged in the worker thread that measures a slice, and written in the order of the source. What was written
stands under hidden names until the validation is complete; then ``failing`` is put in place, and ``valid`` after it.
"""

from __future__ import annotations

__all__ = ("CHECKS_COLUMN", "ROW_COLUMN", "SLICE_BYTES", "SLICE_ROWS", "Split", "SplitTargets", "Splitter")

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import anyio
import attrs
import polars as pl

from sentrio import _options as options
from sentrio.async_core._atomic import Replacement
from sentrio.async_core._thread_steps import GRACE_SECONDS
from sentrio.errors import OptionValueError, SourceError
from sentrio.validation.engines.threads import in_thread
from sentrio.validation.judges import Judge, RepeatedKeys
from sentrio.validation.measuring import ROW
from sentrio.validation.metrics import Matching, Metric
from sentrio.validation.plan import Plan
from sentrio.validation.report import Severity, SplitResult
from sentrio.validation.sinks import SUFFIXES, Sink, make_sink, sink_problem
from sentrio.validation.sources.base import UNREADABLE
from sentrio.validation.targets import clash
from sentrio.validation.validators._base import Check, Validator, as_severity
from sentrio.validation.validators._rules import Tolerance
from sentrio.validation.validators.references import ForeignKey
from sentrio.validation.validators.uniqueness import Unique, compared
from sentrio.validation.wording import first_line

#: The columns that failing rows get: their number in the source, and the ids of the checks that they fail.
ROW_COLUMN = "_sentrio_row"
CHECKS_COLUMN = "_sentrio_checks"

# Rows are written in pieces of at least this size: each is a row group of a Parquet file.
_WRITTEN_ROWS = 100_000
_WRITTEN_BYTES = 16 * 2**20

#: Rows and bytes of a slice that is split. Fixed: what a slice costs whatever its size counts more than its time.
SLICE_ROWS = 65_536
SLICE_BYTES = 16 * 2**20


def _path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _output(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, str) or Path(value).suffix.lower() not in SUFFIXES:
        problem = f"{field.name} must be a path that ends in one of {', '.join(SUFFIXES)}, got {value!r}"
        raise OptionValueError("split", field.name, problem)
    _is_local(owner, field, value)


_is_local = options.local_path()


@attrs.frozen
class Split(metaclass=options.OptionsMeta):
    """Write the rows that pass and the rows that fail into two files.

    A row fails if a check of rows judges it failed, whatever ``mostly`` or ``max_failed`` tolerate. Both files hold
    the columns of the source; the failing rows also ``_sentrio_row``, their number counted from 0, and
    ``_sentrio_checks``, the ids of the checks that they fail (joined by commas in CSV). Rows of CSV with a value
    that does not fit its type fail whatever the severity, and failing rows then hold all values as text.

    :param valid: a path that ends in ``.parquet``, ``.csv``, ``.tsv``, ``.ndjson`` or ``.jsonl``; ``{run_id}``,
        ``{checkpoint}`` and ``{date}`` (of the run, UTC) are filled in, ``{{`` and ``}}`` are braces; ``None``: these
        rows are not written
    :param failing: the same for the rows that fail
    :param severity: the least severity of the checks that count; ``None``: the checkpoint's ``fail_on``
    """

    option_owner: ClassVar[str] = "split"

    valid: str | None = attrs.field(default=None, converter=_path, validator=_output)
    failing: str | None = attrs.field(default=None, converter=_path, validator=_output)
    severity: Severity | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(as_severity),
        validator=options.optional(options.one_of(tuple(Severity))),
    )

    def __attrs_post_init__(self) -> None:
        if self.valid is None and self.failing is None:
            raise OptionValueError("split", "valid", "give 'valid', 'failing' or both")
        if self.valid == self.failing:
            raise OptionValueError("split", "valid", f"valid and failing are the same path {self.valid!r}")


@attrs.frozen(kw_only=True)
class SplitTargets:
    """Where the rows of one run go, and which checks judge them."""

    paths: Mapping[str, Path]  #: of ``valid``, ``failing`` or both
    severity: Severity
    data_source: Any = None  #: what is read, and must not be written
    base: Path | None = None

    def check(self) -> None:
        """Look whether the paths would take the place of each other, or of what is read; blocks.

        :raises OptionValueError: if they do
        """
        if (found := clash(self.paths, self.data_source, self.base)) is not None:
            raise OptionValueError("split", *found)


@attrs.define(eq=False)
class _Output:
    """One file on its way."""

    path: Path
    replacement: Replacement
    sink: Sink
    is_new: bool
    pending: list[pl.DataFrame] = attrs.field(factory=list)
    rows: int = 0
    weight: int = 0

    def take(self, frame: pl.DataFrame) -> None:
        self.pending.append(frame)
        self.weight += int(frame.estimated_size())
        self.rows += frame.height

    @property
    def is_due(self) -> bool:
        return self.weight >= _WRITTEN_BYTES or sum(frame.height for frame in self.pending) >= _WRITTEN_ROWS

    def taken(self) -> list[pl.DataFrame]:
        """Return what is to be written, which is then no longer held here."""
        pending, self.pending, self.weight = self.pending, [], 0
        return pending

    def write(self, frames: Sequence[pl.DataFrame]) -> None:
        if frames:
            self.sink.write(pl.concat(frames).rechunk())


Part = dict[str, pl.DataFrame]


@attrs.define(eq=False)
class Splitter:
    """One split of one run. Whatever happens, :meth:`close` leaves either both files whole or nothing."""

    targets: SplitTargets
    _judges: list[Judge] = attrs.field(factory=list, init=False)
    _plan: Plan | None = attrs.field(default=None, init=False)
    _label: str = attrs.field(default="", init=False)
    _texts: dict[str, pl.Expr] = attrs.field(factory=dict, init=False)  #: of columns that were read as text and cast
    _outputs: dict[str, _Output] = attrs.field(factory=dict, init=False)
    _folders: list[Path] = attrs.field(factory=list, init=False)
    _counts: dict[str, int] = attrs.field(factory=dict, init=False)
    _writing: anyio.Lock = attrs.field(factory=anyio.Lock, init=False)
    problem: str = attrs.field(default="", init=False)  #: why the files are not put in place
    result: SplitResult | None = attrs.field(default=None, init=False)

    def begin(self, plan: Plan, label: str, given: Sequence[Validator]) -> None:
        """Choose the checks that judge, and open the files; blocks.

        :param given: the validators of the user; those of the source judge values that do not fit their type
        :raises SourceError: if the split can not be done
        """
        self.close()
        self._plan, self._label, self.problem = plan, label, ""
        self._counts = {"valid": 0, "failing": 0}
        self._judges, self._texts = [], {}
        for check in plan.checks:
            if not any(check.rule is rule for rule in given):
                # Whatever its severity: such a value is null by now, and must not pass for a valid row.
                self._texts |= check.shown
                self._add(check, label)
            elif check.rule.severity.rank >= self.targets.severity.rank:
                self._add(check, label)
        self._refuse_columns(label)
        try:
            self.targets.check()  # again, since links and folders may have come meanwhile
        except OptionValueError as exc:
            raise SourceError(label, str(exc)) from exc
        try:
            for kind, path in self.targets.paths.items():
                self._outputs[kind] = self._open(path)
        except OSError as exc:
            self.close()
            raise SourceError(label, f"split: {path} can not be written: {exc.strerror or exc}") from exc

    def _add(self, check: Check, label: str) -> None:
        if check.problem:
            self.problem = self.problem or f"check {check.id!r} could not be evaluated"
        elif check.passes is not None:
            self._judges.append(Judge(check, _condition(check.rule.where), ~check.passes))
        elif isinstance(check.rule, Unique | ForeignKey):
            self._judges.append(Judge(check, _condition(check.rule.where), None))
        elif isinstance(check.rule, Tolerance):
            problem = f"split: check {check.id!r} can not tell of one row whether it fails"
            raise SourceError(label, f"{problem}; give the split a `severity` above that of the check")

    def _refuse_columns(self, label: str) -> None:
        assert self._plan is not None
        for kind, path in self.targets.paths.items():
            names = (ROW_COLUMN, CHECKS_COLUMN) if kind == "failing" else ()
            taken = next((name for name in names if name in self._plan.schema), None)
            if taken is not None:
                raise SourceError(label, f"split: the source has a column {taken!r} of its own")
            if problem := sink_problem(str(path), self._plan.schema):
                raise SourceError(label, f"split: {kind}: {problem}")

    def _open(self, path: Path) -> _Output:
        missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._folders += missing
        is_new = not os.path.lexists(path)
        replacement = Replacement.begin(path)
        return _Output(path, replacement, make_sink(str(path), replacement.stream), is_new)

    def key_metrics(self, values: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Metric]]:
        """Return the metrics of the pass that collects the values which repeat, by check."""
        wanted: dict[str, dict[str, Metric]] = {}
        for judge in self._keyed():
            rule = judge.check.rule
            if isinstance(rule, Unique):
                marks = values[judge.check.id]["hashes"]
                wanted[judge.check.id] = {"keys": RepeatedKeys(compared(judge.check), rule.nulls_equal, marks)}
        return wanted

    def learn_keys(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Take in the values that repeat, and those that a reference holds."""
        for judge in self._keyed():
            found = values[judge.check.id]
            if "keys" in found:
                judge.keys = found["keys"]
                continue
            # What the rule counted, which says of each row whether it fails.
            again = {name: value for name, value in found.items() if name != "failed"}
            counted = (judge.check.rule.follow_up(judge.check, again) or {}).get("failed")
            judge.later = counted.condition if isinstance(counted, Matching) else pl.lit(False)

    def _keyed(self) -> list[Judge]:
        return [judge for judge in self._judges if judge.fails is None]

    @property
    def judging(self) -> list[str]:
        """The ids of the checks that judge."""
        return [judge.check.id for judge in self._judges]

    @property
    def needs_keys(self) -> bool:
        """Whether some rows can not be judged by themselves, so that a pass must come before."""
        return bool(self._keyed())

    def part(self, frame: pl.DataFrame, first_row: int) -> Part | str:
        """Judge the rows of a slice; runs in a worker thread. Text says why they could not be judged."""
        assert self._plan is not None
        try:
            rows = frame.with_row_index(ROW, offset=first_row)
            if (about := _condition(self._plan.where)) is not None:
                rows = rows.filter(about)
            flags = self._flags(rows)
        except Exception as exc:  # noqa: BLE001  # an expression may call Python code, which may raise anything
            return first_line(exc)
        fails = pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
        for each in flags:
            fails = fails | each
        some = fails.any()
        valid, failing = (rows.filter(~fails), rows.filter(fails)) if some else (rows, rows.clear())
        flags = [flag.filter(fails) for flag in flags] if some else []
        return {"valid": self._columns(valid), "failing": self._explained(failing, flags)}

    def _flags(self, rows: pl.DataFrame) -> list[pl.Series]:
        """Return for each check that judges which rows fail it."""
        told = {f"{ROW}{i}": flag for i, judge in enumerate(self._judges) if (flag := judge.flag) is not None}
        # Not `select`: a condition without a column is one value, which is to stand in every row.
        marked = rows.with_columns(**told)
        return [
            marked[f"{ROW}{i}"] if f"{ROW}{i}" in told else judge.among_keys(rows)
            for i, judge in enumerate(self._judges)
        ]

    def _columns(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the columns of the source alone; not by `select`, to which some names are patterns."""
        assert self._plan is not None
        return pl.DataFrame([rows.get_column(name) for name in self._plan.schema])

    def _explained(self, failing: pl.DataFrame, flags: Sequence[pl.Series]) -> pl.DataFrame:
        found = self._columns(failing)
        # Where some value does not fit its type, all are kept as the text that they were.
        found = found.with_columns(failing.select(text.alias(name) for name, text in self._texts.items()))
        ids = pl.Series([[]] * failing.height, dtype=pl.List(pl.String))
        for judge, flag in zip(self._judges, flags, strict=False):
            if flag.any():
                name = pl.lit(pl.Series([judge.check.id], dtype=pl.String).implode())
                more = pl.DataFrame({"ids": ids, "flag": flag})
                ids = more.select(pl.when("flag").then(pl.col("ids").list.concat(name)).otherwise("ids")).to_series()
        return found.with_columns(
            failing[ROW].cast(pl.UInt64).alias(ROW_COLUMN),
            ids.alias(CHECKS_COLUMN),
        )

    def take(self, part: Part | str) -> None:
        """Take what :meth:`part` returned, in the order of the slices."""
        if isinstance(part, str):
            self.problem = self.problem or f"rows could not be judged: {part}"
            return
        for kind, frame in part.items():
            self._counts[kind] += frame.height
            if (output := self._outputs.get(kind)) is not None:
                joins = kind == "failing" and output.sink.joins_lists
                output.take(frame.with_columns(pl.col(CHECKS_COLUMN).list.join(",")) if joins else frame)

    async def write(self) -> None:
        """Write what is large enough, one piece after another, while whoever brought the rows waits."""
        async with self._writing:
            for output in self._outputs.values():
                if output.is_due:
                    await in_thread(self._write, output, output.taken(), grace=GRACE_SECONDS)

    async def finish(self, label: str, errors: Mapping[str, str], *, discreet: bool) -> None:
        """Write the rest, and give both files their names; after that there is no cancellation any more.

        :param errors: the checks that could not be evaluated
        :param discreet: whether the reason may show nothing of the data
        :raises SourceError: if a row could not be judged, or a file not be written; then there is neither
        """
        broken = [check_id for check_id in self.judging if check_id in errors]
        problem = f"check {broken[0]!r} could not be evaluated" if broken else self.problem
        if problem:
            said = "some rows could not be judged" if discreet else problem
            raise SourceError(label, f"split: nothing was written, since {said}")
        await in_thread(self._seal, grace=GRACE_SECONDS)
        # Nothing awaits between the two files, and nothing between them and the end of the run.
        self._put_in_place(label)

    def _write(self, output: _Output, frames: Sequence[pl.DataFrame]) -> None:
        with self._blaming(output):
            output.write(frames)

    def _seal(self) -> None:
        """Write the rest, and see to it that both files are on the disk; blocks.

        :raises SourceError: if that fails
        """
        for output in self._outputs.values():
            with self._blaming(output):
                output.write(output.taken())
                output.sink.finish()
                output.replacement.seal()

    @contextmanager
    def _blaming(self, output: _Output) -> Iterator[None]:
        """Name the file that can not be written."""
        try:
            yield
        except (OSError, *UNREADABLE) as exc:
            said = getattr(exc, "strerror", None) or first_line(exc)
            raise SourceError(self._label, f"split: {output.path} can not be written: {said}") from exc

    def _put_in_place(self, label: str) -> None:
        """Give both files their names, without a moment in between at which the run could be cancelled.

        :raises SourceError: if that fails; then neither is there
        """
        placed: list[_Output] = []
        # In this order: whoever finds the valid rows must be able to find the others.
        for output in [self._outputs[kind] for kind in ("failing", "valid") if kind in self._outputs]:
            try:
                output.replacement.commit()
            except OSError as exc:
                for other in placed:
                    if other.is_new:
                        other.path.unlink(missing_ok=True)
                problem = f"split: {output.path} can not be put in place: {exc.strerror or exc}"
                raise SourceError(label, problem) from exc
            placed.append(output)
        self.result = SplitResult(
            valid_rows=self._counts["valid"],
            failing_rows=self._counts["failing"],
            paths={kind: str(output.path) for kind, output in self._outputs.items()},
        )
        self._outputs, self._folders = {}, []

    def close(self) -> None:
        """Remove what was not put in place, with the folders that were made for it."""
        for output in self._outputs.values():
            output.replacement.discard()
        for folder in self._folders:
            with suppress(OSError):  # somebody else put something there meanwhile
                folder.rmdir()
        self._outputs, self._folders = {}, []


def _condition(text: str | None) -> pl.Expr | None:
    return None if text is None else pl.sql_expr(text)
