"""The ``pipeline:`` section of a YAML file.

YAML as in ``sentrio.yaml``: only ``true`` and ``false`` are booleans, dates stay text, and a key that is given twice
is an error. ``${NAME}`` is filled in from the environment, ``$${NAME}`` stands for itself. Relative paths are
relative to the file.
"""

from __future__ import annotations

__all__ = ("read_config",)

import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from sentrio.errors import ConfigurationError, OptionValueError, Problem, UnknownOptionError
from sentrio.pipeline.config import PipelineConfig

_PATHS = ("cwd", "log_dir", "job_log")
_REFERENCE = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CORE = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """PyYAML with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own way

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
            if key.value in seen:
                problem = f"the key {key.value!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(f"{_CORE}null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(f"{_CORE}bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(f"{_CORE}int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    f"{_CORE}float",
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def read_config(path: Path) -> PipelineConfig:
    """Read the section ``pipeline`` of a YAML file; other sections are not looked at.

    :raises ConfigurationError: if there is none, or something is wrong with it
    """

    def wrong(message: str, node: yaml.Node | None = None, where: str = "pipeline") -> ConfigurationError:
        place = (None, None) if node is None else (node.start_mark.line + 1, node.start_mark.column + 1)
        return ConfigurationError([Problem(where, message, str(path), *place)])

    try:
        loader = _Loader(path.read_bytes())
        try:
            root: Any = loader.get_single_node()
            section = _child(root, "pipeline")
            given = loader.construct_document(section) if section is not None else None
        finally:
            loader.dispose()
    except OSError as exc:
        raise wrong(f"it can not be read: {exc.strerror or exc}", where="") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise _syntax_error(path, exc) from None
    if not isinstance(given, dict):
        raise wrong("a mapping `pipeline` is missing, with the key `command`", section or root, where="")
    try:
        options = {str(name): _filled(str(name), value) for name, value in given.items()}
        for name in _PATHS:
            if isinstance(options.get(name), str) and options[name]:
                options[name] = path.absolute().parent / options[name]
        made = PipelineConfig.from_dict(options)
    except (OptionValueError, UnknownOptionError) as exc:
        inner = _child(section, "async_settings")
        raise wrong(exc.problem, _key(inner, exc.option) or _key(section, exc.option) or section) from None
    return made


def _child(node: Any, name: str) -> Any:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for key, value in pairs if key.value == name), None)


def _key(node: Any, name: str) -> Any:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((key for key, _ in pairs if key.value == name), None)


def _syntax_error(path: Path, exc: Exception) -> ConfigurationError:
    mark = getattr(exc, "problem_mark", None)
    place = (None, None) if mark is None else (mark.line + 1, mark.column + 1)
    message = getattr(exc, "problem", None) or type(exc).__name__
    return ConfigurationError([Problem("", f"not valid YAML: {message}", str(path), *place)])


def _filled(option: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_filled(option, item) for item in value]
    if isinstance(value, dict):
        return {name: _filled(option, item) for name, item in value.items()}
    return _REFERENCE.sub(lambda found: _variable(option, found), value) if isinstance(value, str) else value


def _variable(option: str, found: re.Match[str]) -> str:
    dollar, name = found.groups()
    if dollar:
        return f"${{{name}}}"
    if name not in os.environ:
        problem = f"environment variable {name!r} is not set; for the text ${{{name}}} write $${{{name}}}"
        raise OptionValueError("pipeline", option, problem)
    return os.environ[name]
