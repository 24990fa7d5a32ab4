"""The table of operations: the maps of each class of layers of the package, forwards, backwards and of counts.

Those of layers of one's own are registered by ``vf.register``; ``model.extensions.map_of`` looks for both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from varflow._checks import DomainError

Table = dict[type, Callable[..., Any]]
FORWARD: Table = {}
BACKWARD: Table = {}
COUNT: Table = {}


class Uncovered(DomainError):
    """Theory does not know what an operation does to what it receives."""


def register(
    kind: type,
    *,
    forward: Callable[..., Any] | None = None,
    backward: Callable[..., Any] | None = None,
    count: Callable[..., Any] | None = None,
) -> None:
    """Enter the maps of a class of layers.

    ``forward(operation, received, visit)`` returns the signal that it sends, ``backward(operation, gradients, visit, way)`` the
    gradients by each of them, ``count(operation, received, counts, node)`` what becomes of spike counts.
    """
    for table, entry in ((FORWARD, forward), (BACKWARD, backward), (COUNT, count)):
        if entry is not None:
            table[kind] = entry
