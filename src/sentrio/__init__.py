"""Data-quality checkpoints with structured concurrency."""
