"""Theory of graphs by hand against simulated networks: concatenations, products, weighted sums, and terms that are shared."""

import numpy as np
import pytest

import varflow as vf
from varflow.model.graph import MAPS

L = vf.layers
BIAS = 0.02  # the theory's error of order 1/width, and of the numerics
NETWORKS, WIDTH = 30, 1000
ONCE, ZERO = L.Spike(vf.Neuron(0.8)), L.Spike(vf.Neuron(0.8, decay=0.5, reset="zero"))


def linear(gain, **more):
    return L.Linear(WIDTH, gain=gain, **more)


def graphs(spike):
    """Two layers behind each other, joined in each way, and a layer behind them."""
    first = {"c1": (linear(2.0), "drive"), "s1": (spike, "c1"), "c2": (linear(2.2), "s1"), "s2": (spike, "c2")}
    last = {"c3": (linear(2.4), "joined"), "s3": (spike, "c3")}
    shared = {"half": (L.Scale(0.5), "c2"), "branch": (linear(1.0), "s1"), "sum": (L.Sum((1.0, 1.0)), "half", "branch")}
    return {
        "concatenation": first | {"joined": (L.Concat(), "s1", "s2")} | last,
        "product": first | {"joined": (L.Product(), "s1", "s2")} | last,
        "sum of spikes": first | {"joined": (L.Sum((0.5, 2.0), 0.3), "s1", "s2")} | last,
        "sum of currents": first
        | {"d": (linear(1.0), "s2"), "u": (L.Sum((0.5, 1.5), 0.2), "c2", "d"), "joined": (spike, "u")}
        | last,
        "shared currents": first | shared | {"u": (L.Sum((1.0, 1.0)), "c2", "sum"), "joined": (spike, "u")} | last,
    }


def network(nodes, steps):
    x = np.random.default_rng(1).normal(size=(2, 30))
    return vf.Network(nodes=nodes, steps=steps, drive=vf.drives.inputs(x))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", graphs(ONCE))
def test_graphs_by_hand_are_predicted(name, steps):
    """Weights a tenth stronger behind the joint are rejected."""
    graph = graphs(ONCE if steps == 1 else ZERO)[name]
    options = {"points": 2**10} if steps > 1 else {}
    ensemble = vf.simulate(network(graph, steps), repeats=NETWORKS, seed=2, engine="conditional")
    assert vf.compare(vf.mean_field(network(graph, steps), **options), ensemble, bias=BIAS).passed
    stronger = graph | {"c3": (linear(2.64), "joined")}
    assert not vf.compare(vf.mean_field(network(stronger, steps), **options), ensemble, bias=BIAS).passed


@pytest.mark.parametrize("kind", [L.Sum, L.Product, L.Concat])
def test_operations_are_looked_up_in_the_table(kind, monkeypatch):
    """One that sends its first signal on, as if there were no other, is seen."""
    name = {L.Sum: "sum of spikes", L.Product: "product", L.Concat: "concatenation"}[kind]
    net = network(graphs(ONCE)[name], 1)
    known = vf.mean_field(net).firing_rate[-1]
    monkeypatch.setitem(MAPS["forward"], kind, lambda operation, inputs, visit: inputs[0])
    assert vf.mean_field(net).firing_rate[-1] != pytest.approx(known, rel=0.02)


def test_shared_terms_taken_as_independent_are_wrong(monkeypatch):
    net = network(graphs(ONCE)["shared currents"], 1)
    ensemble = vf.simulate(net, repeats=NETWORKS, seed=2, engine="conditional")
    monkeypatch.setattr("varflow.theory.walks.signals.independent", lambda graph: graph)
    assert not vf.compare(vf.mean_field(net), ensemble, bias=BIAS).passed


COMMON = {"u": (linear(2.0), "drive"), "s": (ONCE, "u"), "w": (linear(1.0), "s"), "v": (L.Sum((1.0, 1.0)), "u", "w")}
DEPENDENT = {
    "sum": {"t": (ONCE, "v"), "joined": (L.Sum((1.0, 1.0)), "s", "t")},
    "product": {"t": (ONCE, "v"), "joined": (L.Product(), "s", "t")},
    "square": {"joined": (L.Product(), "s", "s")},
}


@pytest.mark.parametrize("name", DEPENDENT)
@pytest.mark.parametrize("function", [vf.mean_field, vf.gradient_flow, lambda net: vf.kernel(net, np.eye(30)[:2])])
def test_spikes_of_common_currents_are_not_joined_as_if_independent(name, function):
    """The node is named; simulation draws them."""
    net = network(COMMON | DEPENDENT[name] | {"c3": (linear(2.0), "joined"), "s3": (ONCE, "c3")}, 1)
    with pytest.raises(vf.DomainError, match=r"joined.*depend on the same weights"):
        function(net)
    assert vf.simulate(net, repeats=2).firing_rate[:, -1].min() > 0


def test_gradients_of_a_concatenation_are_those_of_its_parts():
    """Two parts together have the energy of one of twice the width."""
    wide = {"c1": (L.Linear(2 * WIDTH, gain=2.0), "drive"), "s1": (ONCE, "c1")}
    parts = {f"{kind}{n}": (layer, source) for n in (1, 2) for kind, layer, source in (("c", linear(2.0), "drive"),)}
    parts |= {f"s{n}": (ONCE, f"c{n}") for n in (1, 2)} | {"joined": (L.Concat(), "s1", "s2")}
    last = {"c3": (linear(2.4), "joined"), "s3": (ONCE, "c3")}
    one = vf.gradient_flow(network(wide | {"c3": (linear(2.4), "s1"), "s3": (ONCE, "c3")}, 1)).energy
    two = vf.gradient_flow(network(parts | last, 1)).energy
    assert two[:2].sum() == pytest.approx(one[0].sum(), rel=1e-12)
    assert two[0] == pytest.approx(two[1], rel=1e-12)


def test_products_return_gradients_weighted_by_the_other_factor():
    """``E[(∂L/∂x)²] = E[(∂L/∂z)²] E[y²]`` for ``z = x y``, as behind a factor ``√E[y²]``; the moments behind are the same."""
    nodes = {"c1": (linear(2.0), "drive"), "s1": (ONCE, "c1"), "c2": (linear(2.0), "drive"), "s2": (ONCE, "c2")}
    nodes |= {"joined": (L.Product(), "s1", "s2"), "c3": (linear(2.4), "joined"), "s3": (ONCE, "c3")}
    net = network(nodes, 1)
    flow, rate = vf.gradient_flow(net).energy[:, 0], vf.mean_field(net).firing_rate
    plain = {"c1": nodes["c1"], "s1": nodes["s1"], "thin": (L.Scale(float(rate[1]) ** 0.5), "s1")}
    thinned = network(plain | {"c3": (linear(2.4), "thin"), "s3": (ONCE, "c3")}, 1)
    alone = vf.gradient_flow(thinned).energy[:, 0]
    assert flow[0] / flow[2] == pytest.approx(alone[0] / alone[1], rel=2e-3)  # means over two inputs
