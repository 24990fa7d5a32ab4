"""The spread over networks, pooled over layers: what a wrong width changes in every layer by the same factor."""

from __future__ import annotations

import numpy as np

from varflow.results import SPREADS, Profile

CERTAIN = 1e-7  # relative standard deviation below which a value is certain and its spread not judged
SEED = 2**47  # of these: distinct from seeds of ensembles and of calibration


def receiving(profile: Profile, alive: np.ndarray) -> np.ndarray:
    """True where layers receive spikes, by ``alive`` of the layer before (or the probability of it), shape (…, depth).

    Behind a merge, where the layer before does not tell, all networks count as receiving.
    """
    before = np.concatenate([np.ones_like(alive[..., :1]), alive[..., :-1]], axis=-1)
    return np.where(np.isnan(profile.silent_variance), np.ones_like(before), before)


class Spreads:
    """Spreads ``R_l`` of ensembles of ``repeats`` networks, standardised by networks drawn from the profile.

    ``variance`` and ``rate``: mean and standard deviation over live networks. ``spread`` pools both about their sample means;
    ``conditional_spread`` the ratio of variance to its expectation given the rate of the layer before, from layer 2 on, whose
    relative variance is ``2/(n-1)`` for normal weights. Everything is in units of the mean, so that no square overflows.
    """

    def __init__(self, profile: Profile, repeats: int, variance: tuple, rate: tuple):
        self.profile = profile
        self.units = [np.where(mean > 0, mean, 1.0) for mean, _ in (variance, rate)]
        relative = [std / unit for (_, std), unit in zip((variance, rate), self.units, strict=True)]
        self.stds = [np.where(std > CERTAIN, std, np.nan) for std in relative]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            silent = np.broadcast_to(profile.silent_variance, profile.variance.shape)[1:] / profile.variance[1:]
            self.expected = silent, (1 - silent) / profile.firing_rate[:-1]  # relative, at rate 0, and its slope
        self.scale = np.sqrt(np.maximum(profile.network.widths[1:] - 1, 0) / 2)
        assert profile.sample is not None
        # 512 networks give the standard deviation of a spread to about 3 %
        drawn = profile.sample(max(512, 2 * repeats), seed=SEED)
        parts = self._parts(drawn.variance, drawn.firing_rate)
        (_, std), conditional = (_moments(squares, counted, repeats) for squares, counted in parts)
        self.null = [(np.ones_like(std), std), conditional]  # the profile states the first mean: its own standard deviations

    def __call__(self, variance: np.ndarray, rate: np.ndarray) -> dict[str, np.ndarray]:
        """``(R_l - mean)/std``, shape (…, depth), from arrays of shape (…, repeats, depth)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scores = [(ratio - mean) / std for ratio, mean, std in self._ratios(variance, rate)]
        return dict(zip(SPREADS, scores, strict=True))

    def relative(self, variance: np.ndarray, rate: np.ndarray) -> dict[str, float]:
        """The spreads over all layers, in units of their mean."""
        ratios = zip(SPREADS, self._ratios(variance, rate), strict=True)
        return {name: float(ratio[-1] / mean[-1]) for name, (ratio, mean, _) in ratios if np.isfinite(ratio[-1] / mean[-1])}

    def _ratios(self, variance: np.ndarray, rate: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """``R_l`` of each kind, with its mean and standard deviation."""
        return [(_pooled(*pair), *null) for pair, null in zip(self._parts(variance, rate), self.null, strict=True)]

    def _parts(self, variance: np.ndarray, rate: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Squares about the mean over networks, and which are counted, per kind; shape (…, repeats, values of all layers)."""
        alive = rate > 0
        before = receiving(self.profile, alive)
        silent, slope = self.expected
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            both = np.stack([variance / self.units[0] / self.stds[0], rate / self.units[1] / self.stds[1]], axis=-1)
            given = self.scale * (variance[..., 1:] / self.units[0][1:] / (silent + slope * rate[..., :-1]))
        first = np.full_like(variance[..., :1], np.nan)  # layer 1 has no layer before
        conditional = np.concatenate([first, given], axis=-1)[..., None]
        return [_squares(both, np.stack([before, alive], axis=-1)), _squares(conditional, before[..., None])]


def _squares(values: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squares about the mean over the chosen networks, and the choice; shape (…, networks, layers, quantities)."""
    counted = counted & np.isfinite(values)
    number = np.maximum(counted.sum(axis=-3, keepdims=True), 1)
    mean = np.where(counted, values, 0.0).sum(axis=-3, keepdims=True) / number
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(counted, values - mean, 0.0) ** 2, counted


def _pooled(squares: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """``√(Σ squares/Σ degrees of freedom)`` over layers 1 … l; NaN where there is none."""
    freedom = np.maximum(counted.sum(axis=-3) - 1, 0).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.sqrt(np.cumsum(squares.sum(axis=(-3, -1)), axis=-1) / np.cumsum(freedom, axis=-1))


def _moments(squares: np.ndarray, counted: np.ndarray, repeats: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of ``R_l``: to first order its square is a mean over independent networks."""
    sums, numbers = (np.cumsum(x.sum(axis=-1), axis=-1) for x in (squares, counted))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = np.sqrt(sums.mean(axis=0) / numbers.mean(axis=0))
        scatter = (sums - mean**2 * numbers).std(axis=0) / numbers.mean(axis=0)
        std = scatter / (2 * mean * np.sqrt(repeats - 1))
    return mean, np.where(std > CERTAIN * mean, std, np.nan)
