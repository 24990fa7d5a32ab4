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
from validation.sidak import sidak

__all__ = ["caught", "drawn", "judged"]

START, GROWTH, LARGEST = 0.005, 1.25, 0.5  # the critical deviation is searched among simulations with errors of these sizes
STEP = 0.3  # to which the critical deviation is found, in standard errors


def judged(profiles: Sequence[vf.Profile], ensembles: Sequence[vf.Ensemble], points: Sequence[str], each: float) -> Judgement:
    """``vf.compare`` for every curve, over all layers and quantities; Šidák over curves. Stated is the variance of some layers.

    ``each``: false-alarm rate of one curve.
    """
    pairs = list(zip(profiles, ensembles, strict=True))
    worst = min(vf.compare(profile, ensemble, false_alarm=each).p_value for profile, ensemble in pairs)
    layers = _stated(profiles[0].network.depth)
    names = [f"{point}, layer {layer + 1}" for point in points for layer in layers]
    mean = np.concatenate([profile.variance[layers] for profile in profiles])
    error = np.concatenate([profile.variance_std[layers] / np.sqrt(ensemble.repeats) for profile, ensemble in pairs])
    seen = np.concatenate([ensemble.variance[:, layers].mean(axis=0) for ensemble in ensembles])
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(seen == mean, 0.0, (seen - mean) / error)
    return Judgement(sidak(worst, len(pairs)), tuple(names), mean, seen, error, z)


def _stated(depth: int) -> np.ndarray:
    """Indices of layers 2, 5, 10, 20, 50, 100 … and the last: layer 1 is that of the drive."""
    stated = [layer for decade in (1, 10, 100, 1000) for layer in (2 * decade, 5 * decade, 10 * decade) if layer < depth]
    return np.array([*stated, depth]) - 1


def drawn(profiles: Sequence[vf.Profile], repeats: int, seed: int) -> tuple[vf.Ensemble, ...]:
    """Ensembles drawn from the exact distributions of these networks, independently of each other."""
    return tuple(_distribution(profile)(repeats, len(profiles) * seed + number) for number, profile in enumerate(profiles))


def _distribution(profile: vf.Profile) -> Callable[..., vf.Ensemble]:
    assert profile.sample is not None
    return profile.sample


def caught(right: vf.Network, wrong: Callable[[float], vf.Network], repeats: int, each: float) -> Callable[[float, int], bool]:
    """``(ε, seed) -> bool``: whether a simulation of ``wrong(ε)`` is rejected in the comparison of this curve."""

    @lru_cache(maxsize=4)
    def draws(error: float) -> list[vf.Ensemble]:
        distribution = _distribution(vf.finite_width(wrong(error)))
        return list(_parts(distribution(repeats * DRAWS, 1), repeats))

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
    remembered = replace(profile, sample=lru_cache(maxsize=128)(_distribution(profile)))
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
