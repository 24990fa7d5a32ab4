"""Claim: layers of recurrently connected neurons fire at the predicted rates, though their weights are used at every step."""

from __future__ import annotations

from functools import partial
from typing import Any

import varflow as vf
from validation.layered import Curve, Settings, claim

L = vf.layers
CONSTANT, WHITE = vf.drives.currents(0.5**0.5), vf.drives.white(1.0)


def layers(
    width: int,
    factor: float,
    *,
    recurrent: float,
    mean: float = 0.0,
    reset: str = "delayed_subtract",
    depth: int = 1,
    drive: Any = CONSTANT,
) -> vf.Network:
    """``depth`` recurrent layers, the input of each through weights of gain² 6. The factor is on the mean, if there is one."""
    neuron = vf.Neuron(1.0, decay=0.5, reset=reset)
    gains = {"recurrent_gain": factor * recurrent**0.5} if mean == 0 else {"recurrent_gain": recurrent**0.5}
    spike = L.Spike(neuron, **gains, recurrent_mean_gain=factor * mean)
    body = [spike, *[L.Linear(gain=6.0**0.5), spike] * (depth - 1)]
    return vf.Network(width=width, layers=body, drive=drive, steps=20)


CURVES = {
    "delayed subtraction, constant drive": Curve(partial(layers, recurrent=8.0), strength="recurrent gain"),
    "subtraction, white drive": Curve(partial(layers, recurrent=4.0, reset="subtract", drive=WHITE), strength="recurrent gain"),
    "three recurrent layers": Curve(partial(layers, recurrent=4.0, depth=3), strength="recurrent gain"),
    "mean weight -1.5/n": Curve(partial(layers, recurrent=8.0, mean=-1.5, drive=WHITE), strength="mean"),
    "mean weight 1/n": Curve(partial(layers, recurrent=8.0, mean=1.0, drive=WHITE), strength="mean"),
}

CLAIM = claim(
    name="recurrence",
    statement="The currents of a recurrent layer are Gaussian with covariance C_below + g_r² M shifted by one step and mean "
    "m_r e, as if its weights were drawn anew at every step: the limit of networks that use the same weights at every step.",
    source="derived in vf.mean_field",
    curves=CURVES,
    wrong={
        "no recurrent weights": {
            "delayed subtraction, constant drive": Curve(partial(layers, recurrent=0.0)),
            "subtraction, white drive": Curve(partial(layers, recurrent=0.0, reset="subtract", drive=WHITE)),
        },
        "mean weight 0 instead of -1.5/n": {"mean weight -1.5/n": Curve(partial(layers, recurrent=8.0))},
        "a reset without delay": {
            "delayed subtraction, constant drive": Curve(partial(layers, recurrent=8.0, reset="subtract"))
        },
    },
    budgets={
        "quick": Settings(repeats=150, curves=tuple(CURVES), widths=(100, 200), bias=0.03, points=2**10),
        "standard": Settings(repeats=150, curves=tuple(CURVES), widths=(300, 600), points=2**12),
    },
)
