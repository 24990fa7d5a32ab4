"""Drives in time: their covariance is that of the currents one draws from the definition, and they are checked and shown."""

from __future__ import annotations

import numpy as np
import pytest

import varflow as vf
from varflow import DomainError

RNG = np.random.default_rng(7)
STEPS = 4
RATES = np.array([[0.05, 0.4, 0.9], [0.5, 0.0, 0.2]])
X = RNG.normal(size=(2, STEPS, 5))


def through_weights(signals, drive, rng):
    """Currents of one neuron per network through first weights; signals (networks, kinds, steps, n_in)."""
    weights = drive.input_gain / np.sqrt(drive.fan_in) * rng.normal(size=(len(signals), drive.n_inputs, drive.fan_in, 1))
    return (signals @ weights)[..., 0]


def drawn(drive, networks, rng):
    """Currents straight from the definition, shape (networks, kinds, steps)."""
    if isinstance(drive, vf.drives.ConstantCurrents):
        return np.repeat(drive.std * rng.normal(size=(networks, 1, 1)), STEPS, axis=2)
    if isinstance(drive, vf.drives.White):
        return drive.std * rng.normal(size=(networks, 1, STEPS))
    if isinstance(drive, vf.drives.SpikeTrains):
        shape = (networks, drive.n_inputs, STEPS, drive.fan_in)
        rates = drive.rates[:, None, :]
        trains = rng.random(shape) < rates if drive.kind == "bernoulli" else rng.poisson(rates, shape)
        return through_weights(trains.astype(float), drive, rng)
    return through_weights(np.broadcast_to(drive.frames(STEPS), (networks, drive.n_inputs, STEPS, drive.fan_in)), drive, rng)


DRIVES = {
    "currents": vf.drives.currents(0.7),
    "white": vf.drives.white(1.3),
    "inputs": vf.drives.inputs(X[:, 0]),
    "inputs in time": vf.drives.inputs(X, input_gain=1.4),
    "spikes": vf.drives.spikes(RATES),
    "spikes of a stated gain": vf.drives.spikes(RATES[0], input_gain=0.8),
    "counts": vf.drives.spikes(3 * RATES, kind="poisson"),
}


def largest_z(drive, covariance, networks=40_000):
    currents = drawn(drive, networks, np.random.default_rng(3))
    products = currents[..., :, None] * currents[..., None, :]
    error = products.std(axis=0) / np.sqrt(networks)
    deviation = np.abs(products.mean(axis=0) - covariance)
    return float(np.max(deviation / error))


@pytest.mark.parametrize("name", DRIVES)
def test_the_covariance_is_that_of_the_definition(name):
    drive = DRIVES[name]
    covariance = drive.covariance(STEPS)
    assert covariance.shape == (drive.n_inputs, STEPS, STEPS)
    assert largest_z(drive, covariance) < 4.5  # 16 or 32 entries, most of them tied
    assert largest_z(drive, 1.08 * covariance) > 4.5
    assert drive.current_variances == pytest.approx(covariance[:, 0, 0], rel=1e-14)


def test_spike_trains_are_not_constant():
    drive = DRIVES["spikes"]
    equal = np.broadcast_to(drive.current_variances[:, None, None], (2, STEPS, STEPS))
    assert largest_z(drive, equal) > 20


@pytest.mark.parametrize("name", ["inputs", "spikes", "counts"])
def test_the_default_gain_makes_the_mean_second_moment_one(name):
    assert np.mean(DRIVES[name].current_variances) == pytest.approx(1.0, rel=1e-14)


def test_the_default_gain_of_inputs_in_time_is_one_over_steps():
    covariance = vf.drives.inputs(X).covariance(STEPS)
    assert np.mean(np.diagonal(covariance, axis1=1, axis2=2)) == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize("array", [np.ones(3), np.ones((3, 10)), np.ones((2, 3, 10)), np.ones((2, 3, 1))])
def test_given_currents_have_three_axes_and_no_distribution(array):
    drive = vf.drives.given(array)
    assert drive.currents.shape[1] == drive.steps == 3
    assert drive.width in (None, 10)
    network = vf.Network(width=10, depth=2, gain=2.0, steps=3, drive=drive)
    assert network.drive is drive
    with pytest.raises(DomainError, match="has no covariance"):
        drive.covariance(3)


def test_an_input_in_time_ends():
    with pytest.raises(DomainError, match="steps=5 is more than the drive has, 4"):
        DRIVES["inputs in time"].covariance(5)


@pytest.mark.parametrize(
    ("drive", "text"),
    [
        (DRIVES["white"], "white(std=1.3)"),
        (DRIVES["inputs in time"], "inputs(2 vectors of 5 over 4 steps, input_gain=1.4)"),
        (DRIVES["spikes of a stated gain"], "spikes(3 trains, mean rate 0.45, input_gain=0.8)"),
        (vf.drives.spikes(RATES, 1.0, kind="poisson"), "spikes(2 × 3 trains, mean rate 0.3417, input_gain=1, kind='poisson')"),
        (vf.drives.given(np.ones((2, 3, 10))), "given(2 inputs, 3 steps of 10 neurons)"),
        (vf.drives.given([1.0]), "given(1 step of one current for all neurons)"),
    ],
)
def test_drives_say_what_they_are(drive, text):
    assert repr(drive) == text
    assert f"drive={text}" in repr(vf.Network(width=10, depth=2, gain=2.0, steps=drive.steps or 1, drive=drive))


def test_equality_is_by_value_for_distributions_and_by_identity_for_data():
    assert vf.drives.white(2) == vf.drives.white(2.0)
    assert vf.drives.white() != vf.drives.currents()
    assert len({vf.drives.white(), vf.drives.white()}) == 1
    for make in (lambda: vf.drives.spikes([0.5]), lambda: vf.drives.given([1.0]), lambda: vf.drives.inputs([[1.0]])):
        assert make() != make()
        assert len({make(), make()}) == 2


@pytest.mark.parametrize("name", ["inputs", "inputs in time", "spikes", "counts"])
def test_rows_of_a_batch(name):
    drive = DRIVES[name]
    one = drive.of_rows([1])
    assert (one.n_inputs, one.input_gain) == (1, drive.input_gain)
    assert one.covariance(STEPS) == pytest.approx(drive.covariance(STEPS)[1:], rel=1e-14)
    assert DRIVES["white"].of_rows([0]) is DRIVES["white"]


def test_a_file_of_inputs_in_time(tmp_path):
    np.save(tmp_path / "x.npy", X)
    assert np.array_equal(
        vf.drives.inputs_from_file(tmp_path / "x.npy", 2.0).covariance(STEPS), vf.drives.inputs(X, 2.0).covariance(STEPS)
    )


def test_at_one_step_white_currents_are_currents():
    described = [vf.Network(width=20, depth=3, gain=2.5, drive=drive) for drive in (vf.drives.white(2), vf.drives.currents(2))]
    assert np.array_equal(*(vf.finite_width(network).variance for network in described))
    pytest.importorskip("torch")
    assert np.array_equal(*(ensemble.variance for ensemble in vf.simulate(described, repeats=2)))


def test_at_one_step_inputs_over_one_step_are_inputs():
    drives = (vf.drives.inputs(X[:, 0], 1.0), vf.drives.inputs(X[:, :1], 1.0))
    described = [vf.Network(width=20, depth=3, gain=2.5, drive=drive) for drive in drives]
    assert vf.mean_field(described[0]).variance == pytest.approx(vf.mean_field(described[1]).variance, rel=1e-14)
    pytest.importorskip("torch")
    assert np.array_equal(*(ensemble.variance for ensemble in vf.simulate(described, repeats=2)))


def test_mean_field_of_spike_trains_at_one_step():
    drive = vf.drives.spikes(RATES[0], 1.5)
    network = vf.Network(width=20, depth=2, gain=2.5, drive=drive)
    assert vf.mean_field(network).variance[0] == pytest.approx(1.5**2 * RATES[0].mean(), rel=1e-14)
