"""A SIGINT that ends Polars' queries in worker threads is no end of the event loop that waits for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import sentrio
from sentrio.validation.engines import threads

# Polars hears of a SIGINT if the handler that it found at its import was not replaced since. Then its queries raise
# KeyboardInterrupt, in whatever thread they run.
PROGRAM = """
import json, os, signal, sys, threading

heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))

import anyio, polars as pl, sentrio

backend, path = sys.argv[1:]
CHECKS = [{"regex": {"column": "text", "pattern": r"^([0-9]+)+@(e|x|a|m|p|l)+\\.com$"}}, "not_null"]
frame = pl.DataFrame({"text": ["1234567890" * 3 + "@x"] * 200_000})
broken = []


def query():
    try:
        frame.select(pl.col("text").str.replace_all("[0-9]", "x").str.len_bytes().sum())
    except KeyboardInterrupt:
        broken.append(1)


def interrupt_while(thread):
    thread.start()
    for _ in range(10):
        os.kill(os.getpid(), signal.SIGINT)
        thread.join(0.1)
        if not thread.is_alive():
            break
    thread.join()


async def check():
    results.append(await sentrio.check_async(path, CHECKS))


results = []
while not broken:
    interrupt_while(threading.Thread(target=query))
interrupt_while(threading.Thread(target=anyio.run, args=(check,), kwargs={"backend": backend}))
(result,) = results
told = {"error": result.error, "checks": [[each.id, each.failed_count] for each in result.report.checks]}
print(json.dumps({**told, "heard": len(heard)}))
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_signal_that_the_application_handles_ends_no_event_loop(backend: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind}"
    numbers = pl.int_range(200_000, eager=True)
    text = (numbers % 99_983).cast(pl.String) + "@example.com"
    frame = pl.DataFrame({"id": numbers, "text": text}).with_columns(
        text=pl.when(pl.col("id") % 1_000 == 7).then(pl.lit("none")).otherwise(pl.col("text"))
    )
    if kind == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, backend, str(path)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["heard"] > 1
    # What was measured is measured again; some steps, such as reading a piece of CSV, can be taken only once.
    counts = [["regex:text", 200], ["not_null:id", 0], ["not_null:text", 0]]
    assert told["checks"] == counts or "a SIGINT broke off" in told["error"]


async def test_what_was_broken_off_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_SIGNAL_SECONDS", 0.0)
    left = [KeyboardInterrupt(), KeyboardInterrupt()]

    def step(answer: int) -> int:
        if left:
            raise left.pop()
        return answer

    assert await threads.in_thread(step, 7, again=True) == 7
    left.append(KeyboardInterrupt())
    with pytest.raises(threads.Interrupted):
        await threads.in_thread(step, 7)
    left += [KeyboardInterrupt() for _ in range(1_000)]
    with pytest.raises(threads.Interrupted):
        await threads.in_thread(step, 7, again=True)


async def test_a_run_that_was_broken_off_has_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(threads, "_SIGNAL_SECONDS", 0.0)

    def interrupted(self: object, rows: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sentrio.validation.sources.frames.BatchReader.read", interrupted)
    (tmp_path / "a.ndjson").write_text('{"x": 1}\n')
    result = await sentrio.check_async(tmp_path / "a.ndjson", ["not_null"])
    assert result.status == "error"
    assert "not read to its end: a SIGINT broke off what Polars did" in str(result.error)
