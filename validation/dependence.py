"""Whether drawn measurements depend on each other across points as simulated ones do: a permutation test of correlations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Dependence", "compared"]

PERMUTATIONS = 999


@dataclass(frozen=True, slots=True)
class Dependence:
    """Correlations between points, over simulations and over draws.

    Attributes
    ----------
    p_value : float
        Of the largest difference of a correlation that relabelling simulations and draws would give.
    simulated, drawn : float
        Root mean square of the correlations, what the finite number of each would give by chance subtracted.
    points : tuple of str
        The pair of points with the largest difference.
    """

    p_value: float
    simulated: float
    drawn: float
    points: tuple[str, ...]


def compared(names: tuple[str, ...], simulated: np.ndarray, drawn: np.ndarray, seed: int = 0) -> Dependence | None:
    """Compare the correlations of the columns of two samples, shape (repeats, points); None with fewer than two that vary.

    Columns are ranked within each sample, so that only the dependence counts, and not the distribution of a point. The
    statistic is the sum of squared differences of all correlations.
    """
    varied = np.array([len(np.unique(a)) > 2 and len(np.unique(b)) > 2 for a, b in zip(simulated.T, drawn.T, strict=True)])
    if varied.sum() < 2:
        return None
    names = tuple(name for name, varies in zip(names, varied, strict=True) if varies)
    ranks = [_ranks(sample[:, varied]) for sample in (simulated, drawn)]
    both, size = np.concatenate(ranks), len(simulated)
    seen = _difference(both, size)
    rng = np.random.default_rng([4, seed])
    shuffled = [np.sum(_difference(both[rng.permutation(len(both))], size) ** 2) for _ in range(PERMUTATIONS)]
    p_value = (1 + np.sum(np.array(shuffled) >= np.sum(seen**2))) / (PERMUTATIONS + 1)
    pair = np.unravel_index(np.argmax(np.abs(seen)), seen.shape)
    return Dependence(float(p_value), _strength(ranks[0]), _strength(ranks[1]), tuple(names[i] for i in pair))


def _ranks(sample: np.ndarray) -> np.ndarray:
    """Ranks along the first axis, with mean 0 and variance 1; ties share their mean rank."""
    from scipy.stats import rankdata

    ranked = rankdata(sample, axis=0)
    return (ranked - ranked.mean(axis=0)) / ranked.std(axis=0)


def _difference(both: np.ndarray, size: int) -> np.ndarray:
    """Correlations of the first ``size`` rows less those of the others, above the diagonal."""
    return np.triu(np.corrcoef(both[:size].T) - np.corrcoef(both[size:].T), k=1)


def _strength(sample: np.ndarray) -> float:
    rows, points = sample.shape
    squares = np.corrcoef(sample.T)[np.triu_indices(points, k=1)] ** 2
    return float(np.sqrt(max(np.mean(squares) - 1 / (rows - 1), 0.0)))
