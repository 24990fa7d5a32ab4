"""The networks of validation/training: their neurons against snnTorch and autograd, first weights, data, and the command."""

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import varflow as vf

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from autograd_networks import neurons  # noqa: E402

from validation.training import Design, Schedule, __main__, build, data, load, trained  # noqa: E402
from validation.training.experiments import Experiment, Run  # noqa: E402
from validation.training.figures import FIGURES  # noqa: E402
from validation.training.later import RULES, advised, first_step, judged  # noqa: E402
from validation.training.networks import size_of  # noqa: E402
from validation.training.predictors import LATER, PREDICTORS, agreement, predicted, revival_depth, scored  # noqa: E402
from validation.training.rates import best_rate, errors_of, key_of, settings_of  # noqa: E402
from validation.training.spiking import SHAPES, Spiking, psi  # noqa: E402
from validation.training.training import FIRST  # noqa: E402
from validation.training.verdicts import depth_rule, outcomes  # noqa: E402

ROOT = Path(__file__).parents[2]
STEPS, BATCH, WIDTH = 6, 3, 40


def currents(seed=0, dtype=torch.float64):
    return 2 * torch.randn(STEPS, BATCH, WIDTH, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def gradient(forward, x):
    """Spikes, and the gradient of a random readout with respect to the currents."""
    x = x.clone().requires_grad_()
    spikes = forward(x)
    readout = torch.randn(spikes.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(9))
    (spikes * readout).sum().backward()
    return spikes.detach(), x.grad


class SnnTorch(torch.nn.Module):
    """snnTorch's Leaky, step by step."""

    def __init__(self, beta=0.5, **options):
        super().__init__()
        snntorch = pytest.importorskip("snntorch")
        self.cell = snntorch.Leaky(beta, spike_grad=snntorch.surrogate.atan(2.0), **options)

    def forward(self, currents):
        membrane, spikes = self.cell.init_leaky(), []
        for current in currents:
            spike, membrane = self.cell(current, membrane)
            spikes.append(spike)
        return torch.stack(spikes)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_neurons_are_those_of_snntorch(reset):
    x, neuron = currents(dtype=torch.float32), vf.neurons.snntorch_leaky(0.7, reset_mechanism=reset)
    theirs, ours = gradient(SnnTorch(0.7, reset_mechanism=reset), x), gradient(Spiking(neuron), x)
    assert torch.equal(theirs[0], ours[0])
    assert theirs[0].mean() > 0.1
    torch.testing.assert_close(theirs[1], ours[1], rtol=1e-5, atol=1e-6)


def by_autograd(neuron, psi_of, detached):
    """The update of ``vf.resets.Reset`` as torch differentiates it."""
    return lambda x: neurons(vf.layers.Spike(neuron), x.transpose(0, 1), psi_of, detached).transpose(0, 1)


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize(
    "reset", ["none", "subtract", "delayed_subtract", "zero", "gate", vf.resets.Reset(membrane=0.4, input=0.3)]
)
def test_gradients_are_those_of_autograd(reset, detached):
    neuron = vf.Neuron(0.8, decay=0.6, input_scale=0.9, reset=reset, detach_reset=detached)
    x, triangle = currents(), lambda v: (1 - v.abs() / 1.5).clamp(min=0)
    ours = gradient(Spiking(neuron, vf.surrogates.triangular(1.5)), x)
    theirs = gradient(by_autograd(neuron, triangle, detached), x)
    assert torch.equal(ours[0], theirs[0])
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-12, atol=1e-12)
    other = gradient(by_autograd(neuron, triangle, not detached), x)[1]
    assert torch.allclose(ours[1], other) == (reset == "none")  # else the control differs


@pytest.mark.parametrize("family", SHAPES)
def test_shapes_are_those_of_the_descriptions(family):
    surrogate, v = vf.surrogates.Surrogate(family, peak=0.7, width=0.3), torch.linspace(-5, 5, 301, dtype=torch.float64)
    np.testing.assert_allclose(psi(surrogate, v).numpy(), surrogate(v.numpy()), rtol=1e-13, atol=1e-300)


def begun(**design):
    x = torch.rand(50, 64, generator=torch.Generator().manual_seed(1))
    return build(Design(depth=3, width=400, **design), x, (1, 8, 8), 10, torch.Generator().manual_seed(0)), x


def test_first_weights_have_the_gains_of_the_design():
    network, x = begun(initialisation="in_time")
    hidden, first = network.design.gains()
    for l, linear in enumerate(network.weights):
        gain = hidden if l else first / float(x.square().mean().sqrt())
        number = linear.weight.numel()
        assert abs(float(linear.weight.detach().square().mean()) * linear.in_features / gain**2 - 1) < 5 * (2 / number) ** 0.5
        assert not linear.bias.any()
    torch_default, _ = begun(initialisation="torch")
    assert all(float(linear.weight.detach().abs().max()) < linear.in_features**-0.5 for linear in torch_default.weights)
    assert all(linear.bias.any() for linear in torch_default.weights)


@pytest.mark.parametrize("structure", ["plain", "batch_norm", "membrane_shortcut"])
def test_layers_begin_with_the_rate_that_is_asked_for(structure):
    network, x = begun(structure=structure, rate=0.1)
    seen = []
    network(x, seen)
    rates = [float(spikes.detach().mean()) for _, spikes in seen]
    assert rates == pytest.approx([0.1, 0.1, 0.1], rel=0.15)  # 5 % more per branch


def test_biases_are_torchs_where_asked_for():
    (kept, _), (zero, _) = begun(biases=True), begun()
    assert all(linear.bias.any() for linear in kept.weights)
    assert torch.equal(kept.weights[1].weight, zero.weights[1].weight)


@pytest.mark.parametrize("settings", [{"biases": True}, {"structure": "membrane_shortcut", "gain": 0.7}])
def test_theory_of_a_design_has_the_rates_of_its_networks(settings):
    """Within 5 standard errors of 400 neurons, and 5 % as theory has wide layers; weaker inputs are rejected."""
    design = Design(depth=3, width=400, initialisation="in_time", **settings)
    x = torch.rand(50, 64, generator=torch.Generator().manual_seed(1))
    seen = []
    build(design, x, (1, 8, 8), 10, torch.Generator().manual_seed(0))(x, seen)
    of_neurons = np.array([spikes.detach().mean((0, 1)).numpy() for _, spikes in seen])
    right, weaker = (
        vf.mean_field(design.driven(x.numpy(), size)).firing_rate.mean(axis=-1) for size in (size_of(x), 1.5 * size_of(x))
    )
    tolerance = 5 * of_neurons.std(axis=1) / design.width**0.5 + 0.05 * right
    assert np.all(np.abs(of_neurons.mean(axis=1) - right) < tolerance)
    assert np.any(np.abs(of_neurons.mean(axis=1) - weaker) > tolerance)


def test_images_step_by_step_are_the_same_images():
    network, x = begun(initialisation="in_time")
    torch.testing.assert_close(network(x.expand(4, -1, -1)), network(x))


@pytest.mark.parametrize("decay", [0.3, 0.5])
def test_identity_weights_copy_spikes(decay):
    """With W = (θ/β) 1 each layer of snnTorch's neurons sends the spikes of the first; with W = 0.99 θ it does not."""
    network, x = begun(initialisation="identity", decay=decay, steps=6)
    for factor, copied in ((1.0, True), (0.99 * decay, False)):
        with torch.no_grad():
            network.weights[1].weight.mul_(factor)
        seen = []
        network(x, seen)
        assert seen[0][1].any()
        assert torch.equal(seen[0][1], seen[1][1]) == copied


def growths(design, networks):
    """``ln`` of the growth per layer of the gradient energy, by autograd."""
    found = []
    for seed in range(networks):
        generator = torch.Generator().manual_seed(seed)
        x, seen = torch.randn(1, 784, generator=generator), []
        build(design, x, (1, 28, 28), 10, generator).double()(x.double(), seen)
        spikes, readout = seen[-1][1], torch.randn(1, 1, design.width, generator=generator).double()
        gradients = torch.autograd.grad((spikes * readout).sum(), [seen[0][0], seen[-1][0]])
        first, last = (float(each.square().sum()) for each in gradients)
        found.append(np.log(first / last) / (design.depth - 1))
    return np.array(found)


@pytest.mark.parametrize(("depth", "gain2"), [(10, 2.0), (20, 40.0)])
def test_gradients_in_time_at_the_corners_of_the_map(depth, gain2):
    """Slope 0.2; theory with another slope or reset is rejected.

    The logarithm scatters by 2 % between networks of width 400. A finite width lowers it by O(1/n), less than 1.5 %.
    """
    design = Design(depth=depth, width=400, gain=gain2**0.5, surrogate=vf.surrogates.fast_sigmoid(0.2))
    found = growths(design, 3)
    tolerance = 5 * 0.02 / len(found) ** 0.5 + 0.015
    flow = partial(vf.gradient_flow, design.network(), points=2**9)  # growths within 0.1 %
    right = flow(design.surrogate).growth
    wide = flow(vf.surrogates.fast_sigmoid(0.25)).growth
    attached = flow(design.surrogate, detach_reset=False).growth
    assert abs(np.mean(found) - np.log(right)) < tolerance
    for wrong in (wide, attached):
        assert abs(np.mean(found) - np.log(wrong)) > tolerance


@pytest.mark.slow
@pytest.mark.parametrize("gain2", [2.0, 40.0])
@pytest.mark.parametrize("depth", [10, 20])
def test_gradients_at_steep_corners_scatter_as_predicted(depth, gain2):
    """Slope 25: gradients pass by the few neurons at threshold, so that single networks of width 1000 differ by up to 35 % a
    layer. Energies are log-normal: their logarithm has the mean ``ln E - σ²/2`` and the standard deviation σ, both predicted.

    ``σ²`` is right to 30 % (:func:`varflow.gradient_flow`). A slope of 30 is rejected.
    """
    design = Design(depth=depth, width=1000, gain=gain2**0.5, surrogate=vf.surrogates.fast_sigmoid(25.0))
    found = growths(design, 16)
    flow = vf.gradient_flow(design.network(), design.surrogate)
    sigma = flow.spread[0] / (depth - 1)
    shift = sigma**2 * (depth - 1) / 2
    tolerance = 3.5 * 1.15 * sigma / len(found) ** 0.5 + 0.3 * shift
    assert abs(found.mean() - np.log(flow.growth) + shift) < tolerance
    assert 0.5 < found.std(ddof=1) / sigma < 1.7  # 3.3 standard errors of 16 networks, and 15 % of σ
    steeper = vf.gradient_flow(design.network(), vf.surrogates.fast_sigmoid(30.0)).growth
    assert abs(found.mean() - np.log(steeper) + shift) > tolerance


@pytest.mark.parametrize("structure", ["membrane_shortcut", "sew_add", "batch_norm", "centred"])
def test_structures(structure):
    network, x = begun(structure=structure, gain=1.5)
    seen = []
    network.eval()
    network(x, seen)
    (_, s0), (u1, s1), (u2, _) = seen
    second = network.weights[2]
    with torch.no_grad():
        expected = {
            "membrane_shortcut": u1 + second(s1),
            "sew_add": second(s0 + s1),
            "batch_norm": network.norms[2](second(s1).flatten(0, 1)).view_as(s1),
            "centred": s1 @ (second.weight - second.weight.mean(1, keepdim=True)).T,
        }[structure]
    torch.testing.assert_close(u2.detach(), expected)
    assert s0.any()
    assert s1.any()


def test_convolutions():
    network, x = begun(structure="convolutional")
    seen = []
    network(x, seen)
    assert [tuple(currents.shape[2:]) for currents, _ in seen] == [(16, 8, 8), (32, 4, 4), (400,)]
    pooled = torch.nn.functional.avg_pool2d(seen[0][1].flatten(0, 1), 2)
    torch.testing.assert_close(network.weights[1](pooled).unflatten(0, (4, 50)), seen[1][0])
    assert all(spikes.any() for _, spikes in seen)
    with pytest.raises(vf.DomainError, match="depth"):
        Design(depth=4, structure="convolutional")


class SpikingJelly(torch.nn.Module):
    """SpikingJelly's LIFNode with soft reset, several steps in one call."""

    def __init__(self):
        super().__init__()
        node, how = (pytest.importorskip(f"spikingjelly.activation_based.{name}") for name in ("neuron", "surrogate"))
        self.node = node.LIFNode(tau=2.0, decay_input=False, v_reset=None, surrogate_function=how.ATan(), step_mode="m")

    def forward(self, currents):
        self.node.reset()
        return self.node(currents)


LIBRARIES = {
    SnnTorch: vf.neurons.snntorch_leaky(0.5),
    SpikingJelly: vf.neurons.spikingjelly_lif(2.0, decay_input=False, v_reset=None),
}


def losses(neuron, steps=15):
    """Of training steps on digits with these neurons."""
    images = load("digits")
    x, y = torch.from_numpy(images.x), torch.from_numpy(images.y)
    network = build(Design(depth=6, width=60), x, images.shape, 10, torch.Generator().manual_seed(0))
    network.neurons = torch.nn.ModuleList(neuron() for _ in network.neurons)
    optimizer, found = torch.optim.Adam(network.parameters(), lr=1e-3), []
    for some in torch.arange(64 * steps).split(64):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x[some]), y[some])
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    return np.array(found)


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_train_alike(library):
    """Loss by loss, before rounding flips a spike; a decay 4 % off is noticed."""
    theirs, ours = losses(library), losses(lambda: Spiking(LIBRARIES[library], "atan"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    wrong = losses(lambda: Spiking(replace(LIBRARIES[library], decay=0.52), "atan"))
    assert not np.allclose(wrong, theirs, rtol=1e-3)


SHORT = Schedule(epochs=5, batch=32, rate="constant")


def test_a_run_is_the_same_again_and_learns():
    design = Design(depth=3, width=50)
    one, other = (trained(design, SHORT, "digits", 3), trained(design, replace(SHORT, epochs=1), "digits", 4))
    assert one["epochs"][:2] == trained(design, replace(SHORT, epochs=1), "digits", 3)["epochs"] != other["epochs"]
    before, *_, after = one["epochs"]
    assert after["accuracy"] > 0.5 > before["accuracy"]
    assert before["loss"] is None
    for name in ("rate", "variance", "gradient_norm", "dead", "overlap"):
        assert len(after[name]) == 3
        assert np.isfinite(after[name]).all()


def test_a_warm_up_ends_at_the_learning_rate():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    rate, rates = Schedule(learning_rate=1e-3, rate="warm_up").of(optimizer, 20), []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        rate.step()
    assert (rates[0], max(rates), rates.index(max(rates))) == (pytest.approx(FIRST), pytest.approx(1e-3), 10)
    assert np.ptp(np.diff(np.log(rates[:11]))) < 1e-9
    assert rates[-1] < 0.1 * max(rates)


def test_optimisers_train_alike_but_for_the_decay_of_weights():
    adam, adamw = (
        trained(Design(depth=3, width=50), replace(SHORT, epochs=1, optimizer=name), "digits", 3)["epochs"][1]["loss"]
        for name in ("adam", "adamw")
    )
    assert adam != adamw == pytest.approx(adam, rel=0.05)


def test_missing_damaged_and_unknown_data(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "DEBIAN", tmp_path / "nowhere")
    with pytest.raises(vf.DomainError, match="make data"):
        load("fashion_mnist", tmp_path)
    (tmp_path / "fashion_mnist").mkdir()
    for part in data.PARTS:
        (tmp_path / "fashion_mnist" / f"{part}-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(vf.DomainError, match="damaged"):
        load("fashion_mnist", tmp_path)
    with pytest.raises(vf.DomainError, match="unknown"):
        load("imagenet")
    monkeypatch.setitem(data.DIGESTS, "digits", "0" * 64)
    with pytest.raises(vf.DomainError, match="SHA-256"):
        load("digits", tmp_path)


IDENTITY = {"initialisation": "identity", "gain": 2.0}  # which has none


def test_unknown_settings():
    for wrong in ({"structure": "transformer"}, {"initialisation": "lucky"}, {"surrogate": "none such"}, IDENTITY):
        with pytest.raises(vf.DomainError):
            Design(**wrong)
    with pytest.raises(vf.DomainError):
        Schedule(rate="random")
    with pytest.raises(vf.DomainError):
        Schedule(optimizer="sgd")
    with pytest.raises(vf.DomainError):
        Spiking(vf.Neuron(1.0, decay=0.5, reset="multi_spike"))


def test_the_command_continues_where_it_was(tmp_path, monkeypatch, capsys):
    runs = tuple(Run(Design(depth=2, width=20), replace(SHORT, epochs=1), "digits", seed) for seed in range(2))
    monkeypatch.setitem(__main__.EXPERIMENTS, "tiny", Experiment("Is it quick?", runs))
    command = ["tiny", "--out", str(tmp_path), "--resume"]
    assert __main__.main(command) == 0
    file = tmp_path / "tiny.json"
    first = file.read_text()
    assert [run["seed"] for run in json.loads(first)["runs"]] == [0, 1]
    file.unlink()
    assert __main__.main(command) == 0
    assert "2 of 2 runs were there" in capsys.readouterr().err
    assert file.read_text() == first
    with pytest.raises(SystemExit) as end:
        __main__.main(["no such experiment"])
    assert end.value.code == 2


@pytest.mark.parametrize(
    ("stored", "now", "changes"),
    [
        ((0.95, 0.97), (0.93, 0.85), 0),
        ((0.95, 0.97), (0.95, 0.6), 1),
        ((0.1, 0.08), (0.08, 0.1), 0),
        ((0.1, 0.08), (0.08, 0.9), 1),
        ((0.4, 0.9), (0.1, 0.1), 0),
    ],
)
def test_a_design_that_no_longer_learns_or_now_learns_is_said(tmp_path, monkeypatch, capsys, stored, now, changes):
    """Only accuracies are replaced here, and the earlier results are older than a setting of the designs."""
    runs = tuple(Run(Design(depth=2, width=20), replace(SHORT, epochs=1), "digits", seed) for seed in range(2))
    monkeypatch.setitem(__main__.EXPERIMENTS, "tiny", Experiment("Which learn?", runs))
    outcomes = iter([{"epochs": [{"accuracy": accuracy}]} for accuracy in (*stored, *now)])
    monkeypatch.setattr(vf.campaign.Run, "results", lambda run, blocks, **told: [next(outcomes) for _ in blocks])
    assert __main__.main(["tiny", "--out", str(tmp_path / "stored")]) == 0
    file = tmp_path / "stored" / "tiny.json"
    assert file.read_text().count('"biases":false,') == 2
    file.write_text(file.read_text().replace('"biases":false,', ""))
    assert __main__.main(["tiny", "--out", str(tmp_path / "now"), "--against", str(tmp_path / "stored")]) == changes
    assert capsys.readouterr().err.count("is stored, of") == changes


def test_the_designs_that_are_stored_are_those_that_are_run():
    stored = json.loads((ROOT / "validation" / "training" / "results" / "quick.json").read_text())["runs"]
    runs = [run.described["design"] for run in __main__.EXPERIMENTS["quick"].runs]
    assert [asdict(Design()) | run["design"] for run in stored] == runs


def test_predictors_tell_a_living_network_from_a_silent_one():
    alive, silent = (predicted(Design(depth=4, gain=gain), "digits")["predicted"] for gain in (2.86, 1.0))
    assert set(alive) == set(PREDICTORS)
    for name in ("activity", "gradients", "information", "readability"):
        assert alive[name] > silent[name], name
    wide = agreement([1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 4, 3, 6, 5, 8, 7])
    assert wide["low"] < wide["spearman"] < wide["high"]
    assert agreement(range(20), range(20, 0, -1))["spearman"] == -1


def test_a_correlation_given_another_score_is_that_of_what_a_line_in_the_ranks_leaves():
    depth, noise = np.random.default_rng(0).normal(size=(2, 400))
    x, y = depth + noise, np.exp(depth) + 0.3 * np.random.default_rng(1).normal(size=400)
    ranks = [scipy.stats.rankdata(each) for each in (x, y, depth)]
    left = [each - np.polyval(np.polyfit(ranks[2], each, 1), ranks[2]) for each in ranks[:2]]
    found = agreement(x, y, depth)
    assert found["spearman"] == pytest.approx(np.corrcoef(left)[0, 1])
    assert found["low"] < 0 < found["high"]  # they have only the depth in common,
    assert agreement(x, y)["low"] > 0.4  # which shows where it is not taken out
    assert agreement(x, y + noise, depth)["low"] > 0


def test_scores_that_were_looked_at_later(tmp_path, monkeypatch):
    alive, silent = (scored(Design(depth=4, gain=gain)) for gain in (2.86, 1.0))
    assert set(alive) == {*LATER, "silent"}
    assert silent == {"near contrast": 0.0, "persistence": 0.0, "depth": -4, "silent": 3}
    assert alive["persistence"] > alive["near contrast"] > 0 == alive["silent"]
    runs = tuple(Run(Design(depth=2, width=20, gain=gain), SHORT, "digits", 0) for gain in (2.0, 3.0))
    monkeypatch.setitem(__main__.EXPERIMENTS, "held_out", Experiment("Which?", runs))
    assert __main__.main(["scores", "--out", str(tmp_path)]) == 0
    first, second = json.loads((tmp_path / "scores.json").read_text())
    assert first["design"] == json.loads(json.dumps(runs[0].described["design"]))
    assert first["scores"] != second["scores"]


FOLDER = str(data.FOLDER)


def test_a_first_step_changes_what_the_formula_says():
    """Six layers of 128, known to 3 % and with a scatter of 5 % between networks."""
    found = first_step(Design(6, 128, initialisation="in_time"), "digits", 0, FOLDER)
    assert found["formula"] == pytest.approx(0.147)
    assert found["formula"] / found["measured"] == pytest.approx(0.98, abs=0.03 + 3 * 0.05)


def test_verdicts_on_networks_of_the_experiments():
    alive, silent, steep = (
        judged(design, "digits", 0, None, FOLDER)
        for design in (
            Design(depth=4, gain=2.86),
            Design(depth=4, gain=1.0),
            Design(depth=20, gain=2.86, surrogate=vf.surrogates.fast_sigmoid(25.0)),
        )
    )
    assert (alive["verdict"], silent["verdict"], steep["verdict"]) == ("learns", "dead", "forgets")
    assert alive["coherence"] > steep["coherence"]


def test_learning_rates_by_rules():
    design, schedule = Design(3, 64, initialisation="in_time"), Schedule(batch=50)
    found = advised(design, schedule, "digits", 0, None, FOLDER)
    assert set(found) == set(RULES)
    assert found["1/n"] == pytest.approx(0.512 / 64)
    assert found["D = 0.147"] == pytest.approx(9.5e-3, rel=0.2)  # best of the pilot


def test_the_best_learning_rate_is_that_of_a_parabola_and_errors_are_in_octaves():
    rates = 1e-3 * 2.0 ** np.arange(7)
    best, inside = best_rate(rates, (np.log2(rates / 5e-3)) ** 2)
    assert inside
    assert best == pytest.approx(5e-3)
    assert best_rate(rates, rates) == (pytest.approx(1e-3), False)
    run = {"design": {"width": 8}, "data": "digits", "seed": 0}
    schedule = {"epochs": 6, "batch": 50, "optimizer": "adam"}
    runs = [
        run
        | {"schedule": schedule | {"learning_rate": rate}}
        | {"epochs": [{"loss": float(np.exp(np.log2(rate / 5e-3) ** 2)), "accuracy": 0.9 - rate}]}
        for rate in rates
    ]
    errors = errors_of(settings_of(runs), {key_of(runs[0]): dict.fromkeys(RULES, 2.5e-3)})
    assert errors["1/n"][0, 0] == pytest.approx(-1.0)
    assert errors["1/n"][0, 1] == pytest.approx(1.5e-3, abs=3e-4)


def test_what_became_of_verdicts():
    values, depths = (0.8, 0.1, 0.3, 0.7, 0.12), (6, 10, 10, 10, 20)
    runs = [{"design": {"depth": d}, "epochs": [{"accuracy": a}]} for d, a in zip(depths, values, strict=True)]
    rows = outcomes("all", ["learns", "learns", "unknown", "forgets", "dead"], runs)
    assert [row[2:5] for row in rows] == [[2, 1, 1], [1, 0, 0], [1, 0, 1], [1, 1, 0]]
    assert depth_rule(runs) == 6
    assert depth_rule([run for run in runs if run["epochs"][0]["accuracy"] != 0.1]) == 10


def test_silent_networks_revive_up_to_a_depth():
    """Deeper with stronger weights and smaller ε; a layer costs a factor g ψ(-θ) of the gradient; living ones have no limit."""
    torch_default, kaiming = (Design(depth=20, steps=2, initialisation=name) for name in ("torch", "kaiming"))
    assert revival_depth(torch_default, 1e-8) < revival_depth(kaiming, 1e-8) < revival_depth(kaiming, 1e-16)
    assert revival_depth(Design(depth=5, steps=2, initialisation="in_time"), 1e-8) == np.inf
    per_layer = np.log(1e8) / (revival_depth(kaiming, 1e-16) - revival_depth(kaiming, 1e-8))
    assert per_layer == pytest.approx(-np.log(2 / (1 + np.pi**2) ** 2) / 2, rel=1e-12)  # ln of g ψ(-1), atan(2)


def test_figures_and_page_of_the_results(monkeypatch):
    """The page has the tables of the results that are there; figures are drawn from them."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import training as page

    runs = page.results()
    text = "".join((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("training", "training_predicted"))
    for key in runs.keys() - {"held_out", "new"}:  # whose intervals take seconds
        assert page.section(key, runs[key]) in text
    broken = [run | {"epochs": [*run["epochs"][:-1], run["epochs"][-1] | {"accuracy": 0.5}]} for run in runs["silence"]]
    assert page.section("silence", broken) not in text
    for key in ("quick", "depth", "silence", "robustness"):
        assert all(ax.get_lines() for ax in FIGURES[key](runs[key]).axes), key
