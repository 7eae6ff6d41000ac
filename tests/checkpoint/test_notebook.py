"""``sentrio.check`` in a cell, where IPython runs the event loop of this very thread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CELLS = """
import asyncio, os, signal, threading, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()

CHECK = '''
import polars as pl, sentrio
result = sentrio.check(pl.DataFrame({"a": [1, None]}), ["not_null"])
result
'''
INTERRUPTED = '''
import os, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started us may ignore it
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
started = time.monotonic()
try:
    rules = [{"regex": {"column": "text", "pattern": f"^([0-9]+)+@(e|x|a|m|p|l){{{n},}}[.]com$"}} for n in range(1, 13)]
    sentrio.check(PATH, rules)  # it takes long
except KeyboardInterrupt:
    took = time.monotonic() - started
else:
    took = None
'''

async def main():
    done = await shell.run_cell_async(CHECK, transformed_cell=CHECK)
    done.raise_error()
    assert done.result.status == "failure"
    assert "<table" in done.result._repr_html_()
    shell.user_ns["PATH"] = PATH
    (await shell.run_cell_async(INTERRUPTED, transformed_cell=INTERRUPTED)).raise_error()
    return shell.user_ns["took"]

loop = asyncio.new_event_loop()  # as a kernel does: no handler of SIGINT that cancels the task
took = loop.run_until_complete(main())
loop.close()
assert took is not None and took < 20, took
from sentrio.async_core.threads import thread_statistics
latest = time.monotonic() + 60  # on a busy machine a morsel may be left behind, and ends by itself
while thread_statistics().running and time.monotonic() < latest:
    time.sleep(0.05)
assert thread_statistics().running == 0
print("good")
"""


def test_check_works_in_a_cell_and_stops_when_interrupted(large_file: Path) -> None:
    program = f"PATH = {str(large_file)!r}\n{CELLS}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=110, check=False)
    assert done.stdout.strip().endswith("good"), done.stderr
