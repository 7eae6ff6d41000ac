"""What docs/pipeline.md shows beside Python: configurations that load, and the output of the example."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import sentrio

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/pipeline.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_configuration_of_the_page_is_one(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "sentrio.yaml").write_text(text)
    pipeline = sentrio.load_config(tmp_path / "sentrio.yaml").pipeline
    assert pipeline is not None
    assert pipeline.sites == ("shop.example", "blog.example")
    assert pipeline.job_log == tmp_path / ".sentrio/jobs.jsonl"


def test_the_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    for folder, names in (("pipeline", ("sentrio.yaml", "fetch.py")), ("quickstart", ("penguins_size.csv",))):
        (tmp_path / "docs/examples" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / "docs/examples" / folder / name).write_bytes(
                (ROOT / "docs/examples" / folder / name).read_bytes()
            )
    (shown,) = blocks("text")
    command, _, expected = shown.partition("\n")
    words = command.removeprefix("$ sentrio ").split()
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "sentrio", *words],
        cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1

    def masked(text: str) -> str:
        return re.sub(r" +\d+\.\d+( s\)|\b)", " #", text)

    assert masked(done.stdout) == masked(expected)
