"""Operations that act on every entry of a signal alike: one formula for second moments, applied wherever they stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.theory.signals.increments import Differences
from varflow.theory.signals.moments import Currents, Signal, in_replicas, means_at
from varflow.theory.signals.places import Offset, Overlap, PairMoments, averages, with_correlation

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


def rescaled(signal: Currents, scale: np.ndarray, shift: float | np.ndarray = 0.0) -> Currents:
    """``s_i x_i + c_i``; in an overlap of inputs the correlation stays."""
    grid = signal.grid

    def product(C: np.ndarray, offset: Offset = (0, 0)) -> np.ndarray:
        one, other = means_at(scale, offset, grid)
        return one[..., :, None] * C * other[..., None, :]

    after = signal.mapped(scale * signal.mean + shift, product, overlap=None, shared=signal.shared)
    if signal.overlap is None:
        return after
    between = with_correlation(signal.overlap.between, signal.covariance, after.covariance, grid)
    return replace(after, overlap=signal.overlap.after(between))
