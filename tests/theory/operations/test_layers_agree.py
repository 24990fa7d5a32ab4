"""Theory of layers against simulated networks: a composite of all kinds of layers, and a wrong one that must be rejected."""

from functools import cache

import numpy as np
import pytest

import varflow as vf
from varflow.theory.operations.visit import Effort

L = vf.layers
ZERO = L.Spike(vf.Neuron(1.0, decay=0.5, reset="zero"))
DELAYED = L.Spike(vf.Neuron(1.0, decay=0.4, reset="delayed_subtract"))
RECURRENT = L.Spike(vf.Neuron(1.0, decay=0.5, reset="subtract"), recurrent_gain=1.5)
BIAS = 0.02  # the theory's error of order 1/width, and of the numerics
NETWORKS = 40


def linear(gain, **more):
    return L.Linear(1000, gain=gain, **more)


def composite(gain=2.5, keep=0.9):
    """Sixteen layers of all kinds that need no batch, branches not counted."""
    return [
        L.Conv(64, gain=3.0),
        ZERO,
        L.Pool("average", 2),
        L.Conv(64, gain=3.2, stride=2),
        ZERO,
        linear(2.6),
        L.Residual(ZERO, linear(1.2, rows="centred"), keep=keep),
        L.Residual(ZERO, linear(1.0, rows="standardised"), keep=0.8),
        ZERO,
        L.Residual(linear(gain), ZERO),
        L.Residual(linear(2.0), DELAYED, merge="iand"),
        linear(2.5, bias_std=0.2),
        L.LayerNorm(gamma=1.3),
        DELAYED,
        linear(2.2, weights="uniform"),
        L.BatchNorm(gamma=1.1, statistics=(0.0, 1.0)),
        RECURRENT,
        L.Scale(0.9),
        linear(2.5),
        L.Spike(vf.Neuron(1.0, decay=0.5)),
    ]


def network(layers):
    x = np.random.default_rng(3).normal(size=(1, 6, 8, 4, 4)) / 1.5
    return vf.Network(layers=layers, steps=6, drive=vf.drives.inputs(x))


@pytest.fixture(scope="module", params=["dense", "conditional"])
def ensemble(request):
    repeats = {"dense": 28, "conditional": NETWORKS}[request.param]
    return vf.simulate(network(composite()), repeats=repeats, seed=1, engine=request.param)


@cache
def predicted(**changed):
    return vf.mean_field(network(composite(**changed)), points=2**11, scrambles=4)


def test_a_composite_of_all_layers_is_predicted(ensemble):
    profile = predicted()
    comparison = vf.compare(profile, ensemble, bias=BIAS)
    assert comparison.passed, comparison
    M, measured, error = profile.second_moments, ensemble.mean().second_moments, ensemble.stderr().second_moments
    assert np.all(np.abs(measured - M) < 4 * error + BIAS * np.abs(M))


@pytest.mark.parametrize("wrong", [{"gain": 2.0}, {"keep": 0.5}])
def test_a_wrong_composite_is_rejected(ensemble, wrong):
    assert not vf.compare(predicted(**wrong), ensemble, bias=BIAS).passed


def test_batch_normalised_networks_are_predicted():
    """Conv-BN-LIF over inputs and steps; the batch of the simulation is finite, its bias of order 1/256 within ``BIAS``."""
    spike = L.Spike(vf.neurons.spikingjelly_lif())

    def built(gamma):
        layers = [spike, *[L.Linear(400, gain=1.0), L.BatchNorm(gamma=gamma), spike] * 3]
        return vf.Network(width=400, layers=layers, steps=4)

    ensemble = vf.simulate(built(2.0), repeats=8, seed=2, engine="conditional")
    assert vf.compare(vf.mean_field(built(2.0)), ensemble, bias=BIAS).passed
    assert not vf.compare(vf.mean_field(built(1.9)), ensemble, bias=BIAS).passed


PLAIN = L.Spike(vf.Neuron(0.9, decay=0.7))
MIXED = {  # neurons without reset are solved exactly, those with one are sampled
    "add": lambda g: [PLAIN, L.Residual(linear(g), DELAYED), linear(1.5), ZERO],
    "and": lambda g: [PLAIN, L.Residual(linear(1.6 * g), ZERO, merge="and"), linear(3.5), PLAIN],
    "iand": lambda g: [PLAIN, L.Residual(linear(2.4), PLAIN, linear(g), ZERO, merge="iand"), linear(3.5), DELAYED],
    "currents": lambda g: [PLAIN, linear(2.1), L.Residual(ZERO, linear(g), keep=0.6), PLAIN],
    "normalised": lambda g: [PLAIN, linear(2.1), L.Residual(ZERO, linear(g), L.LayerNorm(0.5 * g)), DELAYED],
}


@pytest.mark.parametrize("name", MIXED)
def test_shortcuts_join_neurons_with_and_without_reset(name):
    def built(gain):
        return vf.Network(width=1000, layers=MIXED[name](gain), steps=5)

    engine = "dense" if name == "normalised" else "conditional"
    ensemble = vf.simulate(built(2.3), repeats=NETWORKS, seed=4, engine=engine)
    assert vf.compare(vf.mean_field(built(2.3), points=2**10), ensemble, bias=BIAS).passed
    assert not vf.compare(vf.mean_field(built(2.0), points=2**10), ensemble, bias=BIAS).passed


def sharing(spike):
    """Branches that send some of what they receive past their weights."""
    inner = L.Residual(spike, linear(2.5), keep=0.7)
    return {
        "a factor of currents": [spike, linear(2.2), L.Residual(L.Scale(0.4), keep=0.9), spike],
        "running statistics": [spike, linear(2.0), L.Residual(L.BatchNorm(1.3, 0.1, (0.1, 1.5)), keep=0.8), spike],
        "a shortcut within": [spike, linear(2.4), L.Residual(L.Scale(0.5), inner, inner, L.Scale(-0.3)), spike],
        "a factor of spikes": [spike, L.Residual(L.Scale(0.6)), linear(1.8), spike],
        "sums of sums": [spike, L.Residual(L.Residual(linear(2.0), spike), L.Residual(linear(1.5), spike)), linear(1.7), spike],
    }


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", sharing(ZERO))
def test_what_branches_send_past_weights_is_not_independent_of_the_shortcut(name, steps, monkeypatch):
    layers = sharing(L.Spike(vf.Neuron(0.9)) if steps == 1 else DELAYED)[name]
    net = vf.Network(width=1000, layers=layers, steps=steps)
    ensemble = vf.simulate(net, repeats=NETWORKS, seed=6, engine="conditional")
    assert vf.compare(vf.mean_field(net, points=None if steps == 1 else 2**10), ensemble, bias=BIAS).passed
    monkeypatch.setattr("varflow.theory.walks.signals.independent", lambda graph: graph)
    assert not vf.compare(vf.mean_field(net, points=None if steps == 1 else 2**10), ensemble, bias=BIAS).passed


def test_large_maps_and_inputs_share_too(monkeypatch):
    x = np.random.default_rng(1).normal(size=(2, 3, 6, 6))
    spike = L.Spike(vf.Neuron(0.8))
    inner = L.Residual(L.Conv(48, gain=2.0), spike)
    layers = [
        L.Conv(48, gain=2.0),
        L.Residual(L.Scale(0.5)),
        spike,
        L.Residual(inner),
        L.Pool("average", 2),
        linear(3.0),
        spike,
    ]
    net = vf.Network(layers=layers, drive=vf.drives.inputs(x))
    together = vf.mean_field(net)
    monkeypatch.setattr(Effort, "per_position", lambda self, grid: True)
    alone = vf.mean_field(net)
    ensemble = vf.simulate(net, repeats=2 * NETWORKS, seed=2, engine="conditional")
    for found in (together, alone):
        assert vf.compare(found, ensemble, bias=0.06).passed
    assert alone.variance == pytest.approx(together.variance, rel=0.01)
    monkeypatch.setattr("varflow.theory.walks.signals.independent", lambda graph: graph)
    assert vf.mean_field(net).variance[-1] < 0.9 * alone.variance[-1]


@pytest.mark.parametrize(
    "branch",
    [
        L.Residual(L.LayerNorm()),
        L.Residual(L.Scale(2.0), L.BatchNorm()),
        L.Residual(L.Residual(L.LayerNorm(), keep=0.5), keep=0.5),
    ],
)
def test_other_joints_of_currents_with_themselves_are_refused(branch):
    net = vf.Network(width=20, layers=[PLAIN, linear(2.0), branch, PLAIN], steps=2)
    for function in (vf.mean_field, vf.gradient_flow, lambda net: vf.kernel(net, np.ones((2, 20)))):
        with pytest.raises(vf.DomainError, match="depend on the same weights"):
            function(net)
    fresh = L.Residual(L.LayerNorm(), PLAIN, linear(1.0))  # weights lie between
    assert vf.mean_field(vf.Network(width=1000, layers=[PLAIN, linear(2.0), fresh, PLAIN], steps=2)).variance[-1, -1] > 0


@pytest.mark.parametrize("branch", [(L.Scale(0.5),), (L.Residual(linear(2.0), PLAIN),)])
@pytest.mark.parametrize("merge", ["and", "iand"])
def test_products_of_spikes_with_themselves_are_refused(branch, merge):
    net = vf.Network(width=1000, layers=[PLAIN, L.Residual(*branch, merge=merge), linear(2.0), PLAIN], steps=2)
    with pytest.raises(vf.DomainError, match="depend on the same weights"):
        vf.mean_field(net)


@pytest.mark.parametrize(
    ("shape", "first"),
    [((8,), L.Linear(1000, gain=1.3, rows="standardised")), ((1, 5, 5), L.Conv(200, gain=1.3, rows="standardised"))],
)
def test_standardised_first_rows_have_the_variance_of_their_fan_in(shape, first):
    x = np.random.default_rng(4).normal(1.0, 1.0, size=(1, *shape))
    built = vf.Network(layers=[first, L.Spike(vf.Neuron(1.0))], drive=vf.drives.inputs(x))
    measured = vf.simulate(built, repeats=60, seed=5).variance[:, 0]
    error = measured.std(ddof=1) / len(measured) ** 0.5
    theory, n = vf.mean_field(built).variance[0], 8 if len(shape) == 1 else 9
    assert abs(measured.mean() - theory) < 4 * error
    assert abs(measured.mean() - theory * (n - 1) / n) > 4 * error, "the variance of many inputs is rejected"
