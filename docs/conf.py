"""Sphinx configuration; the build runs with warnings as errors."""

from __future__ import annotations

from importlib.metadata import version as installed

project = "sentrio"
author = "The sentrio authors"
copyright = "2026, The sentrio authors"
version = release = installed("sentrio")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "changelog.d", "examples"]
html_theme = "furo"
html_title = "sentrio"

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
nitpick_ignore_regex = [(r"py:.*", r".*")]  # types of other libraries, whose inventories need a network
suppress_warnings = ["myst.xref_missing"]
