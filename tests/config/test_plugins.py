"""Rules and actions of a project's own, and of installed packages."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import sentrio
from sentrio.errors import ConfigurationError, OptionValueError, PluginError, UnknownNameError
from sentrio.validation import make_validator
from sentrio.validation.validators import validator_names

RULES = """
import attrs
from sentrio import ActionConfig, AsyncBaseAction
from sentrio.validation import Count, RowRule, StatisticRule, row_rule

@row_rule({name!r}, applies_to="number")
def multiple(nw, column, *, of=2):
    return nw.col(column) % of == 0

class NoteConfig(ActionConfig):
    pass

class Note(AsyncBaseAction[ActionConfig]):
    action_type = {name!r} + "-note"
    async def _execute_async(self, checkpoint_result):
        return self.success("noted")

@attrs.define(kw_only=True)
class Positive(RowRule):
    validator_name = {name!r} + "-positive"
    def passes(self, nw, column, dtype):
        return nw.col(column) > 0
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave neither modules nor folders behind."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def configuration(folder: Path, plugins: str, validators: str = "[row_count: {min: 0}]", actions: str = "[]") -> Path:
    pl.DataFrame({"a": [2, 3, 4]}).write_csv(folder / "data.csv")
    text = f"plugins: {plugins}\ncheckpoints:\n  c:\n    data_source: data.csv\n    validators: {validators}\n    actions: {actions}\n"
    (folder / "sentrio.yaml").write_text(text)
    return folder / "sentrio.yaml"


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        sentrio.load_config(file)
    return [f"{each.line}:{each.column} {each.path}: {each.message}" for each in caught.value.problems]


def test_modules_beside_the_file_bring_rules_and_actions(tmp_path: Path) -> None:
    package = tmp_path / "my_project"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "rules.py").write_text("from my_project.more import *\n" + RULES.format(name="even"))
    (package / "more.py").write_text("")
    file = configuration(
        tmp_path, "[my_project.rules]", "[even: {column: a}, even: {of: 3}, even-positive]", "[even-note]"
    )
    file.write_text(file.read_text().replace("even: {of: 3}", "{even: {of: 3}}"))
    result = sentrio.load_config(file).checkpoints["c"].run()
    assert [check.failed_count for check in result.report.checks] == [1, 2, 0]
    assert [action.message for action in result.action_results] == ["noted"]
    # Once more in the same process, as an application does when its configuration has changed.
    assert sentrio.load_config(file).checkpoints["c"].run().status == result.status


def test_options_of_plugin_rules_are_checked_like_others(tmp_path: Path) -> None:
    (tmp_path / "odd_rules.py").write_text(RULES.format(name="odd"))
    file = configuration(tmp_path, "[odd_rules]", "[odd: {fo: 3}]")
    (found,) = problems(file)
    assert found.startswith("5:24 checkpoints.c.validators[0].odd: unknown option 'fo'; known are: column, ")
    assert "name, of, severity" in found


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        ("[nowhere_to_be_found]", "1:11 plugins[0]: plugin 'nowhere_to_be_found' can not be imported (ModuleNotFoundError"),
        ("[raises]", "plugin 'raises' can not be imported (ZeroDivisionError: division by zero); it is looked for in "),
        ("[leaves]", "plugin 'leaves' can not be imported (SystemExit: 3)"),
        ("[taken]", "plugin 'taken' can not be imported (OptionValueError: range: the validator name 'range' is built in"),
        ("[./rules.py]", "'./rules.py' names no module; write it as in `import`: my_project.rules"),
        ("rules", "1:10 plugins: must be a list of modules, as in `plugins: [my_project.rules]`, got 'rules'"),
        ("[{a: b}]", "plugins[0]: must be a list of modules, as in `plugins: [my_project.rules]`, got a mapping"),
        ("[3]", "plugins[0]: must be a list of modules, as in `plugins: [my_project.rules]`, got 3"),
    ],
)  # fmt: skip
def test_plugins_that_can_not_be_used(tmp_path: Path, plugins: str, said: str) -> None:
    (tmp_path / "raises.py").write_text("1 / 0")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)")
    (tmp_path / "taken.py").write_text(RULES.format(name="range"))
    assert said in "\n".join(problems(configuration(tmp_path, plugins)))


def test_a_module_that_another_one_hides_is_no_silent_mistake(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "same_name.py").write_text("")
    sentrio.load_config(configuration(tmp_path / "one", "[same_name]"))
    (found,) = problems(configuration(tmp_path / "two", "[same_name]"))
    assert "another module named 'same_name' was imported before" in found


def test_the_command_says_where(tmp_path: Path) -> None:
    configuration(tmp_path, "[nothing_here]")
    done = subprocess.run(
        [sys.executable, "-m", "sentrio", "validate"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("sentrio.yaml:1:11  plugins[0]: plugin 'nothing_here' can not be imported")


def installed(site: Path, package: str, groups: dict[str, dict[str, str]]) -> None:
    """Make a folder look like one into which a package was installed."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    sys.path.append(str(site))


def test_installed_packages_offer_rules_and_actions(tmp_path: Path) -> None:
    (tmp_path / "offered_rules.py").write_text(RULES.format(name="offered"))
    installed(
        tmp_path,
        "offers",
        {
            "sentrio.validators": {"offered": "offered_rules:multiple", "offered-positive": "offered_rules"},
            "sentrio.actions": {"offered-note": "offered_rules:Note"},
        },
    )
    assert {"offered", "offered-positive"} <= set(validator_names())
    assert make_validator("not_null").validator_name == "not_null"
    assert "offered_rules" not in sys.modules  # neither for names that are built in, nor to list them
    result = sentrio.check(
        pl.DataFrame({"a": [2, 3, -4]}),
        [{"offered": {"of": 3}}, "offered", "offered-positive"],
        actions=["offered-note"],
    )
    assert [check.failed_count for check in result.report.checks] == [2, 1, 1]
    assert result.action_results[0].message == "noted"


SOURCE = """
import polars as pl
from sentrio.validation.sources.frames import FrameSource

class Numbers(FrameSource):
    format_name = "numbers"
    def __init__(self, options, base):
        super().__init__(pl.DataFrame({"n": range(options["upto"])}))
"""


def test_sources_of_packages_and_plugins(tmp_path: Path) -> None:
    (tmp_path / "number_source.py").write_text(SOURCE)
    file = configuration(tmp_path, "[number_source]")
    file.write_text(file.read_text().replace("data_source: data.csv", "data_source: {format: numbers, upto: 7}"))
    assert sentrio.load_config(file).checkpoints["c"].run().report.row_count == 7
    points = {"numbers-too": "number_source:Numbers", "gone": "nowhere_to_be_found:x"}
    installed(tmp_path, "counts", {"sentrio.sources": points})
    assert sentrio.check({"format": "numbers-too", "upto": 3}, ["not_null"]).report.row_count == 3
    with pytest.raises(PluginError, match="source 'gone' can not be used .package 'counts'"):
        sentrio.check({"format": "gone"}, ["not_null"])
    with pytest.raises(OptionValueError, match="format must be one of"):
        sentrio.check({"format": "nobody", "path": "a.csv"}, ["not_null"])


def test_broken_packages_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken_offer.py").write_text("import nowhere_to_be_found")
    (tmp_path / "good_offer.py").write_text("number = 3")
    points = {
        "gone": "broken_offer:rule", "lost": "good_offer:rule", "no-class": "good_offer:number", "empty": "good_offer",
        "range": "broken_offer:rule",
    }  # fmt: skip
    installed(tmp_path, "breaks", {"sentrio.validators": points})
    place = r"package 'breaks', entry point \[sentrio.validators: "
    for name, said in (
        ("gone", place + r"broken_offer:rule\]\): importing it raised ModuleNotFoundError: No module named 'nowhere"),
        ("lost", "importing it raised AttributeError"),
        ("no-class", "it is 3, not a subclass of Validator"),
        ("empty", "it is a module without 'good_offer'|not a subclass of Validator"),
    ):
        with pytest.raises(PluginError, match=said):
            make_validator(name)
    assert make_validator({"range": {"min": 0}}).validator_name == "range"
    (found,) = problems(configuration(tmp_path, "[]", "[gone]"))
    assert found.startswith("5:18 checkpoints.c.validators[0]: validator 'gone' can not be used (package 'breaks', ")

    other = tmp_path / "other"
    other.mkdir()
    installed(other, "rival", {"sentrio.validators": {"gone": "good_offer:rule"}})
    with pytest.raises(PluginError, match="several packages offer it: breaks, rival; uninstall all but one"):
        make_validator("gone")


def test_names_that_nobody_knows_get_the_nearest_of_all(tmp_path: Path) -> None:
    installed(tmp_path, "knows", {"sentrio.validators": {"vat_number": "nowhere:rule"}})
    with pytest.raises(UnknownNameError, match="unknown validator 'vat_numbr'; did you mean 'vat_number'"):
        make_validator("vat_numbr")
    with pytest.raises(OptionValueError, match="an entry must be a name"):
        make_validator(3)


def test_names_of_a_plugin_that_can_not_be_imported_say_so(tmp_path: Path) -> None:
    (tmp_path / "broken_rules.py").write_text("raise RuntimeError('no luck')")
    plugin, rule, near, action = problems(
        configuration(tmp_path, "[broken_rules]", "[zzz, rnage]", "[yyy: {url: 'https://h/SECRET'}]")
    )
    why = "perhaps because plugin 'broken_rules' can not be imported (RuntimeError: no luck)"
    assert plugin.startswith("1:11 plugins[0]: plugin 'broken_rules' can not be imported (RuntimeError: no luck); ")
    assert rule == f"5:18 checkpoints.c.validators[0]: unknown validator 'zzz'; {why}"
    assert near == f"5:23 checkpoints.c.validators[1]: unknown validator 'rnage'; did you mean 'range'? {why}"
    assert action == f"6:15 checkpoints.c.actions[0]: unknown action 'yyy'; {why}"


@pytest.mark.parametrize(
    ("name", "fault"), [("half", "raise RuntimeError('no luck')"), ("less", "raise SystemExit('no luck')")]
)
def test_names_of_a_package_that_can_not_be_imported_say_so(tmp_path: Path, name: str, fault: str) -> None:
    """A module that is offered under one name brings others along."""
    module = tmp_path / f"{name}_broken.py"
    module.write_text(fault)
    installed(tmp_path, name, {"sentrio.validators": {name: f"{name}_broken"}})
    with pytest.raises(PluginError, match="importing it raised .*: no luck"):
        make_validator(name)
    with pytest.raises(UnknownNameError) as caught:
        make_validator(f"{name}-positive")
    why = f"perhaps because validator {name!r} can not be used (package {name!r}, "
    assert why in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301
    module.write_text(RULES.format(name=name))
    importlib.invalidate_caches()
    make_validator(name)
    make_validator(f"{name}-positive")
    with pytest.raises(UnknownNameError, match="unknown validator 'nothing'; known are"):
        make_validator("nothing")
