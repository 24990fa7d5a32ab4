"""The graph of a network: order of execution, what residual blocks become, common roots, and which layers are a plain chain."""

import math
from dataclasses import replace

import numpy as np
import pytest

import varflow as vf
from varflow.model.build import as_chain, graph_of
from varflow.model.graph import Graph, Node, independent
from varflow.model.signals import Source

L = vf.layers

SPIKE, LINEAR = L.Spike(vf.Neuron(1.0)), L.Linear(gain=2.5)


def graph(*layers, **more):
    return graph_of(vf.Network(width=10, layers=layers, **more))


def written(nodes):
    return [(node.name, node.operation, node.inputs) for node in nodes]


def test_layers_in_a_row_are_nodes_in_a_row():
    layers = (SPIKE, LINEAR, L.LayerNorm(), SPIKE, L.Scale(0.5), LINEAR, SPIKE)
    row = graph(*layers)
    assert row.in_a_row
    assert [node.operation for node in row[1:]] == list(layers)
    assert [node.inputs for node in row] == [(), *((number,) for number in range(len(layers)))]
    assert row.leaving == len(layers)
    chain = graph_of(vf.Network(width=10, depth=3, gain=2.5, neuron=vf.Neuron(1.0)))
    assert [type(node.operation) for node in chain] == [Source, L.Spike, L.Linear, L.Spike, L.Linear, L.Spike]


MERGED = {
    "add": [("layers[1]", L.Sum((1.0, 1.0)), (1, 3))],
    "and": [("layers[1]", L.Product(), (1, 3))],
    "iand": [("layers[1].complement", L.Sum((-1.0,), 1.0), (3,)), ("layers[1]", L.Product(), (1, 4))],
}


@pytest.mark.parametrize("merge", MERGED)
def test_a_residual_of_spikes_is_a_sum_or_product_behind_its_branch(merge):
    nodes = graph(SPIKE, L.Residual(LINEAR, SPIKE, merge=merge))
    branch = [("layers[1].branch[0]", LINEAR, (1,)), ("layers[1].branch[1]", SPIKE, (2,))]
    assert written(nodes[2:]) == branch + MERGED[merge]
    assert nodes.leaving == len(nodes) - 1
    assert nodes.last_reader[1] == len(nodes) - 1


def test_a_residual_of_currents_keeps_a_part_of_its_shortcut():
    nodes = graph(L.Residual(SPIKE, LINEAR, keep=0.9), SPIKE)
    assert written(nodes[3:]) == [("layers[0]", L.Sum((0.9, 1.0)), (0, 2)), ("layers[1]", SPIKE, (3,))]


def test_nested_branches_come_before_what_joins_them():
    inner = L.Residual(LINEAR, SPIKE)
    nodes = graph(SPIKE, L.Residual(inner, LINEAR, SPIKE), LINEAR, SPIKE)
    names = "drive layers[0] L[0].branch[0] L[0].branch[1] L[0] L[1] L[2] layers[1] layers[2] layers[3]"
    assert [node.name for node in nodes] == names.replace("L[", "layers[1].branch[").split()
    assert nodes.last_reader[1] == 7
    assert nodes.leaving == len(nodes) - 1


def test_a_linear_of_a_branch_has_as_many_neurons_as_it_receives():
    nodes = graph(SPIKE, L.Linear(7, gain=1.0), SPIKE, L.Residual(LINEAR, SPIKE))
    assert [signal.shape for signal in nodes.shapes()] == [(10,), (10,), (7,), (7,), (7,), (7,), (7,)]


def test_signals_without_a_common_root_are_those_through_other_weights():
    nodes = graph(SPIKE, L.Residual(LINEAR, SPIKE), LINEAR, L.Residual(L.LayerNorm()), SPIKE)
    drive, first, second = 1 << 0, 1 << 2, 1 << 5
    assert list(nodes.roots) == [drive, drive, first, first, drive | first, second, second, second, second]


def sum_of(*factors, constant=0.0):
    return L.Sum(factors, constant)


NEURONS = Source(L.Signal("currents", (10,)))
DEPENDENT = L.Unknown("merges signals that depend on the same weights")


def begun(*nodes):
    """Spikes 1, spikes of other weights 3 and what the nodes make of them."""
    start = [(NEURONS,), (SPIKE, 0), (LINEAR, 1), (SPIKE, 2)]
    return Graph(Node(operation, tuple(inputs), width=10) for operation, *inputs in [*start, *nodes])


EXPANDED = {
    "independent": ([(sum_of(1.0, 2.0), 1, 3)], (sum_of(1.0, 2.0), (1, 3))),
    "a product of independent ones": ([(L.Product(), 1, 3)], (L.Product(), (1, 3))),
    "twice": ([(sum_of(1.0, 2.0), 3, 3)], (sum_of(3.0), (3,))),
    "scaled": ([(L.Scale(0.5), 3), (sum_of(1.0, 1.0), 3, 4)], (sum_of(1.5), (3,))),
    "a running normalisation": (
        [(L.BatchNorm(2.0, 0.3, (0.5, 4.0), 0.0), 3), (sum_of(1.0, 2.0), 3, 4)],
        (sum_of(3.0, constant=-0.4), (3,)),
    ),
    "a sum of sums": (
        [(sum_of(0.5, 1.0, constant=0.2), 3, 1), (sum_of(1.0, -1.0, constant=1.0), 1, 4)],
        (sum_of(0.0, -0.5, constant=0.8), (1, 3)),
    ),
    "no further than needed": (
        [(sum_of(1.0, 1.0), 3, 1), (L.Scale(0.5), 4), (sum_of(1.0, 1.0), 4, 5)],
        (sum_of(1.5), (4,)),
    ),
    "normalised": ([(L.LayerNorm(), 3), (sum_of(1.0, 1.0), 3, 4)], (DEPENDENT, (3, 4))),
    "a product with itself": ([(L.Product(), 3, 3)], (DEPENDENT, (3, 3))),
    "a product with a sum": ([(sum_of(1.0, 1.0), 1, 3), (L.Product(), 3, 4)], (DEPENDENT, (3, 4))),
}


@pytest.mark.parametrize("name", EXPANDED)
def test_dependent_terms_are_expanded_or_named(name):
    nodes, (operation, inputs) = EXPANDED[name]
    last = independent(begun(*nodes))[-1]
    assert last.inputs == inputs
    if isinstance(operation, L.Sum):
        assert last.operation.factors == pytest.approx(operation.factors)
        assert last.operation.constant == pytest.approx(operation.constant)
    else:
        assert last.operation == operation


def test_nodes_that_share_weights_depend_on_each_other():
    def of(key):
        nodes = [Node(NEURONS), Node(SPIKE, (0,)), *(Node(LINEAR, (1,), width=10, weights=key) for _ in range(2))]
        return independent(Graph([*nodes, Node(sum_of(1.0, 1.0), (2, 3))]))[-1].operation

    assert of("") == sum_of(1.0, 1.0)
    assert of("fc") == DEPENDENT


@pytest.mark.parametrize(
    ("operation", "signals", "named"),
    [
        (sum_of(1.0), ["spikes", "spikes"], "as many signals as factors, 1, not 2"),
        (sum_of(1.0, 1.0), ["spikes", "currents"], "cannot join spikes of shape .10,., currents"),
        (L.Product(), ["currents", "currents"], "needs spikes"),
        (L.Concat(), ["currents", "currents"], "needs input or spikes"),
    ],
)
def test_signals_that_do_not_fit_are_refused(operation, signals, named):
    sources = [Node(Source(L.Signal(kind, (10,)))) for kind in signals]
    with pytest.raises(vf.DomainError, match=named):
        list(Graph([*sources, Node(operation, (0, 1))]).shapes())


def test_concatenated_spikes_are_neurons_or_channels_side_by_side():
    sources = [Node(Source(L.Signal("spikes", shape))) for shape in ((3, 4, 4), (5, 4, 4))]
    assert list(Graph([*sources, Node(L.Concat(), (0, 1))]).shapes())[-1].shape == (8, 4, 4)


@pytest.mark.parametrize(
    "make", [lambda: L.Sum(()), lambda: L.Sum(1.0), lambda: L.Sum((1.0, math.nan)), lambda: L.Sum((1.0,), math.inf)]
)
def test_bad_factors_are_refused(make):
    with pytest.raises(vf.DomainError):
        make()


X, ZERO = np.ones((2, 6)), L.Spike(vf.Neuron(1.0, decay=0.5, reset="zero"))
CHAINS = {  # layers, drive, and whether they are the plain chain that engines and streams of random numbers depend on
    "alternating": ([SPIKE, LINEAR, SPIKE], None, True),
    "one layer": ([SPIKE], None, True),
    "other widths and gains": ([SPIKE, L.Linear(5, gain=2.5), SPIKE, L.Linear(7, gain=1.5), SPIKE], None, True),
    "weights of the drive": ([L.Linear(gain=2.5), SPIKE, LINEAR, SPIKE], vf.drives.inputs(X), True),
    "currents of inputs": ([SPIKE, LINEAR, SPIKE], vf.drives.inputs(X), True),
    "white": ([SPIKE, LINEAR, SPIKE], vf.drives.white(), True),
    "biases of all": ([SPIKE, *[L.Linear(gain=2.5, bias_std=0.1), SPIKE] * 2], None, True),
    "a delay": ([L.Spike(vf.Neuron(1.0, delay=1)), LINEAR, L.Spike(vf.Neuron(1.0, delay=1))], None, True),
    "other neurons": ([SPIKE, LINEAR, L.Spike(vf.Neuron(0.5))], None, False),
    "another detached reset": (
        [ZERO, LINEAR, L.Spike(vf.Neuron(1.0, decay=0.5, reset="zero", detach_reset=True))],
        None,
        False,
    ),
    "another bias": ([SPIKE, L.Linear(gain=2.5, bias_std=0.1), SPIKE, LINEAR, SPIKE], None, False),
    "another mean": ([SPIKE, L.Linear(gain=2.5, mean_gain=0.1), SPIKE, LINEAR, SPIKE], None, False),
    "another distribution": ([SPIKE, L.Linear(gain=2.5, weights="sign"), SPIKE, LINEAR, SPIKE], None, False),
    "centred rows": ([SPIKE, L.Linear(gain=2.5, rows="centred"), SPIKE], None, False),
    "recurrent": ([L.Spike(vf.Neuron(1.0), recurrent_gain=0.5)], None, False),
    "biases of the first weights": ([L.Linear(gain=2.5, bias_std=0.1), SPIKE], vf.drives.inputs(X), False),
    "spike trains through weights": ([L.Linear(gain=2.5), SPIKE], vf.drives.spikes([0.5] * 6), False),
    "ends without neurons": ([SPIKE, LINEAR], None, False),
    "two normalised": ([SPIKE, LINEAR, L.BatchNorm(), SPIKE], None, False),
    "a factor": ([SPIKE, L.Scale(1.0), LINEAR, SPIKE], None, False),
    "a residual": ([SPIKE, L.Residual(LINEAR, SPIKE)], None, False),
    "maps": ([SPIKE, L.Linear(10, gain=1.0), SPIKE], vf.drives.currents(shape=(10, 1, 1)), False),
    "convolutions": ([SPIKE, L.Conv(8, gain=1.0), L.Pool("max", 2), SPIKE], vf.drives.currents(shape=(2, 4, 4)), False),
}


@pytest.mark.parametrize("name", CHAINS)
def test_which_layers_are_a_plain_chain(name):
    layers, drive, chain = CHAINS[name]
    assert (as_chain(layers, 10, vf.drives.currents() if drive is None else drive) is not None) == chain


def by_hand(width=10, **nodes):
    return vf.Network(width=width, nodes=nodes)


BEGUN = {"s1": (SPIKE, "drive"), "c1": (LINEAR, "s1"), "s2": (SPIKE, "c1")}
REFUSED = {
    "no nodes": ({}, "nodes={} must be {name"),
    "no mapping": ([SPIKE], "nodes=.* must be {name"),
    "nothing receives the drive": ({"a": (SPIKE, "b"), "b": (LINEAR, "a")}, 'one that receives "drive"'),
    "a name that is none": (BEGUN | {"c2": (LINEAR, "s3")}, "c2='s3' is no node: choose from drive, s1, c1"),
    "the name of the drive": ({"drive": (SPIKE, "drive")}, 'other than "drive"'),
    "no layer": ({"a": (1.0, "drive")}, "a=1.0 must be a layer"),
    "without what it receives": (BEGUN | {"c2": LINEAR}, "c2=Linear.* followed by the names"),
    "two for one": (BEGUN | {"c2": (LINEAR, "s1", "s2")}, "c2=Linear.* receives one signal, not 2: join them by Sum"),
    "a circle": (BEGUN | {"s1": (SPIKE, "sum"), "sum": (L.Sum(), "drive", "c1")}, "circle: recurrent weights"),
    "another kind": (BEGUN | {"s3": (SPIKE, "s2")}, "s3=Spike.* cannot follow Spike.* sends spikes"),
    "kinds that differ": (BEGUN | {"a": (L.Sum(), "c1", "s2")}, "a=Sum.* cannot join currents of shape .10,., spikes"),
    "widths that differ": (BEGUN | {"c2": (L.Linear(5, gain=1.0), "s1"), "a": (L.Sum(), "c1", "c2")}, "a=Sum.* cannot join"),
    "no neurons": ({"a": (L.Scale(2.0), "drive")}, "at least one Spike"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_graphs_by_hand_that_do_not_fit_are_refused_in_one_line(name):
    nodes, words = REFUSED[name]
    with pytest.raises(vf.DomainError, match=words) as error:
        vf.Network(width=10, nodes=nodes)
    assert "\n" not in str(error.value)


def test_a_graph_by_hand_excludes_layers_and_the_arguments_of_a_chain():
    nodes = {**BEGUN, "cat": (L.Concat(), "s1", "s2"), "c3": (LINEAR, "cat"), "s3": (SPIKE, "c3")}
    for argument, value in (("layers", [SPIKE]), ("depth", 2), ("gain", 1.0), ("neuron", vf.Neuron())):
        with pytest.raises(vf.DomainError, match=f"{argument}=.*nodes="):
            vf.Network(width=10, nodes=nodes, **{argument: value})
    assert vf.Network(width=10, nodes=nodes, depth=3).depth == 3


def test_a_graph_by_hand_is_that_of_the_layers_it_repeats():
    residual = vf.Network(width=10, layers=[SPIKE, L.Residual(LINEAR, SPIKE, merge="iand"), LINEAR, SPIKE])
    repeated = by_hand(
        **BEGUN, no=(L.Sum((-1.0,), 1.0), "s2"), xy=(L.Product(), "s1", "no"), c2=(LINEAR, "xy"), s3=(SPIKE, "c2")
    )
    short = by_hand(s1=(SPIKE, "drive"), block=(residual.layers[1], "s1"), c2=(LINEAR, "block"), s3=(SPIKE, "c2"))
    wanted = [(node.operation, node.inputs) for node in graph_of(residual)]
    for network in (repeated, short):
        assert [(node.operation, node.inputs) for node in graph_of(network)] == wanted
        assert network.shapes == residual.shapes
        assert network.neurons == residual.neurons
    row = by_hand(**BEGUN)
    assert row.layers is row.nodes is None
    assert repr(row) == repr(vf.Network(width=10, depth=2, gain=2.5, neuron=vf.Neuron(1.0)))


def test_nodes_may_stand_before_those_that_they_receive():
    shuffled = by_hand(s3=(SPIKE, "c2"), c2=(LINEAR, "cat"), cat=(L.Concat(), "s1", "s2"), **BEGUN)
    assert [node.name for node in shuffled.nodes] == ["drive", "s1", "c1", "s2", "cat", "c2", "s3"]


def test_a_graph_prints_as_a_table():
    network = by_hand(**BEGUN, cat=(L.Concat(), "s1", "s2"), c2=(LINEAR, "cat"), s3=(SPIKE, "c2"))
    title, header, *rows = str(network).splitlines()
    assert title == repr(network) == "Network(width=10, nodes={s1, …, s3})"
    assert header.split() == ["node", "operation", "receives", "sends"]
    assert [row.split()[0] for row in rows] == ["drive", *(node.name for node in network.nodes[1:])]
    assert "s1, s2" in rows[4]
    assert rows[4].endswith("spikes of shape (20,)")
    assert "<td>s1, s2</td>" in network._repr_html_()
    long = by_hand(
        **{f"s{n}": (SPIKE, f"c{n}" if n else "drive") for n in range(99)},
        **{f"c{n + 1}": (LINEAR, f"s{n}") for n in range(98)},
        last=(L.Concat(), "s0", "s1"),
    )
    assert len(str(long).splitlines()) < 50


def test_a_graph_keeps_its_nodes_with_another_drive():
    network = by_hand(**BEGUN, cat=(L.Concat(), "s1", "s2"), c2=(LINEAR, "cat"), s3=(SPIKE, "c2"))
    other = replace(network, drive=vf.drives.white(2.0), steps=3)
    assert written(other.nodes) == written(network.nodes)
    assert (other.steps, other.drive) == (3, vf.drives.white(2.0))


def test_numbers_of_a_drive_reach_weights_or_neurons_but_not_both():
    drive = vf.drives.inputs(np.ones((2, 10)))
    nodes = {
        "c1": (LINEAR, "drive"),
        "s1": (SPIKE, "c1"),
        "s2": (SPIKE, "drive"),
        "c2": (LINEAR, "s2"),
        "sum": (L.Sum(), "c1", "c2"),
    }
    with pytest.raises(vf.DomainError, match=r"sends numbers to Linear.* currents to Spike"):
        vf.Network(width=10, nodes=nodes, drive=drive)
