"""Renderings of results, one module each."""
