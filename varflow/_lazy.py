"""Public names of packages: imported on first use, and listed once.

A package shows names so that are defined in a package that imports it: ``varflow.init.init_model`` is defined in
``varflow.torch_models``, which imports ``varflow.init``.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module
from itertools import pairwise

TYPE_CHECKING = False  # as in varflow
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import CodeType
    from typing import Any

WITHIN = ("init", "neurons", "surrogates", "layers", "plots")  # where names are looked for that are not at the door
LOADED = time.time()  # the earliest that any part of varflow was


def loaded_when_asked(package: dict[str, Any]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package, given its ``globals()``.

    The names are those that it imports under ``if TYPE_CHECKING:``, where type checkers read them.
    """
    name_of, code, loaded = package["__name__"], sys._getframe(1).f_code, set(package)
    homes: dict[str, tuple[str, str]] = {}

    def names() -> dict[str, tuple[str, str]]:
        """Every name with its module and its name there; found when the first one is asked for."""
        if not homes:
            homes.update({name: home for name, home in _imports(code) if name not in loaded})  # at once: threads may look
        return homes

    def get(name: str) -> Any:
        if name == "__all__":
            return sorted(names())
        if name not in names():
            sought = () if name.startswith("_") else (place for place in WITHIN if place in names() and name in dir(get(place)))
            where = "".join(f": it is vf.{place}.{name}" for place in list(sought)[:1])
            raise AttributeError(f"module {name_of!r} has no attribute {name!r}{where}")
        module, name_there = names()[name]
        for last in (False, False, False, True):
            try:
                package[name] = _imported(name_of, module, name_there)
                break
            except RuntimeError as error:
                if last or "deadlock" not in str(error):
                    raise
                time.sleep(0.01)  # threads import modules of one circle: this one has let go, and tries again
        return package[name]

    return get, lambda: sorted(names())


def _imported(package: str, module: str, name: str) -> Any:
    if module == package:
        return import_module(f"{module}.{name}")
    return getattr(__import__(module, fromlist=[name]), name)  # also a module of this package


def _imports(code: CodeType) -> Iterator[tuple[str, tuple[str, str]]]:
    """Every name that a module imports from another, with this module and its name there.

    They are read in the compiled code, run or not: a package that is frozen or zipped may be without its sources.
    """
    import dis

    module = ""
    for step, following in pairwise(dis.get_instructions(code)):
        if step.opname == "IMPORT_NAME":
            module = step.argval
        if step.opname == "IMPORT_FROM":  # the next step stores it
            yield following.argval, (module, step.argval)


def names_of(package: Mapping[str, Any]) -> list[str]:
    """Names without underscore that a package imported from its own modules, or defines, given its ``globals()``."""
    names = (name for name, value in package.items() if str(getattr(value, "__module__", "")).startswith(package["__name__"]))
    return sorted(name for name in names if not name.startswith("_"))
