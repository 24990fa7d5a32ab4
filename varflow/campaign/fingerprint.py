"""Descriptions by numbers: what an argument is, as JSON, so that equal descriptions mean equal computations.

Parsl's ``id_for_memo`` (parsl/dataflow/memoization.py) dispatches on types in the same way and refuses what it does not know;
joblib.Memory hashes pickles instead, which differ between Python versions for equal values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np

from varflow._checks import DomainError

__all__ = ["described"]


def described(value: Any, memo: dict[int, tuple[Any, Any]]) -> Any:
    """A value as JSON: arrays by dtype, shape and digest, objects by class and fields.

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
        memo[id(value)] = value, _described(value, memo)  # the value too: as long as it lives, no other has its identity
    return memo[id(value)][1]


def _described(value: Any, memo: dict[int, tuple[Any, Any]]) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcUS":
        data = np.ascontiguousarray(value)
        return {"array": [data.dtype.str, list(data.shape), hashlib.sha256(data.tobytes()).hexdigest()]}
    if isinstance(value, np.generic):
        return described(value.item(), memo)
    if isinstance(value, (np.random.RandomState, np.random.Generator)):
        return {"object": _name(type(value))}  # scipy's distributions have one; draws here use their own seeds
    if isinstance(value, (list, tuple)):
        return [described(item, memo) for item in value]
    if isinstance(value, Mapping):
        return {"mapping": [[described(name, memo), described(item, memo)] for name, item in value.items()]}
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return {"name": _name(value)}
    if is_dataclass(value):
        return {"object": _name(type(value)), **{f.name: described(getattr(value, f.name), memo) for f in fields(value)}}
    return {"object": _name(type(value)), "state": [described(part, memo) for part in _state(value)]}


def _name(thing: Any) -> str:
    module, name = thing.__module__, thing.__qualname__
    if "<" in name:
        raise DomainError("store", name, "cannot keep it: a function or class without a name of its own cannot be recognised")
    return f"{module}:{name}"


def _state(value: Any) -> tuple[Any, ...]:
    """What determines an object, by the protocol of ``copy``."""
    try:
        _, arguments, *rest = value.__reduce_ex__(2)
    except Exception:  # whatever the object raises
        raise DomainError("store", value, "cannot keep it: the object cannot be described by numbers") from None
    return arguments, *(part if not hasattr(part, "__next__") else list(part) for part in rest[:3])
