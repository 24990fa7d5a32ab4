"""Positions of a large map that are followed together: pairs of them, or all of a window."""

from __future__ import annotations

import numpy as np

from varflow.theory.flow.between import FAR, Offset, known_pairs
from varflow.theory.flow.signals import Currents, Grid

__all__ = ["at_places", "pairs_at"]


def pairs_at(currents: Currents, offset: Offset) -> Currents:
    """Currents at ``p`` and ``p + d`` on the map, groups ``(input, p)``, index ``(2, step)``; for ``FAR`` average ones."""
    grid, B, lead = currents.grid, currents.between(offset), (len(currents.mean), -1, currents.grid.positions)
    C, mean = currents.covariance.reshape(*lead, *B.shape[-2:]), currents.mean.reshape(*lead, grid.steps)
    if offset is FAR:
        C, mean = (np.repeat(values.mean(axis=2, keepdims=True), 2, axis=2) for values in (C, mean))
        here, there = [0], [1]
        B = B[:, :, None]
    else:
        here, there = known_pairs(offset, grid.shape)
        B = B.reshape(len(B), *C.shape[1:])[:, :, here]
    replicas = max(len(B), len(C))
    B, one, other = (np.broadcast_to(x, (replicas, *x.shape[1:])) for x in (B, C[:, :, here], C[:, :, there]))
    whole = np.block([[one, B], [B.swapaxes(-1, -2), other]])
    means = np.concatenate([mean[:, :, here], mean[:, :, there]], axis=-1)
    two = 2 * grid.steps
    means, whole = means.reshape(len(means), -1, two), whole.reshape(replicas, -1, two, two)
    return Currents(means, whole, Grid(1, 1, 2, grid.steps), currents.channels)


def at_places(currents: Currents, places: np.ndarray) -> Currents:
    """Currents at ``places`` (windows, places) together, groups ``(input, window)``, index ``(place, step)``."""
    grid, number, steps = currents.grid, places.shape[1], currents.grid.steps
    rows, columns = np.divmod(places, grid.width)

    def at_positions(values: np.ndarray, place: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), -1, grid.positions, *values.shape[2:])[:, :, place]

    def between(a: int, b: int) -> np.ndarray:
        offsets, whole = np.stack([rows[:, b] - rows[:, a], columns[:, b] - columns[:, a]], axis=1), np.zeros(())
        for offset in np.unique(offsets, axis=0):
            here = (offsets == offset).all(axis=1)[:, None, None]
            whole = whole + here * at_positions(currents.between((int(offset[0]), int(offset[1]))), places[:, a])
        return whole

    parts = {(a, b): between(a, b) for a in range(number) for b in range(a, number)}
    mean, replicas = at_positions(currents.mean, places), max(map(len, parts.values()))
    whole = np.empty((replicas, *mean.shape[1:3], number, steps, number, steps))
    for (a, b), M in parts.items():
        whole[:, :, :, a, :, b], whole[:, :, :, b, :, a] = M, M.swapaxes(-1, -2)
    size = number * steps
    mean, whole = mean.reshape(len(mean), -1, size), whole.reshape(replicas, -1, size, size)
    return Currents(mean, whole, Grid(1, 1, number, steps), currents.channels)
