"""Spikes known by their number alone, and the currents that they make: what flows through a network at finite width."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

from varflow.model.network import Network
from varflow.model.weighted_layers import Linear
from varflow.theory.layer import Layer

__all__ = ["Count", "Counted", "CountedCurrents", "Counts", "Normal", "changed"]


@dataclass(frozen=True, slots=True)
class Count:
    """A spike count, drawn from an earlier one.

    Attributes
    ----------
    width : int
    below : int, optional
        Which count it is drawn from; None for the driven layer.
    layer : Layer, optional
        The neurons; None for the driven layer and for merges.
    merge : str
        ``and`` or ``iand``.
    branch : int, optional
        The count of the neurons merged with the spikes ``below``.
    """

    width: int
    below: int | None = None
    layer: Layer | None = None
    merge: str = ""
    branch: int | None = None

    @property
    def neurons(self) -> bool:
        return self.branch is None


class Normal(NamedTuple):
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
    start: Normal | None = None

    def width(self, signal: Counted) -> int:
        return self.gathered[signal.place].width

    def add(self, count: Count) -> Counted:
        """The spikes of another count."""
        self.gathered.append(count)
        return Counted(len(self.gathered) - 1)
