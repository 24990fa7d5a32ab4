"""Descriptions by numbers: what an argument is, as JSON, so that equal descriptions mean equal computations.

Parsl's ``id_for_memo`` (parsl/dataflow/memoization.py) dispatches on types in the same way and refuses what it does not know;
joblib.Memory hashes pickles instead, which differ between Python versions for equal values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow._shared import known_by_name
from varflow.campaign.running import parts_of


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
