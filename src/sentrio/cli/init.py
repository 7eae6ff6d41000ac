"""A first configuration: a commented example, or one about a given file."""

from __future__ import annotations

__all__ = ("starter",)

import json
import os
from pathlib import Path

from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.errors import SourceError
from sentrio.validation.wording import count_of

_HEAD = """\
# sentrio.yaml: what must hold for your data, and what is done about it. Paths are relative to this file.
#
#   sentrio validate    say what is wrong with this file, without reading data
#   sentrio run         run all checkpoints; exit code 1: a check failed, 3: it could not be told
"""

_TAIL = """\
    # actions:                            # done after each run
    #   - store: {path: results, partition_by: date}
"""

_EXAMPLE = """\
checkpoints:
  orders:
    data_source: data/orders.csv          # .csv, .tsv, .parquet, a folder, or a pattern like data/*.parquet
    # data_source: {path: data/orders.csv, separator: ";", null_values: [NA]}
    # key_columns: [order_id]             # shown beside each failing value
    # redact_columns: [email]             # shown nowhere
    # timeout_seconds: 300
    validators:
      - row_count: {min: 1}
      - not_null                          # every column, one check each
      # - unique: {column: order_id, severity: critical}
      # - range: {column: amount, min: 0, mostly: 0.999, severity: medium}
      # - in_set: {column: status, values: [new, paid, shipped]}
      # - regex: {column: email, pattern: "^[^@]+@[^@]+$"}
      # - mean: {column: amount, min: 10, max: 100}
"""


def starter(data: str | None, folder: Path) -> str:
    """Return the text of a configuration.

    :param data: a file that it is about; ``None``: an example
    :param folder: where the configuration will stand
    :raises SourceError: if the file can not be read
    """
    if data is None:
        return f"{_HEAD}\n{_EXAMPLE}{_TAIL}"
    result = Checkpoint("init", data, ["not_null"], sample_failures=0).run()
    if result.error is not None:
        raise SourceError(data, result.error.removeprefix(f"{data}: "))
    path = os.path.relpath(data, folder)
    rows = result.report.row_count or 0
    lines = [
        "checkpoints:",
        f"  {json.dumps(Path(data).stem)}:",
        f"    data_source: {json.dumps(path, ensure_ascii=False)}",
        "    validators:",
        f"      - row_count: {{min: {min(rows, 1)}}}   # {count_of(rows, 'row')} today",
    ]
    for check in result.report.checks:
        column = json.dumps(check.column, ensure_ascii=False)
        entry = f"- not_null: {{column: {column}}}"
        failed = check.failed_count or 0
        lines.append(f"      {entry}" if not failed else f"      # {entry}   # {count_of(failed, 'null')} today")
    return f"{_HEAD}\n" + "\n".join(lines) + f"\n{_TAIL}"
