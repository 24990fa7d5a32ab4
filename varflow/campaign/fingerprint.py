"""Descriptions by numbers: what an argument is, as JSON, so that equal descriptions mean equal computations.

Parsl's ``id_for_memo`` (parsl/dataflow/memoization.py) dispatches on types in the same way and refuses what it does not know;
joblib.Memory hashes pickles instead, which differ between Python versions for equal values. A user's functions and classes are
described as they were loaded, with all that they refer to: a file may have been edited since, and a cell of a notebook is in no
file. So this is the bytecode, with constants, defaults, closures and the globals that it names; of a class the same for its own
members and for those of its bases. Code of installed packages is known by name and version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow._shared import known_by_name

Describe = Callable[[Any], Any]
OF_PYTHON = {"__dict__", "__weakref__", "__doc__", "__module__", "__abstractmethods__", "_abc_impl", "__firstlineno__"}
OF_PYTHON |= {"__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__static_attributes__"}
OF_PYTHON |= {"__dataclass_fields__", "__dataclass_params__", "__match_args__", "__parameters__", "__orig_bases__"}


class _Inside(dict):
    """The memo within the description of one piece of code, which may refer to itself."""


def described(value: Any, memo: dict[int, tuple[Any, Any]]) -> Any:
    """A value as JSON: arrays by dtype, shape and digest, objects by class and fields, a user's own classes and functions by
    the code that runs.

    ``memo`` holds objects met before with their descriptions, by identity: networks and inputs that many blocks share are
    read once.

    Raises
    ------
    DomainError
        For a function without a name, or what else no numbers describe.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if id(value) not in memo:
        if isinstance(memo, _Inside):
            memo[id(value)] = value, {"again": len(memo)}
        memo[id(value)] = value, _described(value, memo)  # the value too: as long as it lives, no other has its identity
    return memo[id(value)][1]


def _described(value: Any, memo: dict[int, tuple[Any, Any]]) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcUS":
        data = np.ascontiguousarray(value)
        return {"array": [data.dtype.str, list(data.shape), hashlib.sha256(data.tobytes()).hexdigest()]}
    if isinstance(value, np.generic):
        return described(value.item(), memo)
    if isinstance(value, (bytes, bytearray, complex)):
        return {"number": repr(value)}
    if isinstance(value, (np.random.RandomState, np.random.Generator)):
        return {"object": _name(type(value), memo)}  # scipy's distributions have one; draws here use their own seeds
    if isinstance(value, (list, tuple)):
        return [described(item, memo) for item in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(json.dumps(described(item, memo)) for item in value)}
    if isinstance(value, Mapping):
        return {"mapping": [[described(name, memo), described(item, memo)] for name, item in value.items()]}
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return {"name": _name(value, memo)}
    if isinstance(memo, _Inside) and (parts := parts_of(value, lambda part: described(part, memo))) is not None:
        return {"parts": parts}
    kind = _name(type(value), memo)
    if is_dataclass(value):
        return {"object": kind, **{f.name: described(getattr(value, f.name), memo) for f in fields(value)}}
    inner = getattr(value, "__wrapped__", None)  # of a function with a cache
    return {"object": kind, "state": [described(part, memo) for part in (*_state(value), inner)]}


def _name(thing: Any, memo: dict[int, tuple[Any, Any]]) -> Any:
    """Module and name, with the version of an installed library or the code of a user's own class or function."""
    module, name = thing.__module__, thing.__qualname__
    inside = isinstance(memo, _Inside)
    if "<" in name and not inside:
        raise DomainError("store", name, "cannot keep it: a function or class without a name of its own cannot be recognised")
    if (version := known_by_name(module)) is not None:
        return f"{module}:{name} {version}".strip()
    within = memo if inside else _Inside({id(thing): (thing, {"again": 0})})
    parts = parts_of(thing, lambda part: described(part, within))
    if parts is None:
        raise DomainError("store", name, "cannot keep it: its code cannot be compared, as that of functions in Python can")
    return [f"{module}:{name}", parts if inside else hashlib.sha256(json.dumps(parts).encode()).hexdigest()]


def _state(value: Any) -> tuple[Any, ...]:
    """The parts that determine an object, by the protocol of ``copy``."""
    if type(value).__module__.startswith("torch") and hasattr(value, "detach"):
        return (value.detach().cpu().numpy(),)
    try:
        reduced = value.__reduce_ex__(2)
        if isinstance(reduced, str):  # a global name
            return (reduced,)
        _, arguments, *items = reduced
    except Exception:  # whatever the object raises
        raise DomainError("store", value, "cannot keep it: the object cannot be described by numbers") from None
    return arguments, *(part if not hasattr(part, "__next__") else list(part) for part in items[:3])


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
