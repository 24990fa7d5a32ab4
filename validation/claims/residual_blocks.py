"""Claim: residual blocks let activity grow, keep it or lose it as the theory of signals through layers predicts."""

from __future__ import annotations

from functools import partial

import varflow as vf
from validation.layered import Curve, Settings, claim

L = vf.layers
PAPER = vf.gain(threshold=1.0)
SPIKE = L.Spike(vf.Neuron(1.0))
LEAKY = L.Spike(vf.Neuron(1.0, decay=0.5, reset="zero"))


def plain(width: int, factor: float, *, square: float, blocks: int) -> vf.Network:
    linear = L.Linear(gain=factor * square**0.5)
    return vf.Network(width=width, layers=[SPIKE, *[linear, SPIKE] * blocks])


def shortcut(width: int, factor: float, *, square: float, keep: float, blocks: int, spike: L.Spike = SPIKE) -> vf.Network:
    """Membrane shortcuts around one layer of neurons and one of weights."""
    block = L.Residual(spike, L.Linear(gain=factor * square**0.5), keep=keep)
    return vf.Network(width=width, layers=[*[block] * blocks, spike], steps=6 if spike.neuron.decay else 1)


def two_layers(width: int, factor: float, *, keep: float, blocks: int) -> vf.Network:
    linear = L.Linear(gain=factor * PAPER)
    return vf.Network(width=width, layers=[*[L.Residual(SPIKE, linear, SPIKE, linear, keep=keep)] * blocks, SPIKE])


def sew(width: int, factor: float, *, merge: str, blocks: int, spike: L.Spike = SPIKE, scale: float = 1.0) -> vf.Network:
    """Spike-element-wise shortcuts around one layer of weights and one of neurons; ``scale`` multiplies what they return."""
    linear = L.Linear(gain=factor * PAPER)
    block = [L.Residual(linear, spike, merge=merge), L.Scale(scale)]
    return vf.Network(width=width, layers=[spike, *block * blocks, linear, spike], steps=6 if spike.neuron.decay else 1)


CURVES = {
    "a shortcut of currents, keep = 1": Curve(partial(shortcut, square=PAPER**2, keep=1.0, blocks=20), "variance"),
    "a scaled shortcut, keep = 0.9": Curve(partial(shortcut, square=0.19 * 8, keep=0.9, blocks=30), "variance"),
    "a branch of two layers, keep = 1": Curve(partial(two_layers, keep=1.0, blocks=20), "variance"),
    "SEW add": Curve(partial(sew, merge="add", blocks=20), "variance"),
    "SEW iand": Curve(partial(sew, merge="iand", blocks=4)),
    "a scaled shortcut with leak and reset": Curve(partial(shortcut, square=0.36 * 8, keep=0.8, blocks=10, spike=LEAKY)),
    "SEW add with leak and reset": Curve(partial(sew, merge="add", blocks=4, spike=LEAKY), "variance"),
}

CLAIM = claim(
    name="residual_blocks",
    statement="Blocks with a membrane shortcut map V to α²V + g² E S, SEW blocks the second moments of spikes to those of sums "
    "and products. Activity grows without bound for keep = 1 and SEW add, settles at the fixed point of a plain network of "
    "gain² g²/(1-α²) for keep = α < 1, and falls for SEW iand, also with leak and reset.",
    source="hu2024 for membrane shortcuts, fang2021 for SEW; derived in vf.mean_field",
    curves=CURVES,
    wrong={
        "a shortcut of keep = 0.9 taken for no shortcut": {
            "a scaled shortcut, keep = 0.9": Curve(partial(plain, square=0.19 * 8, blocks=30), "variance")
        },
        "keep = 0.88 instead of 0.9": {
            "a scaled shortcut, keep = 0.9": Curve(partial(shortcut, square=0.19 * 8, keep=0.88, blocks=30), "variance")
        },
        "a mean over shortcut and branch instead of their sum": {
            "SEW add": Curve(partial(sew, merge="add", blocks=20, scale=0.5), "variance")
        },
        "and instead of iand": {"SEW iand": Curve(partial(sew, merge="and", blocks=4))},
        "no reset": {
            "a scaled shortcut with leak and reset": Curve(
                partial(shortcut, square=0.36 * 8, keep=0.8, blocks=10, spike=L.Spike(vf.Neuron(1.0, decay=0.5)))
            )
        },
    },
    budgets={
        "quick": Settings(repeats=150, curves=tuple(CURVES), widths=(100, 200), bias=0.03, points=2**10, pilot=80),
        "standard": Settings(repeats=200, curves=tuple(CURVES), widths=(300, 600)),
    },
)
