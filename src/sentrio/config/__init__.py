"""``sentrio.yaml``, and what is wrong with it."""

from __future__ import annotations

__all__ = ("Config", "load_config", "parse_entry", "parse_mapping")

from sentrio.config.loader import Config, load_config, parse_entry, parse_mapping
