"""The examples of docs/toolkit/streams.md and files.md print what the pages show."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = sorted(
    path for topic in ("streams", "files") for path in (DOCS / "examples" / "toolkit").glob(f"{topic}_*.py")
)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_prints_its_page(path: Path) -> None:
    command = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == path.with_suffix(".out").read_text()


@pytest.mark.parametrize("topic", ["streams", "files"])
def test_the_page_shows_every_example_and_its_output(topic: str) -> None:
    text = (DOCS / "toolkit" / f"{topic}.md").read_text()
    shown = re.findall(r"^```\{literalinclude\} \.\./examples/toolkit/(\S+)$", text, re.MULTILINE)
    names = [path.name for path in EXAMPLES if path.name.startswith(topic)]
    assert sorted(shown) == sorted(names + [name.replace(".py", ".out") for name in names])
