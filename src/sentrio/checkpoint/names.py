"""Names of files and folders for checkpoints, which may be called anything."""

from __future__ import annotations

__all__ = ("own_name", "readable_name")

import hashlib
import re
import unicodedata

# File systems take names of 255 bytes; a run's id, a suffix and what a user writes beside it have to fit in, too.
_MOST_BYTES = 180
_MOST_CHARACTERS = 100

# Windows keeps these for devices, whatever follows the first dot.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)", re.IGNORECASE)

# What makes a name one's own begins with a character that is replaced in all names, so that none looks alike.
_MARK = "~"
_HEX_DIGITS = 12


def readable_name(name: str) -> str:
    """Return a harmless part of a file's name, whatever a checkpoint is called; others may have the same."""
    return _shortened(re.sub(r"[^\w.-]+", "_", name).lstrip(".-"), _MOST_BYTES) or "_"


def own_name(name: str) -> str:
    """Return a name of a file or folder that no other checkpoint has, on any file system.

    An ordinary name stays itself: up to 100 lower-case letters, digits and ``_ . -``. Any other one is made readable,
    and digits follow that are its own: of two names that differ in capitals, or in how an accent is written, many
    disks would make one folder.
    """
    harmless = readable_name(name)
    if harmless == name == _as_disks_compare(name) and not name.endswith(".") and not _DEVICES.match(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HEX_DIGITS]
    tail = f"{_MARK}{digest}"
    head = f"_{harmless}" if _DEVICES.match(harmless) else harmless
    return _shortened(head, _MOST_BYTES - len(tail)) + tail


def _as_disks_compare(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _shortened(name: str, most_bytes: int) -> str:
    return name[:_MOST_CHARACTERS].encode()[:most_bytes].decode(errors="ignore")
