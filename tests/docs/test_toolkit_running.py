"""The examples of docs/toolkit/running.md print what the page shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "toolkit" / "running.md"
EXAMPLES = sorted((DOCS / "examples" / "toolkit").glob("running_*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_prints_its_page(path: Path) -> None:
    command = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == path.with_suffix(".out").read_text()


def test_the_page_shows_every_example_and_its_output() -> None:
    shown = re.findall(r"^```\{literalinclude\} \.\./examples/toolkit/(\S+)$", PAGE.read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(name for path in EXAMPLES for name in (path.name, path.with_suffix(".out").name))
