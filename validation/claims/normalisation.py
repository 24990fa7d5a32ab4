"""Claim: normalised networks fire at the rates predicted, whatever their gain."""

from __future__ import annotations

from functools import partial

import varflow as vf
from validation.layered import Curve, Settings, claim

L = vf.layers
SPIKE = L.Spike(vf.Neuron(1.0))
LEAKY = L.Spike(vf.neurons.spikingjelly_lif())


def batch(width: int, factor: float, *, gamma: float, layers: int, spike: L.Spike = LEAKY) -> vf.Network:
    """Linear, BatchNorm, neurons; a batch of 256 random inputs passes through each simulated network."""
    block = [L.Linear(gain=1.0), L.BatchNorm(gamma=factor * gamma), spike]
    return vf.Network(width=width, layers=[spike, *block * layers], steps=4 if spike.neuron.decay else 1)


def evaluated(width: int, factor: float, *, layers: int) -> vf.Network:
    """BatchNorm in evaluation mode with the statistics of initialisation: the identity."""
    block = [L.Linear(gain=factor * 10**0.5), L.BatchNorm(statistics=(0.0, 1.0), eps=0.0), SPIKE]
    return vf.Network(width=width, layers=[SPIKE, *block * layers])


def layer(width: int, factor: float, *, layers: int) -> vf.Network:
    return vf.Network(width=width, layers=[SPIKE, *[L.Linear(gain=1.0), L.LayerNorm(gamma=factor * 1.2), SPIKE] * layers])


def rows(width: int, factor: float, *, kind: str, layers: int) -> vf.Network:
    return vf.Network(width=width, layers=[SPIKE, *[L.Linear(gain=factor * 10**0.5, rows=kind), SPIKE] * layers])


CURVES = {
    "BatchNorm, γ = 1, one step": Curve(partial(batch, gamma=1.0, layers=3, spike=SPIKE), strength="γ"),
    "BatchNorm, γ = 2, SpikingJelly's LIF": Curve(partial(batch, gamma=2.0, layers=4), strength="γ"),
    "BatchNorm, γ = 1.5, SpikingJelly's LIF": Curve(partial(batch, gamma=1.5, layers=4), strength="γ"),
    "BatchNorm in evaluation mode": Curve(partial(evaluated, layers=8), layers=4),
    "LayerNorm, γ = 1.2": Curve(partial(layer, layers=10), layers=8, strength="γ"),
    "centred rows": Curve(partial(rows, kind="centred", layers=8), layers=4),
    "standardised rows": Curve(partial(rows, kind="standardised", layers=8), layers=4),
}

CLAIM = claim(
    name="normalisation",
    statement="Behind BatchNorm and LayerNorm the rate is set by γ/θ and not by the gain, in time too; BatchNorm in evaluation "
    "mode with the statistics of initialisation changes nothing; centred and standardised rows map V to g² p (1-p).",
    source="ioffe2015 and ba2016 for the layers; derived in vf.mean_field",
    curves=CURVES,
    wrong={
        "γ = 0.95 instead of 1": {
            "BatchNorm, γ = 1, one step": Curve(partial(batch, gamma=0.95, layers=3, spike=SPIKE), strength="γ")
        },
        "no leak and no reset behind BatchNorm": {
            "BatchNorm, γ = 2, SpikingJelly's LIF": Curve(partial(batch, gamma=2.0, layers=4, spike=SPIKE), strength="γ")
        },
        "evaluation mode taken for training": {
            "BatchNorm in evaluation mode": Curve(partial(batch, gamma=1.0, layers=8, spike=SPIKE), layers=4)
        },
        "free rows instead of centred ones": {"centred rows": Curve(partial(rows, kind="free", layers=8), layers=4)},
        "free rows instead of standardised ones": {"standardised rows": Curve(partial(rows, kind="free", layers=8), layers=4)},
    },
    budgets={
        "quick": Settings(repeats=120, curves=tuple(CURVES), widths=(60, 120), bias=0.03, points=2**10),
        "standard": Settings(repeats=100, curves=tuple(CURVES), widths=(150, 300), bias=0.015),
    },
)
