"""The code that runs: a user's functions and classes as they were loaded, with all that they refer to, as JSON.

A file may have been edited since, and a cell of a notebook is in no file. So this is the bytecode, with constants, defaults,
closures and the globals that it names; of a class the same for its own members and for those of its bases. Code of installed
packages is known by name and version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from varflow._shared import known_by_name

Describe = Callable[[Any], Any]
OF_PYTHON = {"__dict__", "__weakref__", "__doc__", "__module__", "__abstractmethods__", "_abc_impl", "__firstlineno__"}
OF_PYTHON |= {"__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__static_attributes__"}
OF_PYTHON |= {"__dataclass_fields__", "__dataclass_params__", "__match_args__", "__parameters__", "__orig_bases__"}


def parts_of(thing: Any, describe: Describe) -> Any:
    """The parts of a user's function, class, method or descriptor, each by ``describe``; None for anything else."""
    match thing:
        case type():
            inside = {name: part for name, part in vars(thing).items() if name not in OF_PYTHON}
            return [[describe(base) for base in thing.__bases__], *([name, describe(inside[name])] for name in sorted(inside))]
        case FunctionType():
            inner = [None if cell == CellType() else cell.cell_contents for cell in thing.__closure__ or ()]  # some are empty
            named = [[name, describe(value)] for name, value in _globals(thing)]
            return [_code(thing.__code__), named, *map(describe, (thing.__defaults__, thing.__kwdefaults__, inner))]
        case MethodType():
            return [describe(thing.__func__), describe(thing.__self__)]
        case staticmethod() | classmethod():
            return [type(thing).__name__, describe(thing.__func__)]
        case property():
            return ["property", *map(describe, (thing.fget, thing.fset, thing.fdel))]
        case cached_property():
            return ["cached_property", describe(thing.func)]
    return None


def _code(code: CodeType) -> list[Any]:
    """Without the lines and the file, so that only changes of what it does count."""
    constants = [_code(constant) if isinstance(constant, CodeType) else _constant(constant) for constant in code.co_consts]
    arguments = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    return [code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, arguments]


def _constant(value: Any) -> str:
    return f"frozenset {sorted(map(repr, value))}" if isinstance(value, frozenset) else repr(value)


def _globals(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The globals that a function names, and what it names in the user's own modules among them."""
    names = sorted(_names(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        if not isinstance(value, ModuleType):
            yield name, value
        elif (version := known_by_name(value.__name__)) is not None:
            yield name, f"{value.__name__} {version}"
        else:
            yield from ((f"{name}.{part}", vars(value)[part]) for part in names if part in vars(value))


def _names(code: CodeType) -> set[str]:
    return {*code.co_names}.union(*(_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)))
