"""Public names imported on first use, by which a package shows names defined in a package that imports it.

Example: ``varflow.init.init_model`` is defined in ``varflow.torch_models``, which imports ``varflow.init``.
"""

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from varflow._checks import deprecated

__all__ = ["LOADED", "loaded_when_asked"]

LOADED = time.time()  # the earliest that any part of varflow was


def loaded_when_asked(
    package: dict[str, Any],
    names: Mapping[str, str],
    rooms: Mapping[str, str],
    *,
    renamed: Mapping[str, str] | None = None,
    also: tuple[str, ...] = (),
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package, given its ``globals()``.

    ``names``: module of varflow → the names that it defines, separated by spaces; ``rooms``: name → module of varflow that it
    is; ``renamed``: old name, which warns → new name; ``also``: names that exist already, for ``__dir__``.
    """
    name_of = package["__name__"]
    homes = {name: module for module, defined in names.items() for name in defined.split()}

    def get(name: str) -> Any:
        if renamed and name in renamed:
            shown = name_of.replace("varflow", "vf", 1)
            deprecated(f"{shown}.{name} is now {shown}.{renamed[name]}")
            return get(renamed[name])
        if name in homes:
            value = getattr(import_module(f"varflow.{homes[name]}"), name)
        elif name in rooms:
            value = import_module(f"varflow.{rooms[name]}")
        else:
            raise AttributeError(f"module {name_of!r} has no attribute {name!r}")
        package[name] = value
        return value

    return get, lambda: [*homes, *rooms, *also]
