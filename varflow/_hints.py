"""Hints in errors for near misses: arguments under another name, or given by position where names are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from typing import Any, TypeVar, cast

SYMBOLS = {"beta": "decay", "theta": "threshold", "g": "gain", "n": "width", "L": "depth", "T": "steps"}
Function = TypeVar("Function", bound=Callable[..., Any])


def hinting(function: Function) -> Function:
    """The function, whose error for arguments that it does not take says how to write them."""

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except TypeError:
            try:
                signature(function).bind(*args, **options)
            except TypeError as error:
                name = function.__qualname__.removesuffix(".__init__")
                raise TypeError(f"{name}(): {error}{_hint(function, args, options)}") from None
            raise

    return cast("Function", call)


def _hint(function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> str:
    names = [name for name in signature(function).parameters if name != "self"]
    known = {**SYMBOLS, **{name: close[0] for name in options if (close := get_close_matches(name, names, 1))}}
    misses = [f"{known[name]}={options[name]!r}" for name in options if name not in names and known.get(name) in names]
    values = args[1:] if "self" in signature(function).parameters else args
    by_position = [f"{name}={value!r}" for name, value in zip(names, values, strict=False)] if not misses else []
    return f": write {', '.join([*by_position, *misses])}" if misses or by_position else ""
