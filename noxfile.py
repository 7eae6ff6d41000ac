"""Every check of the project; ``nox`` runs what CI runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.10"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "types", "tests", "docs", "minimums"]
nox.options.reuse_venv = "yes"

# Images of containers like to set this. The suite starts hundreds of processes, and each of them would compile
# Polars, trio and sentrio anew, which takes longer than all that it does.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PYTHONS = ("3.11", "3.12", "3.13")

# One more than the two cores that the suite is made for: many tests wait for something.
WORKERS = "3"

# Tests of real processes and clocks meet machines that stand still for a second. One that fails is tried once more
# and is listed: a fault to mend, but no reason to distrust all others. A plain ``pytest`` tries nothing again.
# One that hangs is not tried again: its time limit holds for both tries together.
SUITE = ("pytest", "-n", WORKERS, "--reruns=1", "--rerun-except=pytest-timeout", "-raR")

# The documentation's, which one session executes once.
SNIPPETS = "tests/docs"


def _found(version: str) -> bool:
    """Tell whether ``pythonX.Y`` really starts: a version manager's shim may exist and refuse."""
    path = shutil.which(f"python{version}")
    if path is None:
        return False
    return subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0


FOUND = [version for version in PYTHONS if _found(version)]


def _install(session: nox.Session, group: str, *options: str) -> None:
    session.install(".[uvloop,otel]", "--group", group, *options)


@nox.session(python=FOUND)
def tests(session: nox.Session) -> None:
    """The tests against the built wheel; coverage is measured on the first interpreter."""
    _install(session, "test")
    suite = (*SUITE, f"--ignore={SNIPPETS}", *session.posargs)
    if session.python != FOUND[0]:
        session.run(*suite)
        return
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", *suite)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, banned imports, and the floors of the house."""
    _install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, on the package, its tests and its benchmarks."""
    _install(session, "types")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation with warnings as errors and execute every snippet."""
    _install(session, "docs")
    session.run("sphinx-build", "-n", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.run(*SUITE, SNIPPETS, *session.posargs)


@nox.session
def minimums(session: nox.Session) -> None:
    """Test against the oldest releases that pyproject.toml admits, but for what has nothing to do with them."""
    _install(session, "test", "--resolution=lowest-direct")
    # What only the sixtieth example shows is a fault of our own, and ``tests`` finds it.
    profile = "--hypothesis-profile=minimums"
    session.run(*SUITE, "-m", "not endurance", f"--ignore={SNIPPETS}", profile, *session.posargs)


@nox.session(default=False)
def benchmarks(session: nox.Session) -> None:
    """Print the tables behind every timing claim; ``nox -s benchmarks -- NAME`` runs one."""
    _install(session, "test")
    names = session.posargs or sorted(path.stem for path in Path("benchmarks").glob("[!_]*.py"))
    for name in names:
        session.run("python", f"benchmarks/{name}.py")


PEERS = {
    "dataframely": "dataframely",
    "pandera": "pandera[polars]",
    "pointblank": "pointblank",
    "soda": "soda-core-duckdb",
    "truthound": "truthound",
}


@nox.session(default=False)
@nox.parametrize("peer", sorted(PEERS))
def peers(session: nox.Session, peer: str) -> None:
    """Time the suite of benchmarks/validation.py with other libraries; ``nox -s peers -- ROWS...``."""
    try:
        session.install(PEERS[peer], "polars", "pyarrow")
    except CommandFailed:
        session.skip(f"{PEERS[peer]} can not be installed here")
    session.run("python", "benchmarks/_peers.py", peer, "5", *(session.posargs or ["1_000_000", "10_000_000"]))


@nox.session(default=False)
def truthound(session: nox.Session) -> None:
    """Count runs a second beside truthound's, on the same Polars, which is newer than the one it asks for."""
    newer = Path(session.create_tmp()) / "overrides.txt"
    newer.write_text("polars>=2.1\n", encoding="utf-8")
    _install(session, "test")
    session.install("truthound", "--override", str(newer))
    session.run("python", "benchmarks/execution.py", *session.posargs)


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """The large counts: hundreds of kills, all cancellation points, many seeds (printed)."""
    _install(session, "test")
    session.run("pytest", "-m", "chaos", "--timeout=3600", *session.posargs, env={"SENTRIO_TEST_CHAOS": "1"})
