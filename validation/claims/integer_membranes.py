"""Claim: deep networks whose membranes are integers of few bits fire at the predicted rates, which depend on the rounding."""

from __future__ import annotations

from functools import partial
from typing import Any

import varflow as vf
from validation.layered import Curve, Settings, claim

R = vf.resets


def chip(
    width: int, factor: float, *, bits: int = 0, rounding: str = "shift", gain: float = 2.3, leak: int = 3, **reset: Any
) -> vf.Network:
    """Ten layers with a leak of 1 - 2⁻ᵏ; ``bits=0``: membranes of real numbers."""
    register = R.Register(bits=bits, rounding=rounding) if bits else None
    neuron = vf.Neuron(decay=1 - 2**-leak, reset=R.Reset(**(reset or {"membrane": 1.0}), register=register))
    return vf.Network(width=width, depth=10, gain=factor * gain, neuron=neuron, steps=16)


SHIFTED, NEAREST, TOWARDS = "6 bits, shifted", "6 bits, to the nearest", "7 bits, towards zero"
SATURATED = "6 bits, subtracted, which saturates"
low, subtracted = partial(chip, gain=1.8), partial(chip, gain=2.0, leak=4, threshold=1.0)
CURVES = {
    SHIFTED: Curve(partial(low, bits=6), layers=5),
    NEAREST: Curve(partial(chip, bits=6, rounding="nearest"), layers=5),
    TOWARDS: Curve(partial(chip, bits=7, rounding="zero"), layers=5),
    SATURATED: Curve(partial(subtracted, bits=6), quantity="variance", layers=5),
    "16 bits": Curve(partial(chip, bits=16), layers=5),
}

CLAIM = claim(
    name="integer_membranes",
    statement="Deep networks whose membranes are integers of 6, 7 and 16 bits, leaks by shifts, to the nearest and towards "
    "zero, have the rates, and where registers saturate the variance, of the theory of infinite width; membranes of real "
    "numbers, and other roundings, have others.",
    source="derived in vf.resets.Register",
    curves=CURVES,
    wrong={
        "real numbers for shifts": {SHIFTED: Curve(low, layers=5)},
        "to the nearest for shifts": {SHIFTED: Curve(partial(low, bits=6, rounding="nearest"), layers=5)},
        "real numbers for the nearest": {NEAREST: Curve(chip, layers=5)},
        "real numbers for towards zero": {TOWARDS: Curve(chip, layers=5)},
        "no saturation": {SATURATED: Curve(subtracted, quantity="variance", layers=5)},
    },
    budgets={
        "quick": Settings(repeats=80, curves=tuple(CURVES), widths=(100, 200), bias=0.05, points=2**9),
        "standard": Settings(repeats=100, curves=tuple(CURVES), widths=(300, 600), points=2**11),
    },
)
