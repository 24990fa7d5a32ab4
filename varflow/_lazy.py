"""Public names of packages: imported on first use, and listed once.

A package shows names so that are defined in a package that imports it: ``varflow.init.init_model`` is defined in
``varflow.torch_models``, which imports ``varflow.init``.
"""

import ast
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

LOADED = time.time()  # the earliest that any part of varflow was


def loaded_when_asked(
    package: dict[str, Any], renamed: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package, given its ``globals()``.

    The names are those that its source imports under ``if TYPE_CHECKING:``. ``renamed``: old name, which warns → new name.
    """
    name_of = package["__name__"]
    tree = ast.parse(package["__loader__"].get_source(name_of))
    typed = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [(node.module or "", alias) for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    homes = {alias.asname or alias.name: (module, alias.name) for module, alias in imports}

    def get(name: str) -> Any:
        if renamed and name in renamed:
            from varflow._checks import deprecated  # here, so that `import varflow` loads no numpy

            shown = name_of.replace("varflow", "vf", 1)
            deprecated(f"{shown}.{name} is now {shown}.{renamed[name]}")
            return get(renamed[name])
        if name not in homes:
            raise AttributeError(f"module {name_of!r} has no attribute {name!r}")
        module, name_there = homes[name]
        if module == name_of:
            package[name] = import_module(f"{module}.{name_there}")
        else:
            package[name] = getattr(__import__(module, fromlist=[name_there]), name_there)  # also a module of this package
        return package[name]

    return get, lambda: sorted(homes)


def names_of(package: Mapping[str, Any]) -> list[str]:
    """Names without underscore that a package imported from its own modules, or defines, given its ``globals()``."""
    names = (name for name, value in package.items() if str(getattr(value, "__module__", "")).startswith(package["__name__"]))
    return sorted(name for name in names if not name.startswith("_"))
