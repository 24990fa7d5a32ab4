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


def test_models_that_were_read_have_those_of_their_layer():
    """Equal matrices exactly, drawn ones within their sampling error; and layers of growing gains none."""
    torch = pytest.importorskip("torch")

    class Spiking(torch.nn.Module):
        def forward(self, current):
            return (current > 1.0).float()

    vf.init.reads(Spiking)(lambda module: vf.Neuron(1.0))

    def read(gains, equal=False):
        generator = torch.Generator().manual_seed(3)
        cells = [torch.nn.Linear(200, 200) for _ in gains]
        for cell, gain in zip(cells, gains, strict=True):
            torch.nn.init.normal_(cell.weight, 0, gain / 200**0.5, generator=generator)
            torch.nn.init.normal_(cell.bias, 0, 0.2, generator=generator)
            if equal:
                cell.load_state_dict(cells[0].state_dict())
        model = torch.nn.Sequential(*(part for cell in cells for part in (cell, Spiking())))
        return vf.read(model, 3 * torch.randn(4, 200, generator=generator)), cells

    network, (cell, *_) = read([GAIN] * 6, equal=True)
    weight, bias = (values.detach().double().numpy() for values in (cell.weight, cell.bias))
    gain, mean = 200**0.5 * weight.std(), 200 * weight.mean()
    block = [L.Linear(gain=gain, mean_gain=mean, bias_std=bias.std()), L.Sum((1.0,), bias.mean()), SPIKE]
    expected = vf.fixed_points(block=block)
    found = vf.fixed_points(network)
    np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-6)  # single precision
    assert not found.note
    drawn, ideal = (
        points[-1] for points in (vf.fixed_points(read([GAIN] * 6)[0]), vf.fixed_points(threshold=1.0, gain=GAIN, bias_std=0.2))
    )
    slope = 1 / (1 - ideal.multiplier)  # ∂ ln V/∂ ln g² at most, of a gain with a relative error of 1/(200 √2 √6)
    errors = 2 * slope / (200 * 12**0.5) + slope * GAIN / (200 * 6) ** 0.5 / ideal.variance**0.5
    assert abs(drawn.variance / ideal.variance - 1) < 4 * errors
    wrong = vf.fixed_points(threshold=1.0, gain=1.3 * GAIN, bias_std=0.2)[-1]
    assert abs(drawn.variance / wrong.variance - 1) > 4 * errors
    with pytest.raises(vf.DomainError, match="repeats no block"):
        vf.fixed_points(read([2.0, 2.2, 2.4, 2.6, 2.8, 3.0])[0])
