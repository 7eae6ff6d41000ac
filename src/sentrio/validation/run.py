"""One validation: phases over a source, states merged in order, and a report at any moment."""

from __future__ import annotations

__all__ = ("Progress", "Validation")

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
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
from sentrio.validation.findings import Findings
from sentrio.validation.lookup import Wanted
from sentrio.validation.measuring import Frame, MorselResult, measure, measured, read_columns
from sentrio.validation.phases import Phase
from sentrio.validation.plan import Plan
from sentrio.validation.report import Severity, ValidationReport
from sentrio.validation.samples import Row, SampleOptions
from sentrio.validation.sources.base import Description, Morsel, ReadAsText, Reader, Source
from sentrio.validation.sources.files import make_source
from sentrio.validation.split import SLICE_BYTES, SLICE_ROWS, Splitter
from sentrio.validation.validators import Validator
from sentrio.validation.validators._base import Gather
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
    _found: Findings = attrs.field(init=False)
    _number: int = attrs.field(default=0, init=False)
    _rows: int = attrs.field(default=0, init=False)
    _references: dict[Any, dict[str, Any] | str] = attrs.field(factory=dict, init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _started: float = attrs.field(factory=time.perf_counter, init=False)
    _splitting: bool = attrs.field(default=False, init=False)  # in the pass that runs

    @_found.default
    def _nothing(self) -> Findings:
        return Findings(self.samples)

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
                self._found.turn_to(Phase())
                self._found, self._number = self._nothing(), 0
                await self._run()
        except Interrupted:
            raise SourceError(self.source.label, "not read to its end: a SIGINT broke off what Polars did") from None
        finally:
            phase = self._found.phase
            phase.close()
            if self.split is not None:
                self.split.close()
            if phase.needs_free:
                await clean_up(phase.free, seconds=_FREEING_SECONDS)
            await self._close(self.source)

    async def _close(self, opened: Source | Reader) -> None:
        if self.source.remote:
            await clean_up(opened.close, seconds=_CLOSING_SECONDS)
        else:
            opened.close()

    async def _run(self) -> None:
        await self._steps(self._described())
        description = self._description
        assert description is not None
        found = self._found
        plan = found.plan = _guarded(self.source, partial(self._make_plan, description))
        logger.debug("%s columns, %s rows, %s checks", len(description.schema), description.rows, len(plan.checks))
        self._check_columns(plan)
        phase = plan.first.begin(description.rows)
        if phase.places:
            await self._steps(self.source.study(phase.columns if self.split is None else description.schema))
        if self.split is not None and phase.places:
            # To its end, whatever happens meanwhile: a thread that was left behind would leave its files behind.
            begin = partial(self.split.begin, plan, self.source.label, self.validators)
            await call_sync(begin, abandon_after=None)
            self._splitting = not self.split.needs_keys
        while phase.places:
            await self._pass(phase)
            if self._stopped:
                return
            await self._finish()
            await self._refer(phase)
            phase = found.follow_up(self.where)
            self._splitting = False  # the first pass has seen every row
        await self._look_up()
        if plan.first.places:  # else nothing could be evaluated, so nothing was read
            if self.split is not None and self.split.needs_keys:
                await self._split_by_keys(self.split)
            await self._steps(self.source.verify())
            found.complete = True
            if self.split is not None:
                await self.split.finish(self.source.label, found.broken, discreet=self.samples.discreet)

    async def _split_by_keys(self, split: Splitter) -> None:
        """Read once for the values that repeat, and once to write the rows."""
        found, judging = self._found, set(split.judging)
        if judging & found.broken.keys():
            return
        keys = Phase()
        for check_id, metrics in split.key_metrics(found.values).items():
            keys.add(found.plan.by_id[check_id], metrics, self.where)
        if keys.places:
            await self._pass(keys)
            await self._finish()
        if not judging & found.errors.keys():
            split.learn_keys(found.values)
            self._splitting = True
            await self._pass(Phase())
            self._splitting = False
        found.turn_to(Phase())

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
        self._found.turn_to(phase)
        self._rows = 0
        self._number += 1
        # A rule that asks for another pass says so by a `follow_up` of its own, one that finds rows by a `sample`.
        rules = [type(check.rule) for check in self._found.plan.checks if check.id in phase.places]
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
                size.most_bytes *= weight / (weight + self._found.phase.working_bytes)
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
                sampled=self._found.sampled,
                known=morsel.known,
                learnt=learnt,
            ),
        )

    def _merge(self, morsel: Morsel | None, result: MorselResult) -> bool:
        """Merge what was measured on the next morsel; return whether to stop."""
        result.errors = {check: self.source.tell(problem) for check, problem in result.errors.items()}
        if result.part is not None and self.split is not None:
            self.split.take(result.part)
        self._found.merge(result, first_pass=self._number == 1)
        self._rows += result.rows
        return self._look()

    def _look(self) -> bool:
        """Find checks that have failed for certain; tell whether that ends the run."""
        if self.on_progress is None and self.fail_fast is None:
            return False
        for check in self._found.newly_failed():
            if self.fail_fast is not None and check.rule.severity.rank >= self.fail_fast.rank:
                self._stopped = True
        if self.on_progress is not None:
            total = self._description.rows if self._description else None
            self.on_progress(Progress(self._rows, total, tuple(self._found.failed), self._number))
        return self._stopped

    async def _finish(self) -> None:
        """Do the work that follows the last morsel, and keep the values."""
        for steps in self._found.work():
            await self._work(steps)
        self._found.keep()

    async def _work(self, steps: Iterator[None]) -> None:
        done = object()
        while True:
            step = partial(_guarded, self.source, partial(next, steps, done))
            # Most metrics have nothing left to do, and say so at once.
            if (await in_thread(step) if hasattr(steps, "gi_frame") else step()) is done:
                return

    async def _refer(self, phase: Phase) -> None:
        """Read the other data that checks compare with, as often as they ask."""
        for check in self._found.plan.checks:
            if check.id not in phase.places or check.id in self._found.errors:
                continue
            values = self._found.values[check.id]
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
                    self._found.unreadable[check.id] = found
                    break
                values["reference"] = {**values.get("reference", {}), **found}

    async def gathered(self) -> dict[str, Any] | str:
        """Run, and return the values of the metrics of the only check, or why there are none."""
        try:
            await self.run()
        except SourceError as exc:
            return f"the reference can not be read: {exc}"
        (check,) = self._found.plan.checks[:1]
        result = self._found.result(check)
        return self._found.values[check.id] if result.passed else f"the reference can not be used: {result.message}"

    async def _look_up(self) -> None:
        """Read the key columns of rows that rules found themselves, where no filter can find them again."""
        keys, most = self.samples.key_columns, self.samples.most
        if not keys or not most:
            return
        found: dict[str, list[Row]] = {}
        for check in self._found.plan.checks:
            if (values := self._found.values.get(check.id)) and check.id not in self._found.samples:
                found[check.id] = list(islice(check.rule.sample(check, values), most))
        wanted = Wanted({row for rows in found.values() for row, _ in rows}, keys)
        if not wanted.rows:
            return
        self.source.read_again = False
        look = partial(_guarded, self.source)
        await self._read(lambda morsel: look(partial(wanted.look, morsel)), wanted.take, None)
        for check_id, rows in found.items():
            if rows:
                self._found.samples[check_id] = [(row, {**wanted.cells.get(row, {}), **cells}) for row, cells in rows]

    def report(self) -> ValidationReport:
        """Return what is known now."""
        rows = self._description.rows if self._description else None
        return self._found.report(rows, time.perf_counter() - self._started)


def _guarded(source: Source, function: Callable[[], T]) -> T:
    """Run something that calls Polars; what it raises about the data becomes a :class:`SourceError`."""
    try:
        return function()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as exc:
        said = first_line(exc)
        told = source.tell(said)
        # A traceback would show what must not be told.
        raise SourceError(source.label, told) from (exc if told == said else None)
