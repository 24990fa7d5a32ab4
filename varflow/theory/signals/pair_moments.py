r"""Second moments between different positions of a large map, computed where a layer asks for them.

.. math:: M_d(p) = E[x(p)\, x(p + d)]

Filters are shared, so that a convolution of stride ``s`` needs ``M_{sd}`` of what it receives; a pool needs all offsets within
its windows; everything else keeps ``d``. Only positions that pools join cost anything. Those farther apart than ``NEAR`` count
as alike: their covariance is the mean over all pairs of positions (``ALL_PAIRS``), for each two steps one number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np

NEAR = 7  # rows and columns: three pools of 2 × 2 join 8 × 8 positions


class AllPairs(Enum):
    """All pairs of positions, in place of an offset."""

    ALL_PAIRS = 0


ALL_PAIRS: Final = AllPairs.ALL_PAIRS
Offset = tuple[int, int] | AllPairs


@dataclass(slots=True, eq=False)
class PairMoments:
    """``M_d`` of a map (rows, columns), shape (replicas, groups, steps, steps) with groups ``(input, row, column)``; 0 where
    ``p + d`` lies outside. For ``ALL_PAIRS``, shape (replicas, inputs, steps, steps).

    ``find`` computes it for ``ALL_PAIRS`` and offsets ``d > (0, 0)``; the others follow by exchange. What was found is kept.
    """

    shape: tuple[int, int]
    find: Callable[[Offset], np.ndarray]
    found: dict[Offset, np.ndarray] = field(default_factory=dict)

    def __call__(self, offset: Offset) -> np.ndarray:
        if offset not in self.found:
            self.found[offset] = self._pairs(offset)
        return self.found[offset]

    def _pairs(self, offset: Offset) -> np.ndarray:
        if offset is ALL_PAIRS:
            return self.find(ALL_PAIRS)
        if offset < (0, 0):
            return shifted(self(opposite(offset)).swapaxes(-1, -2), offset, self.shape)
        found = self.find(offset)
        return found * np.resize(on_both(offset, self.shape), (found.shape[1], 1, 1))

    def then(self, change: Callable[[np.ndarray, Offset], np.ndarray]) -> PairMoments:
        """After an operation that keeps offsets."""
        return PairMoments(self.shape, lambda offset: change(self(offset), offset))


def known_pairs(offset: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Positions ``p`` and ``p + d`` that both lie on the map, shape (2, pairs)."""
    place = np.arange(shape[0] * shape[1]).reshape(shape)

    def cut(by: tuple[int, int]) -> np.ndarray:
        return place[tuple(slice(max(-d, 0), max(side - max(d, 0), 0)) for d, side in zip(by, shape, strict=True))].ravel()

    return np.stack([cut(offset), cut(opposite(offset))])


def on_both(offset: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """True where ``p + d`` lies on the map, shape (positions,)."""
    inside = np.zeros(shape[0] * shape[1], bool)
    inside[known_pairs(offset, shape)[0]] = True
    return inside


def outside_map(offset: Offset, shape: tuple[int, int]) -> bool:
    """True if no two positions of the map are this far apart."""
    return offset is not ALL_PAIRS and any(abs(d) >= side for d, side in zip(offset, shape, strict=True))


def opposite(offset: tuple[int, int]) -> tuple[int, int]:
    """The offset from ``p + d`` back to ``p``."""
    return -offset[0], -offset[1]


def shifted(values: np.ndarray, offset: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Values (replicas, groups, …) at ``p + d``; 0 where that lies outside."""
    here, there = known_pairs(offset, shape)
    on_map = values.reshape(len(values), -1, shape[0] * shape[1], *values.shape[2:])
    moved = np.zeros_like(on_map)
    moved[:, :, here] = on_map[:, :, there]
    return moved.reshape(values.shape)
