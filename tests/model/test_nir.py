"""Graphs of the neuromorphic intermediate representation as networks: primitives, conventions, and files that mean no good."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import scipy.signal

nir, h5py = pytest.importorskip("nir"), pytest.importorskip("h5py")

import varflow as vf  # noqa: E402

L, RNG = vf.layers, np.random.default_rng(0)


def lif(n, tau=1e-3, **of):
    values = {"tau": tau, "r": tau / 1e-4, "v_leak": 0.0, "v_threshold": 1.0} | of
    return nir.LIF(**{name: np.broadcast_to(value, n) * np.ones(n) for name, value in values.items()})


def linear(rows, columns, scale=3.0):
    return nir.Linear(scale * RNG.normal(size=(rows, columns)) / columns**0.5)


def chain(*nodes):
    return nir.NIRGraph.from_list(*nodes, type_check=False)


def operations(network):
    return [node.operation for node in network.nodes]


# Primitives.


def test_weights_are_read_by_their_moments():
    affine = nir.Affine(RNG.normal(0.1, 0.5, (300, 50)), RNG.normal(0.3, 0.2, 300))
    network = vf.read_nir(chain(affine, lif(300)))
    _, weights, shift, spike = operations(network)
    assert weights.gain == pytest.approx(50**0.5 * affine.weight.std())
    assert weights.mean_gain == pytest.approx(50 * affine.weight.mean())
    assert (weights.bias_std, shift.constant) == pytest.approx((affine.bias.std(), affine.bias.mean()))
    assert spike.neuron == vf.Neuron(1.0, decay=0.9, reset="zero")
    assert network.unknown == ()


def test_a_file_is_its_graph(tmp_path):
    graph, x = chain(linear(50, 20), lif(50), linear(30, 50), lif(30)), RNG.random((4, 20))
    nir.write(tmp_path / "a.nir", graph)
    written, own = vf.read_nir(tmp_path / "a.nir", x), vf.read_nir(graph, x)
    assert operations(written) == operations(own)
    assert np.array_equal(vf.mean_field(written).firing_rate, vf.mean_field(own).firing_rate)


def test_operations_without_weights():
    conv = nir.Conv2d((8, 8), RNG.normal(size=(6, 2, 3, 3)), 1, "same", 1, 1, np.zeros(6))
    line = nir.Conv1d(None, RNG.normal(size=(5, 6, 4)), 2, 1, 1, 1, np.zeros(5))
    pools = [kind(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])) for kind in (nir.SumPool2d, nir.AvgPool2d)]
    flat = nir.Flatten({"input": np.array([6, 2, 2])}, 0, -1)
    maps = chain(nir.Input(np.array([2, 8, 8])), conv, lif((6, 8, 8)), *pools, flat, linear(9, 24), lif(9))
    network = vf.read_nir(maps)
    assert operations(network)[1:] == [
        *operations(network)[1:3],
        L.Pool("average", 2),
        L.Scale(4.0),
        L.Pool("average", 2),
        *operations(network)[6:],
    ]
    assert operations(network)[1].windows == ((3, 3), (1, 1), (1, 1), (1, 1))
    on_a_line = vf.read_nir(chain(nir.Input(np.array([6, 20])), line, lif((5, 10))))
    assert on_a_line.shapes == [(5, 1, 10)]


ONES = np.ones(40)
LEAKY = nir.LI(5e-4 * ONES, 5 * ONES, 0.1 * ONES)
FILTERS = {
    "LI": (LEAKY, L.Filter((0.8,))),
    "CubaLI": (nir.CubaLI(5e-4 * ONES, 1e-3 * ONES, 2 * ONES, 0 * ONES, 5 * ONES), L.Filter((0.8, 0.9), scale=0.2)),
    "I": (nir.I(0.5 * ONES), L.Filter((1.0,), scale=0.5)),
    "Delay": (nir.Delay(3e-4 * ONES), L.Filter(delay=3)),
}


@pytest.mark.parametrize("name", FILTERS)
def test_integrators_and_delays_are_filters(name):
    kind, expected = FILTERS[name]
    found = operations(vf.read_nir(chain(linear(40, 10), kind, lif(40))))[2]
    assert found.delay == expected.delay
    assert [*found.decays, found.scale] == pytest.approx([*expected.decays, expected.scale], rel=1e-7)
    x = RNG.random(30)
    y = found.scale * np.pad(x, (found.delay, 0))[:30]
    for decay in found.decays:
        y = scipy.signal.lfilter([1.0], [1.0, -decay], y)
    assert found.response(30) @ x == pytest.approx(y)


def test_integrators_before_neurons_and_as_readouts():
    """Euler steps of the format's equations from rest, spike by spike; behind the last neurons they are left out."""
    layers, x = (linear(40, 20), LEAKY, linear(60, 40), lif(60), linear(5, 60), nir.LI(*3 * [np.ones(5)])), RNG.random((3, 20))
    network = vf.read_nir(chain(*layers), x, steps=30)
    assert [type(each).__name__ for each in operations(network)[1:]] == [
        "Linear",
        "Filter",
        "Sum",
        "Fallback",
        "Linear",
        "Spike",
    ]
    y, h, spikes = np.full((3, 40), 0.1), np.zeros((3, 60)), []  # from rest
    for _ in range(30):
        y = y + 0.2 * (0.1 - y + 5 * x @ layers[0].weight.T)
        h = 0.9 * h + y @ layers[2].weight.T
        spikes.append(h > 1)
        h[h > 1] = 0
    found = vf.simulate(network, repeats=3).firing_rate[:, 0]
    assert found == pytest.approx(np.mean(spikes, axis=2).T, abs=1e-12)
    predicted = vf.mean_field(network)
    assert predicted.firing_rate[0, 5:].mean() == pytest.approx(found[:, 5:].mean(), rel=0.15)


def test_delays_of_spikes():
    layers = linear(10, 10), lif(10), nir.Delay(np.full(10, 3e-4)), linear(4, 10), lif(4)
    network = vf.read_nir(chain(*layers))
    assert [node.name for node in network.nodes] == ["drive", "linear", "lif", "delay", "linear_1", "lif_1"]
    spikes = vf.simulate(network, repeats=2).firing_rate
    assert spikes[:, 1, :3].max() == 0


def test_a_scale_that_differs_is_part_of_the_next_weights():
    weights, scale = linear(40, 20), RNG.random(20)
    scaled = vf.read_nir(chain(nir.Scale(scale), weights, lif(40)))
    assert scaled.nodes[1].operation.gain == pytest.approx(20**0.5 * (weights.weight * scale).std())
    between = vf.read_nir(chain(weights, nir.Scale(np.full(40, 2.0)), lif(40)))
    assert operations(between)[2] == L.Scale(2.0)
    with pytest.raises(vf.DomainError, match="scale: Scale, which differs between neurons, before dense weights only"):
        vf.read_nir(chain(weights, nir.Scale(RNG.random(40)), lif(40)))


def recurrent(weights, prefix=""):
    nodes = {
        "in": nir.Input(np.array([20])),
        "w": linear(30, 20),
        "lif": lif(30),
        "back": weights,
        "out": nir.Output(np.array([30])),
    }
    edges = [("in", "w"), ("w", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "out")]
    return nir.NIRGraph(nodes, edges, type_check=False)


def test_weights_from_neurons_to_themselves_are_recurrent():
    back = nir.Affine(RNG.normal(size=(30, 30)), RNG.normal(0.2, 1.0, 30))
    weights, shift, spike = operations(vf.read_nir(recurrent(back)))[1:]
    assert spike.recurrent_gain == pytest.approx(30**0.5 * back.weight.std())
    assert (weights.bias_std, shift.constant) == pytest.approx((back.bias.std(), back.bias.mean()))
    with pytest.raises(vf.DomainError, match=r"is no NIR graph that can be read \(ValueError"):
        vf.read_nir(recurrent(linear(30, 29)))


def test_several_recurrent_weights_add():
    graph, more = recurrent(linear(30, 30)), linear(30, 30)
    graph.nodes["more"] = more
    graph.edges += [("lif", "more"), ("more", "lif")]
    total = graph.nodes["back"].weight + more.weight
    assert vf.read_nir(graph).nodes[-1].operation.recurrent_gain == pytest.approx(30**0.5 * total.std())


def test_neurons_coupled_to_themselves_are_no_dense_weights():
    """Each spike adds a current to its own neuron: part of the reset."""
    (spike,) = (each for each in operations(vf.read_nir(recurrent(nir.Linear(0.5 * np.eye(30))))) if isinstance(each, L.Spike))
    assert not spike.recurrent
    assert spike.neuron.reset == vf.resets.Reset(membrane=1.0, threshold=-0.5, delayed=True)
    with pytest.raises(vf.DomainError, match="V differs between neurons"):
        vf.read_nir(recurrent(nir.Linear(np.diag(np.arange(30.0)))))


def test_subgraphs_are_laid_out():
    inner = recurrent(linear(30, 30))
    graph = nir.NIRGraph({"in": nir.Input(np.array([20])), "sub": inner, "w": linear(5, 30), "lif": lif(5)},
                         [("in", "sub"), ("sub", "w"), ("w", "lif")], type_check=False)  # fmt: skip
    network = vf.read_nir(graph)
    assert [node.name for node in network.nodes] == ["drive", "sub.w", "sub.lif", "w", "lif"]


def test_readouts_are_left_out_and_several_signals_added():
    nodes = {"in": nir.Input(np.array([20])), "a": linear(30, 20), "b": linear(30, 20), "lif": lif(30), "w": linear(5, 30)}
    edges = [("in", "a"), ("in", "b"), ("a", "lif"), ("b", "lif"), ("lif", "w"), ("w", "li")]
    graph = nir.NIRGraph(nodes | {"li": nir.LI(np.ones(5), np.ones(5), np.zeros(5))}, edges, type_check=False)
    network = vf.read_nir(graph)
    assert [type(operation).__name__ for operation in operations(network)] == ["Source", "Linear", "Linear", "Sum", "Spike"]


# Conventions.


@pytest.mark.parametrize(
    ("library", "neuron"),
    [
        ("nir", vf.Neuron(1.0, decay=0.9, input_scale=0.2, reset=vf.resets.Reset(membrane=1.0, threshold=-0.25))),
        ("snntorch", vf.Neuron(1.0, decay=0.9, input_scale=0.2, reset="zero")),
        ("norse", vf.Neuron(1.0, decay=0.9, input_scale=0.1, reset="zero")),
        ("sinabs", vf.Neuron(1.0, decay=float(f"{np.exp(-1 / 1e-3):.7g}"), reset="multi_spike", strict=False)),
    ],
)
def test_libraries_step_a_file_differently(library, neuron):
    graph = chain(linear(9, 5), lif(9, r=2.0, v_reset=0.25))
    dt = 1e-4 if library == "norse" else None
    assert vf.read_nir(graph, library=library, dt=dt).neurons == [neuron]


def test_a_current_with_a_synapse():
    values = {"tau_syn": 5e-4, "tau_mem": 1e-3, "r": 10.0, "v_leak": 0.0, "v_threshold": 1.0, "w_in": 5.0}
    graph = chain(linear(9, 5), nir.CubaLIF(**{name: value * np.ones(9) for name, value in values.items()}))
    expected = vf.neurons.snntorch_synaptic(0.8, 0.9, reset_mechanism="zero", reset_delay=False)
    assert vf.read_nir(graph, library="snntorch").neurons == [expected]
    with pytest.raises(vf.DomainError, match="cubalif: CubaLIF, which sinabs does not import"):
        vf.read_nir(graph, library="sinabs")


def test_potentials_count_from_rest():
    graph = chain(linear(9, 5), lif(9, v_leak=-0.5, v_reset=-0.5, v_threshold=0.5))
    assert vf.read_nir(graph).neurons == [vf.Neuron(1.0, decay=0.9, reset="zero")]
    with pytest.raises(vf.DomainError, match="takes v_leak = 0 only"):
        vf.read_nir(graph, library="snntorch")


def test_neurons_that_differ():
    thresholds, scales = RNG.uniform(0.5, 1.5, 9), RNG.uniform(1.0, 2.0, 9)
    neuron = vf.read_nir(chain(linear(9, 5), lif(9, r=10 * scales, v_threshold=thresholds))).neurons[0]
    assert np.allclose(neuron.threshold.rule()[0], np.sort(thresholds / scales) * scales.max())
    assert neuron.input_scale == pytest.approx(scales.max())


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"library": "brian"}, "library"),
        ({"dt": -1.0}, "dt"),
        ({"dt": 1.0}, "dt"),
        ({"dt": 1e-3, "library": "snntorch"}, "dt"),
        ({"steps": 0}, "steps"),
        ({"inputs": np.ones((2, 6))}, "inputs"),
        ({"inputs": np.ones(5)}, "inputs"),
        ({"inputs": "x"}, "inputs"),
    ],
)
def test_arguments_are_checked(options, argument):
    with pytest.raises(vf.DomainError) as caught:
        vf.read_nir(chain(linear(9, 5), lif(9)), **options)
    assert caught.value.argument == argument


def test_inputs():
    graph, x = chain(linear(9, 5), lif(9)), RNG.random((4, 7, 5))
    assert vf.read_nir(graph, x).steps == 7
    assert vf.read_nir(graph, x[:, 0]).steps == 20
    assert vf.read_nir(graph, vf.drives.spikes([0.2] * 5), steps=3).steps == 3
    assert vf.read_nir(graph, np.zeros((1, 5))).drive.x.shape == (1, 5)
    driven = vf.read_nir(chain(lif(5)), x[:, 0], steps=3)
    assert np.array_equal(driven.drive.currents, np.repeat(x[:, :1], 3, axis=1))


# Files and graphs that are malformed, huge or hostile: one line each.


def line(graph, **options):
    with pytest.raises(vf.DomainError) as caught:
        vf.read_nir(graph, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize("content", [b"", b"not a file of HDF5", b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00."])
def test_a_file_that_is_none(tmp_path, content):
    (tmp_path / "a.nir").write_bytes(content)
    assert "is no NIR graph that can be read" in line(tmp_path / "a.nir")
    assert "is no NIR graph that can be read" in line(tmp_path / "none.nir")
    assert "is no NIR graph that can be read" in line(str(tmp_path))


@pytest.mark.parametrize("graph", [3, None, np.ones(3), lif(5)])
def test_what_is_no_graph(graph):
    assert "is no NIR graph that can be read" in line(graph)


def changed(tmp_path, change):
    nir.write(tmp_path / "a.nir", chain(linear(9, 5), lif(9)))
    with h5py.File(tmp_path / "a.nir", "r+") as file:
        change(file)
    return line(tmp_path / "a.nir")


NODES = "node/nodes"


def drop(file, *names):
    for name in names:
        del file[name]


def put(file, name, value):
    drop(file, name)
    file[name] = value


def empty_but_huge(file):
    drop(file, f"{NODES}/linear/weight")
    file.create_dataset(f"{NODES}/linear/weight", (10**7, 10**7), "f8", chunks=(100, 100))


def soft(file):
    file[f"{NODES}/more"] = h5py.SoftLink("/node")


def outside(file):
    file[f"{NODES}/more"] = h5py.ExternalLink("/etc/passwd", "/")


def hard(file):
    file[f"{NODES}/more"] = file["node"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: drop(file, "node"), "KeyError"),
        (lambda file: drop(file, f"{NODES}/lif/tau"), "tau"),
        (lambda file: drop(file, f"{NODES}/linear/type"), "KeyError: 'type'"),
        (lambda file: put(file, f"{NODES}/linear/type", "Magic"), "Magic"),
        (lambda file: put(file, f"{NODES}/linear/weight", np.full((9, 5), np.nan)), "linear.weight=nan must be finite"),
        (lambda file: put(file, f"{NODES}/linear/weight", np.ones((9, 6))), "(9, 6)' receives input of shape (5,)"),
        (lambda file: put(file, f"{NODES}/linear/weight", np.ones(9)), "NIR graph"),
        (lambda file: put(file, f"{NODES}/linear/weight", np.ones((7, 5))), "receives currents of shape (7,)"),
        (lambda file: put(file, f"{NODES}/linear/weight", np.array([b"a", b"b"])), "NIR graph"),
        (lambda file: put(file, f"{NODES}/lif/tau", -np.ones(9)), "must be positive"),
        (lambda file: put(file, "node/edges", np.array([[b"input", b"lif"], [b"lif", b"nothing"]], dtype="S8")), "missing"),
        (empty_but_huge, "needs"),
        (soft, "has a link, 'more'"),
        (outside, "has a link, 'more'"),
        (hard, "has a link"),
    ],
)  # fmt: skip
def test_a_file_that_was_tampered_with(tmp_path, change, words):
    assert words in changed(tmp_path, change)


def test_a_graph_of_many_nodes(tmp_path):
    one = nir.Threshold(np.ones(5))
    nodes = {"in": nir.Input(np.array([5])), **dict.fromkeys(map(str, range(10**5)), one)}
    assert "are too many: at most 10000" in line(nir.NIRGraph(nodes, [("in", "0")], type_check=False))
    with h5py.File(tmp_path / "a.nir", "w") as file:
        for number in range(12_000):
            file.create_group(f"{NODES}/{number}")
    assert "are too many: at most 10000" in line(tmp_path / "a.nir")


def test_a_long_chain_is_read():
    nodes = [node for _ in range(1500) for node in (nir.Linear(np.ones((2, 2))), lif(2))]
    assert vf.read_nir(chain(*nodes)).depth == 1500


def test_a_subgraph_within_itself():
    graph = recurrent(linear(30, 30))
    graph.nodes["sub"] = graph
    assert "is too deep" in line(graph)


def test_weights_without_neurons_in_a_cycle():
    nodes = {"in": nir.Input(np.array([5])), "a": linear(5, 5), "b": linear(5, 5), "lif": lif(5)}
    edges = [("in", "a"), ("a", "b"), ("b", "a"), ("a", "lif")]
    assert "CycleError" in line(nir.NIRGraph(nodes, edges, type_check=False))


def test_a_cycle_over_several_layers():
    nodes = {"in": nir.Input(np.array([5])), "a": linear(5, 5), "n": lif(5), "b": linear(5, 5), "m": lif(5), "c": linear(5, 5)}
    edges = [("in", "a"), ("a", "n"), ("n", "b"), ("b", "m"), ("m", "c"), ("c", "n")]
    assert "CycleError" in line(nir.NIRGraph(nodes, edges, type_check=False))


def test_what_is_not_known_is_named():
    class Odd(nir.NIRNode):
        def __init__(self):
            pass

    nodes = {"in": nir.Input(np.array([5])), "a": linear(9, 5), "lif": lif(9), "odd": Odd(), "b": linear(4, 9), "out": lif(4)}
    names = list(nodes)
    network = vf.read_nir(nir.NIRGraph(nodes, list(pairwise(names)), type_check=False))
    assert (network.depth, network.unknown) == (1, ("odd: Odd, which is not known",))
    assert "leaves no layer of neurons that is known" in line(chain(linear(9, 5), nir.LI(np.ones(9), np.ones(9), np.zeros(9))))


def test_theory_needs_no_torch(tmp_path):
    nir.write(tmp_path / "a.nir", chain(linear(9, 5), lif(9)))
    code = "import sys, varflow as vf; vf.mean_field(vf.read_nir('a.nir')); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "False", done.stderr


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(vf.MissingExtraError, match=r"nir is not installed: pip install .*nir"):
        vf.read_nir(tmp_path / "a.nir")
