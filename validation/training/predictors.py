"""Numbers at initialisation that might predict the accuracy of a plain network, from theory alone: larger means better.

``PREDICTORS`` were fixed before the held-out networks were trained (``experiments.EXPERIMENTS["held_out"]``), ``LATER`` after.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import varflow as vf
from validation.training.data import load
from validation.training.networks import Design
from varflow._checks import require

__all__ = ["LATER", "PREDICTORS", "agreement", "contrast_of", "predicted", "readability", "revival_depth", "scored"]

IMAGES, NETWORKS = 300, 2  # of the readability of untrained layers
COSINES = (0.8, 0.4)  # of a similar and a different input with a first one
SMALLEST = 1e-12  # stands for what vanishes

PREDICTORS = {
    "activity": "late rate of the last layer",
    "gradients": "how near 1 the growth of gradient energy in time is: minus the absolute value of its logarithm, times layers",
    "information": "ln of the difference in overlap of a similar and a different input in the last layer",
    "readability": "depth that a linear readout of untrained layers can use, over the depth",
    "contrast": "contrast of the surrogate neural tangent kernel, cosines 0.8 and 0.4",
}
"""What each predictor is."""

LATER = {
    "near contrast": "the same of an input moved as a step moves it, and one of cosine 0.4",
    "persistence": "mean over layers of what a step leaves of gradients",
    "depth": "minus the number of layers",
}
"""Scores that were looked at when accuracies were known; in the first two a layer without spikes or gradients counts as 0."""


def predicted(design: Design, data: str, folder: str | None = None) -> dict[str, dict[str, float]]:
    """All predictors of one plain design, under the key ``predicted``."""
    network = design.network()
    growth = vf.gradient_flow(network, design.surrogate).growth
    found = {
        "activity": float(vf.mean_field(network).firing_rate[-1, design.steps // 2 :].mean()),
        "gradients": -abs(math.log(max(growth or 0.0, SMALLEST))) * (design.depth - 1),
        "information": math.log(max(_overlap_left(network), SMALLEST)),
        "readability": readability(design, data, folder),
        "contrast": contrast_of(network, design.surrogate),
    }
    return {"predicted": found}


def scored(design: Design) -> dict[str, float]:
    """The later scores of one plain design, and how many layers are ``silent``: without spikes or gradients."""
    found = vf.trainability(design.network(), design.surrogate)
    return {
        "near contrast": found.contrast,
        "persistence": found.mean_persistence,
        "depth": -design.depth,
        "silent": int(np.isnan(found.persistence).sum()),
    }


def contrast_of(network: vf.Network, surrogate: Any) -> float:
    """Contrast of a similar and a different input; 0 where the network is silent."""
    x = np.array([[1.0, 0.0]] + [[c, math.sqrt(1 - c**2)] for c in COSINES])
    return vf.trainability(network, surrogate, x, points=2**11).contrast


def _overlap_left(network: vf.Network) -> float:
    """Overlap with the similar input less that with the different one, in the last layer."""
    x = np.array([[1.0, 0.0]] + [[c, math.sqrt(1 - c**2)] for c in COSINES])
    overlap = vf.kernel(network, x).raster_overlap(network.depth)
    return float(np.nan_to_num(overlap[0, 1] - overlap[0, 2]))


def readability(design: Design, data: str, folder: str | None) -> float:
    """Depth that a linear readout of untrained layers can use, over the depth."""
    some = load(data, *([Path(folder)] if folder else [])).first(IMAGES, 0)
    return (vf.readable_depth(design.network(), some.x, some.y, repeats=NETWORKS).depth or 0.0) / design.depth


def revival_depth(design: Design, epsilon: float, batch: int = 100, classes: int = 10) -> float:
    r"""Layers up to which a network that begins silent revives, under Adam with this ``ε``.

    Layers are active down to the first whose neurons are expected to spike less than once per image, ``n T p_l < 1``. In a
    silent layer gradients pass by the tail of the surrogate only: a bias at ``d`` layers from the readout has

    .. math:: |\partial L/\partial b| \approx \chi_0^{d/2}\, \sqrt{\frac{c\, (1 - 1/c)/c}{B}}\, \sqrt{\frac{1}{3 n}},
              \qquad \chi_0 = g^2 \psi(-\theta)^2

    from the imbalance of ``c`` classes in a batch of ``B`` and torch's default readout. Adam moves it if that exceeds ``ε``.
    """
    gain = design.gains()[0]
    rates = vf.mean_field(design.network()).firing_rate.mean(axis=-1)
    silent = np.flatnonzero(design.width * design.steps * rates < 1)
    if not silent.size:
        return math.inf
    factor = gain**2 * float(design.surrogate(np.array([-design.threshold]))[0]) ** 2
    last = math.sqrt((1 - 1 / classes) / batch / (3 * design.width))
    return float(silent[0] + max(math.log(last / epsilon), 0.0) / (-0.5 * math.log(factor)))


def agreement(
    scores: Sequence[float], accuracies: Sequence[float], given: Sequence[float] | None = None, seed: int = 0
) -> Mapping[str, Any]:
    """Spearman's rank correlation of a predictor with accuracy, with a 95 % bootstrap interval over networks.

    ``given``: another score, whose part in both is taken out (partial rank correlation).
    """
    stats = require("scipy", "scipy.stats")
    samples = [np.asarray(each) for each in (scores, accuracies, *([] if given is None else [given]))]

    def rank_correlation(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        x, y, *others = (stats.zscore(stats.rankdata(each, axis=axis), axis=axis) for each in samples)
        xy = (x * y).mean(axis=axis)
        for z in others:
            xz, yz = (x * z).mean(axis=axis), (y * z).mean(axis=axis)
            xy = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
        return np.asarray(xy)

    found = stats.bootstrap(
        samples,
        rank_correlation,
        paired=True,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = found.confidence_interval
    return {"spearman": float(rank_correlation(*samples)), "low": float(low), "high": float(high)}
