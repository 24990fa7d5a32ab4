"""Moments of positions of a large map that are followed together: pairs of them, or all of a window."""

from __future__ import annotations

from functools import reduce

import numpy as np

from varflow.theory.maps.variance_classes import VarianceClasses, marks, of_sums
from varflow.theory.signals.index import Grid
from varflow.theory.signals.moments import Currents, means_at, outer
from varflow.theory.signals.pair_moments import ALL_PAIRS, Offset, known_pairs


def on_map(values: np.ndarray, offset: tuple[int, int], grid: Grid) -> np.ndarray:
    """Values of the pairs ``p, p + d`` of the map, groups ``(input, p)``, as values of all ``p``; else 0."""
    here = known_pairs(offset, grid.shape)[0]
    values = values.reshape(len(values), -1, len(here), *values.shape[2:])
    padded = np.zeros((*values.shape[:2], grid.positions, *values.shape[3:]))
    padded[:, :, here] = values
    return padded.reshape(len(values), -1, *values.shape[3:])


def with_means(covariance: np.ndarray, mean: np.ndarray, offset: Offset, grid: Grid) -> np.ndarray:
    """``M_d`` on the map, from covariances of its pairs, groups ``(input, p)``, and all means."""
    covariance = covariance if offset is ALL_PAIRS else on_map(covariance, offset, grid)
    return covariance + outer(*means_at(mean, offset, grid))


def covariance_of_pairs(currents: Currents, offset: Offset) -> np.ndarray:
    """Covariances of the pairs ``p, p + d`` of the map, groups ``(input, p)``; for ``ALL_PAIRS``, of each input."""
    between, grid = currents.between(offset), currents.grid
    if offset is ALL_PAIRS:
        return between
    return between[:, groups_of_pairs(offset, grid, currents.mean.shape[1] // grid.positions)[0]]


def classes_of_pairs(
    currents: Currents, offset: Offset, between: np.ndarray, most: int, replicas: int, seed: int
) -> tuple[VarianceClasses, Currents]:
    """At most ``most`` classes for each input of pairs of positions whose currents and their sums are alike, and the currents
    of what stands for each class, in one index ``(2, …)``; ``between``: covariances of the two. For ``ALL_PAIRS`` all pairs of
    an input, of which the average stands.
    """
    grid, (mean, covariance) = currents.grid, (currents.mean, currents.covariance)
    inputs = mean.shape[1] // grid.positions
    if offset is ALL_PAIRS:
        mean, covariance = (x.reshape(len(x), -1, grid.positions, *x.shape[2:]).mean(axis=2) for x in (mean, covariance))
        here = there = np.arange(inputs)
        classes = VarianceClasses(here, inputs)
    else:
        here, there = groups_of_pairs(offset, grid, inputs)
        each, alone = marks(mean, covariance), of_sums(covariance)
        both = np.sqrt(np.maximum(alone[here] + alone[there] + 2 * of_sums(between), 0.0))
        classes = VarianceClasses.of_marks(np.concatenate([each[here], each[there], both], axis=-1), inputs, most * inputs)
        classes = classes.with_members(replicas, seed, mean, covariance, between)
    B = classes.of_classes(between)
    parts = {
        (0, 0): classes.of_classes(covariance, here),
        (0, 1): B,
        (1, 0): B.swapaxes(-1, -2),
        (1, 1): classes.of_classes(covariance, there),
    }
    means = np.concatenate([classes.of_classes(mean, here), classes.of_classes(mean, there)], axis=-1)
    steps = grid.steps
    return classes, Currents(means, _in_one_index(2, parts), Grid(1, 1, means.shape[-1] // steps, steps), currents.channels)


def groups_of_pairs(offset: tuple[int, int], grid: Grid, inputs: int) -> np.ndarray:
    """Groups ``(input, p)`` and ``(input, p + d)`` where both lie on the map, shape (2, pairs)."""
    pairs = known_pairs(offset, grid.shape)
    return (grid.positions * np.arange(inputs)[:, None] + pairs[:, None]).reshape(2, -1)


def at_places(currents: Currents, places: np.ndarray, far: bool = False) -> Currents:
    """Currents at ``places`` (windows, places) together, groups ``(input, window)``, index ``(place, step)``.

    ``far``: the first half of the places and the second count as far from each other.
    """
    grid, number, steps = currents.grid, places.shape[1], currents.grid.steps

    def between(a: int, b: int) -> np.ndarray:
        if far and a < number // 2 <= b:
            return np.repeat(currents.between(ALL_PAIRS), len(places), axis=1)
        return covariance_of_places(currents, places[:, a], places[:, b])

    upper = {(a, b): between(a, b) for a in range(number) for b in range(a, number)}
    parts = upper | {(b, a): M.swapaxes(-1, -2) for (a, b), M in upper.items() if a < b}
    mean, covariance = _at(currents.mean, places, grid), _in_one_index(number, parts)
    return Currents(mean.reshape(len(mean), -1, number * steps), covariance, Grid(1, 1, number, steps), currents.channels)


def covariance_of_windows(currents: Currents, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Covariances of all places (windows, places) of two windows each, groups ``(input, window)``, index ``(place, step)``."""
    number = here.shape[1]
    taps = np.ndindex(number, number)
    return _in_one_index(number, {(a, b): covariance_of_places(currents, here[:, a], there[:, b]) for a, b in taps})


def _in_one_index(number: int, parts: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
    """Covariances in the index ``(place, step)``, of those between each two places; one replica stands for all."""
    replicas = max(map(len, parts.values()))
    _, groups, steps, later = parts[0, 0].shape
    blocks = np.empty((replicas, groups, number, steps, number, later))
    for (a, b), M in parts.items():
        blocks[:, :, a, :, b] = M
    return blocks.reshape(replicas, groups, number * steps, -1)


def covariance_of_places(currents: Currents, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Covariances of positions ``here`` and ``there`` (windows,), groups ``(input, window)``."""
    grid = currents.grid
    (rows, columns), (other_rows, other_columns) = np.divmod(here, grid.width), np.divmod(there, grid.width)
    offsets, which = np.unique([other_rows - rows, other_columns - columns], axis=1, return_inverse=True)
    moments = [_at(currents.between((int(down), int(along))), here, grid) for down, along in offsets.T]
    if len(moments) == 1:
        return moments[0]
    inputs = moments[0].shape[1] // len(here)
    return reduce(np.add, (M * np.tile(which.ravel() == n, inputs)[:, None, None] for n, M in enumerate(moments)))


def _at(values: np.ndarray, places: np.ndarray, grid: Grid) -> np.ndarray:
    """Values with groups ``(input, position)`` at some positions."""
    at = values.reshape(len(values), -1, grid.positions, *values.shape[2:]).take(places, axis=2)
    return at.reshape(len(values), -1, *values.shape[2:])
