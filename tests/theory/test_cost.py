"""Spikes, operations and energy before training: against networks that are simulated and counted, and by enumeration."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, norm

import varflow as vf
from varflow.results.cost import ENERGIES

L = vf.layers
SPIKE = L.Spike(vf.Neuron(1.0))


def off(counted, predicted, bias=0.0):
    """How far a prediction is from the mean of what was counted in each network, in standard errors, less a stated bias."""
    error = np.std(counted, ddof=1) / np.sqrt(len(counted))
    return max(abs(np.mean(counted) - predicted) - bias * predicted, 0.0) / error


# Dense chains, exact at their widths.


def test_operations_of_dense_networks_and_their_spread():
    """Mean and standard deviation over 2000 networks. Rejected: rates of infinite width, and layers taken as independent."""
    network = vf.Network(width=60, depth=12, gain=vf.gain(threshold=1.0))
    found, spikes = vf.cost(network), vf.simulate(network, repeats=2000, seed=1, engine="conditional").spikes
    counted = 60 * spikes[:, :-1].sum(axis=1)
    assert found.method == "exact at these widths"
    assert off(counted, found.acs.sum()) < 3
    assert off(spikes.sum(axis=1), found.spikes.sum()) < 3
    infinite = 60 * vf.mean_field(network).spikes[:-1].sum()
    assert off(counted, infinite) > 5
    squares = (counted - counted.mean()) ** 2
    assert off(squares, found.std["acs"][-1] ** 2) < 3
    assert off(squares, np.sum(found.std["acs"][:-1] ** 2)) > 5


def test_the_spread_is_that_of_an_enumeration():
    """Counts of three layers of three, two and two neurons, by the definition of the chain; a readout receives the last."""
    widths, gain, drive = (3, 2, 2), 1.3, vf.drives.currents(1.2)
    layers = [SPIKE, L.Linear(2, gain=gain), SPIKE, L.Linear(2, gain=gain), SPIKE, L.Linear(5, gain=gain)]
    found = vf.cost(vf.Network(width=3, layers=layers, drive=drive))
    fires = lambda count, n: norm.sf(np.sqrt(n / count) / gain) if count else 0.0  # noqa: E731
    mean = np.zeros(2)
    square = np.zeros(2)
    for counts in product(*(range(n + 1) for n in widths)):
        p = binom.pmf(counts[0], 3, norm.sf(1 / 1.2))
        p *= binom.pmf(counts[1], 2, fires(counts[0], 3)) * binom.pmf(counts[2], 2, fires(counts[1], 2))
        totals = np.array([sum(counts), 2 * counts[0] + 2 * counts[1] + 5 * counts[2]])
        mean, square = mean + p * totals, square + p * totals**2
    assert [found.spikes.sum(), found.acs.sum()] == pytest.approx(mean, rel=1e-12)
    assert [found.std["spikes"][-1], found.std["acs"][-1]] == pytest.approx(np.sqrt(square - mean**2), rel=1e-10)
    assert found.acs[-1] == pytest.approx(5 * found.spikes[2])


# Maps and blocks, at infinite width.


def leaky(currents, state):
    """Spikes of a leaky neuron, β = 0.5, reset to 0; the state is its membrane."""
    membrane = 0.5 * state + currents
    spikes = (membrane > 1).to(membrane)
    return spikes, membrane * (1 - spikes)


def test_operations_of_convolutions():
    """Zero padding, strides, groups, zeros of the input, and averages of spikes, 30 networks of 64 channels, 3 steps.

    Stated bias: 2 %. Rejected: as many taps at the border as inside; numbers behind averages that are never 0.
    """
    torch = pytest.importorskip("torch")
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 8, 8, generator=draw)
    x[:, :, 3:5, 3:] = 0
    neuron, steps, gain = vf.Neuron(1.0, decay=0.5, reset="zero"), 3, 2.6
    layers = [L.Conv(64, gain=1.2), L.Spike(neuron), L.Conv(64, gain=gain, stride=2, groups=2), L.Spike(neuron)]
    layers += [L.Pool("average", 2), L.Conv(64, 2, gain=gain, padding=0), L.Spike(neuron)]
    found = vf.cost(vf.Network(layers=layers, drive=vf.drives.inputs(x.numpy()), steps=steps), points=2**10)
    conv = torch.nn.functional.conv2d
    counted = []
    for _ in range(30):
        weights = [torch.randn(64, 3, 3, 3, generator=draw) * 1.2 / 27**0.5]
        weights += [torch.randn(64, 32, 3, 3, generator=draw) * gain / 288**0.5]
        weights += [torch.randn(64, 64, 2, 2, generator=draw) * gain / 256**0.5]
        how = [{"padding": 1}, {"padding": 1, "stride": 2, "groups": 2}, {}]
        states, total = [0.0, 0.0, 0.0], np.zeros(3)
        for _ in range(steps):
            signal = x
            for layer in range(3):
                arriving = conv((signal != 0).float(), torch.ones_like(weights[layer]), **how[layer])
                total[layer] += float(arriving.sum()) / len(x)
                signal, states[layer] = leaky(conv(signal, weights[layer], **how[layer]), states[layer])
                signal = torch.nn.functional.avg_pool2d(signal, 2) if layer == 1 else signal
        counted.append(total)
    first, second, third = np.array(counted).T
    assert pytest.approx(found.macs[0]) == first[0] == first[-1] < found.dense[0]
    assert (found.acs[0], found.macs[1], found.acs[2]) == (0, 0, 0)
    assert off(second, found.acs[1], bias=0.02) < 3
    assert off(third, found.macs[2], bias=0.02) < 3
    assert off(second, found.acs[1] * (steps * 64 * 16 * 288) / found.dense[1], bias=0.02) > 5
    assert off(third, found.dense[2], bias=0.02) > 5


def test_operations_of_residual_networks():
    """Sums of spikes count each of them, 40 networks of width 300; stated bias 2 %. Rejected: a sum as one."""
    width, blocks, gain, rng = 300, 4, 2.5, np.random.default_rng(0)
    layers = [SPIKE, *[L.Residual(L.Linear(gain=gain), SPIKE)] * blocks, L.Linear(10, gain=1.0)]
    found, counted, ones = vf.cost(vf.Network(width=width, layers=layers)), [], []
    for _ in range(40):
        x = (rng.normal(size=width) > 1).astype(float)
        sums, active = [x.sum()], [np.count_nonzero(x)]
        for _ in range(blocks):
            x = x + (rng.normal(size=(width, width)) * gain / width**0.5 @ x > 1)
            sums.append(x.sum())
            active.append(np.count_nonzero(x))
        counted.append(width * sum(sums[:-1]) + 10 * sums[-1])
        ones.append(width * sum(active[:-1]) + 10 * active[-1])
    assert found.layers[-1] == "readout"
    assert off(counted, found.operations, bias=0.02) < 3
    assert off(ones, found.operations, bias=0.02) > 5


@pytest.mark.parametrize("weights", [vf.weights.sparse(0.2), vf.weights.ternary(0.3), vf.weights.fixed_in_degree(7)])
def test_connections_that_are_zero_cost_nothing(weights):
    found = vf.cost(vf.Network(width=50, depth=2, gain=2.5, weights=weights))
    present = {"sparse(0.2, normal)": 10, "ternary(0.3)": 15, "fixed_in_degree(7, normal)": 7}[str(weights)]
    assert found.acs[1] == pytest.approx(found.spikes[0] * present)
    assert (found.most_acs[1], found.dense[1]) == pytest.approx((50 * present, 2500))


# Drives.


def test_first_weights_add_spikes_and_multiply_numbers():
    numbers, shape = np.array([[0.0, 2.0, 0.5, 0.0], [0.0, 0.0, 1.0, 0.0]]), {"width": 30, "depth": 3, "gain": 2.5, "steps": 4}
    drives = {"numbers": vf.drives.inputs(numbers), "zeros and ones": vf.drives.inputs(numbers != 0)}
    drives |= {"trains": vf.drives.spikes([0.1, 0.5, 0.2]), "currents": vf.drives.currents()}
    of = {name: vf.cost(vf.Network(drive=drive, neuron=vf.Neuron(decay=0.5), **shape)) for name, drive in drives.items()}
    assert {name: (found.macs[0], found.acs[0], found.dense[0]) for name, found in of.items()} == {
        "numbers": (30 * 1.5 * 4, 0, 480),
        "zeros and ones": (0, 30 * 1.5 * 4, 480),
        "trains": (0, pytest.approx(30 * 0.8 * 4), 360),
        "currents": (0, 0, 0),
    }


def test_numbers_that_were_measured_multiply_unless_they_are_zero():
    x = np.array([[[0.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.3, 2.0]]])  # a step, two inputs
    chain = {"first": (L.Linear(20, gain=2.0), "drive"), "spikes": (SPIKE, "first")}
    gap = {"seen": (L.Measured(x),), "fc": (L.Linear(30, gain=2.0), "seen"), "last": (SPIKE, "fc")}
    found = vf.cost(vf.Network(nodes=chain | gap, drive=vf.drives.inputs([[0.2, 0.0]])))
    assert found.macs.tolist() == [20, 60, 0]
    assert found.dense.tolist() == [40, 120, 0]
    ones = vf.cost(
        vf.Network(nodes=chain | gap | {"seen": (L.Measured(np.ceil(x / 2)),)}, drive=vf.drives.inputs([[0.2, 0.0]]))
    )
    assert (ones.macs[1], ones.acs[1]) == (0, 60)


def test_recurrent_weights_add_the_spikes_of_the_step_before():
    neuron = vf.Neuron(1.0, decay=0.5, reset="zero")
    network = vf.Network(width=20, layers=[L.Spike(neuron, recurrent_gain=1.0)], steps=5)
    found, rate = vf.cost(network), vf.mean_field(network, points=2**12).firing_rate[0]
    assert found.acs[0] == pytest.approx(400 * rate[:-1].sum())
    assert (found.most_acs[0], found.dense[0]) == (1600, 2000)


# The result.


def test_energies_steps_and_names():
    network = vf.Network(
        width=40, depth=4, gain=2.6, neuron=vf.Neuron(1.0, decay=0.5), steps=6, drive=vf.drives.inputs([[1.5, 0.3]])
    )
    found = vf.cost(network, energy="int8")
    assert found.energy == pytest.approx(0.23 * found.macs.sum() + 0.03 * found.acs.sum())
    assert found.priced((2, 1)).energy == pytest.approx(found.operations + found.macs.sum())
    assert found.per_step.operations == pytest.approx(found.operations / 6)
    assert found.per_step.neurobench["ActivationSparsity"] == pytest.approx(found.neurobench["ActivationSparsity"])
    assert found.neurobench["SynapticOperations"]["Dense"] == 6 * (40 * 2 + 3 * 1600)
    assert max(map(len, repr(found).splitlines())) <= 80
    assert "<table>" in found._repr_html_()
    assert found.to_dict()["energy"] == found.energy
    assert ENERGIES["float32"] == vf.cost(network).pj


def test_nothing_costs_nothing():
    silent = vf.Network(width=20, depth=3, gain=2.5, drive=vf.drives.inputs(np.zeros((2, 5)), input_gain=1.0))
    one = vf.Network(width=20, depth=1, gain=2.5)
    assert [vf.cost(network).operations for network in (silent, one)] == [0, 0]
    assert len(vf.cost(one).plot().containers) == 3


def test_the_picture_of_a_cost_can_be_read():
    """Layers have whole numbers, and the legend covers neither bars nor the title."""
    ax = vf.cost(vf.Network(width=20, depth=3, gain=2.5)).plot()
    ax.figure.canvas.draw()
    legend, title = (artist.get_window_extent() for artist in (ax.get_legend(), ax.title))
    bars = max(bar.get_window_extent().y1 for container in ax.containers for bar in container)
    assert bars < legend.y0 < legend.y1 < title.y0
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


@pytest.mark.parametrize("energy", ["float8", (1.0,), (1.0, -2.0), "", None, {"mac": 1}])
def test_wrong_energies(energy):
    with pytest.raises(vf.DomainError, match="energy"):
        vf.cost(vf.Network(width=5, depth=2, gain=2.0), energy=energy)


def test_a_model_that_is_read_costs_what_its_network_does():
    torch, snntorch = pytest.importorskip("torch"), pytest.importorskip("snntorch")
    torch.manual_seed(0)
    hidden = [m for _ in range(3) for m in (torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))]
    model, x = torch.nn.Sequential(*hidden), torch.rand(8, 64)
    vf.init.init_model(model, x, steps=4)
    found, counted = vf.cost(vf.read(model, x, steps=4)), vf.audit(model, x, steps=4).cost
    assert found.macs.sum() == counted.macs.sum() == 64 * 64 * 4
    assert found.dense[:3] == pytest.approx(counted.dense[:3])
    assert found.acs.sum() == pytest.approx(counted.acs.sum(), rel=0.3)  # one network of width 64
