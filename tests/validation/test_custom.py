"""Rules that people write themselves: functions, statistics, metrics; and what becomes of their faults."""

from __future__ import annotations

import decimal
import enum
import pickle
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import attrs
import polars as pl
import pytest

import sentrio
from sentrio.errors import OptionValueError, UnknownNameError, UnknownOptionError
from sentrio.testing import LawBroken, check_validator_laws
from sentrio.validation import Count, Max, Metric, RowRule, StatisticRule, Sum, row_rule
from sentrio.validation.metrics import ScanMetric

IBANS = ["DE12345678901234567890", "x", None, "AT123456789012345678"]


@row_rule("iban", applies_to="string")
def iban(nw: Any, column: str, *, country: str = "[A-Z]{2}") -> Any:
    """True where the row passes; rows that are null are passed over."""
    return nw.col(column).str.contains(rf"^{country}\d{{2}}[A-Z0-9]{{11,30}}$")


class Unit(enum.StrEnum):
    METRE = "m"
    FOOT = "ft"


@row_rule("everything", expected="a multiple of {factor} in {unit}")
def everything(  # type: ignore[no-untyped-def]  # as people write them
    nw: Any,
    column: str,
    *,
    factor: int,
    share: float = 0.5,
    limit: int | None = None,
    strict: bool = False,
    kind: Literal["a", "b"] = "a",
    names: list[str] = [],  # noqa: B006  # copied for each rule: the test below holds it
    pair: tuple[int, ...] = (),
    unit: Unit = Unit.METRE,
    loose=1,
    free=None,
) -> Any:
    return nw.col(column) % factor == 0


class Broken(Metric):
    """A metric whose code raises, here or there."""

    def __init__(self, where: str) -> None:
        self.where = where

    def expressions(self, nw: Any) -> Sequence[Any]:
        if self.where == "expressions":
            raise ZeroDivisionError("broken in expressions")
        return (nw.len(),)

    def state(self, values: Sequence[Any]) -> Any:
        if self.where == "state":
            raise ZeroDivisionError("broken in state")
        return values[0]

    def merge(self, earlier: Any, later: Any) -> Any:
        if self.where == "merge":
            raise ZeroDivisionError("broken in merge")
        return earlier + later

    def work(self, state: Any) -> Iterator[None]:
        yield

    def finish(self, state: Any) -> Any:
        if self.where == "finish":
            raise ZeroDivisionError("broken in finish")
        return state


class BrokenScan(ScanMetric):
    def scan(self, frame: pl.LazyFrame, row_index: str) -> Any:
        raise ZeroDivisionError("broken in scan")

    def merge(self, earlier: Any, later: Any) -> Any:
        return earlier


@attrs.define(kw_only=True)
class Probe(StatisticRule):
    validator_name: ClassVar[str] = "probe"
    made: Any = None  #: what metrics() returns
    told: Any = None  #: what observe() returns

    def metrics(self, column: str | None) -> Any:
        return {"n": Count()} if self.made is None else self.made

    def observe(self, n: Any) -> Any:
        return self.told(n) if callable(self.told) else n


@attrs.define(kw_only=True)
class Spread(StatisticRule):
    """How far the greatest value of the column, or the number of rows, lies from zero."""

    validator_name: ClassVar[str] = "spread"

    def metrics(self, column: str | None) -> dict[str, Metric]:
        return {"rows": Count()} if column is None else {"rows": Max(column)}

    def observe(self, rows: Any) -> Any:
        return rows


@attrs.define(kw_only=True)
class Margin(StatisticRule):
    """Profit over revenue lies within ``min`` and ``max``."""

    validator_name: ClassVar[str] = "margin"

    def metrics(self, column: str | None) -> dict[str, Metric]:
        return {"profit": Sum("profit"), "revenue": Sum("revenue")}

    def observe(self, profit: Any, revenue: Any) -> Any:
        return profit / revenue if revenue else None


def checks(data: Any, entries: list[Any], **options: Any) -> list[Any]:
    return list(sentrio.check(pl.DataFrame(data), entries, **options).report.checks)


def test_a_function_is_a_class_an_entry_and_like_any_other_rule() -> None:
    data = {"account": IBANS, "n": [1, 2, 3, 4]}
    found = checks(
        data,
        [
            iban(column="account"),
            {"iban": {"column": "account", "country": "DE", "mostly": 0.5, "severity": "low"}},
            {"iban": {"column": "account", "where": "n > 2", "name": "late"}},
            "iban",
        ],
    )
    assert [(each.id, each.outcome, each.failed_count, each.evaluated_count) for each in found] == [
        ("iban:account", "failed", 1, 3),
        ("iban:account#2", "failed", 2, 3),
        ("late", "passed", 0, 1),
        ("iban:account#3", "failed", 1, 3),
    ]
    assert [each.expected for each in found] == ["iban", "iban (country='DE') (at least 50 %)", "iban", "iban"]
    assert found[0].sample[0].row == 1
    assert found[0].sample[0].values == {"account": "x"}
    assert issubclass(iban, RowRule)
    assert iban.__doc__ == "True where the row passes; rows that are null are passed over."
    (wrong,) = checks(data, [iban(column="n")])
    assert (wrong.outcome, wrong.message) == ("error", "column 'n' is Int64; the rule applies to text columns")


def test_rules_and_checkpoints_with_them_pickle() -> None:
    rule = iban(column="account", country="DE")
    assert pickle.loads(pickle.dumps(rule)) == rule  # noqa: S301
    checkpoint = sentrio.Checkpoint("c", pl.DataFrame({"account": IBANS}), [rule])
    again = pickle.loads(pickle.dumps(checkpoint)).run()  # noqa: S301
    assert [check.failed_count for check in again.report.checks] == [2]


def test_options_have_the_kinds_of_the_signature() -> None:
    rule = everything(factor=3, names=("a",), pair=[1, 2], unit="ft", limit=None, loose=1.5)
    assert (rule.given["names"], rule.given["pair"], rule.given["unit"], rule.given["loose"]) == (
        ["a"],
        (1, 2),
        Unit.FOOT,
        1.5,
    )
    assert rule.expected == "a multiple of 3 in ft"
    first = everything(factor=3)
    first.given["names"].append("mine")
    assert everything(factor=3).given["names"] == []


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, OptionValueError, "everything: option 'factor' is missing"),
        ({"factor": 1.5}, OptionValueError, "everything: factor must be a whole number, got 1.5"),
        ({"factor": True}, OptionValueError, "everything: factor must be a whole number, got True"),
        ({"factor": 1, "share": float("nan")}, OptionValueError, "everything: share must be a number, got nan"),
        ({"factor": 1, "limit": "3"}, OptionValueError, "everything: limit must be a whole number or null, got '3'"),
        ({"factor": 1, "strict": 1}, OptionValueError, "everything: strict must be true or false, got 1"),
        ({"factor": 1, "kind": "c"}, OptionValueError, "everything: kind must be one of a, b, got 'c'"),
        ({"factor": 1, "kind": []}, OptionValueError, "everything: kind must be one of a, b, got []"),
        (
            {"factor": 1, "names": [1]},
            OptionValueError,
            "everything: names must be a list in which each item is text, got [1]",
        ),
        ({"factor": 1, "names": "a"}, OptionValueError, "everything: names must be a list in which each item is text, got 'a'"),
        ({"factor": 1, "unit": "mile"}, OptionValueError, "everything: unit must be one of m, ft, got 'mile'"),
        ({"factor": 1, "loose": "x"}, OptionValueError, "everything: loose must be a number, got 'x'"),
        ({"factro": 1}, UnknownOptionError, "everything: unknown option 'factro'; did you mean 'factor'?"),
        ({"factor": 1, "colum": "a"}, UnknownOptionError, "everything: unknown option 'colum'; did you mean 'column'?"),
    ],
)  # fmt: skip
def test_options_that_are_refused(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        everything(**given)
    assert str(caught.value) == message


def test_functions_that_are_no_rules() -> None:
    def no_column(nw: Any) -> Any: ...
    def positional(nw: Any, column: str, factor: int) -> Any: ...
    def collects(nw: Any, column: str, **rest: Any) -> Any: ...
    def takes_ours(nw: Any, column: str, *, mostly: float = 1) -> Any: ...
    def bad_default(nw: Any, column: str, *, n: int = "x") -> Any: ...  # type: ignore[assignment]
    def unknown_type(nw: Any, column: str, *, n: Nowhere = 1) -> Any: ...  # type: ignore[name-defined]  # noqa: F821
    def odd_type(nw: Any, column: str, *, n: tuple[int, str] = (1, "a")) -> Any: ...
    async def later(nw: Any, column: str) -> Any: ...

    for function, said in (
        (no_column, r"has the form `def rule\(nw, column, \*, option=default\)`"),
        (positional, "got positional\\(nw"),
        (collects, "has the form"),
        (takes_ours, "no option can be called 'mostly'"),
        (bad_default, "default of option 'n' must be a whole number, got 'x'"),
        (unknown_type, "annotation of option 'n' means nothing here: name 'Nowhere' is not defined"),
        (odd_type, "values of option 'n' can not be checked"),
        (later, "can not be async"),
    ):
        with pytest.raises(OptionValueError, match=said):
            row_rule("no-rule")(function)
    with pytest.raises(UnknownNameError):
        sentrio.check(pl.DataFrame({"a": [1]}), ["no-rule"])
    with pytest.raises(OptionValueError, match="applies_to must be one of any, .*, got 'text'"):
        row_rule("no-rule", applies_to="text")
    with pytest.raises(OptionValueError, match="expected names option 'facto', which the rule does not have"):
        row_rule("no-rule", expected="{facto}")(lambda nw, column, *, factor=1: None)
    with pytest.raises(OptionValueError, match="needs a name, as in @row_rule"):
        row_rule(no_column)  # type: ignore[arg-type]


def test_names_belong_to_one_class() -> None:
    def mine(nw: Any, column: str) -> Any:
        return nw.col(column) > 0

    with pytest.raises(OptionValueError, match="validator name 'range' is built in"):
        row_rule("range")(mine)
    with pytest.raises(OptionValueError, match=r"name 'iban' belongs to .*test_custom.iban"):
        row_rule("iban")(mine)
    again = row_rule("again")(mine)
    assert row_rule("again")(mine) is not again  # as when a cell of a notebook runs once more
    with pytest.raises(UnknownNameError, match="unknown validator 'ibann'; did you mean 'iban'"):
        checks({"a": ["x"]}, ["ibann"])


def test_expressions_that_can_not_be_right_are_errors_of_their_check_alone() -> None:
    def rule(make: Any, name: str = "tried") -> Any:
        return row_rule(name)(lambda nw, column: make(nw.col(column)))

    cases = [
        (lambda value: True, "its own code raised TypeError: the rule must return a boolean expression, got True"),
        (lambda value: 1 / 0, "its own code raised ZeroDivisionError: division by zero"),
        (lambda value: value + 1, "the rule must return a boolean expression, and this one is Int64"),
        (lambda value: pl.col("a", "b") > 1, "the rule must return one expression, and this one makes 2 columns"),
        (lambda value: pl.lit(True), "the rule must look at a column, and its expression names none"),
        (lambda value: value == value.max(), "the rule must judge each row by itself"),
        (lambda value: value.max() > 1, "the rule must judge each row by itself"),
        (lambda value: value > value.shift(), "the rule must judge each row by itself"),
        (lambda value: value.is_unique(), "the rule must judge each row by itself"),
        (lambda value: value == value.first().over("b"), "the rule must judge each row by itself"),
        (lambda value: pl.col("c") > 1, "no column 'c'; known are: a, b"),
    ]
    for make, said in cases:
        bad, good = checks({"a": [1, 2, None], "b": [1, 1, 2]}, [rule(make)(column="a"), "not_null"])[:2]
        assert (bad.outcome, good.outcome) == ("error", "failed")
        assert said in bad.message


@pytest.mark.filterwarnings("ignore::polars.exceptions.PolarsInefficientMapWarning")
def test_python_code_that_raises_on_some_value_is_an_error_of_its_check_alone() -> None:
    def reciprocal(value: int) -> bool:
        return 1 / value > 0

    rule = row_rule("reciprocal")(lambda nw, column: nw.col(column).map_elements(reciprocal, return_dtype=pl.Boolean))
    data = {"a": [3, 7, 0, 1], "b": [1, 2, 3, 4]}
    bad, good, other = checks(data, [rule(column="a"), rule(column="b"), {"range": {"column": "a", "min": 0}}])
    assert (bad.outcome, bad.message) == ("error", "ZeroDivisionError: division by zero")
    assert good.passed
    assert other.passed
    (alone,) = checks(data, [rule(column="a")])
    assert alone.message == "ZeroDivisionError: division by zero"


def test_a_statistic_is_one_check_of_the_table_or_one_a_column() -> None:
    data = {"a": [1, 5, None], "b": [None, None, None], "t": ["x", "y", "z"]}
    found = checks(data, [Spread(min=3), Spread(column="a", max=4), {"spread": {"columns": ["a", "b"], "min": 0}}])
    assert [(each.id, each.outcome, each.observed, each.evaluated_count) for each in found] == [
        ("spread", "passed", 3, None),
        ("spread:a", "failed", 5, 2),
        ("spread:a#2", "passed", 5, 2),
        ("spread:b", "failed", None, 0),
    ]
    assert [each.row_count for each in found] == [3, 3, 3, 3]
    assert [each.message for each in found] == ["", "spread is 5, expected at most 4", "", "there are no values"]
    with pytest.raises(OptionValueError, match="spread: give 'min', 'max' or both"):
        Spread(column="a")


def test_a_statistic_of_several_columns() -> None:
    frame = {"profit": [1, -3, 8], "revenue": [10, 10, 20]}
    (found,) = checks(frame, [{"margin": {"min": 0.2, "severity": "medium"}}], morsel_rows=1)
    assert (found.id, found.outcome, found.observed) == ("margin", "failed", 0.15)
    assert found.message == "margin is 0.15, expected at least 0.2"
    (nothing,) = checks({"profit": [], "revenue": []}, [Margin(min=0)])
    assert nothing.outcome in {"failed", "error"}
    (found,) = checks({"profit": [1], "revenue": [0]}, [Margin(max=1)])
    assert (found.outcome, found.message) == ("failed", "there are no values")
    check_validator_laws(Margin(min=0, max=1), data=frame, examples=10)


@pytest.mark.parametrize(
    ("made", "told", "said"),
    [
        (None, lambda n: "much", "observe() must return a number or None, got 'much'"),
        (None, lambda n: True, "observe() must return a number or None, got True"),
        (None, lambda n: n / 0, "ZeroDivisionError: division by zero"),
        ({"m": Count()}, None, "missing a required argument: 'n'"),
        ({"n": 3}, None, "metrics() must return metrics, and 'n' is 3"),
        (7, None, "TypeError"),
        ({"n": Broken("expressions")}, None, "ZeroDivisionError: broken in expressions"),
        ({"n": Broken("state")}, None, "ZeroDivisionError: broken in state"),
        ({"n": Broken("merge")}, None, "ZeroDivisionError: broken in merge"),
        ({"n": Broken("finish")}, None, "ZeroDivisionError: broken in finish"),
        ({"n": BrokenScan()}, None, "ZeroDivisionError: broken in scan"),
    ],
)
def test_what_a_statistic_raises_is_the_error_of_its_check(made: Any, told: Any, said: str) -> None:
    bad, good = checks({"a": [1, 2]}, [Probe(min=0, made=made, told=told), "not_null"], morsel_rows=1)
    assert bad.outcome == "error"
    assert said in bad.message
    assert good.passed


def test_what_a_statistic_may_return() -> None:
    (found,) = checks({"a": [1]}, [Probe(min=0, told=lambda n: decimal.Decimal("1.5"))])
    assert found.observed == 1.5
    (found,) = checks({"a": [1]}, [Probe(min=0, told=lambda n: float("nan"))])
    assert found.outcome == "failed"
    (found,) = checks({"a": [1, 2, 3]}, [Probe(min=0, made={"n": Broken("")})], morsel_rows=1)
    assert found.observed == 3


def test_laws_hold_for_rules_that_keep_them() -> None:
    check_validator_laws(iban, {"column": "account"}, data={"account": IBANS}, examples=10)
    check_validator_laws(Spread(column="numbers", min=-100, max=100), examples=10)
    check_validator_laws({"range": {"column": "integers", "min": 0}}, examples=10)
    check_validator_laws({"unique": {"columns": ["texts", "flags"]}}, examples=5)
    check_validator_laws({"not_null": {"column": "days"}}, judges_nulls=True, examples=10)


@attrs.frozen
class LastLength(Metric):
    """Wrong on purpose: the answer of the last slice alone."""

    column: str

    def expressions(self, nw: Any) -> Sequence[Any]:
        return (nw.col(self.column).count(),)

    def merge(self, earlier: Any, later: Any) -> Any:
        return later


@attrs.frozen
class Difference(LastLength):
    """Wrong on purpose: (a - b) - c is not a - (b - c)."""

    def merge(self, earlier: Any, later: Any) -> Any:
        return earlier - later


@attrs.frozen
class Rows(LastLength):
    """Right, and counts nulls as well."""

    def expressions(self, nw: Any) -> Sequence[Any]:
        return (nw.len(),)

    def merge(self, earlier: Any, later: Any) -> Any:
        return earlier + later


@attrs.define(kw_only=True)
class Wrong(Spread):
    validator_name: ClassVar[str] = "wrong"
    metric: Any = LastLength

    def metrics(self, column: str | None) -> dict[str, Metric]:
        return {"rows": self.metric(column)}


@attrs.define(kw_only=True)
class AnyOption(Spread):
    validator_name: ClassVar[str] = "any_option"

    def __attrs_post_init__(self) -> None:
        """Wrong on purpose: nothing is checked."""


@row_rule("judges_nulls")
def judges_nulls(nw: Any, column: str) -> Any:
    return nw.col(column).is_not_null()


@pytest.mark.parametrize(
    ("validator", "said"),
    [
        (Wrong(column="integers", min=0), "must not depend on how the data are cut"),
        (Wrong(column="integers", min=-99, metric=Difference), "must not depend on how the data are cut|merge first"),
        (Wrong(column="integers", min=0, metric=Rows), "in which 'integers' is null must be passed over"),
        (AnyOption(column="integers", min=0), "options {.*} must be refused"),
        (judges_nulls(column="integers"), "in which 'integers' is null must be passed over"),
        (Spread(column="nowhere", min=0), "possible to evaluate it(.|\n)*no column 'nowhere'"),
        (Probe(min=0), "a statistic of no values fails"),
        ({"unique": {"column": "integers", "nulls_equal": True}}, "in which 'integers' is null"),
    ],
)
def test_laws_find_what_breaks_them(validator: Any, said: str) -> None:
    with pytest.raises(LawBroken, match=said):
        check_validator_laws(validator)


def test_laws_show_the_least_data() -> None:
    with pytest.raises(LawBroken) as caught:
        check_validator_laws(Wrong(column="numbers", min=0), data={"numbers": [1.0, 2.0, 3.0]})
    assert "read at once: " in str(caught.value)
    assert str(caught.value).count(".0") <= 2


async def test_laws_are_not_for_running_loops() -> None:
    with pytest.raises(sentrio.errors.RunningLoopError, match="check_validator_laws"):
        check_validator_laws("unique")
