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
NEAR = 1 / math.sqrt(1 + 0.015**2)  # cosine of the first input and the first moved by a step
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

    found = vf.trainability(net, inputs=rows, **FEW)
    assert agrees(found)
    np.testing.assert_allclose(found.norms**2, theta[:, 0, 0], rtol=4 * 0.3 / math.sqrt(NETWORKS) + BIAS)
    assert not agrees(vf.trainability(net, vf.surrogates.atan(4.0), rows, **FEW))
    order = [0, 2, 1]
    swapped = vf.trainability(net, inputs=rows[order], **FEW)
    np.testing.assert_allclose(swapped.correlations[:, ::-1], found.correlations, atol=0.02)
    np.testing.assert_allclose(swapped.persistence, found.persistence, atol=0.02)


@pytest.mark.parametrize("name", ["chain", "map"])
def test_persistence_is_that_of_an_input_close_by(name):
    layers, rows = (CHAIN, rows_of((NEAR, 0.4))) if name == "chain" else (MAP, IMAGES.copy())
    net = vf.Network(layers=layers, width=WIDTH, steps=STEPS, drive=vf.drives.inputs(IMAGES) if name == "map" else None)
    if name == "map":
        change = np.random.default_rng(5).normal(size=IMAGES[0].shape)
        rows[1] = rows[0] + 0.015 * change * np.linalg.norm(rows[0]) / np.linalg.norm(change)
    _, mean, error = measured(layers, rows)

    def agrees(found):
        return np.all(np.abs(found.persistence - mean[:, 0]) < 4 * np.hypot(error[:, 0], found.error["persistence"]) + 0.02)

    found = vf.trainability(net, inputs=None if name == "chain" else IMAGES, **FEW)
    assert agrees(found)
    assert found.mean_persistence == pytest.approx(found.persistence.mean())
    assert not agrees(vf.trainability(net, inputs=None if name == "chain" else IMAGES, direct=0.3, **FEW))
    if name == "chain":
        np.testing.assert_array_equal(found.persistence, found.correlations[:, 0])
        assert found.overlaps == pytest.approx([NEAR, 0.4])


def plain(depth, slope=None, steps=4):
    neuron, surrogate = vf.neurons.snntorch_leaky(0.5), "atan" if slope is None else vf.surrogates.fast_sigmoid(slope)
    return vf.trainability(vf.Network(width=100, depth=depth, gain=2.859, neuron=neuron, steps=steps), surrogate)


@pytest.mark.parametrize(
    ("depth", "slope", "known"),
    [
        *((5, None, 0.482), (10, None, 0.164), (15, None, 0.097), (20, None, 0.070)),
        *((10, 1.0, 0.402), (15, 1.0, 0.245), (20, 1.0, 0.173), (30, 1.0, 0.111)),
    ],
)
def test_persistence_of_plain_networks(depth, slope, known):
    """Known values, and ratios of neighbouring layers: next to the readout, five layers below, deeper."""
    found = plain(depth, slope)
    assert found.mean_persistence == pytest.approx(known, abs=0.005)
    assert found.error["mean_persistence"] < 0.0015
    ratio = found.persistence[:-1] / found.persistence[1:]
    if depth == 20:
        below = {1: 0.63, 5: 0.55, 11: 0.51} if slope is None else {1: 0.82, 4: 0.79}
        assert [ratio[-at] for at in below] == pytest.approx(list(below.values()), abs=0.012)
        assert found.persistence_depth == pytest.approx(-1 / math.log(0.507 if slope is None else 0.768), rel=0.05)


@pytest.mark.parametrize(
    ("surrogate", "known"),
    [
        (vf.surrogates.fast_sigmoid(25), (0.070, 0.101, 0.135)),
        (vf.surrogates.atan(2), (0.445, 0.564, 0.670)),
        (vf.surrogates.sigmoid(4), (0.429, 0.574, 0.698)),
        (vf.surrogates.fast_sigmoid(1), (0.701, 0.783, 0.848)),
        (vf.surrogates.fast_sigmoid(0.7), (0.786, 0.851, 0.901)),
    ],
)
def test_factor_per_layer_of_one_step(surrogate, known):
    for threshold, q in zip((1.0, 0.5, 0.0), known, strict=True):
        network = vf.Network(width=100, depth=20, gain=vf.gain(threshold=threshold), neuron=vf.Neuron(threshold))
        kernel = vf.trainability(network, surrogate)
        depth, error = kernel.persistence_depth, kernel.error["persistence_depth"]
        found = math.exp(-1 / depth)
        assert found == pytest.approx(q, abs=0.0006 + 3 * found * error / depth**2)
        assert error < 0.02 * depth


def test_a_shortcut_keeps_gradients():
    spike, linear = SPIKE, L.Linear(gain=math.sqrt(0.5))
    deep = vf.Network(width=100, steps=4, layers=[L.Residual(spike, linear)] * 19 + [spike])
    assert vf.trainability(deep).mean_persistence > 0.6 > 5 * plain(20).mean_persistence


def test_silent_networks_count_as_nothing():
    """Weights without spikes have no persistence, and a network that sends none is 0 in both scores."""
    found = vf.trainability(vf.Network(width=100, depth=10, gain=1.0, neuron=SPIKE.neuron, steps=4))
    assert np.isnan(found.persistence).all()
    assert found.mean_persistence == found.contrast == 0.0
    assert found.persistence_depth is None
    assert "no spikes or gradients at weights 1, 2, 3" in repr(found)
    narrow = vf.trainability(vf.Network(width=100, depth=3, gain=2.859, neuron=SPIKE.neuron, steps=4), lambda x: 0.0 * x)
    assert np.isnan(narrow.persistence).all()
    layers = [SPIKE, L.Residual(L.Linear(gain=0.05), SPIKE, L.Linear(gain=2.0), SPIKE), L.Linear(gain=2.859), SPIKE]
    beside = vf.trainability(vf.Network(width=50, layers=layers, steps=4))
    assert np.isnan(beside.persistence).tolist() == [False, True, False]
    assert beside.mean_persistence == pytest.approx(np.nansum(beside.persistence) / 3)


def test_a_network_that_was_read():
    import snntorch

    torch.manual_seed(0)
    hidden = [m for _ in range(4) for m in (torch.nn.Linear(64, 64, bias=False), snntorch.Leaky(0.5, init_hidden=True))]
    for weights in hidden[::2]:
        torch.nn.init.normal_(weights.weight, std=2.859 / 8)
    images = torch.randn(8, 64)
    model = torch.nn.Sequential(*hidden)
    found = vf.trainability(vf.read(model, images, steps=4))
    assert found.persistence.shape == (4,)
    chain = vf.Network(width=64, depth=4, gain=2.859, neuron=vf.neurons.snntorch_leaky(0.5), steps=4)
    np.testing.assert_allclose(found.persistence[1:], vf.trainability(chain).persistence, atol=0.15)


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


def test_changes_too_small_to_tell_are_refused():
    for direct in (1e-4, 2.0):
        with pytest.raises(vf.DomainError, match="direct"):
            vf.trainability(vf.Network(width=9, depth=2, gain=2.0), direct=direct)
