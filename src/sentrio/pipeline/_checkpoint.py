"""The checkpoint of a pipeline: one for all sites, made anew for each of them."""

from __future__ import annotations

__all__ = ("bound", "check_template", "unfit", "validate")

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from sentrio.errors import OptionValueError
from sentrio.pipeline.result import shown

if TYPE_CHECKING:
    from sentrio.checkpoint.checkpoint import Checkpoint
    from sentrio.checkpoint.result import CheckpointResult

_SITE = "{site}"

# With one of these a path would leave its folder, or be a pattern that other sites' files match as well.
_NOT_IN_A_SEGMENT = "/\\\0*?["


def check_template(value: object) -> None:
    """Check that a value is a checkpoint whose data are told apart by ``{site}``.

    :raises OptionValueError: if it is not
    """
    from sentrio.checkpoint.checkpoint import Checkpoint

    if not isinstance(value, Checkpoint):
        problem = f"checkpoint must be a Checkpoint, got {value!r}; in sentrio.yaml it is a name under `checkpoints`"
        raise OptionValueError("pipeline", "checkpoint", problem)
    path = _path(value)
    if path is None or _SITE not in path:
        problem = (
            f"the data_source of checkpoint {value.name!r} has no {_SITE}, so that every site would be checked "
            f"by the same data; write it as in data/{_SITE}.csv"
        )
        raise OptionValueError("pipeline", "checkpoint", problem)


def _path(checkpoint: Checkpoint) -> str | None:
    source = checkpoint.data_source
    path = source.get("path") if isinstance(source, Mapping) else source
    return os.fspath(path) if isinstance(path, str | os.PathLike) else None


def unfit(checkpoint: Checkpoint, site: str) -> str | None:
    """Return why a site can not stand in the checkpoint's path; ``None`` if it can."""
    if site not in {"", ".", ".."} and not any(char in site for char in _NOT_IN_A_SEGMENT):
        return None
    return f"the site {shown(site)} can not be one segment of the path of checkpoint {checkpoint.name!r}"


def bound(checkpoint: Checkpoint, site: str) -> Checkpoint:
    """Return the checkpoint of one site, which :func:`unfit` has nothing against."""
    template = _path(checkpoint)
    assert template is not None
    path = template.replace(_SITE, site)
    source = checkpoint.data_source
    changes: dict[str, Any] = {
        "name": f"{checkpoint.name}[{site}]",
        "data_source": {**source, "path": path} if isinstance(source, Mapping) else path,
        "validator_config": None,  # the validators are made already
    }
    return attrs.evolve(checkpoint, **changes)


async def validate(checkpoint: Checkpoint, site: str, deadline: float) -> CheckpointResult | None:
    """Run the checkpoint of a site; return ``None`` if the deadline came first."""
    with anyio.CancelScope(deadline=deadline):
        return await checkpoint.run_async({"site": site})
    return None
