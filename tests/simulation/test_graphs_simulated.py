"""Graphs described by hand, simulated by both engines: the bits of the layers they repeat, and numbers from recursions
written here.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from scipy.stats import norm

import varflow as vf
from varflow.model.graph import Graph, Node
from varflow.model.signals import Source

L = vf.layers

pytest.importorskip("torch")


ENGINES = ("dense", "conditional")
SPIKE, LINEAR = L.Spike(vf.Neuron(1.0)), L.Linear(gain=2.5)
BEGUN = {"s1": (SPIKE, "drive"), "c1": (LINEAR, "s1"), "s2": (SPIKE, "c1")}
K = 4.5  # standard errors


def of(nodes, width=30, **more):
    return vf.Network(width=width, nodes=nodes, **more)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("merge", ["add", "and", "iand"])
def test_a_graph_has_the_bits_of_the_layers_it_repeats(merge, engine):
    complement = {"no": (L.Sum((-1.0,), 1.0), "s2")} if merge == "iand" else {}
    join = L.Sum() if merge == "add" else L.Product()
    end = {"xy": (join, "s1", "no" if complement else "s2"), "c2": (LINEAR, "xy"), "s3": (SPIKE, "c2")}
    found = [
        vf.simulate(network, repeats=5, engine=engine, seed=2)
        for network in (
            of(BEGUN | complement | end, steps=2),
            vf.Network(width=30, layers=[SPIKE, L.Residual(LINEAR, SPIKE, merge=merge), LINEAR, SPIKE], steps=2),
            of(BEGUN | complement | end | {"c2": (L.Linear(gain=2.6), "xy")}, steps=2),
        )
    ]
    for name in ("variance", "firing_rate", "second_moments"):
        assert np.array_equal(*(getattr(ensemble, name) for ensemble in found[:2]))
    assert not np.array_equal(found[0].variance, found[2].variance)


def joined(factor=1.5, share=2, product="s4"):
    """Parallel weights, a weighted sum of their currents, spikes side by side and multiplied."""
    return {
        "s1": (SPIKE, "drive"),
        "c1": (L.Linear(gain=2.5), "s1"),
        "c2": (L.Linear(gain=2.0), "s1"),
        "s2": (SPIKE, "c1"),
        "sum": (L.Sum((0.6, factor), 0.2), "c1", "c2"),
        "s3": (SPIKE, "sum"),
        "cat": (L.Concat(), *["s1", "s2", "s3"][: share + 1]),
        "c3": (L.Linear(gain=2.5), "cat"),
        "s4": (SPIKE, "c3"),
        "xy": (L.Product(), product, "s2"),
        "c4": (L.Linear(gain=4.0), "xy"),
        "s5": (SPIKE, "c4"),
    }


def expected(factor=1.5):
    """Rates at infinite width: independent weights, so that currents add their variances and spikes multiply their rates."""
    rate = [norm.sf(1.0)]
    first, second = 2.5**2 * rate[0], 2.0**2 * rate[0]
    rate.append(norm.sf(1 / math.sqrt(first)))
    rate.append(norm.sf(0.8 / math.sqrt(0.36 * first + factor**2 * second)))
    rate.append(norm.sf(1 / math.sqrt(2.5**2 * np.mean(rate))))
    rate.append(norm.sf(1 / math.sqrt(4.0**2 * rate[3] * rate[1])))
    return np.array(rate)


@cache
def rates(engine, **changed):
    return vf.simulate(of(joined(**changed), width=500), repeats=100, seed=1, engine=engine).firing_rate


def distances(found, wanted):
    """In standard errors of 100 networks, beyond a bias of order 1/width."""
    bias = 3.0 / 500  # of a rate that fluctuates by O(1/√width) before a curved map, at most
    return np.maximum(np.abs(found.mean(axis=0) - wanted) - bias, 0) / found.std(axis=0, ddof=1) * 10


@pytest.mark.parametrize("engine", ENGINES)
def test_sums_products_and_concatenations_have_the_rates_of_a_recursion(engine):
    assert distances(rates(engine), expected()).max() < K
    assert distances(rates(engine), expected(factor=1.3))[2] > K


def test_other_graphs_have_other_rates():
    assert distances(rates("conditional", factor=1.3), expected())[2] > K
    assert distances(rates("conditional", share=1), expected())[3] > K
    assert distances(rates("conditional", product="s3"), expected())[4] > K  # which depends on the weights of s2


@pytest.mark.parametrize("engine", ENGINES)
def test_numbers_that_were_measured_take_the_place_of_what_lies_before(engine):
    x = np.random.default_rng(0).normal(size=(1, 3, 40))
    nodes = BEGUN | {"x": (L.Measured(x),), "cx": (LINEAR, "x"), "sum": (L.Sum(), "cx", "c1"), "s3": (SPIKE, "sum")}
    found = vf.simulate(of(nodes, width=400, drive=vf.drives.currents(0.0)), repeats=300, seed=4, engine=engine)
    variance = 2.5**2 * np.mean(x[0] ** 2, axis=-1)
    by_input = found.variance[:, 2].reshape(100, 3)  # network r sees input r mod 3
    errors = by_input.std(axis=0, ddof=1) / 10
    assert np.all(np.abs(by_input.mean(axis=0) - variance) < K * errors)
    assert np.any(np.abs(by_input.mean(axis=0) - variance[::-1]) > K * errors)
    assert (found.firing_rate[:, :2] == 0).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("key", "factor"), [("fc", 4.0), ("", 2.0)])
def test_nodes_that_share_weights_send_the_same(key, factor, engine):
    """Twice the same currents have four times their variance, those of two matrices twice."""
    linear = L.Linear(gain=2.5, bias_std=0.5)
    nodes = [
        Node(operation, inputs, name, 200, weights)
        for operation, inputs, name, weights in (
            (Source(L.Signal("currents", (200,))), (), "drive", ""),
            (SPIKE, (0,), "s1", ""),
            (linear, (1,), "c1", key),
            (linear, (1,), "c2", key),
            (L.Sum(), (2, 3), "sum", ""),
            (SPIKE, (4,), "s2", ""),
        )
    ]
    found = vf.simulate(of(Graph(nodes), width=200), repeats=200, seed=1, engine=engine).variance[:, 1]
    wanted = factor * (2.5**2 * norm.sf(1.0) + 0.5**2)
    assert abs(found.mean() - wanted) < K * found.std(ddof=1) / 200**0.5
    assert abs(found.mean() - 0.9 * wanted) > K * found.std(ddof=1) / 200**0.5


@pytest.mark.parametrize("senders", [(2, 1), (1, 2)])
def test_biases_are_shared_where_one_use_is_silent(senders):
    """Twice the bias has four times its variance, two biases have twice."""
    shared = [(L.Linear(gain=2.5, bias_std=1.0), (source,), f"c{source}", "fc") for source in senders]
    silent = (L.Spike(vf.Neuron(1e6)), (0,), "s2", "")
    parts = [(Source(L.Signal("currents", (200,))), (), "drive", ""), (SPIKE, (0,), "s1", ""), silent, *shared]
    parts += [(L.Sum(), (3, 4), "sum", ""), (SPIKE, (5,), "s3", "")]
    nodes = [Node(operation, inputs, name, 200, weights) for operation, inputs, name, weights in parts]
    found = vf.simulate(of(Graph(nodes), width=200), repeats=200, seed=1).variance[:, 2]
    distance = lambda biases: abs(found.mean() - 2.5**2 * norm.sf(1.0) - biases)  # noqa: E731
    assert distance(4.0) < K * found.std(ddof=1) / 200**0.5 < distance(2.0)


def test_neurons_may_receive_measured_currents():
    x = np.linspace(0.0, 2.0, 20).reshape(2, 1, 10)
    nodes = BEGUN | {"x": (L.Measured(x, "currents"),), "s3": (SPIKE, "x")}
    found = vf.simulate(of(nodes, width=10, steps=2), repeats=2)
    assert np.array_equal(found.firing_rate[:, 2], [(x > 1.0).mean(axis=(1, 2))] * 2)


@dataclass(frozen=True, slots=True, repr=False)
class Strange(L.Layer):
    def after(self, signal, width=None):
        return signal


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (L.Unknown("is an attention head"), "odd=Unknown.*is an attention head"),
        (Strange(), r"odd=Strange\(\) has no simulate: give"),
    ],
)
def test_operations_without_a_simulation_are_named(layer, words):
    network = of(BEGUN | {"odd": (layer, "s1"), "c2": (LINEAR, "odd"), "s3": (SPIKE, "c2")})
    with pytest.raises(vf.DomainError, match=words):
        vf.simulate(network, repeats=1)


def test_maps_side_by_side_are_channels():
    conv = vf.layers.Conv
    nodes = {
        "s1": (SPIKE, "drive"),
        "c1": (conv(6, gain=2.5), "s1"),
        "c2": (conv(4, (1, 3), gain=2.5), "s1"),
        "s2": (SPIKE, "c1"),
        "s3": (SPIKE, "c2"),
        "cat": (L.Concat(), "s2", "s3"),
        "pool": (L.Pool("average", 2), "cat"),
        "c3": (conv(5, gain=2.5, groups=5), "pool"),
        "norm": (L.LayerNorm(), "c3"),
        "s4": (SPIKE, "norm"),
    }
    network = of(nodes, width=None, drive=vf.drives.currents(2.0, shape=(3, 8, 8)))
    assert network.shapes == [(3, 8, 8), (6, 8, 8), (4, 8, 8), (5, 4, 4)]
    for engine in ENGINES:
        assert vf.simulate(network, repeats=3, engine=engine).variance[:, -1] == pytest.approx(1.0, rel=0.05)
