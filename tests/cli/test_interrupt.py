"""Ctrl-C, and a polite kill, in the middle of a run, in a real terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.endurance

# So many that a run which nobody ends takes long, and yet a morsel does not.
RULES = [rf"regex: {{column: text, pattern: '^([0-9]+)+@(e|x|a|m|p|l){{{n},}}\.com$'}}" for n in range(1, 13)]


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("huge") / "huge.parquet"
    rows = 5_000_000
    text = pl.int_range(rows, eager=True).cast(pl.String) + "@example.com"
    pl.DataFrame({"text": text}).write_parquet(path, row_group_size=500_000)
    return path


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_a_signal_ends_it_with_its_code_and_the_terminal_intact(
    huge: Path, backend: str, number: signal.Signals
) -> None:
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "sentrio", "check", str(huge), "--backend", backend]
    command += [text for rule in RULES for text in ("-V", rule)]
    process = subprocess.Popen(
        command, stdin=secondary, stdout=secondary, stderr=secondary, close_fds=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # whoever started us may ignore it  # noqa: PLW1509
    )  # fmt: skip
    os.close(secondary)
    seen = b""
    deadline = time.monotonic() + 60
    while b"/5000000" not in seen and time.monotonic() < deadline:  # the progress bar says that rows are being read
        if select.select([primary], [], [], 1)[0]:
            seen += os.read(primary, 65536)
    assert b"/5000000" in seen, seen
    process.send_signal(number)
    while True:
        try:
            chunk = os.read(primary, 65536)
        except OSError:  # how Linux says that the other side has gone
            break
        if not chunk:
            break
        seen += chunk
    code = process.wait(60)
    os.close(primary)
    assert code == 128 + number
    assert b"5000000/5000000" not in seen
    assert seen.count(b"\x1b[?25l") == seen.count(b"\x1b[?25h")  # the cursor is back
    assert b"Traceback" not in seen
    # On a busy machine a morsel may be left behind, and is named.
    assert b"interrupted" in seen[seen.rindex(b"\x1b[?25h") :]


def test_an_error_that_ctrl_c_has_become_while_modules_are_imported(
    sentrio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(**_: object) -> None:
        raise RuntimeError("Error calling __set_name__ on 'Field' instance") from KeyboardInterrupt()

    monkeypatch.setattr("sentrio.cli.app.app", interrupted)
    done = sentrio("run")
    assert (done.code, done.err) == (130, "interrupted\n")
