"""Public names that load when they are first asked for: the one hook by which a package shows what stands above it.

``varflow.init`` shows ``init_model`` so, which stands in ``varflow.torch_models`` and builds on ``varflow.init``.
"""

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["loaded_when_asked"]


def loaded_when_asked(
    package: dict[str, Any],
    names: Mapping[str, str],
    rooms: Mapping[str, str],
    *,
    renamed: Mapping[str, str] | None = None,
    also: tuple[str, ...] = (),
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package, given its ``globals()``.

    ``names``: those that a module of varflow defines, by the module, with spaces between them; ``rooms``: the module that a
    name stands for; ``renamed``: old names and those to use, with a warning; ``also``: names that are there already.
    """
    name_of = package["__name__"]
    homes = {name: module for module, defined in names.items() for name in defined.split()}

    def get(name: str) -> Any:
        if renamed and name in renamed:
            shown = name_of.replace("varflow", "vf", 1)
            warnings.warn(f"{shown}.{name} is now {shown}.{renamed[name]}", DeprecationWarning, stacklevel=2)
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
