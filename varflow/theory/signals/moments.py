r"""Signals at infinite width: the moments of currents and of spikes that one neuron has over sequences and steps.

Neurons of a layer (channels of a map) are i.i.d., so a signal is described by one neuron's moments over an index
``i = (input, row, column, step)``: an input, a position of the map and a time step. Second moments of one signal stand in
several places: over the index, over increments, between positions of a large map, between inputs of a batch, and as draws.
Whatever changes them changes all, by ``with_moments``.

Operations that act on every entry of a signal alike have one formula for second moments, applied wherever they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from varflow._checks import DomainError
from varflow.theory.signals.increments import Differences, differences
from varflow.theory.signals.places import (
    ALL_PAIRS,
    NEAR,
    Grid,
    Offset,
    Overlap,
    PairMoments,
    averages,
    known_pairs,
    on_both,
    on_map,
    outside_map,
    replicated,
    shifted,
    with_correlation,
)
from varflow.theory.signals.shared_scale import SharedScale

PLACES = {"changes", "pairs", "overlap", "sampled", "shared"}  # of second moments, besides the index itself


class _SignalMoments:
    """Currents or spikes: what they have in common. ``SECOND``: the name of the field with second moments over the index."""

    __slots__ = ()
    SECOND: ClassVar[str]
    mean: np.ndarray
    grid: Grid
    pairs: PairMoments | None
    overlap: Overlap | None

    @property
    def second(self) -> np.ndarray:
        """The second moments; of currents the covariance."""
        return getattr(self, self.SECOND)

    def with_moments(self, mean: np.ndarray, second: np.ndarray, **places: Any) -> Self:
        """A signal with other moments; ``places``: what becomes of changes, pairs, overlap, sampled and shared."""
        if places.keys() != PLACES:
            raise TypeError(f"second moments also stand in {', '.join(sorted(PLACES - places.keys()))}")
        signal: Any = self
        own = {name: value for name, value in places.items() if hasattr(self, name)}
        return replace(signal, mean=mean, **{self.SECOND: second}, **own)

    def mapped(self, mean: np.ndarray, second: Callable[..., np.ndarray], **other: Any) -> Self:
        """A signal with second moments changed alike wherever they stand, but for ``other`` places."""
        places = {"changes": None, "sampled": None, "shared": None} | other
        if "pairs" not in other:
            places["pairs"] = self.pairs and self.pairs.then(second)
        if "overlap" not in other:
            places["overlap"] = self.overlap and self.overlap.after(second(self.overlap.between))
        return self.with_moments(mean, second(self.second), **places)

    def between(self, offset: Offset) -> np.ndarray:
        """Second moments at ``p`` and ``p + d``: the signal's pairs up to ``NEAR``, beyond from their mean covariance."""
        if offset == (0, 0):
            return self.second
        if outside_map(offset, self.grid.shape):
            return np.zeros_like(self.second)
        pairs: Any = self.pairs  # of which there are some where positions are followed each on its own
        if offset is ALL_PAIRS or max(map(abs, offset)) <= NEAR:
            return pairs(offset)
        far = pairs(ALL_PAIRS)
        if not isinstance(self, Spikes):
            return _everywhere(far, offset, self.grid)
        covariance = far - outer(*means_at(self.mean, ALL_PAIRS, self.grid))
        return _everywhere(covariance, offset, self.grid) + outer(*means_at(self.mean, offset, self.grid))

    def per_position(self) -> Self:
        """Signal at each position of a map on its own."""
        grid = self.grid
        if grid.per_position or grid.positions == 1:
            return self
        pairs, shared = PairMoments(grid.shape, partial(_of_one_index, self.second, grid)), getattr(self, "shared", None)
        mean, apart = self.mean.reshape(len(self.mean), -1, grid.steps), partial(at_each_position, grid=grid)
        signal: Any = self.mapped(mean, apart, pairs=pairs, overlap=None, shared=shared)
        return replace(signal, grid=replace(grid, per_position=True))


@dataclass(frozen=True, slots=True, eq=False)
class Currents(_SignalMoments):
    """Gaussian currents, ``E[I_i]`` (…, i) and ``Cov[I_i, I_j]`` (…, i, j); leading axes (replicas, groups).

    ``channels`` is the number of neurons at each position; ``changes``: increments over time without cancellation, if known;
    ``pairs``: covariances between positions that are followed each on its own, if known; ``overlap``: that between inputs of a
    batch, if it is followed. ``shared``: the scale by which a normalisation over the batch divided them, if it fluctuates.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> from varflow.theory.signals.places import Grid
    >>> currents = vf.theory.Currents(
    ...     np.zeros((1, 1, 2)), np.ones((1, 1, 2, 2)), Grid(inputs=1, height=1, width=1, steps=2), channels=100
    ... )
    >>> currents.scaled(2.0).covariance[0, 0, 0]
    array([4., 4.])
    """

    SECOND = "covariance"

    mean: np.ndarray
    covariance: np.ndarray
    grid: Grid
    channels: int
    changes: Differences | None = None
    pairs: PairMoments | None = None
    overlap: Overlap | None = None
    shared: SharedScale | None = None

    @property
    def increments(self) -> Differences:
        """The changes; if they are not known, by subtraction."""
        return self.changes or differences(self.mean, self.covariance)

    def scaled(self, factor: float | np.ndarray) -> Currents:
        """Times a number, or an array with the leading axes."""
        f = np.asarray(factor)
        places = {"changes": self.changes and self.changes.scaled(f), "shared": self.shared}
        if f.ndim:
            places |= {"pairs": None, "overlap": None}
        return self.mapped(f[..., None] * self.mean, lambda C, *_: f[..., None, None] ** 2 * C, **places)

    def shifted(self, constant: float | np.ndarray) -> Currents:
        """Plus a number, or one for each entry."""
        return replace(self, mean=self.mean + constant)


@dataclass(frozen=True, slots=True, eq=False)
class Spikes(_SignalMoments):
    """Spikes, or sums and averages of them: ``e_i = E[x_i]`` and ``M_ij = E[x_i x_j]``.

    ``sampled``, if known, draws ``x`` itself: shape (replicas, groups, i, points). Of positions that are followed each on its
    own it takes the places that are drawn together, shape (windows, places), and gives groups ``(input, window)`` and
    ``i = (place, step)``. Straight from neurons it also takes ``channels`` (``Responses.drawn``). ``changes``,
    ``pairs`` and ``overlap`` as of currents, of second moments.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> from varflow.theory.signals.places import Grid
    >>> spikes = vf.theory.Spikes(
    ...     np.full((1, 1, 2), 0.2), np.full((1, 1, 2, 2), 0.1), Grid(inputs=1, height=1, width=1, steps=2), channels=100
    ... )
    >>> spikes.later(1).mean
    array([[[0. , 0.2]]])
    """

    SECOND = "moments"

    mean: np.ndarray
    moments: np.ndarray
    grid: Grid
    channels: int
    sampled: Callable[..., np.ndarray] | None = None
    changes: Differences | None = None
    pairs: PairMoments | None = None
    overlap: Overlap | None = None

    @property
    def neurons(self) -> int:
        return self.channels * self.grid.positions

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
        sampled = None if draw is None else lambda *at, **how: moved(draw(*at, **how).mT, *one).mT
        return self.mapped(moved(self.mean, *one), lambda M, *_: moved(M, *both), sampled=sampled, changes=changes)


Signal = Currents | Spikes
Either = TypeVar("Either", Currents, Spikes)


def held(signal: Either, steps: int) -> Either:
    """A signal of a single step, the same at so many steps."""
    if signal.grid.steps == steps:
        return signal

    def both(second: np.ndarray, *_: Any) -> np.ndarray:
        return second.repeat(steps, axis=-1).repeat(steps, axis=-2)

    overlap = signal.overlap and replace(signal.overlap, between=both(signal.overlap.between))
    longer = signal.mapped(signal.mean.repeat(steps, axis=-1), both, overlap=overlap)
    return replace(longer, grid=replace(signal.grid, steps=steps))


def in_replicas(signal: Either, number: int) -> Either:
    """A signal in so many numerical replicas, or in one that stands for all."""

    def more(values: np.ndarray, *_: Any) -> np.ndarray:
        return replicated(values, number)

    changes, overlap = signal.changes and Differences(*map(more, signal.changes)), signal.overlap
    if overlap is not None and len(overlap.between) < number:
        overlap = replace(overlap, between=more(overlap.between))
    others = {name: getattr(signal, name, None) for name in ("sampled", "shared")}
    return signal.mapped(more(signal.mean), more, changes=changes, overlap=overlap, **others)


def as_inputs(signal: Signal) -> Spikes:
    """Inputs of weights by their second moments: spikes or, after other weights, currents."""
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


def at_each_position(second: np.ndarray, grid: Grid) -> np.ndarray:
    """Second moments over the steps, with positions among the groups; of one input in each group."""
    folded = (grid.positions, grid.steps)
    within = np.einsum("rgxsxt->rgxst", second.reshape(*second.shape[:2], *folded, *folded))
    return within.reshape(len(second), -1, grid.steps, grid.steps)


def at_every_position(second: np.ndarray, grid: Grid) -> np.ndarray:
    """Second moments over inputs and steps at every position, different ones independent."""
    if grid.positions == 1:
        return second
    if grid.per_position:
        return np.repeat(second, grid.positions, axis=1)
    blocks = second.reshape(*second.shape[:2], grid.inputs, grid.steps, grid.inputs, grid.steps)
    at_positions = np.einsum("rgasbt,xy->rgaxsbyt", blocks, np.eye(grid.positions))
    return at_positions.reshape(*second.shape[:2], grid.size, grid.size)


def _of_one_index(second: np.ndarray, grid: Grid, offset: Offset) -> np.ndarray:
    """Moments between positions, of one input in each group."""
    n, steps = grid.positions, grid.steps
    folded = second.reshape(*second.shape[:2], n, steps, n, steps)
    if offset is ALL_PAIRS:
        same_position = np.einsum("rgxsxt->rgst", folded)
        return (folded.sum(axis=(2, 4)) - same_position) / (n * (n - 1))
    here, there = known_pairs(offset, grid.shape)
    return on_map(np.moveaxis(folded[:, :, here, :, there], 0, 2).reshape(len(second), -1, steps, steps), offset, grid)


def _everywhere(far: np.ndarray, offset: tuple[int, int], grid: Grid) -> np.ndarray:
    """Moments that are equal at all pairs of positions."""
    return np.repeat(far, grid.positions, axis=1) * np.tile(on_both(offset, grid.shape), far.shape[1])[:, None, None]


Arrays = Sequence[np.ndarray]


def elementwise(
    signals: Sequence[Any],
    mean: Callable[[Arrays], np.ndarray],
    second: Callable[[Arrays, Arrays, Arrays], np.ndarray],
    *,
    changes: Differences | None = None,
    sampled: Callable[..., np.ndarray] | None = None,
) -> Any:
    """The signal that an operation on the entries of these signals, of one kind and grid, sends.

    ``mean(e)``, from the mean of each signal, ``(…, i)``; ``second(M, e, f)``, from second moments of each (of currents
    covariances), ``(…, i, j)``, and means of their first factor, ``(…, i, 1)``, and of their second, ``(…, 1, j)``: then
    ``e[0] * f[1]`` is ``E x_i E y_j``. It must not hold arrays of its own: it is used for entries of one index, for positions
    of a map, and for inputs of a batch.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> from varflow.theory.signals.places import Grid
    >>> spikes = vf.theory.Spikes(
    ...     np.full((1, 1, 2), 0.2), np.full((1, 1, 2, 2), 0.1), Grid(inputs=1, height=1, width=1, steps=2), channels=100
    ... )
    >>> vf.theory.elementwise([spikes, spikes], lambda e: e[0] * e[1], lambda M, e, f: M[0] * M[1]).mean.round(3)
    array([[[0.04, 0.04]]])
    """
    most = max(len(each.mean) for each in signals)
    signals = [in_replicas(each, most) for each in signals]
    first, means = signals[0], [each.mean for each in signals]

    def after(M: Arrays, e: Arrays, f: Arrays) -> np.ndarray:
        return _like("second", "M", M, second(M, [each[..., :, None] for each in e], [each[..., None, :] for each in f]))

    def at(offset: Offset) -> np.ndarray:
        e, f = zip(*(means_at(each, offset, first.grid) for each in means), strict=True)
        return after([each.between(offset) for each in signals], e, f)

    return first.with_moments(
        _like("mean", "e", means, mean(means)),
        after([each.second for each in signals], means, means),
        changes=changes,
        pairs=PairMoments(first.grid.shape, at) if all(each.pairs for each in signals) else None,
        overlap=_overlap(signals, after),
        sampled=sampled,
        shared=None,
    )


def _like(function: str, argument: str, given: Arrays, found: np.ndarray) -> np.ndarray:
    """The array that a function of the user returned; DomainError for another shape than that of what it was given."""
    shape = np.broadcast_shapes(*(each.shape for each in given))
    if np.shape(found) != shape:
        raise DomainError(function, f"array of shape {np.shape(found)}", f"must return the shape of {argument}[0], {shape}")
    return found


def _overlap(signals: Sequence[Signal], second: Callable[[Arrays, Arrays, Arrays], np.ndarray]) -> Overlap | None:
    overlaps = [each.overlap for each in signals if each.overlap is not None]
    if len(overlaps) < len(signals):
        return None
    means = [averages(each)[0] for each in signals]
    return overlaps[0].after(second([each.between for each in overlaps], means, means))


def rescaled(signal: Currents, scale: float | np.ndarray, shift: float | np.ndarray = 0.0) -> Currents:
    """``s_i x_i + c_i``; in an overlap of inputs the correlation stays.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> from varflow.theory.signals.places import Grid
    >>> currents = vf.theory.Currents(
    ...     np.zeros((1, 1, 2)), np.ones((1, 1, 2, 2)), Grid(inputs=1, height=1, width=1, steps=2), channels=100
    ... )
    >>> vf.theory.rescaled(currents, np.array([1.0, 2.0])).covariance[0, 0, 1]
    array([2., 4.])
    """
    grid, scale = signal.grid, np.broadcast_to(scale, np.broadcast_shapes(np.shape(scale), signal.mean.shape))

    def product(C: np.ndarray, offset: Offset = (0, 0)) -> np.ndarray:
        one, other = means_at(scale, offset, grid)
        return one[..., :, None] * C * other[..., None, :]

    after = signal.mapped(scale * signal.mean + shift, product, overlap=None, shared=signal.shared)
    if signal.overlap is None:
        return after
    between = with_correlation(signal.overlap.between, signal.covariance, after.covariance, grid)
    return replace(after, overlap=signal.overlap.after(between))
