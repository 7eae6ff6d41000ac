from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from sentrio.cli import main

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "docs/examples/quickstart"


@attrs.frozen
class Done:
    code: int
    out: str
    err: str


Sentrio = Callable[..., Done]


@pytest.fixture
def sentrio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Sentrio]:
    """Run the command in this process, in an empty folder; a traceback would be an exception here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*args: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["sentrio", *map(str, args)])
        with pytest.raises(SystemExit) as exited:
            main()
        captured = capsys.readouterr()
        code = exited.value.code
        assert isinstance(code, int) or code is None
        return Done(code or 0, captured.out, captured.err)

    logger = logging.getLogger("sentrio")
    kept = (logger.handlers[:], logger.propagate, logger.level)
    yield run
    logger.handlers[:], logger.propagate = kept[:2]
    logger.setLevel(kept[2])
