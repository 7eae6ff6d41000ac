"""YAML files whose values remember where they stand, for every part of sentrio that reads one."""
