"""Spikes known by their number alone, and the currents that they make: what flows through a network at finite width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

from varflow._checks import DomainError
from varflow.model.graph import Node
from varflow.model.network import Network
from varflow.model.signals import Layer
from varflow.model.weighted_layers import Linear
from varflow.theory.layer import CountedLayer


@dataclass(frozen=True, slots=True)
class Count:
    """A spike count, drawn from an earlier one.

    Attributes
    ----------
    width : int
    below : int
        Which count it is drawn from; not used for the driven layer, the first.
    layer : CountedLayer, optional
        The neurons; None for the driven layer and for merges.
    merge : str
        ``and`` or ``iand``.
    branch : int
        Of a merge, the count of the neurons merged with the spikes ``below``.
    """

    width: int
    below: int = 0
    layer: CountedLayer | None = None
    merge: str = ""
    branch: int = 0

    @property
    def of_neurons(self) -> bool:
        return not self.merge


class Gaussian(NamedTuple):
    """Normal potentials of a layer, by input or by network: threshold, mean, variance, and True where ``>`` is strict."""

    threshold: Any
    mean: np.ndarray
    variance: np.ndarray
    strict: bool


class CountedCurrents(NamedTuple):
    """Currents ``a I + c``, ``affine = (a, c)``, with ``I`` from a count or, without ``below``, from the drive."""

    linear: Linear | None
    below: int | None
    width: int
    affine: tuple[float, float] = (1.0, 0.0)


class Counted(NamedTuple):
    """``a S + c`` with spikes ``S`` of which the count is known, ``affine = (a, c)``."""

    place: int
    affine: tuple[float, float] = (1.0, 0.0)


SAMPLED = "vf.simulate(network, engine='conditional') samples its distribution exactly"
ON_MAPS = "acts on maps: positions share filters and depend on each other"
Affine = TypeVar("Affine", CountedCurrents, Counted)


def changed(signal: Affine, factor: float, shift: float = 0.0) -> Affine:
    """``factor · signal + shift``."""
    a, c = signal.affine
    return signal._replace(affine=(factor * a, factor * c + shift))


@dataclass(slots=True)
class Counts:
    """The counts gathered on the way, each after those it depends on, and the driven layer."""

    network: Network
    gathered: list[Count] = field(default_factory=list)
    start: Gaussian | None = None

    def width(self, signal: Counted) -> int:
        return self.gathered[signal.place].width

    def add(self, count: Count) -> Counted:
        """The spikes of another count."""
        self.gathered.append(count)
        return Counted(len(self.gathered) - 1)


def no_chain(node: Node, reason: str) -> DomainError:
    """The error for a node whose spikes are not given by a count."""
    return DomainError(node.name, node.operation, f"{reason}: no chain of spike counts is known for it; {SAMPLED}")


def uncounted(reason: str) -> Callable[..., Any]:
    """The map of an operation after which no count is known."""

    def count(operation: Layer, received: tuple[Any, ...], counts: Counts, node: Node) -> Any:
        raise no_chain(node, reason)

    return count
