"""The public names, their signatures, and what importing them costs. A change here is a decision."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import sentrio
import sentrio.errors
import sentrio.testing
import sentrio.validation

SNAPSHOT = Path(__file__).with_suffix(".txt")
MODULES = (sentrio, sentrio.validation, sentrio.errors, sentrio.testing)


def described() -> str:
    lines = []
    for module in MODULES:
        for name in sorted(module.__all__):
            value = getattr(module, name)
            if not callable(value):
                lines.append(f"{module.__name__}.{name}")
                continue
            # Of a class, the constructor: its metaclass takes anything, to refuse it with a suggestion.
            maker = value.__init__ if inspect.isclass(value) else value
            try:
                options = ", ".join(
                    _shown(each) for each in inspect.signature(maker).parameters.values() if each.name != "self"
                )
            except ValueError:
                options = "..."
            lines.append(f"{module.__name__}.{name}({options})")
    return "\n".join(lines) + "\n"


def _shown(parameter: inspect.Parameter) -> str:
    mark = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**", "KEYWORD_ONLY": "/"}.get(parameter.kind.name, "")
    default = "" if parameter.default is inspect.Parameter.empty else "=..."
    return f"{mark}{parameter.name}{default}"


def test_snapshot() -> None:
    """To change it on purpose: ``python tests/test_public_api.py``."""
    assert described() == SNAPSHOT.read_text(encoding="utf-8")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_is_sorted_and_complete(module: typing.Any) -> None:
    assert list(module.__all__) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
    if module is sentrio:
        assert dir(module) == sorted(module.__all__)


@pytest.mark.parametrize("module", MODULES[:3], ids=lambda module: module.__name__)
def test_annotations_resolve_from_outside(module: typing.Any) -> None:
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value):
            typing.get_type_hints(value)


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'chekc'"):
        _ = sentrio.chekc
    with pytest.raises(AttributeError, match="has no attribute 'NotNul'"):
        _ = sentrio.validation.NotNul


def loaded(program: str) -> set[str]:
    program += "\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_sentrio_loads_nothing_heavy() -> None:
    assert not loaded("import sentrio") & {"polars", "httpx", "trio", "asyncio", "typer", "rich", "yaml", "anyio"}
    assert not loaded("import sentrio.cli, sentrio.cli.app") & {"polars", "httpx", "trio", "anyio", "yaml"}
    assert not loaded("from sentrio import Checkpoint") & {"httpx", "trio", "typer", "rich", "yaml"}


if __name__ == "__main__":
    SNAPSHOT.write_text(described(), encoding="utf-8")
