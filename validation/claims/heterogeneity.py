"""Claim: where neurons differ in threshold or decay, the mean over neurons of their responses sets the rate."""

from __future__ import annotations

from functools import partial
from typing import Any

from scipy import stats

import varflow as vf
from validation.layered import Curve, Settings, claim

WIDE, GAMMA = stats.uniform(0.5, 1.0), stats.gamma(4, scale=0.25)  # of mean 1
DECAYS = stats.uniform(0.1, 0.8)


def plain(width: int, factor: float, *, square: float, steps: int = 1, depth: int = 15, **neuron: Any) -> vf.Network:
    """``neuron``: threshold, decay and reset; ``factor`` is on the gain."""
    shape = {"width": width, "depth": depth, "gain": factor * square**0.5, "steps": steps}
    return vf.Network(**shape, neuron=vf.Neuron(**neuron))


memory = partial(plain, square=8.0, steps=12, reset="delayed_subtract")
CURVES = {
    "thresholds uniform from 0.5 to 1.5": Curve(partial(plain, square=6.303, threshold=WIDE), layers=5),
    "thresholds of a gamma distribution": Curve(partial(plain, square=5.0, threshold=GAMMA), layers=5),
    "decays uniform from 0.1 to 0.9": Curve(partial(memory, decay=DECAYS), layers=5),
    "thresholds uniform, with leak and reset": Curve(partial(memory, threshold=WIDE, decay=0.5), layers=5),
}

CLAIM = claim(
    name="heterogeneity",
    statement="Where each neuron draws its threshold or decay from a distribution, the second moments of the spikes are "
    "M = E[M(θ, β)], averaged over neurons after their dynamics; neurons with the mean threshold or decay fire otherwise.",
    source="derived in vf.mean_field",
    curves=CURVES,
    wrong={
        "the mean threshold for all neurons": {
            "thresholds uniform from 0.5 to 1.5": Curve(partial(plain, square=6.303, threshold=1.0), layers=5),
        },
        "thresholds of a coefficient of variation of 0.4 instead of 0.5": {
            "thresholds of a gamma distribution": Curve(
                partial(plain, square=5.0, threshold=stats.gamma(6.25, scale=0.16)), layers=5
            ),
        },
        "the mean decay for all neurons": {"decays uniform from 0.1 to 0.9": Curve(partial(memory, decay=0.5), layers=5)},
        "the mean threshold, with leak and reset": {
            "thresholds uniform, with leak and reset": Curve(partial(memory, threshold=1.0, decay=0.5), layers=5)
        },
    },
    budgets={
        "quick": Settings(repeats=240, curves=tuple(CURVES), widths=(120, 240), bias=0.03, points=2**10),
        "standard": Settings(repeats=200, curves=tuple(CURVES), widths=(300, 600), points=2**11),
    },
)
