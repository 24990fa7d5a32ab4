"""JSON files of results, read back: every field has its declared type."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, TypeVar, get_args, get_origin, get_type_hints, is_typeddict

__all__ = ["stored"]

Kind = TypeVar("Kind")


def stored(kind: type[Kind], paths: Iterable[Path]) -> list[Kind]:
    """Objects of this dataclass from those of the files that exist; files of another form are named on stderr and left out."""
    found = []
    for path in paths:
        try:
            found.append(_read(kind, path))
        except FileNotFoundError:
            pass
        except (OSError, TypeError, ValueError, RecursionError) as error:
            print(f"{path} is left out of the report: {' '.join(str(error).split())}", file=sys.stderr)
    return found


def _read(kind: type[Kind], path: Path) -> Kind:
    fields = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(fields, dict):
        raise TypeError("it holds no JSON object")
    hints = get_type_hints(kind)
    for name in hints.keys() & fields.keys():
        if not fits(fields[name], hints[name]):
            raise TypeError(f"{name} = {repr(fields[name])[:80]} is of another type")
    return kind(**fields)


def fits(value: Any, hint: Any) -> bool:
    """True if a value read from JSON has this type; whole numbers are floats too, truth values are no numbers."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is UnionType:
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is list:
        return isinstance(value, list) and all(fits(each, parts[0]) for each in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(each, parts[1]) for each in value.values())
    if is_typeddict(hint):
        known = get_type_hints(hint)
        marked = get_type_hints(hint, include_extras=True)  # __required_keys__ misses NotRequired in postponed annotations
        required = {name for name, each in marked.items() if get_origin(each) is not NotRequired}
        present = isinstance(value, dict) and required <= value.keys()
        return present and all(fits(value[name], known[name]) for name in known.keys() & value.keys())
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else NoneType if hint is None else hint)
