"""The surrogate tangent kernel of three inputs against real networks under autograd."""

import math

import numpy as np
import pytest
import torch
from autograd_networks import tangent_kernel

import varflow as vf

L = vf.layers
WIDTH, STEPS, NETWORKS = 300, 4, 24
SPIKE = L.Spike(vf.neurons.snntorch_leaky(0.5))
CHAIN = [SPIKE, *[L.Linear(WIDTH, gain=2.8), SPIKE] * 3]
MAP = [
    L.Conv(48, gain=2.5),
    L.Spike(vf.Neuron(decay=0.5, reset="zero")),
    L.Pool("average", 2),
    L.Linear(WIDTH, gain=4.0),
    SPIKE,
]
IMAGES = np.random.default_rng(0).normal(size=(3, 8, 4, 4)) + 2 * np.random.default_rng(1).normal(size=(1, 8, 4, 4))
BIAS = 0.05
FEW = {"points": 2**10}


def currents_of(rows, seed):
    """Currents of 3 inputs through fresh weights, constant in time."""
    generator = torch.Generator().manual_seed(1000 + seed)
    x = torch.tensor(rows, dtype=torch.float32)
    return (x @ torch.randn(rows.shape[1], WIDTH, generator=generator) / math.sqrt(rows.shape[1]))[:, None].expand(
        3, STEPS, WIDTH
    )


def measured(layers, rows):
    def one(seed):
        x = (
            torch.tensor(rows, dtype=torch.float32)[:, None].expand(3, STEPS, *rows.shape[1:])
            if rows.ndim > 2
            else currents_of(rows, seed)
        )
        return tangent_kernel(layers, x.clone(), seed=seed).numpy()

    theta = np.array([one(seed) for seed in range(NETWORKS)])
    correlations = theta[:, :, 0, 1:] / np.sqrt(theta[:, :, :1, 0] * np.diagonal(theta, axis1=2, axis2=3)[:, :, 1:])
    return theta.mean(axis=0), correlations.mean(axis=0), correlations.std(axis=0, ddof=1) / math.sqrt(NETWORKS)


def rows_of(cosines):
    return math.sqrt(3) * np.array([[1, 0, 0], *([c, math.sqrt(1 - c**2), 0] for c in cosines)])


@pytest.mark.parametrize("name", ["chain", "map"])
def test_the_kernel_is_that_of_real_networks(name):
    layers, rows = (CHAIN, rows_of((0.8, 0.4))) if name == "chain" else (MAP, IMAGES)
    net = vf.Network(layers=layers, width=WIDTH, steps=STEPS, drive=vf.drives.inputs(IMAGES) if name == "map" else None)
    theta, mean, error = measured(layers, rows)

    def agrees(found):
        return np.all(np.abs(found.correlations - mean) < 4 * np.hypot(error, found.error["correlations"]) + 0.02)

    found = vf.trainability(net, inputs=None if name == "chain" else IMAGES, **FEW)
    assert agrees(found)
    np.testing.assert_allclose(found.norms**2, theta[:, 0, 0], rtol=4 * 0.3 / math.sqrt(NETWORKS) + BIAS)
    assert not agrees(vf.trainability(net, vf.surrogates.atan(4.0), None if name == "chain" else IMAGES, **FEW))
    order = [0, 2, 1]
    swapped = vf.trainability(net, inputs=(rows_of((0.4, 0.8)) if name == "chain" else IMAGES[order]), **FEW)
    np.testing.assert_allclose(swapped.correlations[:, ::-1], found.correlations, atol=0.02)


def test_depth_and_narrow_surrogates_lose_the_contrast():
    def contrast(depth, slope):
        net = vf.Network(width=1000, depth=depth, gain=2.86, neuron=SPIKE.neuron, steps=STEPS)
        found = vf.trainability(net, vf.surrogates.fast_sigmoid(slope))
        return found.contrast, 4 * float(found.error["contrast"])

    (near, off), (deep, far) = contrast(5, 1.4), contrast(15, 1.4)
    assert near - off > deep + far
    (narrow, width) = contrast(5, 25.0)
    assert near - off > narrow + width


@pytest.mark.parametrize(
    ("network", "inputs", "message"),
    [
        (vf.Network(width=9, depth=1, gain=1.0), None, "must have a layer with weights"),
        (vf.Network(width=9, depth=2, gain=1.0, drive=vf.drives.white()), None, "without inputs"),
        (vf.Network(width=9, depth=2, gain=1.0), np.ones((2, 4)), "must be three"),
        (vf.Network(width=9, depth=2, gain=1.0), rows_of((1.0, 0.4)), "must differ"),
        (vf.Network(width=9, layers=[SPIKE, L.Linear(gain=2.0), L.BatchNorm(), SPIKE]), None, "normalises over a batch"),
    ],
)
def test_what_has_no_contrast_is_refused(network, inputs, message):
    with pytest.raises(vf.DomainError, match=message):
        vf.trainability(network, inputs=inputs)
