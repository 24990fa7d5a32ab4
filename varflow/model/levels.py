"""Discrete distributions of the standardised membrane potential: atoms and their probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import DomainError, frozen, put
from varflow.model.builtin import Distribution


class Discrete(Distribution):
    """Atoms with probabilities. ``sf`` is the step function ``P(Z > z)``; ``pdf`` and ``hazard`` are 0.

    Atoms are standardised in floating point, so whether a threshold lies on one is decided by rounding; where ties matter,
    count with ``levels`` and ``weights``.
    """

    __slots__ = ("_tails", "levels", "name", "upper", "weights")  # pyright: ignore[reportIncompatibleVariableOverride]
    levels: np.ndarray
    weights: np.ndarray
    _tails: np.ndarray

    def __init__(self, name: str, atoms: np.ndarray, weights: np.ndarray):
        order = np.argsort(atoms)
        atoms, weights = atoms[order], weights[order] / np.sum(weights)
        mean = np.sum(weights * atoms)
        levels = (atoms - mean) / np.sqrt(np.sum(weights * (atoms - mean) ** 2))
        put(self, name=name, levels=frozen(levels), weights=frozen(weights), upper=float(levels[-1]))
        tails = np.append(np.cumsum(weights[::-1])[::-1], 0.0)  # summed from the right: small tails keep their digits
        tails[0] = 1.0
        put(self, _tails=frozen(tails))

    def _sf(self, z: np.ndarray) -> np.ndarray:
        tails = self._tails[np.searchsorted(self.levels, z, side="right")]
        return np.where(np.isnan(z), z, tails)

    def _pdf(self, z: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(z), z, 0.0)

    def _hazard(self, z: np.ndarray) -> np.ndarray:
        return np.where(z >= self.upper, np.nan, self._pdf(z))

    def __repr__(self) -> str:
        return f"distribution({self.name}, {self.levels.size} atoms)"


def checked_discrete(name: str, obj: Any, atoms: np.ndarray, weights: np.ndarray) -> Discrete:
    """A :class:`Discrete` of the atoms with positive probability; DomainError if there are fewer than two."""
    some = weights > 0
    if np.count_nonzero(some) < 2:
        raise DomainError("distribution", obj, "is constant: a variance of 0 cannot be scaled to 1")
    return Discrete(name, atoms[some], weights[some])
