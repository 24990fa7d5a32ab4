"""Curves over layers: each is judged by ``vf.compare``; whether an error would have been detected."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import lru_cache
from math import ceil, floor
from typing import Any

import numpy as np

import varflow as vf
from validation.claim import Error, Judgement
from validation.power import DRAWS, SCOUTS
from validation.sidak import sidak
from varflow.results import deviation
from varflow.verdict import BATCH, Scores

__all__ = ["caught", "drawn", "gain_of", "judged"]


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


def gain_of(curve: Hashable, what: str) -> Error:
    """A wrong gain in one curve only; caught if the comparison of that curve rejects it.

    Settings have ``errors``, pairs of a curve and the relative error of its gain, ``networks()`` by curve, ``repeats``, and the
    false-alarm rate ``each`` of one curve.
    """

    def wrong(settings: Any, error: float) -> Any:
        return replace(settings, errors=((curve, error),))

    def rejected(settings: Any) -> Callable[[float, int], bool]:
        in_error = lambda error: wrong(settings, error).networks()[curve]  # noqa: E731
        return caught(settings.networks()[curve], in_error, settings.repeats, settings.each)

    return Error(f"the gain of {what}", wrong, rejected)


def caught(right: vf.Network, wrong: Callable[[float], vf.Network], repeats: int, each: float) -> Callable[[float, int], bool]:
    """``(ε, seed) -> bool``: whether a simulation of ``wrong(ε)`` is rejected in the comparison of this curve."""
    profile = vf.finite_width(right)
    score, critical = Scores(profile, repeats), _critical(profile, repeats, each)

    @lru_cache(maxsize=4)
    def distribution(error: float) -> Callable[..., vf.Ensemble]:
        return _distribution(vf.finite_width(wrong(error)))

    @lru_cache(maxsize=DRAWS // SCOUTS)
    def deviations(error: float, block: int) -> np.ndarray:
        return _deviations(score, distribution(error), repeats, SCOUTS, block)

    return lambda error, seed: bool(deviations(error, seed // SCOUTS)[seed % SCOUTS] > critical)


def _deviations(score: Scores, distribution: Callable[..., vf.Ensemble], repeats: int, number: int, seed: int) -> np.ndarray:
    """The statistic of ``vf.compare`` for so many simulations drawn."""
    drawn = distribution(repeats, seed, ensembles=number)
    shape = (number, repeats, drawn.network.depth)
    return deviation(score(drawn.variance.reshape(shape), drawn.firing_rate.reshape(shape)))


def _critical(profile: vf.Profile, repeats: int, false_alarm: float) -> float:
    """The deviation beyond which ``vf.compare`` rejects: few enough of ``2/false_alarm`` drawn simulations exceed it."""
    score, draws = Scores(profile, repeats), ceil(2 / false_alarm)
    blocks = range(-(-draws // BATCH))
    null = np.concatenate([_deviations(score, _distribution(profile), repeats, BATCH, block) for block in blocks])[:draws]
    return float(np.sort(null)[-floor(false_alarm * (draws + 1))])
