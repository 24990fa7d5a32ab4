"""Curves over layers: each is judged by ``vf.compare``; whether an error would have been detected."""

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

START, GROWTH, LARGEST = 0.005, 1.25, 0.5  # the critical deviation is searched among simulations with errors of these sizes
STEP = 0.3  # to which the critical deviation is found, in standard errors


def judged(profiles: Sequence[vf.Profile], ensembles: Sequence[vf.Ensemble], points: Sequence[str], each: float) -> Judgement:
    """``vf.compare`` for every curve, over all layers and quantities; Bonferroni over curves. Stated is the last variance.

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
    """Ensembles drawn from the exact distributions of these networks, independently of each other."""
    return tuple(_law(profile)(repeats, len(profiles) * seed + number) for number, profile in enumerate(profiles))


def _law(profile: vf.Profile) -> Callable[..., vf.Ensemble]:
    assert profile.sample is not None
    return profile.sample


def caught(right: vf.Network, wrong: Callable[[float], vf.Network], repeats: int, each: float) -> Callable[[float, int], bool]:
    """``(ε, seed) -> bool``: whether a simulation of ``wrong(ε)`` is rejected in the comparison of this curve."""

    @lru_cache(maxsize=4)
    def draws(error: float) -> list[vf.Ensemble]:
        law = _law(vf.finite_width(wrong(error)))
        return list(_parts(law(repeats * DRAWS, 1), repeats))

    profile = vf.finite_width(right)
    largest = _largest_deviation(profile)
    critical = _critical(profile, lambda error: draws(error)[:6], largest, each)
    return lambda error, seed: largest(draws(error)[seed]) >= critical


def _parts(ensemble: vf.Ensemble, repeats: int) -> Iterator[vf.Ensemble]:
    """An ensemble cut into simulations of ``repeats`` networks each."""
    for first in range(0, ensemble.repeats, repeats):
        part = slice(first, first + repeats)
        yield replace(ensemble, variance=ensemble.variance[part], firing_rate=ensemble.firing_rate[part])


def _largest_deviation(profile: vf.Profile) -> Callable[[vf.Ensemble], float]:
    """The statistic of ``vf.compare``, with few calibration draws, which are cached."""
    remembered = replace(profile, sample=lru_cache(maxsize=128)(_law(profile)))
    return lambda ensemble: vf.compare(remembered, ensemble, false_alarm=0.5).deviation


def _critical(
    profile: vf.Profile,
    draws: Callable[[float], list[vf.Ensemble]],
    largest: Callable[[vf.Ensemble], float],
    false_alarm: float,
) -> float:
    """The smallest deviation, to within ``STEP``, from which on fully calibrated ``vf.compare`` rejects."""
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
