"""The section ``pipeline`` of a YAML file."""

from __future__ import annotations

__all__ = ("make_config", "read_config")

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentrio._yaml.nodes import Key, MappingNode, Node
from sentrio._yaml.reader import Reader
from sentrio.errors import OptionValueError, UnknownCheckpointError, UnknownOptionError
from sentrio.pipeline.config import SETTINGS, PipelineConfig

if TYPE_CHECKING:
    from sentrio.checkpoint.checkpoint import Checkpoint

_PATHS = ("cwd", "log_dir", "job_log")
_ANY_COMMAND = ["true"]
_MISSING = "a mapping `pipeline` is missing, with the key `command`"


def read_config(path: Path) -> PipelineConfig:
    """Read the section ``pipeline`` of a file; other sections are not looked at.

    :raises ConfigurationError: if there is none, or something is wrong with it
    """
    reader = Reader(str(path), path)
    root = reader.read(example="config.yaml", empty=f"the file is empty; {_MISSING}", only="pipeline")
    section = root.get("pipeline") if isinstance(root, MappingNode) else None
    if section is None:
        reader.note("", _MISSING, root)
    made = make_config(reader, section, root.key("pipeline") if isinstance(root, MappingNode) else None)
    reader.finish()
    assert made is not None
    return made


def make_config(
    reader: Reader,
    node: Node | None,
    key: Key | None,
    checkpoints: Mapping[str, Checkpoint | None] | None = None,
    **defaults: Any,
) -> PipelineConfig | None:
    """Make a configuration of a section; ``None``, with the problems noted, if it can not be made.

    :param checkpoints: those of the file by name, ``None`` for one that could not be made; ``None``: the file is
        not one that has any
    :param defaults: of options that are not given
    """
    section = reader.mapping(node, "pipeline", key)
    if section is None:
        return None
    before = reader.notes
    options: dict[str, Any] = {}
    for name, value in section.items:
        earlier, filled = reader.notes, reader.filled(value, f"pipeline.{name.text}")
        if reader.notes == earlier:
            options[name.text] = filled
    for path in _PATHS:
        if isinstance(options.get(path), str) and options[path]:
            options[path] = reader.file.absolute().parent / options[path]
    if options.get("checkpoint") is not None:
        options["checkpoint"] = _found(reader, section, str(options["checkpoint"]), checkpoints)
        if options["checkpoint"] is None:
            options.setdefault("command", _ANY_COMMAND)  # only the checkpoint is missing

    def locate(exc: UnknownOptionError | OptionValueError) -> tuple[tuple[str, ...], str, Node]:
        inner, outer = section.get("async_settings"), section.key(exc.option)
        for each in inner.items if isinstance(inner, MappingNode) and outer is None else ():
            if exc.option in (each[0].text, SETTINGS.get(each[0].text)):
                return ("async_settings", each[0].text), "pipeline", each[0]
        return (() if outer is None else (exc.option,)), "pipeline", outer or key or section

    incomplete = reader.notes > before
    made = reader.made(lambda given: _made({**defaults, **given}), options, locate, incomplete=incomplete)
    return made if reader.notes == before else None


def _found(
    reader: Reader, section: MappingNode, name: str, checkpoints: Mapping[str, Checkpoint | None] | None
) -> Checkpoint | None:
    if checkpoints is None:
        problem = "checkpoints are read by sentrio.load_config(): use UniversalRunner(load_config(path).pipeline)"
        reader.note("pipeline.checkpoint", problem, section.key("checkpoint"))
        return None
    if name not in checkpoints:
        problem = str(UnknownCheckpointError(name, tuple(checkpoints)))
        reader.note("pipeline.checkpoint", problem, section.get("checkpoint"))
    return checkpoints.get(name)


def _made(options: dict[str, Any]) -> PipelineConfig:
    made: PipelineConfig = PipelineConfig(**options)
    return made
