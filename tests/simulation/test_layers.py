"""Networks made of vf.layers: what can follow what, shapes, and plain chains."""

import numpy as np
import pytest

import varflow as vf

L = vf.layers

SPIKE, LINEAR = L.Spike(vf.Neuron(1.0)), L.Linear(gain=2.5)


def of(*layers, **more):
    return vf.Network(width=10, layers=layers, **more)


MAPS = vf.drives.currents(1.0, shape=(2, 4, 4))


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ((LINEAR, SPIKE), ("Linear", "drive", "currents")),
        ((SPIKE, SPIKE), ("Spike", "needs currents")),
        ((SPIKE, LINEAR, LINEAR, SPIKE), ("Linear",)),
        ((SPIKE, L.BatchNorm()), ("BatchNorm", "Spike")),
        ((L.BatchNorm(), SPIKE), ("BatchNorm", "before the first layer with weights")),
        ((L.LayerNorm(), SPIKE), ("LayerNorm", "before the first layer with weights")),
        ((SPIKE, L.Residual(L.Linear(5, gain=1), SPIKE)), ("Residual", "(10,)", "(5,)")),
        ((SPIKE, L.Residual(LINEAR)), ("Residual", "spikes", "currents")),
        ((SPIKE, L.Residual(LINEAR, SPIKE, keep=0.5)), ("keep",)),
        ((L.Residual(SPIKE, LINEAR, merge="and"), SPIKE), ("merge",)),
        ((SPIKE, L.Pool("max", 2), LINEAR, SPIKE), ("Pool", "map")),
        ((SPIKE, L.Conv(4, gain=1), SPIKE), ("Conv", "map")),
        ((), ("layers",)),
    ],
)
def test_layers_that_do_not_fit_are_refused_by_name(layers, named):
    with pytest.raises(vf.DomainError) as error:
        of(*layers)
    assert all(name in str(error.value) for name in named)


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ((SPIKE, L.Pool("max", 5), LINEAR, SPIKE), "larger than the map"),
        ((L.Pool("max", 2), L.BatchNorm(), SPIKE), "cannot follow Pool.*, which sends maxima"),
        ((SPIKE, L.Conv(4, 7, gain=1, padding=0), SPIKE), "larger than the map"),
        ((SPIKE, L.Conv(4, gain=1, groups=4), SPIKE), "groups"),
        ((L.Spike(vf.Neuron(), recurrent_gain=1.0),), "recurrent_gain"),
    ],
)
def test_maps_that_do_not_fit_are_refused(layers, named):
    with pytest.raises(vf.DomainError, match=named):
        of(*layers, drive=MAPS)


@pytest.mark.parametrize(
    "make",
    [
        lambda: L.Residual(SPIKE, LINEAR, keep=1.5),
        lambda: L.Residual(SPIKE, LINEAR, keep=-0.1),
        lambda: L.Residual(SPIKE, LINEAR, merge="or"),
        lambda: L.Residual(),
        lambda: L.Residual("spike"),
        lambda: L.Spike(vf.Neuron(), recurrent_gain=-1.0),
        lambda: L.Spike(1.0),
        lambda: L.Linear(gain=0.0),
        lambda: L.Linear(0, gain=1.0),
        lambda: L.Linear(gain=1.0, rows="orthogonal"),
        lambda: L.Linear(gain=1.0, rows="centred", mean_gain=1.0),
        lambda: L.Conv(6, gain=1.0, groups=4),
        lambda: L.Pool("median", 2),
        lambda: L.Pool("max", 2, padding=2),
        lambda: L.BatchNorm(gamma=-1.0),
        lambda: L.BatchNorm(statistics=(0.0, -1.0)),
        lambda: L.Scale(float("nan")),
    ],
)
def test_bad_arguments_are_refused_at_construction(make):
    with pytest.raises(vf.DomainError):
        make()


@pytest.mark.parametrize("more", [{"depth": 5}, {"gain": 1.0}, {"neuron": vf.Neuron()}, {"mean_gain": 0.0}])
def test_layers_exclude_the_arguments_of_a_chain(more):
    with pytest.raises(vf.DomainError, match="layers"):
        of(SPIKE, L.Residual(LINEAR, SPIKE), **more)


def test_a_plain_chain_is_the_same_network_either_way():
    chain = vf.Network(width=10, depth=3, gain=2.5, neuron=vf.Neuron(1.0))
    layered = of(SPIKE, LINEAR, SPIKE, LINEAR, SPIKE)
    assert layered.layers is None
    assert repr(layered) == repr(chain)
    assert of(SPIKE, LINEAR, L.Spike(vf.Neuron(0.5))).layers is not None


def test_a_first_linear_layer_receives_the_inputs_themselves():
    x = [[1.0, 2.0], [0.5, 1.0]]
    assert of(LINEAR, SPIKE, drive=vf.drives.inputs(x)).drive.input_gain == 2.5
    with pytest.raises(vf.DomainError, match="input_gain"):
        of(LINEAR, SPIKE, drive=vf.drives.inputs(x, input_gain=3.0))


def test_a_pool_before_the_first_weights_pools_the_input():
    functional = pytest.importorskip("torch").nn.functional
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 7, 7))
    conv, leaky = L.Conv(8, gain=2.5), L.Spike(vf.Neuron(1.0, decay=0.5))

    def network(x, *pools):
        return vf.Network(layers=[*pools, conv, leaky], steps=3, drive=vf.drives.inputs(x))

    maps = functional.pad(torch_tensor(x).flatten(0, 1), [1] * 4)
    means = functional.avg_pool2d(maps, 3, 2).view(2, 3, 5, 4, 4).numpy()
    largest = functional.max_pool2d(torch_tensor(means).flatten(0, 1), 2).view(2, 3, 5, 2, 2).numpy()
    built = network(x, L.Pool("average", 3, 2, padding=1), L.Pool("max", 2))
    assert built.shapes == [(8, 2, 2)]
    assert "inputs(2 vectors of 20" in repr(built)
    for answer in (vf.mean_field, lambda n: vf.simulate(n, repeats=4)):
        rates = [answer(n).firing_rate for n in (built, network(largest), network(means[..., ::2, ::2]))]
        np.testing.assert_allclose(rates[0], rates[1], rtol=1e-12)
        assert np.abs(rates[2] - rates[1]).max() > 1e-3  # without the maximum


def torch_tensor(array):
    return pytest.importorskip("torch").tensor(array)


@pytest.mark.parametrize(
    ("layers", "drive", "named"),
    [
        ((L.Pool("average", 2), SPIKE), vf.drives.inputs(np.ones((1, 1, 4, 4))), "Spike.* cannot follow Pool"),
        (
            (L.Pool("average", 2), LINEAR, SPIKE),
            vf.drives.inputs(np.ones((1, 16))),
            r"needs a map.* not input of shape \(16,\)",
        ),
        ((L.Pool("average", 2), LINEAR, SPIKE), vf.drives.spikes([0.1] * 4), r"needs a map.* not input of shape \(4,\)"),
        ((L.Pool("max", 5), LINEAR, SPIKE), vf.drives.inputs(np.ones((1, 1, 4, 4))), "larger than the map"),
        ((L.Pool("max", 2),), vf.drives.inputs(np.ones((1, 1, 4, 4))), "at least one Spike"),
        ((L.Pool("max", 2), LINEAR, SPIKE), vf.drives.inputs(np.ones((1, 1, 4, 4)), input_gain=2.0), "cannot have input_gain"),
    ],
)
def test_pools_of_inputs_that_do_not_fit_are_refused(layers, drive, named):
    with pytest.raises(vf.DomainError, match=named):
        of(*layers, drive=drive)


def test_shapes_in_order_of_execution_branches_included():
    branch = L.Residual(L.Conv(2, gain=1), SPIKE, L.Conv(2, gain=1), SPIKE)
    network = of(
        SPIKE, branch, L.Pool("average", 2), L.Conv(8, gain=1, stride=2), SPIKE, L.Linear(3, gain=1), SPIKE, drive=MAPS
    )
    assert network.shapes == [(2, 4, 4)] * 3 + [(8, 1, 1), (3,)]
    assert network.widths.tolist() == [32, 32, 32, 8, 3]
    assert network.depth == 5


def test_finite_width_refuses_networks_without_a_chain_of_counts():
    with pytest.raises(vf.DomainError, match="no chain of spike counts"):
        vf.finite_width(of(SPIKE, L.Residual(LINEAR, SPIKE)))
