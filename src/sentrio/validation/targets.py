"""Whether files that are written would take the place of what is read."""

from __future__ import annotations

__all__ = ("clash",)

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sentrio.validation.sources.options import format_of

_MAGIC = "*?["


def clash(targets: Mapping[str, Path], data_source: Any, base: Path | None) -> tuple[str, str] | None:
    """Say which target must not be written, and why; ``None``: nothing is wrong. Looks at the file system.

    :param targets: paths by the names of their options
    :param data_source: the data, as a checkpoint takes them
    :param base: the folder that a relative path of the data starts from
    """
    real = {option: os.path.realpath(path) for option, path in targets.items()}
    options = list(real)
    if len(set(real.values())) < len(real):
        return options[-1], f"{' and '.join(options)} are the same file {str(targets[options[-1]])!r}"
    given = data_source if isinstance(data_source, Mapping) else {"path": data_source}
    path = given.get("path")
    if not isinstance(path, str | os.PathLike):
        return None
    for option, target in real.items():
        fmt = given.get("format") or format_of(target)
        if found := _fault(target, (base or Path()) / os.fspath(path), same_format=fmt == format_of(target)):
            return option, f"{option}: {str(targets[option])!r} {found}"
    return None


def _fault(target: str, source: Path, *, same_format: bool) -> str:
    if source.is_dir():
        root = Path(os.path.realpath(source))
        inside = Path(target).is_relative_to(root) and _is_data(Path(target).relative_to(root).parts)
    elif any(char in str(source) for char in _MAGIC) and not source.exists():
        plain = next(place for place, part in enumerate(source.parts) if any(char in part for char in _MAGIC))
        root = Path(os.path.realpath(Path(*source.parts[:plain])))
        inside = Path(target).match(str(root.joinpath(*source.parts[plain:])))
    elif os.path.realpath(source) == target:
        return "is the data source itself, whose other rows would be lost; write to another path"
    else:
        return ""
    if not inside or not same_format:
        return ""
    return "would be read as a part of the data source by the next run; write to a folder beside it"


def _is_data(parts: tuple[str, ...]) -> bool:
    """Tell whether a file of a folder is read: what begins with a dot or an underscore is not."""
    return not any(part[0] in "._" and "=" not in part for part in parts)
