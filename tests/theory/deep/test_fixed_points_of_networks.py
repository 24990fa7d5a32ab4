"""Fixed points of a network, described by hand or read from a model: those of the block of layers that it repeats."""

import numpy as np
import pytest

import varflow as vf

L = vf.layers
SPIKE, GAIN = L.Spike(vf.Neuron(1.0)), 2.7
BLOCKS = {
    "membrane shortcut": [L.Residual(SPIKE, L.Linear(gain=1.2), keep=0.9)],
    "spikes added": [L.Residual(L.Linear(gain=GAIN), SPIKE)],
    "iand": [L.Residual(L.Linear(gain=2.8), SPIKE, merge="iand"), L.Linear(gain=3.5), SPIKE],
    "batch norm": [L.Linear(gain=2.0), L.BatchNorm(gamma=1.5), SPIKE],
    "scaled spikes": [L.Scale(0.5), L.Linear(gain=6.0), SPIKE],
    "two layers": [L.Linear(gain=GAIN), SPIKE, L.Linear(gain=3.0), SPIKE],
}


def numbers(points, *names):
    return np.array([[getattr(point, name) for name in names or ("variance", "firing_rate")] for point in points])


def deep(block, repeats=8):
    """The block repeated, between layers of other kinds."""
    first = [] if block[0] is BLOCKS["membrane shortcut"][0] else [SPIKE]
    return vf.Network(width=300, layers=[*first, *block * repeats, *([] if first else [SPIKE]), L.Linear(10, gain=1.0), SPIKE])


@pytest.mark.parametrize("name", BLOCKS)
def test_layers_have_the_fixed_points_of_the_block_that_they_repeat(name):
    found, expected = vf.fixed_points(deep(BLOCKS[name])), vf.fixed_points(block=BLOCKS[name])
    np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-12)
    np.testing.assert_allclose(numbers(found, "multiplier"), numbers(expected, "multiplier"), rtol=1e-6)
    assert found.note == expected.note


def test_a_graph_by_hand_has_those_of_the_same_layers():
    nodes, before = {"s": (SPIKE, "drive")}, "s"
    for number in range(6):
        nodes |= {f"c{number}": (L.Linear(gain=2.8), before), f"y{number}": (SPIKE, f"c{number}")}
        nodes |= {f"no{number}": (L.Sum((-1.0,), 1.0), f"y{number}"), f"xy{number}": (L.Product(), before, f"no{number}")}
        nodes |= {f"d{number}": (L.Linear(gain=3.5), f"xy{number}"), f"s{number}": (SPIKE, f"d{number}")}
        before = f"s{number}"
    network = vf.Network(width=300, nodes=nodes)
    expected = numbers(vf.fixed_points(block=BLOCKS["iand"]))
    assert len(expected) > 1
    np.testing.assert_allclose(numbers(vf.fixed_points(network)), expected, rtol=1e-12)
    others = {"c1": (L.Linear(gain=3.2), "s0"), "c4": (L.Linear(gain=3.1), "s3")}  # no more than half of the layers are alike
    stronger = vf.Network(width=300, nodes=nodes | others)
    with pytest.raises(vf.DomainError, match="repeats no block"):
        vf.fixed_points(stronger)


@pytest.mark.parametrize("more", [{}, {"bias_std": 0.3}, {"mean_gain": -0.4}, {"bias_std": 0.1, "mean_gain": 0.3}])
def test_a_chain_has_those_of_its_layer(more):
    """A plain one has them from the same function, which knows that the list is complete; another by a scan."""
    expected = vf.fixed_points(threshold=1.0, gain=GAIN, **more)
    plain = vf.fixed_points(vf.Network(width=100, depth=7, gain=GAIN, **more))
    assert np.array_equal(numbers(plain), numbers(expected))
    assert plain.complete == expected.complete
    first = [SPIKE, L.Linear(gain=9.0), L.Spike(vf.Neuron(0.1))]
    other = vf.fixed_points(vf.Network(width=100, layers=[*first, *[L.Linear(gain=GAIN, **more), SPIKE] * 4]))
    np.testing.assert_allclose(numbers(other), numbers(expected), rtol=1e-11)


def test_the_input_scale_and_the_mean_of_the_weights_count():
    neuron = vf.Neuron(1.0, decay=0.5, input_scale=0.5)
    network = vf.Network(width=100, depth=5, gain=6.0, neuron=neuron, weights="exponential", bias_std=0.2)
    expected = vf.fixed_points(threshold=1.0, gain=3.0, bias_std=0.1, mean_gain=0.5 * network.mean_gains[1])
    assert np.array_equal(numbers(vf.fixed_points(network)), numbers(expected))


def test_weights_that_differ_as_drawn_ones_are_averaged():
    """Within four standard errors of their gains; beyond, and where the matrices are wider, they are other layers."""

    def network(spread, width=100):
        layers = [part for x in (1, -1, -1, 1, 1) for part in (L.Linear(gain=GAIN * (1 + x * spread)), SPIKE)]
        return vf.Network(width=width, layers=[SPIKE, L.Linear(gain=3.3), SPIKE, *layers])

    error = 1 / 2**0.5 / 100  # relative, of the gain of 100 × 100 weights; that of a difference is √2 times as large
    averaged = vf.fixed_points(network(2.5 * error))
    expected = vf.fixed_points(threshold=1.0, gain=GAIN * (1 + 2.5 * error / 5))
    np.testing.assert_allclose(numbers(averaged), numbers(expected), rtol=1e-9)
    assert averaged.note.startswith("Of the average over repeats")
    for other in (network(3.5 * error), network(2.5 * error, width=1000)):
        with pytest.raises(vf.DomainError, match="repeats no block"):
            vf.fixed_points(other)


def test_exact_repeats_come_before_averages():
    """Gains that alternate are a block of two layers, however little they differ."""
    layers = [L.Linear(gain=GAIN), SPIKE, L.Linear(gain=1.01 * GAIN), SPIKE]
    found = vf.fixed_points(vf.Network(width=50, layers=[SPIKE, *layers * 4]))
    np.testing.assert_allclose(numbers(found), numbers(vf.fixed_points(block=layers)), rtol=1e-12)
    assert not found.note


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (lambda: vf.Network(width=200, depth=5, gain=[1.0, 2.5, 2.6, 2.7, 2.8]), "repeats no block of layers"),
        (lambda: vf.Network(width=100, depth=1, gain=2.5), "repeats no block of layers"),
        (lambda: vf.Network(width=100, depth=5, gain=2.5, steps=3), "steps=3 must be 1; in time, vf.temporal_fixed_point"),
        (lambda: 2.5, "must be vf.Network"),
        (
            lambda: vf.Network(
                layers=[SPIKE, *[L.Conv(3, gain=2.5), SPIKE] * 4], drive=vf.drives.currents(1.0, shape=(3, 5, 5))
            ),
            "neurons without positions",
        ),
        (lambda: vf.Network(width=9, layers=[SPIKE, *[L.Linear(gain=2.5), L.Spike(vf.neurons.sinabs_lif(2.0))] * 3]), "steps"),
    ],
)
def test_what_has_no_block_is_refused(network, words):
    with pytest.raises(vf.DomainError, match=words):
        vf.fixed_points(network())


def test_a_network_stands_alone():
    for more in ({"gain": 2.5}, {"threshold": 1.0}, {"block": [SPIKE, L.Linear(gain=2.5)]}):
        with pytest.raises(vf.DomainError, match="cannot be given with a network"):
            vf.fixed_points(deep(BLOCKS["two layers"]), **more)


@pytest.fixture
def spiking():
    torch = pytest.importorskip("torch")

    class Spiking(torch.nn.Module):
        def forward(self, current):
            return (current > 1.0).float()

    vf.init.reads(Spiking)(lambda module: vf.Neuron(1.0))
    return Spiking()


def drawn(width, gain, bias_std=0.0, seed=0):
    torch = pytest.importorskip("torch")
    linear, generator = torch.nn.Linear(width, width, bias=bias_std > 0), torch.Generator().manual_seed(seed)
    torch.nn.init.normal_(linear.weight, 0, gain / width**0.5, generator=generator)
    if bias_std:
        torch.nn.init.normal_(linear.bias, 0, bias_std, generator=generator)
    return linear


def test_a_chain_that_was_read_has_those_of_its_layer(spiking):
    """Equal matrices exactly, drawn ones within their sampling error; and layers of growing gains none."""
    import torch

    def read(cells):
        x = 3 * torch.randn(4, 200, generator=torch.Generator().manual_seed(3))
        return vf.read(torch.nn.Sequential(*(part for cell in cells for part in (cell, spiking))), x)

    cell = drawn(200, GAIN, 0.2)
    weight, bias = (values.detach().double().numpy() for values in (cell.weight, cell.bias))
    moments = {"gain": 200**0.5 * weight.std(), "mean_gain": 200 * weight.mean(), "bias_std": bias.std()}
    found = vf.fixed_points(read([torch.nn.Linear(200, 200), *(drawn(200, GAIN, 0.2) for _ in range(6))]))
    expected = vf.fixed_points(block=[L.Linear(**moments), L.Sum((1.0,), bias.mean()), SPIKE])
    np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-6)  # single precision
    assert not found.note
    averaged = vf.fixed_points(read([drawn(200, GAIN, 0.2, seed) for seed in range(6)]))
    ideal, wrong = (vf.fixed_points(threshold=1.0, gain=g, bias_std=0.2)[-1] for g in (GAIN, 1.03 * GAIN))
    assert averaged.note
    # ln V moves by ln g² times 1/(1 - m), of gains with a relative error of 1/(200 √2) each; biases and means are small beside
    error = 2 / (1 - ideal.multiplier) / (200 * 12**0.5)
    assert abs(averaged[-1].variance / ideal.variance - 1) < 4.5 * error
    assert abs(averaged[-1].variance / wrong.variance - 1) > 4.5 * error
    with pytest.raises(vf.DomainError, match="repeats no block"):
        vf.fixed_points(read([drawn(200, gain, 0.2) for gain in (2.0, 2.2, 2.4, 2.6, 2.8, 3.0)]))


def test_a_shortcut_that_was_read_has_those_of_its_block(spiking):
    """The reader writes its sums in all terms from the first on."""
    import torch

    class Shortcuts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.others = torch.nn.Linear(50, 300), torch.nn.ModuleList(drawn(300, 1.2, seed=s) for s in range(8))
            self.neurons = torch.nn.ModuleList(type(spiking)() for _ in range(9))

        def forward(self, x):
            currents = 2 * self.first(x)
            for linear, neurons in zip(self.others, self.neurons, strict=False):
                currents = 0.9 * currents + linear(neurons(currents))
            return self.neurons[-1](currents)

    found = vf.fixed_points(vf.read(Shortcuts(), torch.randn(4, 50, generator=torch.Generator().manual_seed(0))))
    expected, wrong = (vf.fixed_points(block=[L.Residual(SPIKE, L.Linear(gain=g), keep=0.9)]) for g in (1.2, 1.23))
    error = 2 / (1 - expected[-1].multiplier) * 0.19 / (300 * 16**0.5)  # a gain adds to 0.19 of the variance in each block
    assert len(found) == len(expected) == 3
    assert abs(found[-1].variance / expected[-1].variance - 1) < 4.5 * error
    assert abs(found[-1].variance / wrong[-1].variance - 1) > 4.5 * error
