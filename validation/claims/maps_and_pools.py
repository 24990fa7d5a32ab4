"""Claim: convolutions with shared filters, zero padding and pools give the rates predicted from overlaps of positions."""

from __future__ import annotations

from functools import partial

import varflow as vf
from validation.layered import Curve, Settings, claim

L = vf.layers
SPIKE = L.Spike(vf.Neuron(1.0))
LEAKY = L.Spike(vf.Neuron(1.0, decay=0.5, reset="subtract"))


def convolutions(
    width: int,
    factor: float,
    *,
    square: float,
    layers: int,
    side: int = 8,
    kernel: int = 3,
    stride: int = 1,
    pool: L.Pool | None = None,
    spike: L.Spike = SPIKE,
) -> vf.Network:
    """Convolutional layers of ``width`` channels; a pool or a stride halves the map before the last two."""
    conv = L.Conv(width, kernel, gain=factor * square**0.5)
    strided = L.Conv(width, kernel, gain=factor * square**0.5, stride=stride)
    reduced = [pool, conv] if pool else [strided]
    body = [spike, *[conv, spike] * layers, *reduced, spike, conv, spike]
    drive = vf.drives.currents(1.0, shape=(width, side, side))
    return vf.Network(layers=body, drive=drive, steps=6 if spike.neuron.decay else 1)


CURVES = {
    "3 × 3 filters, zero padding": Curve(partial(convolutions, square=8.2, layers=6)),
    "stride 2": Curve(partial(convolutions, square=9.0, layers=3, stride=2)),
    "average pool": Curve(partial(convolutions, square=11.0, layers=3, pool=L.Pool("average", 2))),
    "max pool": Curve(partial(convolutions, square=8.0, layers=3, pool=L.Pool("max", 2))),
    "average pool with leak and reset": Curve(
        partial(convolutions, square=9.0, layers=2, side=4, pool=L.Pool("average", 2), spike=LEAKY)
    ),
}


def independent(**shape: object) -> Curve:
    """Filters of one tap on white maps: all positions independent, no border."""
    return Curve(partial(convolutions, kernel=1, **shape))


CLAIM = claim(
    name="maps_and_pools",
    statement="With shared filters the currents at two positions have the covariance g² times the mean second moment over the "
    "taps, zeros outside the map included; this overlap sets the rate behind average and max pools, with stride, and in time.",
    source="derived in vf.mean_field",
    curves=CURVES,
    wrong={
        "no border": {"3 × 3 filters, zero padding": independent(square=8.2, layers=6)},
        "an average over independent positions": {
            "average pool": independent(square=11.0, layers=3, pool=L.Pool("average", 2))
        },
        "a maximum over independent positions": {"max pool": independent(square=8.0, layers=3, pool=L.Pool("max", 2))},
        "no pool": {"average pool": Curve(partial(convolutions, square=11.0, layers=4))},
    },
    budgets={
        "quick": Settings(repeats=120, curves=tuple(CURVES), widths=(24, 48), bias=0.03, points=2**10),
        "standard": Settings(repeats=300, curves=tuple(CURVES), widths=(50, 100), bias=0.02),
    },
)
