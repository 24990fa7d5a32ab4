r"""Signals at infinite width: the moments of currents and of spikes that one neuron has over probes and steps.

Neurons of a layer (channels of a map) are i.i.d., so a signal is described by one neuron's moments over an index
``i = (input, row, column, step)``: an input, a position of the map and a time step. Second moments of one signal stand in
several places: over the index, over increments, between positions of a large map, between inputs of a batch, and as draws.
Whatever changes them changes all, by ``with_moments``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from varflow.model.drive_kinds import Given
from varflow.theory.signals.increments import Differences, differences
from varflow.theory.signals.index import Grid, replicated
from varflow.theory.signals.overlap import Overlap, averages
from varflow.theory.signals.pair_moments import ALL_PAIRS, NEAR, Offset, PairMoments, known_pairs, outside_map, shifted
from varflow.theory.signals.shared_scale import SharedScale


@dataclass(frozen=True, slots=True, eq=False)
class Currents:
    """Gaussian currents, ``E[I_i]`` (…, i) and ``Cov[I_i, I_j]`` (…, i, j); leading axes (replicas, groups).

    ``channels`` is the number of neurons at each position; ``changes``: increments over time without cancellation, if known;
    ``pairs``: covariances between positions that are followed each on its own, if known; ``overlap``: that between inputs of a
    batch, if it is followed. ``shared``: the scale by which a normalisation over the batch divided them, if it fluctuates.
    """

    mean: np.ndarray
    covariance: np.ndarray
    grid: Grid
    channels: int
    changes: Differences | None = None
    pairs: PairMoments | None = None
    overlap: Overlap | None = None
    shared: SharedScale | None = None

    @property
    def second(self) -> np.ndarray:
        """The covariance."""
        return self.covariance

    def with_moments(self, mean: np.ndarray, second: np.ndarray, **places: Any) -> Currents:
        """A signal with other moments; ``places``: what becomes of changes, pairs, overlap, sampled and shared."""
        _named(places)
        changes, pairs, overlap, shared = (places[name] for name in ("changes", "pairs", "overlap", "shared"))
        return Currents(mean, second, self.grid, self.channels, changes, pairs, overlap, shared)

    def between(self, offset: Offset) -> np.ndarray:
        """``Cov[I_i(p), I_j(p + d)]``."""
        return _between(self, offset, lambda C, d: _everywhere(C, d, self.grid))

    @property
    def increments(self) -> Differences:
        """The changes; if they are not known, by subtraction."""
        return self.changes or differences(self.mean, self.covariance)

    def per_position(self) -> Currents:
        """Currents at each position of a map on their own."""
        if self.grid.per_position or self.grid.positions == 1:
            return self
        return replace(Currents(*_at_each_position(self)), shared=self.shared)

    def scaled(self, factor: float | np.ndarray) -> Currents:
        """Times a number, or an array with the leading axes."""
        f = np.asarray(factor)
        square = f[..., None, None] ** 2
        return self.with_moments(
            f[..., None] * self.mean,
            square * self.covariance,
            changes=None if self.changes is None else self.changes.scaled(f),
            pairs=None if self.pairs is None or f.ndim else self.pairs.then(lambda C, _: f**2 * C),
            overlap=None if self.overlap is None or f.ndim else self.overlap.after(f**2 * self.overlap.between),
            sampled=None,
            shared=self.shared,
        )

    def shifted(self, constant: float | np.ndarray) -> Currents:
        """Plus a number, or one for each entry."""
        return replace(self, mean=self.mean + constant)


@dataclass(frozen=True, slots=True, eq=False)
class Spikes:
    """Spikes, or sums and averages of them: ``e_i = E[x_i]`` and ``M_ij = E[x_i x_j]``.

    ``sampled``, if known, draws ``x`` itself: shape (replicas, groups, i, points). Of positions that are followed each on its
    own it takes the places that are drawn together, shape (windows, places), and gives groups ``(input, window)`` and
    ``i = (place, step)``. ``changes``, ``pairs`` and ``overlap`` as of currents, of second moments.
    """

    mean: np.ndarray
    moments: np.ndarray
    grid: Grid
    channels: int
    sampled: Callable[..., np.ndarray] | None = None
    changes: Differences | None = None
    pairs: PairMoments | None = None
    overlap: Overlap | None = None

    @property
    def second(self) -> np.ndarray:
        """The second moments."""
        return self.moments

    def with_moments(self, mean: np.ndarray, second: np.ndarray, **places: Any) -> Spikes:
        """A signal with other moments; ``places``: what becomes of changes, pairs, overlap, sampled and shared."""
        _named(places)
        sampled, changes, pairs, overlap = (places[name] for name in ("sampled", "changes", "pairs", "overlap"))
        return Spikes(mean, second, self.grid, self.channels, sampled, changes, pairs, overlap)

    def between(self, offset: Offset) -> np.ndarray:
        """``E[x_i(p) x_j(p + d)]``."""

        def far(M: np.ndarray, d: tuple[int, int]) -> np.ndarray:
            covariance = M - outer(*means_at(self.mean, ALL_PAIRS, self.grid))
            return _everywhere(covariance, d, self.grid) + outer(*means_at(self.mean, d, self.grid))

        return _between(self, offset, far)

    @property
    def neurons(self) -> int:
        return self.channels * self.grid.positions

    def per_position(self) -> Spikes:
        """Spikes at each position of a map on their own."""
        if self.grid.per_position or self.grid.positions == 1:
            return self
        mean, moments, grid, channels, _, pairs = _at_each_position(self)
        return Spikes(mean, moments, grid, channels, pairs=pairs)

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
        return self.with_moments(
            moved(self.mean, *one),
            moved(self.moments, *both),
            sampled=None if draw is None else lambda *at: moved(draw(*at).swapaxes(-1, -2), *one).swapaxes(-1, -2),
            changes=changes,
            pairs=None if self.pairs is None else self.pairs.then(lambda M, _: moved(M, *both)),
            overlap=None if self.overlap is None else self.overlap.after(moved(self.overlap.between, *both)),
            shared=None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class GivenCurrents:
    """Currents of a layer of so many neurons, given one by one: neither moments nor independent of each other."""

    drive: Given
    channels: int


Signal = Currents | Spikes
Either = TypeVar("Either", Currents, Spikes)
PLACES = {"changes", "pairs", "overlap", "sampled", "shared"}  # of second moments, besides the index itself


def _named(places: dict[str, Any]) -> None:
    """Raise if a place of second moments is not named."""
    if places.keys() != PLACES:
        raise TypeError(f"second moments also stand in {', '.join(sorted(PLACES - places.keys()))}")


def held(signal: Either, steps: int) -> Either:
    """A signal of a single step, the same at so many steps."""
    if signal.grid.steps == steps:
        return signal

    def both(second: np.ndarray, *_: Any) -> np.ndarray:
        return second.repeat(steps, axis=-1).repeat(steps, axis=-2)

    overlap = signal.overlap and replace(signal.overlap, between=both(signal.overlap.between))
    longer = signal.with_moments(
        signal.mean.repeat(steps, axis=-1),
        both(signal.second),
        changes=None,
        pairs=None if signal.pairs is None else signal.pairs.then(both),
        overlap=overlap,
        sampled=None,
        shared=None,
    )
    return replace(longer, grid=replace(signal.grid, steps=steps))


def in_replicas(signal: Either, number: int) -> Either:
    """A signal in so many numerical replicas, or in one that stands for all."""

    def more(values: np.ndarray, *_: Any) -> np.ndarray:
        return replicated(values, number)

    parts = signal.changes and (signal.changes.increment, signal.changes.second_change, signal.changes.mean_change)
    return signal.with_moments(
        more(signal.mean),
        more(signal.second),
        changes=parts and Differences(*map(more, parts)),
        pairs=signal.pairs and signal.pairs.then(more),
        overlap=signal.overlap
        if signal.overlap is None or len(signal.overlap.between) >= number
        else replace(signal.overlap, between=more(signal.overlap.between)),
        sampled=getattr(signal, "sampled", None),
        shared=getattr(signal, "shared", None),
    )


def as_inputs(signal: Signal) -> Spikes:
    """Inputs of weights by their second moments: spikes or, behind other weights, currents."""
    if isinstance(signal, Spikes):
        return signal

    def second(C: np.ndarray, offset: Offset = (0, 0)) -> np.ndarray:
        return C + outer(*means_at(signal.mean, offset, signal.grid))

    pairs, overlap = signal.pairs and signal.pairs.then(second), signal.overlap
    if overlap is not None:
        mean = averages(signal)[0]
        overlap = overlap.after(overlap.between + outer(mean, mean))
    return Spikes(signal.mean, second(signal.covariance), signal.grid, signal.channels, pairs=pairs, overlap=overlap)


def outer(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``x_i y_j``."""
    return one[..., :, None] * other[..., None, :]


def means_at(mean: np.ndarray, offset: Offset, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Means at ``p`` and ``p + d``; for ``ALL_PAIRS``, over the map."""
    if offset is ALL_PAIRS:
        over_map = mean.reshape(len(mean), -1, grid.positions, grid.steps).mean(axis=2)
        return over_map, over_map
    return mean, mean if offset == (0, 0) else shifted(mean, offset, grid.shape)


def over_positions(spikes: Spikes) -> tuple[np.ndarray, np.ndarray]:
    """``e`` and ``M`` averaged over positions, at the same position for both factors; index (input, step)."""
    grid, lead = spikes.grid, spikes.mean.shape[:-1]
    if grid.positions == 1:
        return spikes.mean, spikes.moments
    if grid.per_position:
        parts = (spikes.mean, spikes.moments)
        mean, moments = (each.reshape(len(each), -1, grid.positions, *each.shape[2:]).mean(axis=2) for each in parts)
        return mean, moments
    folded = (grid.inputs, grid.positions, grid.steps)
    mean = spikes.mean.reshape(*lead, *folded).mean(axis=-2)
    moments = np.einsum("...axsbxt->...asbt", spikes.moments.reshape(*lead, *folded, *folded)) / grid.positions
    size = grid.inputs * grid.steps
    return mean.reshape(*lead, size), moments.reshape(*lead, size, size)


def at_each_position(second: np.ndarray, grid: Grid) -> np.ndarray:
    """Second moments over the steps, with positions among the groups; of one input in each group."""
    folded = (grid.positions, grid.steps)
    within = np.einsum("rgxsxt->rgxst", second.reshape(*second.shape[:2], *folded, *folded))
    return within.reshape(len(second), -1, grid.steps, grid.steps)


def _at_each_position(signal: Signal) -> tuple[Any, ...]:
    """Fields of a signal of which each position is followed on its own."""
    grid, second = signal.grid, signal.second
    mean = signal.mean.reshape(len(signal.mean), -1, grid.steps)
    pairs = PairMoments(grid.shape, partial(_of_one_index, second, grid))
    return mean, at_each_position(second, grid), replace(grid, per_position=True), signal.channels, None, pairs


def _of_one_index(second: np.ndarray, grid: Grid, offset: Offset) -> np.ndarray:
    """Moments between positions, of one input in each group."""
    n, steps = grid.positions, grid.steps
    folded = second.reshape(*second.shape[:2], n, steps, n, steps)
    if offset is ALL_PAIRS:
        same_position = np.einsum("rgxsxt->rgst", folded)
        return (folded.sum(axis=(2, 4)) - same_position) / (n * (n - 1))
    here, there = known_pairs(offset, grid.shape)
    pairs = np.zeros((*second.shape[:2], n, steps, steps))
    pairs[:, :, here] = np.moveaxis(folded[:, :, here, :, there], 0, 2)
    return pairs.reshape(len(second), -1, steps, steps)


def _between(signal: Signal, offset: Offset, far: Callable[[np.ndarray, tuple[int, int]], np.ndarray]) -> np.ndarray:
    """Moments at ``p`` and ``p + d``: of the signal's pairs up to ``NEAR``, beyond by ``far`` from their mean."""
    if offset == (0, 0):
        return signal.second
    if outside_map(offset, signal.grid.shape):
        return np.zeros_like(signal.second)
    assert signal.pairs is not None
    if offset is ALL_PAIRS or max(map(abs, offset)) <= NEAR:
        return signal.pairs(offset)
    return far(signal.pairs(ALL_PAIRS), offset)


def _everywhere(far: np.ndarray, offset: tuple[int, int], grid: Grid) -> np.ndarray:
    """Moments that are equal at all pairs of positions."""
    on_map = np.zeros((*far.shape[:2], grid.positions, *far.shape[2:]))
    on_map[:, :, known_pairs(offset, grid.shape)[0]] = far[:, :, None]
    return on_map.reshape(len(far), -1, *far.shape[2:])
