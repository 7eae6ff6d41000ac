"""Checkpoints by name, for the whole process."""

from __future__ import annotations

__all__ = (
    "get_checkpoint",
    "list_checkpoints",
    "register_checkpoint",
    "resolve",
    "resolve_all",
    "unregister_checkpoint",
)

from collections.abc import Iterable, Mapping

from sentrio.checkpoint.checkpoint import Checkpoint
from sentrio.errors import OptionValueError, UnknownCheckpointError

_registered: dict[str, Checkpoint] = {}


def register_checkpoint(checkpoint: Checkpoint, *, replace: bool = False) -> Checkpoint:
    """Make a checkpoint known by its name; return it.

    :param replace: put it in the place of another one with its name
    :raises TypeError: if it is no checkpoint
    :raises OptionValueError: if another one has its name, unless ``replace``
    """
    require_checkpoint(checkpoint)
    if not replace and _registered.get(checkpoint.name, checkpoint) is not checkpoint:
        problem = (
            f"a checkpoint named {checkpoint.name!r} is registered already; give it another name, or replace=True"
        )
        raise OptionValueError("register_checkpoint", "name", problem)
    _registered[checkpoint.name] = checkpoint
    return checkpoint


def unregister_checkpoint(name: str) -> Checkpoint:
    """Forget a checkpoint; return it.

    :raises UnknownCheckpointError: if there is none of this name
    """
    checkpoint = get_checkpoint(name)
    del _registered[name]
    return checkpoint


def get_checkpoint(name: str) -> Checkpoint:
    """Return the registered checkpoint of this name.

    :raises UnknownCheckpointError: if there is none
    """
    try:
        return _registered[name]
    except KeyError:
        raise UnknownCheckpointError(name, tuple(_registered)) from None


def list_checkpoints() -> list[str]:
    """Return the names of the registered checkpoints, in the order of their registration."""
    return list(_registered)


def require_checkpoint(value: object) -> Checkpoint:
    """Return ``value``.

    :raises TypeError: if it is no checkpoint
    """
    if not isinstance(value, Checkpoint):
        raise TypeError(f"a checkpoint must be a sentrio.Checkpoint, got {value!r}")
    return value


def resolve(checkpoint: Checkpoint | str) -> Checkpoint:
    """Return a checkpoint itself, or the registered one of this name.

    :raises UnknownCheckpointError: for a name that nobody registered
    :raises TypeError: for what is neither
    """
    return get_checkpoint(checkpoint) if isinstance(checkpoint, str) else require_checkpoint(checkpoint)


def resolve_all(checkpoints: Iterable[Checkpoint | str]) -> list[Checkpoint]:
    """Return several checkpoints, each as :func:`resolve` does.

    :raises UnknownCheckpointError: for a name that nobody registered
    :raises TypeError: for what is neither, or no list of them
    """
    given: object = checkpoints
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        hint = "; did you mean its values()?" if isinstance(given, Mapping) else ""
        raise TypeError(f"checkpoints must be a list of checkpoints or of their names, got {given!r}{hint}")
    return [resolve(checkpoint) for checkpoint in checkpoints]
