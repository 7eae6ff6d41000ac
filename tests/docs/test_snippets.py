"""Every Python block of README and docs runs, page by page; every command of the README's first screen too."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    pl.DataFrame({"amount": [1.0, 2.0]}).write_parquet(tmp_path / "orders.parquet")
    program = "\n".join(blocks(page, "python"))
    command = [sys.executable, "-W", "error", "-X", "utf8", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_quick_start_command_prints_what_the_readme_shows(tmp_path: Path) -> None:
    command = blocks(ROOT / "README.md", "sh")[0].rpartition("&&")[2]
    words = shlex.split(command)
    assert words[0] == ".venv/bin/sentrio"
    config = tmp_path / "docs/examples/quickstart"
    config.mkdir(parents=True)
    for name in ("sentrio.yaml", "penguins_size.csv"):
        (config / name).write_bytes((ROOT / "docs/examples/quickstart" / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "sentrio", *words[1:]],
        cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=120, check=True,
    )  # fmt: skip

    def masked(text: str) -> str:
        text = re.sub(r"\d+\.\d\d s\n", "# s\n", text)
        return re.sub(r"results/\d{4}-\d\d-\d\d/penguins-[0-9a-f]{6}", "results/#/penguins-#", text)

    assert masked(done.stdout) == masked(blocks(ROOT / "README.md", "text")[0])


def test_the_message_that_the_page_shows_is_the_message(tmp_path: Path) -> None:
    """The configuration of the page, with one letter pair turned round."""
    page = ROOT / "docs/configuration.md"
    text = blocks(page, "yaml")[0].replace("mostly", "mostyl")
    (tmp_path / "sentrio.yaml").write_text(text)
    command = [sys.executable, "-m", "sentrio", "validate"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    shown = blocks(page, "text")[0].split("  ")[1]
    assert shown == done.stderr.split("  ")[1]


def test_links_of_the_readme_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert link.startswith("https://") or (ROOT / link).exists(), link
