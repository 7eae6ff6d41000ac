"""What must be true of every validator, whoever wrote it, tried on data at random."""

from __future__ import annotations

__all__ = ("LawBroken", "check_validator_laws")

import itertools
import math
import pickle
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import polars as pl

from sentrio._options import known_options
from sentrio.errors import OptionValueError, RunningLoopError, UnknownOptionError
from sentrio.validation._examples import example_values
from sentrio.validation.measuring import ROW
from sentrio.validation.metrics import Metric, ScanMetric
from sentrio.validation.report import CheckOutcome, CheckResult, ValidationReport
from sentrio.validation.run import Validation
from sentrio.validation.samples import SampleOptions
from sentrio.validation.sources.frames import FrameSource
from sentrio.validation.validators import RowRule, StatisticRule, Validator, make_validator
from sentrio.validation.validators._rules import ColumnRule
from sentrio.validation.validators._rules import StatisticRule as ColumnStatistic

_MOST_ROWS = 30
_NULL_SHARE = 0.15
_TOLERANCE = 1e-9

# A column for each kind that a rule may apply to.
_KINDS: dict[str, pl.DataType] = {
    "integers": pl.Int64(),
    "numbers": pl.Float64(),
    "texts": pl.String(),
    "flags": pl.Boolean(),
    "days": pl.Date(),
    "times": pl.Datetime("us"),
}


class LawBroken(AssertionError):
    """A validator that breaks a law, with the data that show it."""


def check_validator_laws(
    validator: Any,
    options: Mapping[str, Any] | None = None,
    *,
    data: Any = None,
    examples: int = 50,
    judges_nulls: bool = False,
    seed: int = 0,
) -> None:
    """Check that a validator keeps the laws that the engine relies on.

    On frames at random, cut at random: the answer does not depend on the cut, on the number of workers, or on
    the order in which states are merged; nulls are passed over; a rule about rows holds on an empty frame, and a
    statistic of no values fails. Unknown options and bad values are refused, and the validator pickles (unless
    its class stands inside of a function).

    :param validator: a validator, a class, or an entry as in a configuration
    :param options: options for a class
    :param data: a Polars frame (or a mapping of columns) with rows that pass and rows that fail, from which rows
        are drawn at random; ``None``: made-up columns of every type, which suit few rules about texts
    :param examples: how many frames are tried
    :param judges_nulls: the rule is about nulls, as ``not_null`` is: they are not passed over
    :param seed: the frames of a seed are always the same
    :raises RunningLoopError: if an event loop runs in this thread
    :raises LawBroken: if it breaks one; the message shows law, data, and both answers
    """
    if _loop_is_running():
        raise RunningLoopError("check_validator_laws()", "anyio.to_thread.run_sync(check_validator_laws, ...)")
    rule = _made(validator, dict(options or {}))
    _options_are_checked(rule)
    pool = _pool(data)
    chance = random.Random(seed)  # noqa: S311

    async def main() -> None:
        await _can_be_evaluated(rule, pool.clear())
        for _ in range(examples):
            frame = _drawn(pool, chance)
            await _can_be_evaluated(rule, frame)
            await _cuts_do_not_matter(rule, frame, chance)
            _merging_is_associative(rule, frame, chance)
            if not judges_nulls:
                await _nulls_are_passed_over(rule, frame)
        await _nothing_is_no_pass(rule, pool.clear())

    anyio.run(main)


def _loop_is_running() -> bool:
    try:
        anyio.lowlevel.current_token()
    except anyio.NoEventLoopError:
        return False
    return True


def _made(validator: Any, given: dict[str, Any]) -> Validator:
    if isinstance(validator, type) and issubclass(validator, Validator):
        made: Validator = validator(**given)
        return made
    if given:
        raise OptionValueError(
            "check_validator_laws", "options", "options are for a class; this validator has its own"
        )
    return make_validator(validator)


def _pool(data: Any) -> pl.DataFrame:
    if data is not None:
        return pl.DataFrame(data)
    rows = 40
    return pl.DataFrame(
        {
            name: pl.Series([values[row % len(values)] for row in range(rows)], dtype=dtype)
            for name, dtype in _KINDS.items()
            if (values := example_values(dtype))
        }
    )


def _drawn(pool: pl.DataFrame, chance: random.Random) -> pl.DataFrame:
    """Draw rows with replacement, and take some of their values away."""
    rows = [chance.randrange(pool.height) for _ in range(chance.randint(1, _MOST_ROWS))] if pool.height else []
    columns = []
    for series in pool[rows].iter_columns():
        kept = pl.Series([chance.random() >= _NULL_SHARE for _ in rows], dtype=pl.Boolean)
        columns.append(pl.select(pl.when(kept).then(series).alias(series.name)).to_series())
    return pl.DataFrame(columns)


async def _report(rule: Validator, frame: pl.DataFrame, *, morsel_rows: int, in_flight: int = 1) -> ValidationReport:
    samples = SampleOptions(most=frame.height or 1)
    validation = Validation(FrameSource(frame), [rule], samples=samples, morsel_rows=morsel_rows, in_flight=in_flight)
    await validation.run()
    return validation.report()


async def _whole(rule: Validator, frame: pl.DataFrame) -> ValidationReport:
    return await _report(rule, frame, morsel_rows=max(frame.height, 1))


def _answer(check: CheckResult) -> tuple[Any, ...]:
    rows = tuple((item.row, tuple(map(str, item.values.values()))) for item in check.sample)
    return check.id, check.outcome, check.failed_count, check.evaluated_count, check.row_count, check.observed, rows


def _same(one: Any, other: Any) -> bool:
    """Compare answers; numbers that were added up in another order may differ in their last digits."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) or (one != one and other != other)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, pl.Series) and isinstance(other, pl.Series):
        return one.equals(other)
    return bool(one == other)


def _differing(first: ValidationReport, second: ValidationReport) -> tuple[Any, Any] | None:
    pairs = zip(map(_answer, first.checks), map(_answer, second.checks), strict=True)
    return next(((one, other) for one, other in pairs if not _same(one, other)), None)


def _broken(law: str, rule: Validator, frame: pl.DataFrame, said: str) -> LawBroken:
    data = frame.to_dict(as_series=False)
    return LawBroken(f"{rule.validator_name} breaks a law: {law}\n  data: {data}\n  {said}")


async def _smallest(frame: pl.DataFrame, breaks: Callable[[pl.DataFrame], Awaitable[Any]]) -> pl.DataFrame:
    """Take rows away for as long as the law stays broken: few rows show a fault best."""
    row = 0
    while row < frame.height:
        fewer = pl.concat([frame[:row], frame[row + 1 :]])
        frame, row = (fewer, row) if await breaks(fewer) else (frame, row + 1)
    return frame


async def _cuts_do_not_matter(rule: Validator, frame: pl.DataFrame, chance: random.Random) -> None:
    rows, workers = chance.randint(1, max(1, frame.height // 2)), chance.randint(1, 3)

    async def differing(part: pl.DataFrame) -> tuple[Any, Any] | None:
        return _differing(await _whole(rule, part), await _report(rule, part, morsel_rows=rows, in_flight=workers))

    if await differing(frame) is None:
        return
    least = await _smallest(frame, differing)
    found = await differing(least)
    if found is None:  # it answers now so, now otherwise
        raise _broken("the same data must give the same answer", rule, least, "its answers differ from run to run")
    said = f"read at once: {found[0]}\n  {rows} at a time: {found[1]}"
    raise _broken("the answer must not depend on how the data are cut", rule, least, said)


def _merging_is_associative(rule: Validator, frame: pl.DataFrame, chance: random.Random) -> None:
    first, second = sorted(chance.randint(0, frame.height) for _ in range(2))
    edges = (0, first, second, frame.height)
    for check in rule.bind(frame.schema):
        for name, metric in check.metrics.items():
            if check.problem:
                continue
            left, right = (_merged(metric, frame, edges, leftwards=leftwards) for leftwards in (True, False))
            if not _same(left, right):
                said = f"(a + b) + c: {left!r}\n  a + (b + c): {right!r}, cut at {first} and {second}"
                law = (
                    f"metric {name.removeprefix('own.')!r} must merge to the same in any order of merging neighbours"
                )
                raise _broken(law, rule, frame, said)


def _merged(metric: Metric, frame: pl.DataFrame, edges: Sequence[int], *, leftwards: bool) -> Any:
    # Made anew each time: merging may change a state in place.
    a, b, c = (_state(metric, frame[low:high], low) for low, high in itertools.pairwise(edges))
    state = metric.merge(metric.merge(a, b), c) if leftwards else metric.merge(a, metric.merge(b, c))
    for _ in metric.work(state):
        pass
    return metric.finish(state)


def _state(metric: Metric, part: pl.DataFrame, first_row: int) -> Any:
    if isinstance(metric, ScanMetric):
        return metric.scan(part.lazy().with_row_index(ROW, offset=first_row), ROW)
    expressions = [each.alias(str(i)) for i, each in enumerate(metric.expressions(pl))]
    return metric.state([column[0] for column in part.select(expressions).iter_columns()])


async def _nulls_are_passed_over(rule: Validator, frame: pl.DataFrame) -> None:
    """Compare with the rows that have a value: rows without one must change nothing."""
    if not isinstance(rule, ColumnRule):
        return
    for check in rule.bind(frame.schema):
        if len(check.columns) != 1:
            continue
        (name,) = check.columns
        single = attrs.evolve(rule, column=name, columns=None)

        async def differing(part: pl.DataFrame, name: str = name, single: Validator = single) -> Any:
            kept = part.filter(pl.col(name).is_not_null())
            one, other = [
                (each.outcome, each.failed_count, each.evaluated_count, each.observed)
                for rows in (part, kept)
                for each in (await _whole(single, rows)).checks
            ]
            return None if _same(one, other) else (one, other)

        if found := await differing(frame):
            least = await _smallest(frame, differing)
            found = await differing(least) or found
            said = f"with those rows: {found[0]}\n  without: {found[1]}"
            raise _broken(f"rows in which {name!r} is null must be passed over", rule, least, said)


async def _can_be_evaluated(rule: Validator, frame: pl.DataFrame) -> None:
    for check in (await _whole(rule, frame)).checks:
        if check.outcome is CheckOutcome.ERROR:
            where = "" if check.column is None else f"column {check.column!r}: "
            raise _broken("it must be possible to evaluate it", rule, frame, where + check.message)


async def _nothing_is_no_pass(rule: Validator, empty: pl.DataFrame) -> None:
    for check in (await _whole(rule, empty)).checks:
        if isinstance(rule, RowRule) and check.outcome is not CheckOutcome.PASSED:
            raise _broken("a rule about rows holds where there are none", rule, empty, check.message)
        if isinstance(rule, StatisticRule | ColumnStatistic) and check.outcome is CheckOutcome.PASSED:
            raise _broken("a statistic of no values fails", rule, empty, f"observed: {check.observed!r}")


def _options_are_checked(rule: Validator) -> None:
    cls = type(rule)
    given = {field.alias or field.name: getattr(rule, field.name) for field in attrs.fields(cls) if field.init}
    known = known_options(cls)
    for wrong, error in _wrong_options(known):
        try:
            cls(**{**given, **wrong})
        except error:
            continue
        except Exception as exc:
            law = f"the options {wrong} must be refused with {error.__name__}"
            raise LawBroken(
                f"{cls.validator_name} breaks a law: {law}, and raise {type(exc).__name__}: {exc}"
            ) from exc
        raise LawBroken(f"{cls.validator_name} breaks a law: the options {wrong} must be refused")
    if cls(**given) != rule:
        raise LawBroken(f"{cls.validator_name} breaks a law: made with the same options, two must be equal")
    if "<locals>" in cls.__qualname__:
        return  # no class inside of a function can be pickled, whatever it is
    try:
        again = pickle.loads(pickle.dumps(rule))  # noqa: S301  # what was pickled one line above
    except Exception as exc:
        raise LawBroken(f"{cls.validator_name} breaks a law: it must pickle, and raises {exc!r}") from exc
    if again != rule:
        raise LawBroken(f"{cls.validator_name} breaks a law: it must pickle, and comes back as {again!r}")


def _wrong_options(known: Sequence[str]) -> Iterator[tuple[dict[str, Any], type[Exception]]]:
    unknown = f"{known[-1]}_misspelt"
    yield {unknown: 1}, UnknownOptionError
    yield {"severity": "hihg"}, OptionValueError
    if "mostly" in known:
        yield {"mostly": math.nan}, OptionValueError
    if "column" in known and "columns" in known:
        yield {"column": "a", "columns": ["a"]}, OptionValueError
    if "min" in known and "max" in known:
        yield {"min": 2, "max": 1}, OptionValueError
