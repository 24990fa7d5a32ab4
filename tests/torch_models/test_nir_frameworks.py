"""Files written by snnTorch, Norse and sinabs: simulated from the file, they spike as the library that runs it, one by one."""

import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from threading import Event

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nir = pytest.importorskip("nir")
snntorch, norse = pytest.importorskip("snntorch"), pytest.importorskip("norse.torch")

import varflow as vf  # noqa: E402
from varflow.model.graph import Graph  # noqa: E402
from varflow.simulation.layered import batch_of  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
import nir_files as files  # noqa: E402

sys.path.remove(str(DOCS))
STEPS = files.STEPS
needs_sinabs = pytest.mark.skipif(find_spec("sinabs") is None, reason="sinabs is not installed")


def spikes_of(network):
    """Spikes of every layer, each (steps, inputs, neurons), by the simulation."""
    kept = []
    batch = batch_of(network, probes=network.drive.n_inputs, engine="dense", seed=0)
    batch.send(0, lambda layer, membranes, spikes: kept.append(spikes[0].numpy().swapaxes(0, 1)) or True, Event())
    return kept


def stepped(model, names):
    """Spikes of a model of snnTorch or Norse that is called once a step."""

    def run(path, x, *_):
        frames, state = torch.tensor(x, dtype=torch.float32), None

        def call():
            nonlocal state
            for _ in range(STEPS):
                out = model(frames) if state is None and not isinstance(model, norse.SequentialState) else model(frames, state)
                state = out[1] if isinstance(model, norse.SequentialState) else None

        return [each.reshape(STEPS, len(x), -1) for each in files.recorded(model, names, call)]

    return run


def conv(channels, out, **options):
    layer = torch.nn.Conv2d(channels, out, 3, **options)
    torch.nn.init.normal_(layer.weight, std=2.5 / (9 * channels) ** 0.5)
    return layer


def dense(n, m, scale=2.5):
    return files.of_size(n, m, scale=scale)[0]


def of_snntorch():
    return torch.nn.Sequential(
        dense(20, 60), files.leaky(60, reset_mechanism="zero"), dense(60, 40), files.leaky(40, reset_mechanism="zero")
    )


def recurrent_of_snntorch():
    options = {"threshold": torch.ones(60), "init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    return torch.nn.Sequential(dense(20, 60), snntorch.RLeaky(torch.full((60,), 0.9), linear_features=60, **options))


def coupled_of_snntorch():
    options = {"threshold": torch.ones(60), "init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    return torch.nn.Sequential(
        dense(20, 60), snntorch.RLeaky(torch.full((60,), 0.9), V=torch.full((60,), 0.5), all_to_all=False, **options)
    )


def synaptic_of_snntorch():
    options = {"threshold": torch.ones(60), "init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    return torch.nn.Sequential(dense(20, 60, 0.8), snntorch.Synaptic(torch.full((60,), 0.5), torch.full((60,), 0.8), **options))


def conv_of_snntorch():
    zero = {"reset_mechanism": "zero"}
    first, second = (conv(2, 6, padding=1), files.leaky(6, 8, 8, **zero)), (conv(6, 5, stride=2), files.leaky(5, 1, 1, **zero))
    return torch.nn.Sequential(
        *first, torch.nn.AvgPool2d((2, 2), (2, 2)), *second, torch.nn.Flatten(), dense(5, 30), files.leaky(30, **zero)
    )


def of_norse():
    return norse.SequentialState(
        dense(20, 60), files.lif_box(60, threshold=0.2), dense(60, 40), files.lif_box(40, threshold=0.2)
    )


def differing_of_norse():
    rng = np.random.default_rng(3)
    cell, of_each = files.lif_box(60), lambda low, high: torch.tensor(rng.uniform(low, high, 60), dtype=torch.float32)
    cell.p = cell.p._replace(v_th=of_each(0.1, 0.4), tau_mem_inv=of_each(50.0, 300.0))
    return norse.SequentialState(dense(20, 60), cell, dense(60, 40), files.lif_box(40, threshold=0.2))


def synaptic_of_norse():
    of_each = {"tau_syn_inv": 200.0, "tau_mem_inv": 100.0, "v_leak": 0.0, "v_th": 0.05}
    filled = {name: torch.full((60,), value) for name, value in of_each.items()}
    return norse.SequentialState(dense(20, 60), norse.LIFCell(norse.LIFParameters(**filled)))


def conv_of_norse():
    first, second = (
        (conv(2, 6, padding=1), files.lif_box(6, 8, 8, threshold=0.2)),
        (conv(6, 5), files.lif_box(5, 6, 6, threshold=0.2)),
    )
    return norse.SequentialState(*first, *second)


def of_sinabs():
    import sinabs.layers

    return torch.nn.Sequential(
        dense(20, 60, 1.0), sinabs.layers.IAFSqueeze(batch_size=1), dense(60, 40, 1.0), files.lif_of_sinabs(40)
    )


def conv_of_sinabs():
    import sinabs.layers as sl

    maps = conv(2, 6, padding=1), sl.IAFSqueeze(batch_size=1), sl.SumPool2d(2), torch.nn.Flatten()
    return torch.nn.Sequential(*maps, dense(96, 30, 0.5), sl.IAFSqueeze(batch_size=1))


WRITE = {"snntorch": files.of_snntorch, "norse": files.of_norse, "sinabs": files.of_sinabs}
IMPORT = {"snntorch": files.by_snntorch, "norse": files.by_norse, "sinabs": files.by_sinabs}
DT = {"snntorch": None, "norse": 1e-6, "sinabs": None}  # Norse writes τ · dt
CASES = {  # model, library that writes and runs it, its neurons, shape of the input, whether the model itself is stepped
    "snnTorch": (of_snntorch, "snntorch", ["1", "3"], (20,), True),
    "snnTorch imported": (of_snntorch, "snntorch", ["1", "3"], (20,), False),
    "snnTorch recurrent": (recurrent_of_snntorch, "snntorch", ["1"], (20,), True),
    "snnTorch, each neuron to itself": (coupled_of_snntorch, "snntorch", ["1"], (20,), True),
    "snnTorch with synapse": (synaptic_of_snntorch, "snntorch", ["1"], (20,), True),
    "snnTorch maps": (conv_of_snntorch, "snntorch", ["1", "4", "7"], (2, 8, 8), True),
    "snnTorch maps imported": (conv_of_snntorch, "snntorch", ["1", "4", "7"], (2, 8, 8), False),
    "Norse": (of_norse, "norse", ["1", "3"], (20,), True),
    "Norse imported": (of_norse, "norse", ["1", "3"], (20,), False),
    "Norse, neurons that differ": (differing_of_norse, "norse", ["1", "3"], (20,), False),
    "Norse with synapse": (synaptic_of_norse, "norse", ["1.lif"], (20,), False),
    "Norse maps": (conv_of_norse, "norse", ["1", "3"], (2, 8, 8), True),
    "sinabs imported": pytest.param(of_sinabs, "sinabs", ["1", "3"], (20,), False, marks=needs_sinabs),
    "sinabs maps imported": pytest.param(conv_of_sinabs, "sinabs", ["1", "5"], (2, 8, 8), False, marks=needs_sinabs),
}


@pytest.mark.parametrize(("make", "library", "names", "shape", "itself"), CASES.values(), ids=CASES)
def test_a_simulation_of_the_file_spikes_as_its_library(tmp_path, make, library, names, shape, itself):
    torch.manual_seed(1)
    model, path = make(), tmp_path / "file.nir"
    with files.quietly():
        WRITE[library](model, shape, path)
    for module in model:
        if hasattr(module, "reset_mem"):
            module.reset_mem()
    x = np.random.default_rng(0).random((6, *shape))
    run = stepped(model, names) if itself else IMPORT[library]
    theirs = run(path, x, names, DT[library])
    ours = spikes_of(vf.read_nir(path, x, steps=STEPS, library=library, dt=DT[library]))
    for their, our in zip(theirs, ours, strict=True):
        assert their.shape == our.shape
        assert 0.005 < their.mean() < 0.9
        assert np.array_equal(their, our)


def redrawn(network):
    """The network with weights drawn anew, of the same moments."""
    nodes = Graph([replace(node, given={}) for node in network.nodes])
    return vf.Network(nodes=nodes, steps=network.steps, drive=network.drive)


@pytest.mark.parametrize(("library", "dt"), [("snntorch", None), ("norse", 1e-4)])
def test_theory_predicts_what_a_library_makes_of_a_file(tmp_path, library, dt):
    """Within four standard deviations of networks drawn anew; by the conventions of another library it would not."""
    torch.manual_seed(2)
    layers = files.of_size(100, 800, 600, scale=4.0)
    modules = [module for weights in layers for module in (weights, files.leaky(weights.out_features, reset_mechanism="zero"))]
    path, x = tmp_path / "file.nir", np.random.default_rng(0).random((1, 100)) + 0.5
    with files.quietly():
        files.of_snntorch(torch.nn.Sequential(*modules), (100,), path)
    measured = np.array([spikes.mean() for spikes in IMPORT[library](path, x, ["1", "3"], dt)])
    network = vf.read_nir(path, x, steps=STEPS, library=library, dt=dt)
    spread = vf.simulate(redrawn(network), repeats=32).firing_rate.mean(axis=2).std(axis=0, ddof=1)

    def agrees(read):
        return np.all(np.abs(vf.mean_field(read).firing_rate.mean(axis=1) - measured) < 4 * spread)

    assert measured[0] > 0.01
    assert agrees(network)
    other = {"library": "norse", "dt": 1e-4} if library == "snntorch" else {"library": "snntorch"}
    assert not agrees(vf.read_nir(path, x, steps=STEPS, **other))


def test_an_audit_measures_the_file_and_predicts_it(tmp_path):
    """Late rates measured are those of the simulation; predicted ones are those of the mean field, with other points."""
    torch.manual_seed(1)
    path, x = tmp_path / "file.nir", np.random.default_rng(0).random((6, 2, 8, 8))
    with files.quietly():
        files.of_snntorch(conv_of_snntorch(), (2, 8, 8), path)
    network = vf.read_nir(path, x, steps=STEPS, library="snntorch")
    report = vf.audit(network)
    assert [layer.neuron_name for layer in report.layers] == ["1", "4", "7"]
    late = vf.simulate(network, repeats=6).firing_rate[:, :, STEPS // 2 :].mean(axis=(0, 2))
    assert np.allclose([layer.firing_rate for layer in report.layers], late, atol=1e-6)
    first = vf.mean_field(network).firing_rate[0, STEPS // 2 :].mean()
    assert report.layers[0].predicted_rate == pytest.approx(first, rel=0.02)
    assert report.healthy


def test_a_dense_chain_is_audited_at_its_width():
    rng, ones = np.random.default_rng(0), np.ones(60)
    layers = [
        nir.Affine(2 * rng.normal(size=(60, 60)) / 60**0.5, 0.2 * rng.normal(size=60)),
        nir.LIF(1e-3 * ones, 10 * ones, 0 * ones, ones),
    ]
    report = vf.audit(nir.NIRGraph.from_list(*layers * 3), 2 * rng.random((5, 60)), steps=12, gradients=True)
    assert report.method == "sampled networks"
    assert all(abs(layer.firing_rate - layer.predicted_rate) < 4 * layer.predicted_std for layer in report.layers)
    assert [layer.dead_gradients for layer in report.layers] == [1, 1, 1]  # its neurons have no surrogate


def test_audits_of_graphs_and_what_they_refuse():
    graph = nir.NIRGraph.from_list(nir.Linear(np.ones((5, 4))), nir.Threshold(np.full(5, 50.0)), type_check=False)
    report = vf.audit(graph, np.ones((3, 4)), steps=7)
    assert (report.first_dead, report.steps, report.inputs) == ("linear", 7, 3)
    for arguments in ((vf.Network(width=5, depth=2, gain=1.0),), (vf.read_nir(graph), np.ones((3, 4)))):
        with pytest.raises(vf.DomainError, match=r"must be a network of vf\.read_nir"):
            vf.audit(*arguments)


def test_recurrent_neurons_that_differ_and_delays_in_an_audit():
    """The module steps them as the simulation does."""
    rng, ones = np.random.default_rng(0), np.ones(40)
    lif = nir.LIF(rng.uniform(5e-4, 2e-3, 40), 10 * ones, 0 * ones, rng.uniform(0.5, 1.5, 40))
    w, back, more = (nir.Linear(rng.normal(size=(40, n)) / n**0.5) for n in (10, 40, 40))
    nodes = {"in": nir.Input(np.array([10])), "w": w, "forward": lif, "back": back, "out": lif}
    nodes |= {"delay": nir.Delay(3e-4 * ones), "more": more}
    edges = [("in", "w"), ("w", "forward"), ("forward", "back"), ("back", "forward")]
    edges += [("forward", "delay"), ("delay", "more"), ("more", "out")]
    network = vf.read_nir(nir.NIRGraph(nodes, edges, type_check=False), 2 * rng.random((5, 10)), steps=30)
    layers, ensemble = vf.audit(network).layers, vf.simulate(network, repeats=5)
    late = ensemble.firing_rate[:, :, 15:].mean(axis=(0, 2))
    assert ((late > 0.02) & (late < 0.6)).all()
    assert ensemble.firing_rate[:, 0, :3].any()
    assert not ensemble.firing_rate[:, 1, :3].any()
    assert [layer.neuron_name for layer in layers] == ["forward_", "out"]
    assert np.allclose([layer.firing_rate for layer in layers], late, atol=1e-6)
    assert [layer.neuron for layer in layers] == network.neurons


def test_recurrent_weights_as_norse_runs_them(tmp_path):
    """Equal without their bias, which Norse leaves out at the first step."""
    torch.manual_seed(1)
    x, path = np.random.default_rng(0).random((6, 20)), tmp_path / "file.nir"
    for bias in (0.0, 1.0):
        model = recurrent_of_snntorch()
        model[1].recurrent.bias.data.fill_(bias)
        with files.quietly():
            files.of_snntorch(model, (20,), path)
        (theirs,) = files.by_norse(path, x, ["1_lif"], 1e-4)
        (ours,) = spikes_of(vf.read_nir(path, x, steps=STEPS, library="norse", dt=1e-4))
        assert theirs.mean() > 0.02
        assert np.array_equal(theirs, ours) == (bias == 0)


def test_names_of_nodes_become_names_of_modules():
    eye, half = nir.Linear(np.eye(5)), nir.Threshold(np.full(5, 0.5))
    nodes = {"in": nir.Input(np.array([5])), "a.b": eye, "a_b": half, "train": eye, "graph": half}
    graph = nir.NIRGraph(nodes, list(pairwise(nodes)), type_check=False)
    report = vf.audit(graph, np.eye(5), steps=2)
    assert [(layer.name, layer.neuron_name) for layer in report.layers] == [("a_b", "a_b_"), ("train_", "graph_")]
    assert [layer.firing_rate for layer in report.layers] == [0.2, 0.2]


def test_another_convention_spikes_differently(tmp_path):
    """The control: a file of snnTorch with the reset of another library."""
    torch.manual_seed(1)
    model, path = of_snntorch(), tmp_path / "file.nir"
    with files.quietly():
        files.of_snntorch(model, (20,), path)
    x = np.random.default_rng(0).random((6, 20))
    theirs, ours = (spikes_of(vf.read_nir(path, x, steps=STEPS, library=library)) for library in ("snntorch", "sinabs"))
    assert np.mean(theirs[1] != ours[1]) > 0.05
