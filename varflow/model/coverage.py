"""Maps that are known of an operation, and reasons why one is not: walks ask at each node, doors before any work.

The rooms of the package enter their maps here, and :func:`varflow.register` those of classes from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from sys import modules
from typing import Any

from varflow._checks import DomainError
from varflow.model.sources import Unknown

Map = Callable[..., Any]
MAPS: dict[str, dict[type, Map]] = {part: {} for part in ("forward", "backward", "count", "simulate")}


class Uncovered(DomainError):
    """Theory does not know what an operation does to what it receives."""


def enter(kind: type, **maps: Map) -> None:
    """Enter the maps of a class.

    ``forward(operation, received, visit)`` returns the signal that it sends, ``backward(operation, gradients, visit, way)`` the
    gradients by each that it received, ``count(operation, received, counts, node)`` what becomes of spike counts,
    ``simulate(operation, flows, walk, node)`` the numbers that it sends.
    """
    for part, function in maps.items():
        MAPS[part][kind] = function


@cache
def from_outside(kind: type) -> bool:
    """True for a class that is none of the package."""
    home = modules.get(kind.__module__)
    return kind.__module__.split(".")[0] != "varflow" or getattr(home, kind.__name__, None) is not kind


def missing(part: str, operation: object) -> str:
    """The reason why an operation has no map of this part, and what to do."""
    kind = type(operation)
    if isinstance(operation, Unknown):
        own = operation.of is not None and from_outside(type(operation.of))
        harmless = f"; where that does not matter, {type(operation.of).__name__} says independent = False" if own else ""
        return f"is not covered: it {operation.words}{harmless}"
    if from_outside(kind):
        return f"has no {part}: give it by vf.register({kind.__name__}, {part}=…)"
    return f"is not covered: it has no {part}"


def wrong_return(part: str, node: Any, value: Any, rule: str) -> DomainError:
    """The error for a map from outside that returns what it must not."""
    shown = f"an array of shape {tuple(value.shape)}" if hasattr(value, "shape") else f"{value!r:.80}"
    return DomainError(node.name, node.operation, f"has a {part} that returns {shown}: it must return {rule}")
