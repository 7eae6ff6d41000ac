"""One validation: phases over a source, states merged in order, and a report at any moment."""

from __future__ import annotations

__all__ = ("Progress", "Validation")

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import attrs
import polars as pl

from sentrio.async_core._thread_steps import clean_up
from sentrio.async_core.threads import call_sync
from sentrio.errors import SourceError, suggestion
from sentrio.validation.cuts import Learnt
from sentrio.validation.engines.threads import Interrupted, MorselSize, in_thread, run_morsels
from sentrio.validation.facts import Known
from sentrio.validation.lookup import Wanted
from sentrio.validation.outcomes import PARTIAL, UNEVALUATED, error_of, result_of
from sentrio.validation.plan import Broken, Frame, MorselResult, Phase, Plan, measure, measured, read_columns
from sentrio.validation.report import CheckResult, Severity, ValidationReport
from sentrio.validation.samples import Row, SampleOptions
from sentrio.validation.sources.base import Description, Morsel, ReadAsText, Reader, Source
from sentrio.validation.sources.files import make_source
from sentrio.validation.split import SLICE_BYTES, SLICE_ROWS, Splitter
from sentrio.validation.validators import Validator
from sentrio.validation.validators._base import Check, Gather, Verdict
from sentrio.validation.wording import first_line

# A frame below both bounds is checked in less time than a worker thread needs to begin.
_INLINE_ROWS = 10_000
_INLINE_BYTES = 2**20
# A database that does not answer any more is not waited for; up to twice as long after a cancellation.
_CLOSING_SECONDS = 0.25

# To give up a large file takes the system some time, and a cancelled run does not wait for all of it.
_FREEING_SECONDS = 0.02

T = TypeVar("T")

logger = logging.getLogger("sentrio.validation")


@attrs.frozen
class Progress:
    """How far a validation has come."""

    rows: int  #: rows done in this pass
    total: int | None  #: rows in all, where that is known
    failed: tuple[str, ...]  #: ids of the checks that have failed for certain
    phase: int  #: passes begun, from 1; most validations need one


@attrs.define(eq=False)
class Validation:
    """One run of validators over a source. :meth:`report` may be called at any time, also after an error."""

    source: Source
    validators: Sequence[Validator]
    where: str | None = None
    samples: SampleOptions = attrs.field(factory=SampleOptions)
    fail_fast: Severity | None = None  #: stop once a check of at least this severity has failed for certain
    morsel_rows: int | None = None
    in_flight: int | None = None
    on_progress: Callable[[Progress], object] | None = None
    plans: dict[Any, Plan] = attrs.field(factory=dict)  #: plans by schema, kept from run to run
    base: Path | None = None  #: the folder that relative paths of references start from
    split: Splitter | None = None  #: writes valid and failing rows

    _description: Description | None = attrs.field(default=None, init=False)
    _plan: Plan | None = attrs.field(default=None, init=False)
    _phase: Phase = attrs.field(factory=Phase, init=False)
    _number: int = attrs.field(default=0, init=False)
    _states: list[list[Any]] = attrs.field(factory=list, init=False)
    _values: dict[str, dict[str, Any]] = attrs.field(factory=dict, init=False)
    _samples: dict[str, list[Row]] = attrs.field(factory=dict, init=False)
    _sampled: set[str] = attrs.field(factory=set, init=False)
    _errors: dict[str, str] = attrs.field(factory=dict, init=False)
    _references: dict[Any, dict[str, Any] | str] = attrs.field(factory=dict, init=False)
    _unreadable: dict[str, str] = attrs.field(factory=dict, init=False)  # check id -> why its reference is none
    _failed: list[str] = attrs.field(factory=list, init=False)
    _rows: int = attrs.field(default=0, init=False)
    _scanned: int = attrs.field(default=0, init=False)
    _complete: bool = attrs.field(default=False, init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _started: float = attrs.field(factory=time.perf_counter, init=False)
    _splitting: bool = attrs.field(default=False, init=False)  # in the pass that runs
    _measured_all: bool = attrs.field(default=False, init=False)  # in the pass that runs, or that ran last

    async def run(self) -> None:
        """Read the source and measure everything.

        :raises SourceError: if the source can not be read, or a SIGINT broke it off
        """
        await anyio.lowlevel.checkpoint()
        try:
            try:
                await self._run()
            except ReadAsText:
                self.source = self.source.as_text()
                self._reset()
                await self._run()
        except Interrupted:
            raise SourceError(self.source.label, "not read to its end: a SIGINT broke off what Polars did") from None
        finally:
            self._phase.close()
            if self.split is not None:
                self.split.close()
            if self._phase.needs_free:
                await clean_up(self._phase.free, seconds=_FREEING_SECONDS)
            await self._close(self.source)

    async def _close(self, opened: Source | Reader) -> None:
        if self.source.remote:
            await clean_up(opened.close, seconds=_CLOSING_SECONDS)
        else:
            opened.close()

    def _reset(self) -> None:
        for kept in (self._states, self._values, self._samples, self._sampled, self._errors, self._failed):
            kept.clear()
        self._unreadable.clear()
        self._number = self._scanned = 0

    async def _run(self) -> None:
        await self._steps(self._described())
        description = self._description
        assert description is not None
        self._plan = _guarded(self.source, partial(self._make_plan, description))
        logger.debug(
            "%s columns, %s rows, %s checks", len(description.schema), description.rows, len(self._plan.checks)
        )
        self._check_columns(self._plan)
        phase = self._plan.first.begin(description.rows)
        if phase.places:
            await self._steps(self.source.study(phase.columns if self.split is None else description.schema))
        if self.split is not None and phase.places:
            # To its end, whatever happens meanwhile: a thread that was left behind would leave its files behind.
            begin = partial(self.split.begin, self._plan, self.source.label, self.validators)
            await call_sync(begin, abandon_after=None)
            self._splitting = not self.split.needs_keys
        while phase.places:
            await self._pass(phase)
            if self._stopped:
                return
            await self._finish(phase)
            await self._refer(phase)
            phase = self._follow_up(phase)
            self._splitting = False  # the first pass has seen every row
        await self._look_up()
        if self._plan.first.places:  # else nothing could be evaluated, so nothing was read
            if self.split is not None and self.split.needs_keys:
                await self._split_by_keys(self.split)
            await self._steps(self.source.verify())
            self._complete = True
            if self.split is not None:
                broken = {**self._errors, **self._unreadable}
                await self.split.finish(self.source.label, broken, discreet=self.samples.discreet)

    async def _split_by_keys(self, split: Splitter) -> None:
        """Read once for the values that repeat, and once to write the rows."""
        assert self._plan is not None
        judging = set(split.judging)
        if judging & {*self._errors, *self._unreadable}:
            return
        keys = Phase()
        for check_id, metrics in split.key_metrics(self._values).items():
            keys.add(self._plan.by_id[check_id], metrics, self.where)
        if keys.places:
            await self._pass(keys)
            await self._finish(keys)
        if not judging & set(self._errors):
            split.learn_keys(self._values)
            self._splitting = True
            await self._pass(Phase())
            self._splitting = False
        self._turn_to(Phase())

    def _turn_to(self, phase: Phase) -> None:
        if phase is not self._phase:
            self._phase.close()
            self._phase.free()  # of what could not be measured; the rest was given back when it was done
        self._phase, self._states = phase, []

    def _described(self) -> Iterator[None]:
        yield from self.source.prepare()
        self._description = self.source.describe()

    def _make_plan(self, description: Description) -> Plan:
        key = (tuple(description.schema.items()), tuple(description.hidden))
        plan = self.plans.get(key)
        if plan is None:
            plan = self.plans[key] = Plan(
                self.validators,
                description.schema,
                where=self.where,
                extra=description.checks,
                hidden=description.hidden,
            )
        return plan

    def _check_columns(self, plan: Plan) -> None:
        # A misspelt column to be redacted would be shown, so it must not pass.
        for option in ("key_columns", "redact_columns"):
            for name in getattr(self.samples, option):
                if name not in plan.schema:
                    hint = "" if self.samples.discreet else suggestion(name, tuple(plan.schema))
                    raise SourceError(self.source.label, f"{option} names column {name!r}, which is not there{hint}")

    async def _steps(self, steps: Iterator[None]) -> None:
        done = object()
        if self.source.instant:
            for _ in steps:
                await anyio.lowlevel.checkpoint()
            return
        while await in_thread(_guarded, self.source, partial(next, steps, done)) is not done:
            pass

    async def _pass(self, phase: Phase) -> None:
        assert self._description is not None
        self._turn_to(phase)
        self._rows, self._measured_all = 0, False
        self._number += 1
        # A rule that asks for another pass says so by a `follow_up` of its own, one that finds rows by a `sample`.
        rules = [type(check.rule) for check in self._plan.checks if check.id in phase.places] if self._plan else []
        keys = self.samples.key_columns and self.samples.most
        self.source.read_again = (self.split is not None and self.split.needs_keys) or any(
            rule.follow_up is not Validator.follow_up or (keys and rule.sample is not Validator.sample)
            for rule in rules
        )
        known = None if self._splitting else self.source.known()
        if known is not None and (result := measured(phase, known, self.samples)) is not None:
            self._merge(None, result)
            return
        schema = self._description.schema
        # What is split is read as a whole.
        reads = (lambda known: schema) if self._splitting else partial(read_columns, phase)
        await self._read(partial(self._measure, phase, Learnt()), self._merge, reads)
        self._measured_all = not self._stopped

    async def _read(
        self,
        work: Callable[[Morsel], MorselResult],
        merge: Callable[[Morsel, MorselResult], bool],
        reads: Callable[[Known], Collection[str]] | None,
    ) -> None:
        assert self._description is not None
        reader = self.source.open(self._description)
        reader.reads = reads
        weight = self._description.bytes_per_row
        rows = self._description.rows
        try:
            if (
                self.source.instant
                and rows is not None
                and rows < _INLINE_ROWS
                and rows * (weight or 0) < _INLINE_BYTES
                and self.morsel_rows is None
            ):
                while (morsel := reader.read(_INLINE_ROWS)) is not None:
                    merge(morsel, work(morsel))
                return
            if reader.bytes_per_row is not None:
                weight = reader.bytes_per_row
            fixed = self.morsel_rows
            if fixed is None and self._splitting:
                fixed = max(1, min(SLICE_ROWS, int(SLICE_BYTES / (weight or 1))))
            size = MorselSize(fixed=fixed, bytes_per_row=weight, unit=reader.unit)
            if weight:
                size.most_bytes *= weight / (weight + self._phase.working_bytes)
            settle = self.split.write if self.split is not None and self._splitting else None
            await run_morsels(reader, work, merge, size=size, in_flight=self.in_flight, settle=settle)
        finally:
            await self._close(reader)

    def _measure(self, phase: Phase, learnt: Learnt, morsel: Morsel) -> MorselResult:
        if not self._splitting or self.split is None:
            return self._measured(phase, learnt, morsel, morsel.frame)
        frame = _guarded(self.source, morsel.frame.lazy().collect)  # read once, for both
        result = self._measured(phase, learnt, morsel, frame)
        result.part = self.split.part(frame, morsel.first_row)
        return result

    def _measured(self, phase: Phase, learnt: Learnt, morsel: Morsel, frame: Frame) -> MorselResult:
        return _guarded(
            self.source,
            partial(
                measure,
                phase,
                frame,
                rows=morsel.rows,
                first_row=morsel.first_row,
                options=self.samples,
                sampled=self._sampled,
                known=morsel.known,
                learnt=learnt,
            ),
        )

    def _merge(self, morsel: Morsel | None, result: MorselResult) -> bool:
        """Merge what was measured on the next morsel; return whether to stop."""
        self._errors.update({check: self.source.tell(problem) for check, problem in result.errors.items()})
        if result.part is not None and self.split is not None:
            self.split.take(result.part)
        if not self._states:
            self._states = result.states
        else:
            for group, (mine, others) in zip(
                self._phase.groups, zip(self._states, result.states, strict=True), strict=True
            ):
                for i, metric in enumerate(group.metrics):
                    broken = isinstance(mine[i], Broken) or isinstance(others[i], Broken)
                    mine[i] = Broken() if broken else metric.merge(mine[i], others[i])
        for check_id, rows in result.samples.items():
            kept = self._samples.setdefault(check_id, [])
            kept += rows[: self.samples.most - len(kept)]
            if len(kept) >= self.samples.most:
                self._sampled.add(check_id)
        self._rows += result.rows
        if self._number == 1:
            self._scanned += result.rows
        return self._look()

    def _look(self) -> bool:
        """Find checks that have failed for certain; tell whether that ends the run."""
        assert self._plan is not None
        if self.on_progress is None and self.fail_fast is None:
            return False
        failed = set(self._failed)
        for check in self._plan.checks:
            if check.id in failed or check.id not in self._phase.places or check.id in self._errors:
                continue
            if check.rule.certain(check, self._current(check)):
                self._failed.append(check.id)
                if self.fail_fast is not None and check.rule.severity.rank >= self.fail_fast.rank:
                    self._stopped = True
        if self.on_progress is not None:
            total = self._description.rows if self._description else None
            self.on_progress(Progress(self._rows, total, tuple(self._failed), self._number))
        return self._stopped

    def _current(self, check: Check) -> dict[str, Any]:
        """Return the values of the metrics of a check as they are now."""
        values = dict(self._values.get(check.id, {}))
        if self._states:
            for name, (group, place) in self._phase.places.get(check.id, {}).items():
                state = self._states[group][place]
                values[name] = self._phase.groups[group].metrics[place].finish(state)
        return values

    async def _finish(self, phase: Phase) -> None:
        """Do the work that follows the last morsel, and keep the values."""
        assert self._plan is not None
        for group, states in zip(phase.groups, self._states, strict=True):
            for metric, state in zip(group.metrics, states, strict=True):
                if not isinstance(state, Broken):
                    await self._work(metric.work(state))
        for check_id in phase.places:
            if check_id not in self._errors:
                self._values[check_id] = self._current(self._plan.by_id[check_id])

    async def _work(self, steps: Iterator[None]) -> None:
        done = object()
        while True:
            step = partial(_guarded, self.source, partial(next, steps, done))
            # Most metrics have nothing left to do, and say so at once.
            if (await in_thread(step) if hasattr(steps, "gi_frame") else step()) is done:
                return

    async def _refer(self, phase: Phase) -> None:
        """Read the other data that checks compare with, as often as they ask."""
        assert self._plan is not None
        for check in self._plan.checks:
            if check.id not in phase.places or check.id in self._errors:
                continue
            values = self._values[check.id]
            while wanted := check.rule.refer(check, values):
                found = self._references.get((id(check.rule), wanted))
                if found is None:
                    gather = [Gather(wanted=wanted)]
                    shown = SampleOptions(most=0 if self.samples.discreet else 1)
                    other = Validation(make_source(wanted.data, self.base), gather, samples=shown)
                    found = self._references[id(check.rule), wanted] = await other.gathered()
                if not isinstance(found, str) and (problem := wanted.refuses(found["dtype"])):
                    found = problem
                if isinstance(found, str):
                    self._unreadable[check.id] = found
                    break
                values["reference"] = {**values.get("reference", {}), **found}

    async def gathered(self) -> dict[str, Any] | str:
        """Run, and return the values of the metrics of the only check, or why there are none."""
        try:
            await self.run()
        except SourceError as exc:
            return f"the reference can not be read: {exc}"
        assert self._plan is not None
        (check,) = self._plan.checks[:1]
        result = self._result(check)
        return self._values[check.id] if result.passed else f"the reference can not be used: {result.message}"

    async def _look_up(self) -> None:
        """Read the key columns of rows that rules found themselves, where no filter can find them again."""
        assert self._plan is not None
        keys, most = self.samples.key_columns, self.samples.most
        if not keys or not most:
            return
        found: dict[str, list[Row]] = {}
        for check in self._plan.checks:
            if (values := self._values.get(check.id)) and check.id not in self._samples:
                found[check.id] = list(islice(check.rule.sample(check, values), most))
        wanted = Wanted({row for rows in found.values() for row, _ in rows}, keys)
        if not wanted.rows:
            return
        self.source.read_again = False
        look = partial(_guarded, self.source)
        await self._read(lambda morsel: look(partial(wanted.look, morsel)), wanted.take, None)
        for check_id, rows in found.items():
            if rows:
                self._samples[check_id] = [(row, {**wanted.cells.get(row, {}), **cells}) for row, cells in rows]

    def _follow_up(self, phase: Phase) -> Phase:
        assert self._plan is not None
        following = Phase()
        for check in self._plan.checks:
            if check.id in phase.places and check.id not in self._errors and check.id not in self._unreadable:
                metrics = check.rule.follow_up(check, self._values[check.id])
                if metrics:
                    following.add(check, metrics, self.where)
        self._turn_to(following)
        return following

    def report(self) -> ValidationReport:
        """Return what is known now."""
        rows = self._description.rows if self._description else None
        if rows is None and self._complete:
            rows = self._scanned
        return ValidationReport(
            checks=tuple(map(self._result, self._plan.checks)) if self._plan else (),
            row_count=rows,
            rows_scanned=self._scanned,
            complete=self._complete,
            duration_ms=round((time.perf_counter() - self._started) * 1000, 3),
        )

    def _result(self, check: Check) -> CheckResult:
        values = self._values.get(check.id, {}) if self._complete else self._current(check)
        found = self._samples.get(check.id, ())
        return result_of(check, values, self.samples, found, self._unjudged(check, values))

    def _unjudged(self, check: Check, values: Mapping[str, Any]) -> Verdict | None:
        """Return why a check can not be judged now; ``None``: it can."""
        if problem := check.problem or self._unreadable.get(check.id):
            return error_of(problem, self.samples)
        if (problem := self._errors.get(check.id)) is not None:
            hidden = "it could not be evaluated on some rows (the reason may show values, which are hidden)"
            return error_of(hidden if self.samples.discreet else problem, self.samples)
        if not values:
            return UNEVALUATED
        if self._complete or (check.id in self._values and not self._waits(check)):
            return None
        if not self._states:
            return UNEVALUATED
        if check.by_schema or check.rule.certain(check, values):
            return None
        # Whatever was seen, the rows that were not may be otherwise.
        return UNEVALUATED if check.rule.needs_all_rows else PARTIAL

    def _waits(self, check: Check) -> bool:
        """Tell whether a check that was measured is measured further."""
        return check.id in self._phase.places and (check.rule.needs_all_rows or not self._measured_all)


def _guarded(source: Source, function: Callable[[], T]) -> T:
    """Run something that calls Polars; what it raises about the data becomes a :class:`SourceError`."""
    try:
        return function()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as exc:
        said = first_line(exc)
        told = source.tell(said)
        # A traceback would show what must not be told.
        raise SourceError(source.label, told) from (exc if told == said else None)
