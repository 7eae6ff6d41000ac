"""Keep results as files."""

from __future__ import annotations

__all__ = ("StoreConfig", "StoreValidationResult")

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import attrs

from sentrio import _options as options
from sentrio.async_core.file import write_atomically
from sentrio.async_core.threads import call_sync
from sentrio.checkpoint.actions.base import AsyncBaseAction
from sentrio.checkpoint.actions.config import ActionConfig
from sentrio.checkpoint.formats import renderer
from sentrio.checkpoint.names import own_name, readable_name
from sentrio.checkpoint.result import ActionResult, CheckpointResult

# A run is named by the beginning of its id, as long as no other run of that name begins alike.
_SHORT_IDS = (6, 12, 32)


def _text_path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


@attrs.define(kw_only=True)
class StoreConfig(ActionConfig):
    """Options of :class:`StoreValidationResult`.

    :param path: the folder; made if it is not there
    :param format: ``json``; or ``html``, a page that stands by itself, which nobody reads back
    :param partition_by: ``None``; ``date``: a folder for each day (UTC); ``checkpoint``: one for each checkpoint,
        with its name where that is lower-case letters, digits and ``_ . -``, else with a similar one of its own
    """

    path: str = attrs.field(converter=_text_path, validator=options.local_path())
    format: str = attrs.field(default="json", validator=options.one_of(("json", "html")))
    partition_by: str | None = attrs.field(
        default=None, validator=options.optional(options.one_of(("date", "checkpoint")))
    )


class StoreValidationResult(AsyncBaseAction[StoreConfig]):
    """Write each result into a file of its own, whole or not at all, and never over another one.

    :func:`sentrio.load_results` reads back what is JSON.
    """

    action_type: ClassVar[str] = "store"

    async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        config = self.config
        folder, base = Path(config.path), self.base_dir or Path()
        if config.partition_by == "date":
            folder /= checkpoint_result.run_time.date().isoformat()
        elif config.partition_by == "checkpoint":
            folder /= own_name(checkpoint_result.checkpoint_name)
        # It is soon done, so a cancellation waits for it: no file appears after the run has ended.
        name = await call_sync(_write, base / folder, checkpoint_result, config.format, abandon_after=None)
        return self.success(f"saved {folder / name}", path=str((base / folder / name).absolute()))


def _content(result: CheckpointResult, suffix: str) -> bytes:
    if suffix == "json":
        text = json.dumps(result.to_dict(), ensure_ascii=False, indent=2, allow_nan=False)
    else:
        text = renderer(suffix)([result], exit_code=0)
    return text.encode("utf-8", "replace" if suffix == "html" else "strict")


def _write(folder: Path, result: CheckpointResult, suffix: str) -> str:
    content = _content(result, suffix)
    folder.mkdir(parents=True, exist_ok=True)
    for length in _SHORT_IDS:
        name = f"{readable_name(result.checkpoint_name)}-{result.run_id[:length]}.{suffix}"
        try:
            write_atomically(folder / name, content, overwrite=False)
        except FileExistsError:
            continue
        return name
    raise FileExistsError(f"a result of run {result.run_id} is stored already in {str(folder)!r}")
