"""Real processes, and ways to see what is left of them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest


def is_running(pid: int) -> bool:
    """Whether a process can still do anything; the dead that nobody has buried can not."""
    try:
        return psutil.Process(pid).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def marked() -> Iterator[Callable[[], list[int]]]:
    """The processes that this test has started, wherever they stand now: they inherit a variable."""
    name, value = "SENTRIO_TEST_MARK", f"{os.getpid()}-{time.monotonic_ns()}"
    os.environ[name] = value

    def running() -> list[int]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get(name) == value and is_running(process.pid):
                    found.append(process.pid)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    yield running
    left = running()
    del os.environ[name]
    for pid in left:
        os.kill(pid, 9)


@pytest.fixture
def counting(tmp_path: Path) -> Callable[[str], list[str]]:
    """A command that notes each attempt in a file and then runs a piece of Python, with ``site`` and ``attempt``."""
    program = (
        "import os, sys, time, signal\n"
        "site, path = sys.argv[1], sys.argv[2]\n"
        "with open(path, 'a') as file:\n"
        "    file.write(site + '\\n')\n"
        "attempt = open(path).read().split('\\n').count(site)\n"
    )
    return lambda body: [sys.executable, "-I", "-S", "-c", program + body, "{site}", str(tmp_path / "attempts")]
