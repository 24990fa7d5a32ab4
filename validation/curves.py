"""Curves over layers as claims judge them: ``vf.compare`` for each, and the smallest error that it would have caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy.stats import norm

import varflow as vf
from validation.claim import Judgement
from validation.power import DRAWS

__all__ = ["caught", "drawn", "judged"]

START, GROWTH, LARGEST = 0.005, 1.25, 0.5  # errors among whose simulations the critical deviation is found
STEP = 0.3  # of the critical deviation, in standard errors


def judged(profiles: Sequence[vf.Profile], ensembles: Sequence[vf.Ensemble], points: Sequence[str], each: float) -> Judgement:
    """``vf.compare`` for every curve, all layers and quantities; Bonferroni over curves. Shown: the last layer's variance.

    ``each``: false-alarm rate of one curve.
    """
    pairs = list(zip(profiles, ensembles, strict=True))
    worst = min(vf.compare(profile, ensemble, false_alarm=each).p_value for profile, ensemble in pairs)
    mean = np.array([profile.variance[-1] for profile in profiles])
    error = np.array([profile.variance_std[-1] / np.sqrt(ensemble.repeats) for profile, ensemble in pairs])
    seen = np.array([ensemble.variance[:, -1].mean() for ensemble in ensembles])
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(seen == mean, 0.0, (seen - mean) / error)
    return Judgement(min(1.0, worst * len(pairs)), tuple(points), mean, seen, error, z)


def drawn(profiles: Sequence[vf.Profile], repeats: int, seed: int) -> tuple[vf.Ensemble, ...]:
    """What perfect simulations of networks with these laws would have measured."""
    return tuple(_law(profile)(repeats, seed) for profile in profiles)


def _law(profile: vf.Profile) -> Callable[..., vf.Ensemble]:
    assert profile.sample is not None
    return profile.sample


def caught(right: vf.Network, wrong: Callable[[float], vf.Network], repeats: int, each: float) -> Callable[[float, int], bool]:
    """Whether one curve's own comparison rejects it: ``(ε, seed) -> bool``, for simulations of ``wrong(ε)``."""

    @lru_cache(maxsize=4)
    def draws(error: float) -> list[vf.Ensemble]:
        law = _law(vf.finite_width(wrong(error)))
        return list(_parts(law(repeats * DRAWS, 1), repeats))

    profile = vf.finite_width(right)
    largest = _largest_deviation(profile)
    critical = _critical(profile, lambda error: draws(error)[:6], largest, each)
    return lambda error, seed: largest(draws(error)[seed]) >= critical


def _parts(ensemble: vf.Ensemble, repeats: int) -> Iterator[vf.Ensemble]:
    """Simulations of ``repeats`` networks each, out of one drawn all at once."""
    for first in range(0, ensemble.repeats, repeats):
        part = slice(first, first + repeats)
        yield replace(ensemble, variance=ensemble.variance[part], firing_rate=ensemble.firing_rate[part])


def _largest_deviation(profile: vf.Profile) -> Callable[[vf.Ensemble], float]:
    """The statistic of ``vf.compare``, the calibration kept short: its first draws are remembered."""
    remembered = replace(profile, sample=lru_cache(maxsize=1)(_law(profile)))
    return lambda ensemble: max(abs(z) for _, z in vf.compare(remembered, ensemble, false_alarm=0.5).worst.values())


def _critical(
    profile: vf.Profile,
    draws: Callable[[float], list[vf.Ensemble]],
    largest: Callable[[vf.Ensemble], float],
    false_alarm: float,
) -> float:
    """A deviation that ``vf.compare``, at its full length, rejects, as it does every larger one; the smallest to a STEP."""
    error, tried = START, 0.95 * norm.isf(false_alarm / (6 * profile.network.depth))
    while error <= LARGEST:
        for ensemble in sorted(draws(error), key=largest):
            deviation = largest(ensemble)
            if deviation >= tried:
                if not vf.compare(profile, ensemble, false_alarm=false_alarm).passed:
                    return deviation
                tried = deviation + STEP
        error *= GROWTH
    return float("inf")
