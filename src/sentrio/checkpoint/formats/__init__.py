"""Renderings of results, one module each: ``render(results, exit_code=...)`` returns text."""

from __future__ import annotations

__all__ = ("FORMATS", "SUFFIXES", "renderer")

from collections.abc import Callable
from importlib import import_module

#: The formats that go to standard output.
FORMATS = ("table", "json", "ndjson", "junit", "github")

#: The formats of files by their suffix.
SUFFIXES = {".json": "json", ".ndjson": "ndjson", ".xml": "junit", ".html": "html", ".md": "markdown"}


def renderer(name: str) -> Callable[..., str]:
    """Return the function that renders a list of results in a format other than ``table``."""
    module = import_module(f"sentrio.checkpoint.formats.{'json' if name == 'ndjson' else name}")
    found: Callable[..., str] = module.render_lines if name == "ndjson" else module.render
    return found
