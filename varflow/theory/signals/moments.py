r"""Signals at infinite width: the moments of currents and of spikes that one neuron has over probes and steps.

Neurons of a layer (channels of a map) are i.i.d., so a signal is described by one neuron's moments over an index
``i = (input, row, column, step)``: an input, a position of the map and a time step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any, TypeVar

import numpy as np

from varflow.theory.signals.increments import Differences, differences
from varflow.theory.signals.pair_moments import FAR, NEAR, Between, Offset, beyond, displaced, known_pairs
from varflow.theory.signals.replicas import replicated
from varflow.theory.signals.shared_scale import SharedScale

__all__ = [
    "Currents",
    "Grid",
    "Signal",
    "Spikes",
    "Window",
    "at_each_position",
    "held",
    "in_replicas",
    "means_at",
    "over_positions",
]


@dataclass(frozen=True, slots=True)
class Grid:
    """Extents of the index ``i = (input, row, column, step)``, step fastest.

    On a large map positions may be ``apart``: rows and columns are then part of the groups ``(input, row, column)``, the index
    is ``i = (step)``, and moments between positions are found by ``Between`` where they are needed.
    """

    inputs: int
    height: int
    width: int
    steps: int
    apart: bool = False

    @property
    def size(self) -> int:
        return self.inputs * self.steps * (1 if self.apart else self.positions)

    @property
    def positions(self) -> int:
        return self.height * self.width

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def axes(self) -> tuple[int, int, int, int]:
        return self.inputs, self.height, self.width, self.steps


@dataclass(frozen=True, slots=True, eq=False)
class Currents:
    """Gaussian currents, ``E[I_i]`` (…, i) and ``Cov[I_i, I_j]`` (…, i, j); leading axes (replicas, groups).

    ``channels`` is the number of neurons at each position; ``changes``: increments over time without cancellation, if known;
    ``pairs``: covariances between positions that are ``apart``, if known. ``shared``: the scale by which a normalisation over
    the batch divided them, if it fluctuates.
    """

    mean: np.ndarray
    covariance: np.ndarray
    grid: Grid
    channels: int
    changes: Differences | None = None
    pairs: Between | None = None
    shared: SharedScale | None = None

    def between(self, offset: Offset) -> np.ndarray:
        """``Cov[I_i(p), I_j(p + d)]``."""
        return _between(self.covariance, self.pairs, offset, self.grid, lambda C, d: _everywhere(C, d, self.grid))

    @property
    def increments(self) -> Differences:
        """The changes; if they are not known, by subtraction."""
        return self.changes or differences(self.mean, self.covariance)

    def apart(self) -> Currents:
        """Those at each position of a map on their own."""
        if self.grid.apart or self.grid.positions == 1:
            return self
        mean, covariance = at_each_position(self.mean, self.covariance, self.grid)
        pairs = Between(self.grid.shape, partial(_of_joint, self.covariance, self.grid))
        return Currents(mean, covariance, replace(self.grid, apart=True), self.channels, pairs=pairs, shared=self.shared)

    def scaled(self, factor: float | np.ndarray) -> Currents:
        """Times a number, or an array with the leading axes."""
        f = np.asarray(factor)
        changes = None if self.changes is None else self.changes.scaled(f)
        mean, covariance = f[..., None] * self.mean, f[..., None, None] ** 2 * self.covariance
        pairs = None if self.pairs is None or f.ndim else self.pairs.then(lambda C, _: f**2 * C)
        return replace(self, mean=mean, covariance=covariance, changes=changes, pairs=pairs)

    def shifted(self, constant: float) -> Currents:
        """Plus a number."""
        return replace(self, mean=self.mean + constant)


@dataclass(frozen=True, slots=True, eq=False)
class Spikes:
    """Spikes, or sums and averages of them: ``e_i = E[x_i]`` and ``M_ij = E[x_i x_j]``.

    ``sampled``, if known, draws ``x`` itself: shape (replicas, groups, i, points). Of positions that are ``apart`` it takes the
    places that are drawn together, shape (windows, places), and gives groups ``(input, window)`` and ``i = (place, step)``.
    ``pairs``: second moments between positions that are ``apart``, if known.
    """

    mean: np.ndarray
    moments: np.ndarray
    grid: Grid
    channels: int
    sampled: Callable[..., np.ndarray] | None = None
    changes: Differences | None = None
    pairs: Between | None = None

    def between(self, offset: Offset) -> np.ndarray:
        """``E[x_i(p) x_j(p + d)]``."""

        def far(M: np.ndarray, d: tuple[int, int]) -> np.ndarray:
            covariance = M - _product(*means_at(self.mean, FAR, self.grid))
            return _everywhere(covariance, d, self.grid) + _product(*means_at(self.mean, d, self.grid))

        return _between(self.moments, self.pairs, offset, self.grid, far)

    @property
    def neurons(self) -> int:
        return self.channels * self.grid.positions

    def apart(self) -> Spikes:
        """Those at each position of a map on their own."""
        if self.grid.apart or self.grid.positions == 1:
            return self
        mean, moments = at_each_position(self.mean, self.moments, self.grid)
        pairs = Between(self.grid.shape, partial(_of_joint, self.moments, self.grid))
        return Spikes(mean, moments, replace(self.grid, apart=True), self.channels, pairs=pairs)

    def scaled(self, factor: float) -> Spikes:
        """Times a number."""
        draw = self.sampled
        sampled = None if draw is None else lambda *at: factor * draw(*at)
        pairs = None if self.pairs is None else self.pairs.then(lambda M, _: factor**2 * M)
        scaled = replace(self, mean=factor * self.mean, moments=factor**2 * self.moments)
        return replace(scaled, sampled=sampled, changes=None, pairs=pairs)

    def shifted(self, constant: float) -> Spikes:
        """Plus a number: ``E[(x_i + c)(x_j + c)] = M_ij + c (e_i + e_j) + c²``."""
        e, draw, grid = self.mean, self.sampled, self.grid

        def moved(M: np.ndarray, offset: Offset = (0, 0)) -> np.ndarray:
            one, other = means_at(e, offset, grid)
            return M + constant * (one[..., :, None] + other[..., None, :]) + constant**2

        sampled = None if draw is None else lambda *at: draw(*at) + constant
        pairs = None if self.pairs is None else self.pairs.then(moved)
        return replace(self, mean=e + constant, moments=moved(self.moments), sampled=sampled, changes=None, pairs=pairs)

    def later(self, delay: int) -> Spikes:
        """``delay`` steps later; 0 before the first step."""
        if delay == 0:
            return self
        steps = self.grid.steps

        def moved(values: np.ndarray, *index: Any) -> np.ndarray:
            step = np.arange(values.shape[-1])
            after = step[step % steps >= delay]
            later = np.zeros_like(values)
            later[(..., *(after[at] for at in index))] = values[(..., *(after[at] - delay for at in index))]
            return later

        one, both = (slice(None),), (np.s_[:, None], np.s_[:])
        draw, changes = self.sampled, None
        if self.changes is not None and self.grid.size == steps:
            increment = moved(self.changes.increment, *both)
            before = np.arange(steps - delay)
            increment[..., delay:, :delay] = square = self.moments[..., before, before][..., None]  # E[(x_t - 0)²]
            increment[..., :delay, delay:] = square.swapaxes(-1, -2)
            changes = Differences(increment, moved(self.changes.second_change, *one), moved(self.changes.mean_change, *one))
        return replace(
            self,
            mean=moved(self.mean, *one),
            moments=moved(self.moments, *both),
            sampled=None if draw is None else lambda *at: moved(draw(*at).swapaxes(-1, -2), *one).swapaxes(-1, -2),
            changes=changes,
            pairs=None if self.pairs is None else self.pairs.then(lambda M, _: moved(M, *both)),
        )


Signal = Currents | Spikes
Either = TypeVar("Either", Currents, Spikes)


def held(signal: Either, steps: int) -> Either:
    """A signal of a single step, the same at so many steps."""
    if signal.grid.steps == steps:
        return signal

    def both(second: np.ndarray) -> np.ndarray:
        return second.repeat(steps, axis=-1).repeat(steps, axis=-2)

    pairs = None if signal.pairs is None else signal.pairs.then(lambda second, _: both(second))
    of_all = {"mean": signal.mean.repeat(steps, axis=-1), "grid": replace(signal.grid, steps=steps), "pairs": pairs}
    if isinstance(signal, Currents):
        return replace(signal, covariance=both(signal.covariance), **of_all)
    return replace(signal, moments=both(signal.moments), **of_all)


def in_replicas(signal: Signal, number: int) -> Signal:
    """A signal in so many numerical replicas, or in one that stands for all."""

    def more(values: np.ndarray, *_: Any) -> np.ndarray:
        return replicated(values, number)

    second = {"covariance": more(signal.covariance)} if isinstance(signal, Currents) else {"moments": more(signal.moments)}
    parts = signal.changes and (signal.changes.increment, signal.changes.second_change, signal.changes.mean_change)
    pairs = signal.pairs and signal.pairs.then(more)
    return replace(signal, mean=more(signal.mean), changes=parts and Differences(*map(more, parts)), pairs=pairs, **second)


def at_each_position(mean: np.ndarray, second: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Moments over the steps, with positions among the groups; of one input in each group."""
    lead, folded = mean.shape[:2], (grid.positions, grid.steps)
    within = np.einsum("rgxsxt->rgxst", second.reshape(*second.shape[:2], *folded, *folded))
    groups = lead[1] * grid.positions
    return mean.reshape(lead[0], groups, grid.steps), within.reshape(len(second), groups, grid.steps, grid.steps)


def _of_joint(second: np.ndarray, grid: Grid, offset: Offset) -> np.ndarray:
    """Moments between positions, of one input in each group."""
    n, steps = grid.positions, grid.steps
    whole = second.reshape(*second.shape[:2], n, steps, n, steps)
    if offset is FAR:
        own = np.einsum("rgxsxt->rgst", whole)
        return (whole.sum(axis=(2, 4)) - own) / (n * (n - 1))
    here, there = known_pairs(offset, grid.shape)
    found = np.zeros((*second.shape[:2], n, steps, steps))
    found[:, :, here] = np.moveaxis(whole[:, :, here, :, there], 0, 2)
    return found.reshape(len(second), -1, steps, steps)


def means_at(mean: np.ndarray, offset: Offset, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Means at ``p`` and ``p + d``; for ``FAR``, over the map."""
    if offset is FAR:
        whole = mean.reshape(len(mean), -1, grid.positions, grid.steps).mean(axis=2)
        return whole, whole
    return mean, mean if offset == (0, 0) else displaced(mean, offset, grid.shape)


def _between(
    own: np.ndarray,
    pairs: Between | None,
    offset: Offset,
    grid: Grid,
    far: Callable[[np.ndarray, tuple[int, int]], np.ndarray],
) -> np.ndarray:
    """Moments at ``p`` and ``p + d``: ``own`` if ``d = 0``, up to ``NEAR`` of ``pairs``, beyond by ``far`` from their mean."""
    if offset == (0, 0):
        return own
    if beyond(offset, grid.shape):
        return np.zeros_like(own)
    assert pairs is not None
    return pairs(offset) if offset is FAR or max(map(abs, offset)) <= NEAR else far(pairs(FAR), offset)


def _product(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one[..., :, None] * other[..., None, :]


def _everywhere(far: np.ndarray, offset: tuple[int, int], grid: Grid) -> np.ndarray:
    """The same at all pairs of positions."""
    whole = np.zeros((*far.shape[:2], grid.positions, *far.shape[2:]))
    whole[:, :, known_pairs(offset, grid.shape)[0]] = far[:, :, None]
    return whole.reshape(len(far), -1, *far.shape[2:])


def over_positions(spikes: Spikes) -> tuple[np.ndarray, np.ndarray]:
    """``e`` and ``M`` averaged over positions, at the same position for both factors; index (input, step)."""
    grid, lead = spikes.grid, spikes.mean.shape[:-1]
    if grid.positions == 1:
        return spikes.mean, spikes.moments
    if grid.apart:
        parts = (spikes.mean, spikes.moments)
        mean, moments = (each.reshape(len(each), -1, grid.positions, *each.shape[2:]).mean(axis=2) for each in parts)
        return mean, moments
    folded = (grid.inputs, grid.positions, grid.steps)
    mean = spikes.mean.reshape(*lead, *folded).mean(axis=-2)
    moments = np.einsum("...axsbxt->...asbt", spikes.moments.reshape(*lead, *folded, *folded)) / grid.positions
    size = grid.inputs * grid.steps
    return mean.reshape(*lead, size), moments.reshape(*lead, size, size)


@dataclass(frozen=True, slots=True)
class Window:
    """Windows over a map, with zeros in the padding; (rows, columns) of each extent."""

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @classmethod
    def square(cls, size: int, stride: int, padding: int) -> Window:
        return cls((size, size), (stride, stride), (padding, padding))

    def smaller(self, grid: Grid) -> Grid:
        """The grid of the map that the windows make."""
        extents = zip((grid.height, grid.width), self.size, self.stride, self.padding, self.dilation, strict=True)
        rows, columns = ((side + 2 * pad - gap * (size - 1) - 1) // stride + 1 for side, size, stride, pad, gap in extents)
        return replace(grid, height=rows, width=columns)

    @property
    def taps(self) -> list[tuple[int, int]]:
        return [(y, x) for y in range(self.size[0]) for x in range(self.size[1])]

    def at(self, tap: tuple[int, int], values: np.ndarray, grid: Grid, axis: int) -> np.ndarray:
        """The entry under one tap of every window; ``axis``, negative, is that of the index ``i``."""
        smaller = self.smaller(grid)
        if grid.apart:
            return self._cut(tap, values, (-1, grid.height, grid.width), 1, smaller)
        return self._cut(tap, values, grid.axes, values.ndim + axis, smaller)

    def _cut(self, tap: tuple[int, int], values: np.ndarray, axes: tuple[int, ...], axis: int, smaller: Grid) -> np.ndarray:
        """The same along an axis that holds ``axes``: inputs, rows, columns and what follows."""
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        whole = values.reshape(*before, *axes, *after)
        if any(self.padding):
            edges = [(0, 0)] * whole.ndim
            edges[axis + 1], edges[axis + 2] = ((pad, pad) for pad in self.padding)
            whole = np.pad(whole, edges)
        sides = zip(tap, self.stride, self.dilation, (smaller.height, smaller.width), strict=True)
        cut = (slice(gap * at, gap * at + stride * (side - 1) + 1, stride) for at, stride, gap, side in sides)
        return whole[((slice(None),) * (axis + 1)) + tuple(cut)].reshape(*before, -1, *after)

    def pairs_at(self, tap: tuple[int, int], moments: np.ndarray, grid: Grid) -> np.ndarray:
        """Second moments under the same tap for both factors."""
        rows = self.at(tap, moments, grid, -1)
        return rows if grid.apart else self.at(tap, rows, grid, -2)

    def under_same_tap(self, moments: np.ndarray, grid: Grid) -> np.ndarray:
        """The average over taps of second moments, the same tap for both factors: over rows, then over columns."""
        if min(self.size) > 1:
            (height, width), (down, along), (top, left), (tall, wide) = self.size, self.stride, self.padding, self.dilation
            rows = Window((height, 1), (down, 1), (top, 0), (tall, 1))
            columns = Window((1, width), (1, along), (0, left), (1, wide))
            return columns.under_same_tap(rows.under_same_tap(moments, grid), rows.smaller(grid))
        return reduce(np.add, (self.pairs_at(tap, moments, grid) for tap in self.taps)) / len(self.taps)

    def inside(self, grid: Grid) -> float:
        """The fraction of taps that lie inside the map at two positions, averaged over all pairs of them."""
        taps = self.inside_map(grid).mean(axis=0)
        return float(np.mean(taps**2))

    def inside_map(self, grid: Grid) -> np.ndarray:
        """Whether each tap of each window lies on the map, shape (windows, taps)."""
        return self._under(grid) > 0

    def places(self, grid: Grid) -> np.ndarray:
        """Positions under the taps of each window, shape (windows, taps); in place of the padding the first one inside."""
        under = self._under(grid)
        first = np.take_along_axis(under, (under > 0).argmax(axis=-1, keepdims=True), -1)
        return np.where(under > 0, under, first) - 1

    def _under(self, grid: Grid) -> np.ndarray:
        """1 + the position under each tap of each window; 0 in the padding."""
        of_map = Grid(1, grid.height, grid.width, 1)
        return np.stack([self.at(tap, np.arange(1, grid.positions + 1), of_map, -1) for tap in self.taps], axis=-1)

    def mean(self, values: np.ndarray, grid: Grid, axis: int) -> np.ndarray:
        """The average over each window."""
        return sum((self.at(tap, values, grid, axis) for tap in self.taps), start=np.zeros(())) / len(self.taps)
