"""Modules of the project's own that a configuration names: what they define gets its name."""

from __future__ import annotations

__all__ = ("load_plugin", "look_in")

import importlib
import importlib.machinery
import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType

from sentrio.checkpoint import actions, triggers
from sentrio.errors import OptionValueError
from sentrio.validation.sources import files
from sentrio.validation.validators import REGISTRY
from sentrio.validation.wording import first_line

logger = logging.getLogger("sentrio.config")


def look_in(folder: Path) -> str:
    """Have Python look for modules in a folder first, as for a script that stands there; return its path."""
    root = str(folder.absolute())
    # It stays: what a module imports later, inside of a function, is looked for in the same places.
    if root not in sys.path:
        sys.path.insert(0, root)
    importlib.invalidate_caches()  # the file may be younger than what Python remembers of the folder
    return root


def load_plugin(name: str, folder: Path) -> str:
    """Import a module and make known what it defines; return what is wrong, if something is.

    It is looked for in the folder of the configuration first, as for a script that stands there, then wherever
    Python looks.
    """
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return f"{name!r} names no module; write it as in `import`: my_project.rules"
    root = look_in(folder)
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as exc:  # somebody's module may raise anything
        logger.debug("plugin %s can not be imported", name, exc_info=True)
        said = f"{type(exc).__name__}: {first_line(exc)}"
        return f"plugin {name!r} can not be imported ({said}); it is looked for in {root} and where Python looks"
    if problem := _another(module, name, root):
        return problem
    try:
        for registry in (REGISTRY, actions.REGISTRY, triggers.REGISTRY, files.REGISTRY):
            registry.adopt(module)
    except OptionValueError as exc:
        return f"plugin {name!r}: {exc.problem}"
    return ""


def _another(module: ModuleType, name: str, root: str) -> str:
    """Tell whether the folder has a module of this name that another one, imported before, stands in the way of."""
    head = name.partition(".")[0]
    spec = importlib.machinery.PathFinder.find_spec(head, [root])
    loaded = sys.modules[head]
    if spec is None or spec.origin is None or getattr(loaded, "__file__", None) is None:
        return ""
    assert loaded.__file__ is not None
    if Path(spec.origin).resolve() == Path(loaded.__file__).resolve():
        return ""
    return (
        f"another module named {head!r} was imported before ({loaded.__file__}), so {spec.origin} can not be; "
        "give it another name"
    )
