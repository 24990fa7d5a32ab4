"""Descriptions and results as values: defaults, repr, equality, immutability, one entry per layer, axes."""

import copy
import json
import math
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

import varflow as vf

RESETS = tuple(vf.resets.FAMILIES)
RNG = np.random.default_rng(8)


def net(**options):
    return vf.Network(**{"width": 10, "depth": 3, "gain": 2.5} | options)


# Neurons.


def test_neuron_defaults_are_the_papers():
    neuron = vf.Neuron()
    assert (neuron.threshold, neuron.decay, neuron.input_scale, neuron.reset) == (1.0, 0.0, 1.0, "none")
    assert (neuron.strict, neuron.synaptic_decay, neuron.delay) == (True, 0.0, 0)
    assert neuron.memoryless


@pytest.mark.parametrize(
    ("neuron", "text"),
    [
        (vf.Neuron(0.7), "Neuron(threshold=0.7)"),
        (vf.Neuron(-1, decay=0.5, reset="zero"), "Neuron(threshold=-1, decay=0.5, reset='zero')"),
        (vf.Neuron(input_scale=2, strict=False), "Neuron(threshold=1, input_scale=2.0, strict=False)"),
        (vf.Neuron(synaptic_decay=0.25, delay=2), "Neuron(threshold=1, synaptic_decay=0.25, delay=2)"),
    ],
)
def test_neuron_repr_is_a_call_that_gives_it_back(neuron, text):
    assert repr(neuron) == text
    assert eval(text, {"Neuron": vf.Neuron}) == neuron


def test_neurons_are_values():
    one, same, other = vf.Neuron(0.5), vf.Neuron(np.float32(0.5)), vf.Neuron(0.5, decay=0.1)
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert type(same.threshold) is float
    assert len({one, same, other}) == 2
    with pytest.raises(FrozenInstanceError):
        one.threshold = 2.0
    assert replace(one, threshold=2.0) == vf.Neuron(2.0)
    with pytest.raises(vf.DomainError):
        replace(one, decay=2.0)


def test_neurons_take_their_options_by_name():
    with pytest.raises(TypeError):
        vf.Neuron(1.0, 0.5)


@pytest.mark.parametrize(
    ("options", "memoryless"), [({"decay": 0.1}, False), ({"synaptic_decay": 0.1}, False), ({"delay": 1}, True)]
)
def test_what_counts_as_memory(options, memoryless):
    assert vf.Neuron(**options).memoryless is memoryless
    assert [reset for reset in RESETS if vf.Neuron(reset=reset).memoryless] == ["none"]


def test_a_membrane_at_the_threshold():
    assert [vf.Neuron(0.5).fires_at(x) for x in (0.4, 0.5, 0.6)] == [False, False, True]
    assert [vf.Neuron(0.5, strict=False).fires_at(x) for x in (0.4, 0.5, 0.6)] == [False, True, True]


# Networks.


def test_network_defaults():
    network = net()
    assert network.neuron == vf.Neuron()
    assert network.drive == vf.drives.currents()
    assert (network.weights, network.bias_std, network.mean_gain, network.steps) == ("normal", 0.0, 0.0, 1)
    assert repr(network) == "Network(width=10, depth=3, gain=2.5, neuron=Neuron(threshold=1))"


def test_network_repr_names_what_is_not_default():
    drive = vf.drives.inputs([[3.0, 4.0]])
    text = repr(net(weights="sign", bias_std=0.1, mean_gain=-1, steps=2, drive=drive))
    assert text.endswith(f"weights='sign', bias_std=0.1, mean_gain=-1.0, steps=2, drive={drive!r})")
    assert "width=(10, …, 30), depth=3, gain=(1, …, 3)" in repr(net(width=[10, 20, 30], gain=[1, 2, 3]))


@pytest.mark.parametrize("width", [[10, 20, 30], (10, 20, 30), np.array([10, 20, 30])])
@pytest.mark.parametrize("gain", [[1.0, 2.0, 3.0], np.array([1, 2, 3])])
def test_one_entry_per_layer(width, gain):
    network = net(width=width, gain=gain)
    assert network.width == (10, 20, 30)
    assert network.gain == (1.0, 2.0, 3.0)
    assert network.widths.tolist() == [10, 20, 30]
    assert network.gains.tolist() == [1.0, 2.0, 3.0]
    assert all(type(item) is int for item in network.width)


def test_one_value_for_all_layers():
    network = net(width=np.int64(7), gain=np.float32(1.5))
    assert (network.width, network.gain) == (7, 1.5)
    assert type(network.width) is int
    assert network.widths.tolist() == [7, 7, 7]
    assert network.gains.tolist() == [1.5, 1.5, 1.5]
    assert net(width=[7], gain=[2.0], depth=1).widths.tolist() == [7]


def test_layers_differ_where_they_are_told_to():
    """The gain of layer 1 is not used; width is that of the layer, and the fan-in of the next."""
    same, other = (vf.finite_width(net(width=[10, 20, 30], gain=[first, 2.0, 3.0])) for first in (1.0, 9.0))
    assert np.array_equal(same.variance, other.variance)
    assert np.array_equal(same.spikes, same.firing_rate * [10, 20, 30])
    rate = 1 - math.erf(1 / math.sqrt(2))
    assert same.variance[:2] == pytest.approx([1.0, 4.0 * rate / 2], rel=1e-12)
    changed = vf.finite_width(net(width=[10, 20, 30], gain=[1.0, 2.0, 3.5]))
    assert np.array_equal(changed.variance[:2], same.variance[:2])
    assert changed.variance[2] != same.variance[2]


def test_networks_are_frozen_and_can_be_changed_by_copy():
    network = net(width=[10, 20, 30], bias_std=0.2)
    with pytest.raises(FrozenInstanceError):
        network.width = 5
    for array in (network.widths, network.gains):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert replace(network, gain=3.0).gains.tolist() == [3.0, 3.0, 3.0]
    assert replace(network, gain=3.0).width == (10, 20, 30)
    with pytest.raises(vf.DomainError):
        replace(network, depth=4)  # widths no longer fit


@pytest.mark.parametrize("value", [vf.Neuron(0.5), vf.drives.currents(2.0), net(), net(drive=vf.drives.inputs([[1.0, 2.0]]))])
def test_descriptions_travel(value):
    assert repr(pickle.loads(pickle.dumps(value))) == repr(value)
    assert repr(copy.deepcopy(value)) == repr(value)


@pytest.mark.parametrize(
    ("options", "final"),
    [
        ({}, True),
        ({"bias_std": 0.1}, False),
        ({"neuron": vf.Neuron(0.0)}, True),
        ({"neuron": vf.Neuron(0.0, strict=False)}, False),
        ({"neuron": vf.Neuron(-0.1)}, False),
    ],
)
def test_silence_is_final_without_bias_and_with_a_quiet_rest(options, final):
    assert net(**options).silence_is_absorbing is final


@pytest.mark.parametrize("name", ["gains", "mean_gains", "silence_is_absorbing"])
def test_networks_of_layers_say_what_only_plain_chains_have(name):
    layers = [vf.layers.Linear(gain=1.5), vf.layers.LayerNorm(), vf.layers.Spike(vf.Neuron(1.0))]
    for depth in (1, 2):
        network = vf.Network(width=10, layers=layers * depth, drive=vf.drives.inputs([[1.0, 2.0]]))
        with pytest.raises(vf.DomainError, match="plain chains only"):
            getattr(network, name)


# Drives.


def test_currents():
    assert vf.drives.currents() == vf.drives.ConstantCurrents(1.0)
    assert repr(vf.drives.currents(0.5)) == "currents(std=0.5)"
    assert vf.drives.currents(3).current_variances.tolist() == [9.0]
    assert vf.finite_width(net(drive=vf.drives.currents(0))).firing_rate.tolist() == [0.0, 0.0, 0.0]


def test_inputs_are_copied_and_read_only():
    x = RNG.random((4, 5))
    drive = vf.drives.inputs(x)
    assert isinstance(drive, vf.drives.Inputs)
    assert drive.fan_in == 5
    kept = drive.x.copy()
    x[:] = 0
    assert np.array_equal(drive.x, kept)
    with pytest.raises(ValueError, match="read-only"):
        drive.x[0, 0] = 1
    with pytest.raises(FrozenInstanceError):
        drive.input_gain = 1.0
    assert repr(drive) == f"inputs(4 vectors of 5, input_gain={drive.input_gain:.4g})"


@pytest.mark.parametrize("kind", [int, np.uint8, np.float32, bool])
def test_inputs_of_any_number_type(kind):
    x = np.array([[0, 1, 1], [1, 0, 0]]).astype(kind)
    drive = vf.drives.inputs(x)
    assert drive.x.dtype == np.float64
    assert drive.input_gain == pytest.approx(math.sqrt(2), rel=1e-15)
    assert drive.current_variances == pytest.approx([4 / 3, 2 / 3], rel=1e-15)


def test_tiny_numbers_among_inputs_are_welcome():
    drive = vf.drives.inputs([[1.0, 1e-300], [0.0, 2.0]])
    assert drive.current_variances == pytest.approx([0.4, 1.6], rel=1e-15)
    assert vf.drives.inputs([[0.0, 0.0]], input_gain=2.0).current_variances.tolist() == [0.0]


# Results.


@pytest.fixture(scope="module")
def ensemble():
    return vf.finite_width(net(neuron=vf.Neuron(0.8))).sample(7, seed=2)


def test_mean_std_and_stderr_of_an_ensemble(ensemble):
    columns = {"variance": ensemble.variance, "firing_rate": ensemble.firing_rate, "survival": ensemble.survival}
    for name, rows in columns.items():
        assert rows.shape == (7, 3)
        deviations = rows - rows.sum(axis=0) / 7
        std = np.sqrt((deviations**2).sum(axis=0) / 6)
        assert getattr(ensemble.mean(), name) == pytest.approx(rows.sum(axis=0) / 7, rel=1e-12)
        assert getattr(ensemble.std(), name) == pytest.approx(std, rel=1e-12)
        assert getattr(ensemble.stderr(), name) == pytest.approx(std / math.sqrt(7), rel=1e-12)
    assert np.array_equal(ensemble.survival, ensemble.spikes > 0)
    assert ensemble.spikes == pytest.approx(10 * ensemble.firing_rate)
    assert ensemble.mean().variance_std == pytest.approx(ensemble.variance_std)
    assert ensemble.mean().firing_rate_std == pytest.approx(ensemble.firing_rate.std(axis=0, ddof=1))
    assert ensemble.firing_rate.std() > 0


def test_one_network_has_no_spread():
    one = vf.finite_width(net()).sample(1, seed=1)
    assert np.isnan(one.std().variance).all()
    assert np.isnan(one.stderr().firing_rate).all()
    assert np.array_equal(one.mean().variance, one.variance[0])
    assert one.mean().to_dict()["variance_std"] == [None] * 3


def test_results_are_read_only(ensemble):
    profile = vf.finite_width(net(drive=vf.drives.inputs([[1.0, 2.0], [0.5, 0.1]])))
    arrays = [getattr(profile, name) for name in ("variance", "variance_std", "firing_rate", "firing_rate_std", "survival")]
    arrays += [*profile.per_input.values(), ensemble.variance, ensemble.firing_rate]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    with pytest.raises(FrozenInstanceError):
        profile.variance = np.zeros(3)
    with pytest.raises(FrozenInstanceError):
        ensemble.seed = 1


def test_results_are_compared_by_identity(ensemble):
    assert vf.finite_width(net()) != vf.finite_width(net())
    assert ensemble == ensemble
    assert net() != net()


def test_to_xarray(ensemble):
    xarray = pytest.importorskip("xarray")
    profile = vf.finite_width(net())
    predicted, measured = profile.to_xarray(), ensemble.to_xarray()
    assert isinstance(predicted, xarray.Dataset)
    assert {"variance", "variance_std", "firing_rate", "firing_rate_std", "survival", "spikes"} <= set(predicted)
    assert {"variance", "firing_rate", "survival", "spikes"} <= set(measured)
    assert predicted["layer"].values.tolist() == measured["layer"].values.tolist() == [1, 2, 3]
    assert measured.sizes["network"] == 7
    for name in ("variance", "firing_rate", "survival", "spikes"):
        assert np.array_equal(np.squeeze(predicted[name].values), getattr(profile, name))
        assert np.array_equal(np.squeeze(measured[name].values), getattr(ensemble, name))
    assert float(predicted["variance"].sel(layer=1).squeeze()) == 1.0


def test_to_dict_is_json(ensemble):
    for result in (vf.finite_width(net()), vf.mean_field(net()), ensemble, vf.fixed_points(threshold=1.0, gain=1.0)):
        json.dumps(result.to_dict(), allow_nan=False)
    with_inputs = vf.finite_width(net(drive=vf.drives.inputs([[1.0, 2.0], [0.5, 0.1]]))).to_dict()
    assert np.shape(with_inputs["per_input"]["survival"]) == (2, 3)


def test_reprs_are_tables(ensemble):
    assert repr(ensemble).startswith("Ensemble of 7 networks")
    assert repr(vf.finite_width(net())).startswith("Profile of Network(width=10, depth=3")
    assert len(repr(vf.finite_width(net(depth=100))).splitlines()) == 7  # title, head, five layers
    points = vf.fixed_points(threshold=1.0, gain=2.51)
    assert len(repr(points).splitlines()) == 2 + len(points)
