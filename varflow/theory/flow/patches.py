"""Moments of positions of a large map that are followed together: pairs of them, or all of a window."""

from __future__ import annotations

from functools import reduce

import numpy as np

from varflow.theory.flow.alike import Alike
from varflow.theory.flow.between import FAR, Between, Offset, known_pairs
from varflow.theory.flow.signals import Currents, Grid, Spikes, means_at

__all__ = ["about_means", "at_places", "of_numbers", "on_map", "pairs_alike", "pairs_at", "together"]


def of_numbers(x: np.ndarray, grid: Grid) -> Spikes:
    """Moments over the channels of numbers (inputs, positions, steps, channels)."""
    each = x.reshape(-1, grid.size, x.shape[-1])
    pairs = Between(grid.shape, lambda offset: _products(x, offset, grid)) if grid.apart else None
    return Spikes(each.mean(axis=-1)[None], (each @ each.swapaxes(-1, -2) / x.shape[-1])[None], grid, x.shape[-1], pairs=pairs)


def _products(x: np.ndarray, offset: Offset, grid: Grid) -> np.ndarray:
    inputs, positions, steps, channels = x.shape
    if offset is FAR:
        whole, own = x.sum(axis=1), np.einsum("apsc,aptc->ast", x, x)
        return ((whole @ whole.swapaxes(-1, -2) - own) / (channels * positions * (positions - 1)))[None]
    here, there = known_pairs(offset, grid.shape)
    M = np.zeros((inputs, positions, steps, steps))
    M[:, here] = x[:, here] @ x[:, there].swapaxes(-1, -2) / channels
    return M.reshape(1, -1, steps, steps)


def on_map(values: np.ndarray, offset: tuple[int, int], grid: Grid) -> np.ndarray:
    """Values of the pairs ``p, p + d`` of the map, groups ``(input, p)``, as values of all ``p``; else 0."""
    here = known_pairs(offset, grid.shape)[0]
    values = values.reshape(len(values), -1, len(here), *values.shape[2:])
    whole = np.zeros((*values.shape[:2], grid.positions, *values.shape[3:]))
    whole[:, :, here] = values
    return whole.reshape(len(values), -1, *values.shape[3:])


def about_means(covariance: np.ndarray, mean: np.ndarray, offset: Offset, grid: Grid) -> np.ndarray:
    """``M_d`` on the map, from covariances of its pairs, groups ``(input, p)``, and all means."""
    covariance = covariance if offset is FAR else on_map(covariance, offset, grid)
    one, other = means_at(mean, offset, grid)
    return covariance + one[..., :, None] * other[..., None, :]


def pairs_alike(currents: Currents, offset: Offset, most: int) -> tuple[Alike, Currents]:
    """Classes of the pairs ``p, p + d`` of like variance and covariance, and the currents of each."""
    two, steps = pairs_at(currents, offset), currents.grid.steps
    shape = currents.mean.shape[1] // currents.grid.positions, -1
    variance = np.einsum("rgtt->g", two.covariance).reshape(shape)
    covariance = np.einsum("rgtt->g", two.covariance[..., :steps, steps:]).reshape(shape)
    alike = Alike.classes(covariance, most, within=variance)
    return alike, alike.currents(two)


def pairs_at(currents: Currents, offset: Offset) -> Currents:
    """Currents at ``p`` and ``p + d`` on the map, groups ``(input, p)``, index ``(2, step)``; for ``FAR`` average ones."""
    grid, B = currents.grid, currents.between(offset)
    mean, C = (x.reshape(len(x), -1, grid.positions, *x.shape[2:]) for x in (currents.mean, currents.covariance))
    if offset is FAR:
        mean, C = mean.mean(axis=2), C.mean(axis=2)
        return together((mean, mean), (C, C), B, currents)
    here, there = known_pairs(offset, grid.shape)
    B = B.reshape(len(B), *C.shape[1:])[:, :, here]

    def taken(values: np.ndarray, place: np.ndarray) -> np.ndarray:
        return values[:, :, place].reshape(len(values), -1, *values.shape[3:])

    means, own = ((taken(values, here), taken(values, there)) for values in (mean, C))
    return together(means, own, B.reshape(len(B), -1, *B.shape[3:]), currents)


def together(
    means: tuple[np.ndarray, np.ndarray], own: tuple[np.ndarray, np.ndarray], between: np.ndarray, of: Currents
) -> Currents:
    """Two sets of currents in one index ``(2, …)``."""
    replicas = max(len(between), len(own[0]))
    one, other, B = (np.broadcast_to(x, (replicas, *x.shape[1:])) for x in (*own, between))
    whole = np.block([[one, B], [B.swapaxes(-1, -2), other]])
    number = whole.shape[-1] // of.grid.steps
    return Currents(np.concatenate(means, axis=-1), whole, Grid(1, 1, number, of.grid.steps), of.channels)


def at_places(currents: Currents, places: np.ndarray, far: bool = False) -> Currents:
    """Currents at ``places`` (windows, places) together, groups ``(input, window)``, index ``(place, step)``.

    ``far``: the first half of the places and the second count as far from each other.
    """
    grid, number, steps = currents.grid, places.shape[1], currents.grid.steps
    rows, columns = np.divmod(places, grid.width)

    def at_positions(values: np.ndarray, place: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), -1, grid.positions, *values.shape[2:])[:, :, place]

    def between(a: int, b: int) -> np.ndarray:
        if far and a < number // 2 <= b:
            return np.repeat(currents.between(FAR)[:, :, None], len(places), axis=2)
        offsets, which = np.unique([rows[:, b] - rows[:, a], columns[:, b] - columns[:, a]], axis=1, return_inverse=True)
        moments = [at_positions(currents.between((int(down), int(along))), places[:, a]) for down, along in offsets.T]
        if len(moments) == 1:
            return moments[0]
        return reduce(np.add, (M * (which.ravel() == n)[:, None, None] for n, M in enumerate(moments)))

    parts = {(a, b): between(a, b) for a in range(number) for b in range(a, number)}
    mean, replicas = at_positions(currents.mean, places), max(map(len, parts.values()))
    whole = np.empty((replicas, *mean.shape[1:3], number, steps, number, steps))
    for (a, b), M in parts.items():
        whole[:, :, :, a, :, b], whole[:, :, :, b, :, a] = M, M.swapaxes(-1, -2)
    size = number * steps
    mean, whole = mean.reshape(len(mean), -1, size), whole.reshape(replicas, -1, size, size)
    return Currents(mean, whole, Grid(1, 1, number, steps), currents.channels)
