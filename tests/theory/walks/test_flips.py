"""Flips of spikes by a step: known values, limits, and dense networks with drawn weights."""

import math

import numpy as np
import pytest

import varflow as vf

LEAKY = vf.neurons.snntorch_leaky(0.5)
DRIVE = vf.drives.currents(math.sqrt(1.261))
ONE_STEP = vf.Network(width=1000, depth=8, gain=vf.gain(threshold=1.0))
SPIKE = vf.layers.Spike(LEAKY)


def in_time(depth, width=1000, steps=4):
    return vf.Network(width=width, depth=depth, gain=math.sqrt(8.175), neuron=LEAKY, steps=steps, drive=DRIVE)


def with_shortcuts(depth, width=1000):
    block = vf.layers.Residual(SPIKE, vf.layers.Linear(gain=math.sqrt(0.5)))
    return vf.Network(width=width, steps=4, drive=DRIVE, layers=[block] * (depth - 1) + [SPIKE])


def fired(currents, steps):
    """Spikes (steps, …) of snntorch's Leaky, or of one step, under currents (steps, …)."""
    h = s = np.zeros_like(currents[0])
    sent = []
    for t in range(steps):
        h = 0.5 * h - s + currents[t]
        s = (h > 1).astype(np.float32)
        sent.append(s)
    return np.array(sent)


def dense(n, depth, gain, steps, variance, epsilon, networks, *, shortcut=False, inputs=24, seed=0):
    """Flips (networks, depth) of drawn weights and random changes of relative size ``epsilon``."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(networks):
        first = math.sqrt(variance) * rng.standard_normal((2, inputs, n)).astype(np.float32)
        before = np.broadcast_to(first[0], (steps, inputs, n))
        after = np.broadcast_to(first[0] + epsilon * first[1], (steps, inputs, n))
        layers = []
        for layer in range(depth):
            a, b = fired(before, steps), fired(after, steps)
            layers.append(np.abs(a - b).sum() / (a.sum() + b.sum()))
            if layer == depth - 1:
                break
            W, change = gain / math.sqrt(n) * rng.standard_normal((2, n, n)).astype(np.float32)
            new, old = b @ (W + epsilon * change), a @ W
            before, after = (before + old, after + new) if shortcut else (old, new)
        found.append(layers)
    return np.array(found)


def agrees(theory, samples, bias=0.0):
    """Within three standard errors, and a fraction that finite width flips less."""
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    off = np.abs(theory.flips - samples.mean(axis=0))
    return np.all(off < 3 * np.hypot(error, theory.error) + bias * theory.flips)


# Known values.


@pytest.mark.parametrize(
    ("epsilon", "known"),
    [
        (0.01, {1: 0.0061, 2: 0.0674, 3: 0.2234, 4: 0.4065, 5: 0.5472, 8: 0.7036}),
        (0.0001, {1: 0.0001, 2: 0.0067, 3: 0.0705, 4: 0.2284, 5: 0.4110, 8: 0.6808}),
    ],
)
def test_one_step(epsilon, known):
    flips = vf.flips(ONE_STEP, relative=epsilon).flips
    np.testing.assert_allclose([flips[layer - 1] for layer in known], list(known.values()), atol=6e-5)


@pytest.mark.parametrize(
    ("network", "change", "known"),
    [
        (in_time(10), {"relative": 0.01}, {1: 0.0218, 3: 0.241, 5: 0.441, 10: 0.546}),
        (in_time(10), {"relative": 0.001}, {10: 0.543}),
        (with_shortcuts(20), {"relative": 0.01}, {1: 0.0218, 5: 0.126, 10: 0.175, 20: 0.197}),
        (
            in_time(10),
            {"direct": [0.013] + 9 * [0.025]},
            {1: 0.036, 2: 0.138, 3: 0.268, 4: 0.377, 5: 0.450, 6: 0.491, 10: 0.543},
        ),
    ],
)
def test_several_steps(network, change, known):
    found = vf.flips(network, **change)
    at = np.array(list(known)) - 1
    assert np.all(np.abs(found.flips[at] - list(known.values())) < 0.005)
    assert np.all(found.error[at] < 0.003)


# Limits.


def test_small_changes_follow_square_roots():
    p, density = math.erfc(math.sqrt(0.5)) / 2, math.exp(-0.5) / math.sqrt(2 * math.pi)
    a, d = density / (math.sqrt(2 * math.pi) * p), 1e-5
    r = vf.flips(ONE_STEP, relative=d).flips
    np.testing.assert_allclose(r[:2], [a * d, a * math.sqrt(2 * a * d + d**2)], rtol=3e-3)
    assert not np.isclose(r[1], a * d, rtol=0.5)
    np.testing.assert_allclose(vf.flips(ONE_STEP, direct=d).flips[0], density * d / (2 * p), rtol=1e-4)


@pytest.mark.parametrize(("width", "known"), [(100, 4.85), (400, 9.69), (1600, 19.39)])
def test_one_flipped_spike(width, known):
    p = math.erfc(math.sqrt(0.5)) / 2
    wanted = 1 / (2 * p * width)  # one flipped spike
    epsilon = wanted / vf.flips(ONE_STEP, relative=[1e-4] + 7 * [0.0]).flips[0] * 1e-4
    first, second = vf.flips(ONE_STEP, relative=[epsilon] + 7 * [0.0]).flips[:2]
    assert second / first == pytest.approx(known, rel=0.5 * math.sqrt(first))
    assert second / first != pytest.approx(1.2 * known, rel=0.5 * math.sqrt(first))


def test_flips_end_where_any_two_inputs_do():
    end = 1 - vf.correlation_fixed_points(threshold=1.0)[0].overlap
    deep = vf.Network(width=1000, depth=25, gain=vf.gain(threshold=1.0))
    assert vf.flips(deep, direct=1e-3).flips[-1] == pytest.approx(end, abs=1e-6)
    assert end == pytest.approx(0.726, abs=5e-4)


@pytest.mark.parametrize("network", [ONE_STEP, in_time(8), with_shortcuts(8)])
def test_what_does_not_change_flips_nothing(network):
    assert not vf.flips(network, direct=0, points=64).flips.any()
    late = vf.flips(network, relative=[0, 0, 0, 0.1, 0, 0, 0, 0], points=2**10).flips
    assert not late[:3].any()
    assert late[3] > 0.01


# Dense networks.

CASES = {
    "one step": (ONE_STEP, {"gain": math.sqrt(6.3030), "steps": 1, "variance": 1.0}, 8),
    "time": (in_time(6), {"gain": math.sqrt(8.175), "steps": 4, "variance": 1.261}, 6),
    "shortcut": (with_shortcuts(6), {"gain": math.sqrt(0.5), "steps": 4, "variance": 1.261, "shortcut": True}, 6),
}


@pytest.mark.parametrize("name", CASES)
def test_dense_networks(name):
    network, setting, depth = CASES[name]
    samples = dense(1000, depth, epsilon=0.01, networks=8, **setting)
    assert agrees(vf.flips(network, relative=0.01), samples, bias=0.03)
    assert not agrees(vf.flips(network, relative=0.013), samples, bias=0.03)


def test_networks_of_their_own_width():
    setting, few = {"gain": math.sqrt(8.175), "steps": 4, "variance": 1.261}, {"relative": 0.002}
    samples = dense(64, 8, epsilon=0.002, networks=150, inputs=1, **setting)
    found = vf.flips(in_time(8, width=64), **few, repeats=150)
    assert found.samples.shape == (150, 8)
    assert agrees(found, samples)
    assert not agrees(vf.flips(in_time(8, width=64), **few), samples)


def test_neurons_without_reset():
    """Exact, and by a million drawn currents."""
    network = vf.Network(width=50, depth=1, gain=2.0, neuron=vf.Neuron(1.0, decay=0.5, reset="none"), steps=3)
    rng, filters = np.random.default_rng(0), 0.5 ** np.array([[0, np.inf, np.inf], [1, 0, np.inf], [2, 1, 0]])

    def drawn(change):
        found = []
        for _ in range(8):
            z = rng.standard_normal(10**6)
            a, b = (filters.sum(axis=1)[:, None] * I > 1 for I in (z, z + change(len(z))))
            found.append((a ^ b).sum() / (a.sum() + b.sum()))
        return np.array(found)[:, None]

    signs = drawn(lambda size: 0.01 * rng.choice([-1, 1], size))
    assert agrees(vf.flips(network, relative=0.01), drawn(lambda size: 0.01 * rng.standard_normal(size)))
    assert agrees(vf.flips(network, direct=0.01), signs)
    assert not agrees(vf.flips(network, relative=0.01), signs)


def test_figure_and_data():
    pytest.importorskip("matplotlib")
    found = vf.flips(in_time(3, width=20), direct=[0.0, 0.1, 0.1], repeats=4)
    first, network = found.plot().get_title().split("\n")
    assert (first, network) == ("direct change, 4 sampled networks of finite width", repr(found.network))
    assert found.to_dict()["samples"].__len__() == 4
    assert "4 networks of their own width" in repr(found)


# Doors.


@pytest.mark.parametrize(
    ("network", "change", "message"),
    [
        (ONE_STEP, {}, "one of both"),
        (ONE_STEP, {"direct": 0.1, "relative": 0.1}, "one of both"),
        (ONE_STEP, {"direct": -0.1}, "negative"),
        (ONE_STEP, {"relative": [0.1, 0.1]}, "depth=8"),
        (ONE_STEP, {"relative": 0.1, "repeats": 1}, "at least 2"),
        (vf.Network(width=9, depth=1, gain=1.0, drive=vf.drives.given([1.0])), {"direct": 0.1}, "given one by one"),
        (vf.Network(width=9, layers=[vf.layers.Spike(LEAKY, recurrent_gain=1.0)], steps=2), {"direct": 0.1}, "recurrent"),
        (
            vf.Network(width=9, layers=[SPIKE, vf.layers.Linear(gain=2.0), vf.layers.BatchNorm(), SPIKE]),
            {"direct": 0.1},
            "BatchNorm",
        ),
    ],
)
def test_what_is_not_covered_is_refused(network, change, message):
    with pytest.raises(vf.DomainError, match=message):
        vf.flips(network, **change)


def test_silent_layers_have_no_flips():
    found = vf.flips(vf.Network(width=50, depth=6, gain=0.1, neuron=LEAKY, steps=3), direct=0.1, points=256)
    assert np.isnan(found.flips[-1])
    assert "–" in repr(found)


def test_inputs_and_maps():
    x = np.random.default_rng(0).normal(size=(3, 2, 5, 5))
    layers = [vf.layers.Conv(8, gain=2.5), SPIKE, vf.layers.Pool("average", 2), vf.layers.Linear(30, gain=4.0), SPIKE]
    network = vf.Network(layers=layers, steps=2, drive=vf.drives.inputs(x))
    found = vf.flips(network, direct=0.05, points=2**10)
    assert np.all((found.flips > 0.01) & (found.flips < 0.9))
    assert found.flips[1] > found.flips[0]
    assert np.all(vf.flips(network, relative=0.05, points=2**10).flips > 0.01)


def test_weights_of_numbers_change_as_those_of_currents():
    """The first layer as a node, and as the drive's weights; of many inputs."""
    x = np.random.default_rng(0).normal(size=(20, 30))
    behind = [SPIKE, vf.layers.Residual(vf.layers.Linear(gain=2.0), SPIKE)]
    numbers = vf.Network(layers=[vf.layers.Linear(40, gain=1.5), *behind], width=40, steps=3, drive=vf.drives.inputs(x))
    currents = vf.Network(layers=behind, width=40, steps=3, drive=vf.drives.inputs(x, input_gain=1.5))
    for change in ({"relative": 0.05}, {"direct": 0.05}):
        one, other = (vf.flips(network, **change, points=2**9) for network in (numbers, currents))
        np.testing.assert_allclose(one.flips, other.flips, rtol=1e-6)
