"""What a checkpoint is called that somebody asked for by its data alone."""

from __future__ import annotations

__all__ = ("is_url", "name_of")

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit


def is_url(data: str) -> bool:
    """Tell whether data are somewhere else than in the file system."""
    return "://" in data


def name_of(data: str) -> str:
    """Return a name for some data; of a URL nothing but the file's, since the rest may be secret."""
    if is_url(data):
        try:
            path = unquote(urlsplit(data).path)
        except ValueError:
            path = ""
        return PurePosixPath(path).stem or "data"
    return data if set(data) & set("*?[") else Path(data).stem or data
