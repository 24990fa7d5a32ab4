"""The backward pass of an audit: norms against plain autograd, χ against theory, neurons that no gradient reaches, advice."""

import itertools
import json
import math
import re
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

from spiking_models import Looped, left_behind, norse_loop, same  # noqa: E402
from torch import nn  # noqa: E402

from varflow.model.library_neurons import Spiking  # noqa: E402
from varflow.torch_models.prediction import gradients as prediction  # noqa: E402

STEPS = 4


def data(inputs, width, seed=0):
    return torch.rand(inputs, width, generator=torch.Generator().manual_seed(seed))


def filled(model, gain, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for layer in (module for module in model.modules() if isinstance(module, nn.Linear)):
        nn.init.normal_(layer.weight, 0, gain / layer.in_features**0.5, generator=generator)
        nn.init.zeros_(layer.bias)
    return model


def chain(width, depth, gain, spike_grad=None, seed=0, beta=0.0):
    torch.manual_seed(seed)
    neurons = [snntorch.Leaky(beta, init_hidden=True, spike_grad=spike_grad) for _ in range(depth)]
    model = nn.Sequential(*(m for neuron in neurons for m in (nn.Linear(width, width, bias=False), neuron)))
    for weight in model[::2]:
        nn.init.normal_(weight.weight, 0, gain / width**0.5)
    return model


def by_hand(model, x, loss, weights):
    """Norms of the gradients by the outputs of the weights, from hooks and backward alone."""
    outputs = {weight: [] for weight in weights}

    def keep(weight, _, out):
        out.retain_grad()
        outputs[weight].append(out)

    hooks = [weight.register_forward_hook(keep) for weight in weights]
    loss(model(x)).backward()
    for hook in hooks:
        hook.remove()
    model.zero_grad(set_to_none=True)
    return [math.sqrt(float(sum(out.grad.square().sum() for out in outputs[weight])) / len(x)) for weight in weights]


@pytest.mark.parametrize(("make", "gain"), [(Looped, 4.0), (norse_loop, 40.0)], ids=["snntorch", "norse"])
def test_norms_are_those_of_autograd(make, gain):
    model, x, loss = filled(make(48, depth=3, steps=STEPS), gain), data(5, 48), lambda out: out.square().mean()
    report = vf.audit(model, x, loss=loss)
    norms = [layer.gradient_norm for layer in report.layers]
    assert norms == pytest.approx(by_hand(model, x, loss, model.weights), rel=1e-4)
    assert min(norms) > 0
    assert report.gradient_growth == pytest.approx((norms[0] / norms[-1]) ** (2 / 2), rel=1e-12)


def test_a_normal_readout_needs_no_loss():
    """Its norm by the last spikes is ``√(steps · neurons)``, but for the chance of one drawn vector for each input."""
    model, x = chain(600, 1, 3.0, snntorch.surrogate.straight_through_estimator()), data(8, 600)
    (layer,) = vf.audit(model, x, steps=3, gradients=True).layers
    spread = math.sqrt(2 / (600 * 8))
    assert abs(layer.gradient_norm**2 / (3 * 600) - 1) < 4 * spread
    assert abs(layer.gradient_norm**2 / (2 * 600) - 1) > 4 * spread
    assert layer.dead_gradients == 0
    again = vf.audit(model, x, steps=3, gradients=True).layers[0]
    assert again.gradient_norm == layer.gradient_norm


class ByHand(nn.Module):
    """Two layers whose membranes are passed by hand, each step in a ``part`` of its own; inputs may leave on the way."""

    def __init__(self, part=lambda step, *given: step(*given), leaving=False):
        super().__init__()
        self.weights = nn.ModuleList([nn.Linear(48, 48), nn.Linear(48, 48)])
        self.neurons = nn.ModuleList([snntorch.Leaky(0.5), snntorch.Leaky(0.5)])
        self.part, self.leaving = part, leaving

    def once(self, x, *membranes):
        after = []
        for weight, neuron, membrane in zip(self.weights, self.neurons, membranes, strict=True):
            x, membrane = neuron(weight(x), membrane)
            after.append(membrane)
        return x, *after

    def forward(self, x):
        membranes, out = [torch.zeros_like(x), torch.zeros_like(x)], 0.0
        for t in range(STEPS):
            spikes, *membranes = self.part(self.once, x, *membranes)
            out = out + spikes.sum()
            if self.leaving and t % 2:
                x, *membranes = (values[: len(x) // 2] for values in (x, *membranes))
        return out


def checkpointed(step, *given):
    return torch.utils.checkpoint.checkpoint(step, *given, use_reentrant=False)


def reentrant(step, x, *membranes, required=True):
    given = x + torch.zeros(1, requires_grad=required)
    return torch.utils.checkpoint.checkpoint(step, given, *membranes, use_reentrant=True)


@pytest.mark.parametrize("checkpoint", [checkpointed, reentrant])
@pytest.mark.parametrize("loss", [None, lambda out: out])
def test_checkpoints_change_no_gradient(loss, checkpoint):
    measured = []
    for part in (checkpoint, ByHand().part):
        layers = vf.audit(filled(ByHand(part), 4.0), data(5, 48), loss, gradients=True).layers
        measured.append([(layer.gradient_norm, layer.gradient_gain, layer.gradient_variance) for layer in layers])
    assert np.array_equal(*measured, equal_nan=True)
    assert measured[0][0][0] > 0


class InNoGrad(ByHand):
    def once(self, *given):
        with torch.no_grad():
            return super().once(*given)


@pytest.mark.parametrize("make", [lambda: ByHand(partial(reentrant, required=False)), InNoGrad], ids=["checkpoint", "no_grad"])
def test_parts_without_autograd_are_named(make):
    """Training finds no gradients there either."""
    model, x = filled(make(), 4.0), data(5, 48)
    with warnings.catch_warnings(action="ignore"):  # of torch, by its checkpoint
        assert not model(x).requires_grad
    report = vf.audit(model, x, gradients=True)
    assert [layer.gradient_norm for layer in report.layers] == [0.0, 0.0]
    (note,) = (note for note in report.notes if "autograd is off" in note)
    assert note.startswith("no gradients reach weights.0, weights.1, in training neither: ")
    assert len(note) < 400
    assert not any("autograd" in note for note in vf.audit(filled(ByHand(), 4.0), x, gradients=True).notes)


def test_a_graph_that_is_cut_is_not_blamed_on_the_surrogate():
    """Spikes of the second layer go on without gradients; a surrogate that is 0 for all of its neurons is another matter."""
    x, advice = data(5, 48), "weights.2 (Linear) passes none on to weights.1 (Linear): look there for detach() or torch.no_grad"

    def words(surrogate, passed_on):
        model = filled(Looped(48, depth=3, steps=STEPS), 4.0)
        model.neurons[1] = snntorch.Leaky(0.5, spike_grad=surrogate)
        model.neurons[1].register_forward_hook(lambda module, given, out: (passed_on(out[0]), *out[1:]))
        report = vf.audit(model, x, gradients=True)
        assert [layer.gradient_norm > 0 for layer in report.layers] == [False, False, True]
        return next(words for words in report.problems if "gradients vanish" in words)

    assert words(snntorch.surrogate.atan(), torch.Tensor.detach).endswith(advice)
    assert words(snntorch.surrogate.fast_sigmoid(slope=1e30), lambda spikes: spikes).endswith("the surrogate")


def test_gradients_of_inputs_that_leave():
    """By the user's loss, as autograd has them."""
    model, x = filled(ByHand(leaving=True), 4.0), data(4, 48)
    report = vf.audit(model, x, loss=lambda out: out)
    assert [layer.gradient_norm for layer in report.layers] == pytest.approx(by_hand(model, x, lambda out: out, model.weights))
    read = vf.audit(model, x, gradients=True)
    assert all(layer.gradient_norm > 0 and 0 <= layer.dead_gradients < 1 for layer in read.layers)
    assert read.layers[0].gradient_gain == pytest.approx(report.layers[0].gradient_gain, rel=1e-6)
    assert read.layers[0].gradient_gain > 0


class OfSeveral(nn.Module):
    """A layer of a module that has weights in it, between two others."""

    def __init__(self, cell):
        super().__init__()
        self.first, self.a, self.cell = nn.Linear(48, 48), snntorch.Leaky(0.5), cell
        self.last, self.b = nn.Linear(cell.hidden_size, 48), snntorch.Leaky(0.5)

    def forward(self, x):
        a, (synaptic, c), b, out = self.a.init_leaky(), self.cell.init_slstm(), self.b.init_leaky(), []
        for _ in range(STEPS):
            spikes, a = self.a(self.first(x), a)
            spikes, synaptic, c = self.cell(spikes, synaptic, c)
            spikes, b = self.b(self.last(spikes), b)
            out.append(spikes)
        return torch.stack(out).square().sum()


@pytest.mark.parametrize("width", [20, 48])
def test_neurons_with_weights_have_norms_but_no_slope(width):
    torch.manual_seed(0)
    model, x = OfSeveral(snntorch.SLSTM(48, width, threshold=0.02)), 5 * data(6, 48)
    report = vf.audit(model, x, loss=lambda out: out)
    assert math.isnan(report["cell"].gradient_gain)
    assert [layer.gradient_norm for layer in report.layers if layer.gains] == pytest.approx(
        by_hand(model, x, lambda out: out, [model.first, model.last]), rel=1e-4
    )
    assert report["cell"].gradient_norm > 0
    assert "χ is not measured where a spike depends on several currents: cell" in report.notes
    plain = vf.audit(filled(Looped(48, 2, STEPS), 4.0), data(5, 48), gradients=True)
    assert not any("χ" in note for note in plain.notes)


class Overwriting(nn.Module):
    """Runs, but has no backward pass: what it needs is overwritten."""

    def forward(self, spikes):
        squares = spikes.exp()
        out = squares * squares
        squares.zero_()
        return out


def test_a_model_without_a_backward_pass_is_not_the_fault_of_the_inputs():
    model, x = (
        nn.Sequential(chain(48, 1, 4.0), Overwriting(), nn.Linear(48, 48), snntorch.Leaky(0.5, init_hidden=True)),
        data(5, 48),
    )
    assert vf.audit(model, x, steps=STEPS).steps == STEPS
    before = left_behind(model)
    words = r"^gradients=True has no backward pass through this model: .* modified by an inplace operation"
    with pytest.raises(vf.DomainError, match=words):
        vf.audit(model, x, steps=STEPS, gradients=True)
    assert same(before, left_behind(model))


def together(values, expected):
    """Deviation of the mean of independent values, in standard errors."""
    values = np.asarray(values) - expected
    return abs(values.mean()) / (values.std(ddof=1) / math.sqrt(len(values)))


def expected_gain(below, above):
    at = {"threshold": 1 - below.mean, "gain": above.gain, "variance": below.variance}
    return vf.gradient_gain(surrogate="atan", **at)


def test_growth_and_gain_are_those_of_the_theory():
    """One step, at the gain that preserves the variance: 24 networks of 5 layers."""
    width, gain = 300, vf.gain(threshold=1.0)
    x = torch.randn(4, width, generator=torch.Generator().manual_seed(1)) / gain  # a first layer of variance 1
    slopes, growth, norms = [], [], []
    for seed in range(24):
        layers = vf.audit(chain(width, 5, gain, seed=seed), x, steps=1, gradients=True).layers
        pairs = list(itertools.pairwise(layers))
        norms.append((layers[0].gradient_norm / layers[0].predicted_gradient_norm) ** 2)
        slopes.append(np.mean([below.gradient_gain / expected_gain(below, above) for below, above in pairs]))
        growth.append(np.mean([(a.gradient_norm / b.gradient_norm) ** 2 / a.gradient_gain for a, b in pairs]))
    assert together(slopes, 1.0) < 4
    assert together(slopes, 0.97) > 4
    assert together(growth, 1.0) < 4
    assert together(growth, 0.9) > 4
    assert together(norms, 1.0) < 4
    assert together(norms, 1.25) > 4  # gradients of networks this narrow scatter


def test_norms_in_time_are_predicted():
    """Leak and delayed reset, 12 networks: the norm of the first of 5 layers; a memoryless theory is rejected."""
    norms, memoryless = [], []
    for seed in range(12):
        layers = vf.audit(chain(300, 5, 2.9, seed=seed, beta=0.5), data(4, 300), steps=6, gradients=True).layers
        norms.append((layers[0].gradient_norm / layers[0].predicted_gradient_norm) ** 2)
        chi = np.prod([layer.gradient_gain for layer in layers[:-1]])
        memoryless.append((layers[0].gradient_norm / layers[-1].gradient_norm) ** 2 / chi)
    assert together(norms, 1.0) < 4
    assert together(norms, 1.3) > 4
    assert together(memoryless, 1.0) > 4


class Steps(nn.Module):
    """Leaky neurons that take all steps at once, time first."""

    def forward(self, currents):
        h, spikes = 0.0, []
        for current in currents:
            h = 0.5 * h + current - (spikes[-1].detach() if spikes else 0.0)
            spikes.append(snntorch.surrogate.atan()(h - 1))
        return torch.stack(spikes)


def test_modules_of_several_steps_agree_with_single_steps():
    stepwise, x = chain(60, 3, 3.0, beta=0.5), data(6, 60)
    at_once = nn.Sequential(*(weight if isinstance(weight, nn.Linear) else Steps() for weight in stepwise))
    neuron = Spiking(vf.neurons.snntorch_leaky(0.5), time_axis=0)
    one = vf.audit(stepwise, x, steps=STEPS, gradients=True)
    other = vf.audit(at_once, x.expand(STEPS, -1, -1), neurons={Steps: neuron}, gradients=True)
    assert one.steps == other.steps == STEPS
    for a, b in zip(one.layers, other.layers, strict=True):
        assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-5)
        assert a.gradient_gain == pytest.approx(b.gradient_gain, rel=1e-5, nan_ok=True)
        assert a.dead_gradients == b.dead_gradients
    assert other.layers[0].surrogate is None
    assert math.isnan(other.layers[0].predicted_gradient_norm)


def box(width):
    def psi(v, gradient, spikes):
        return gradient * (v.abs() < width)

    return snntorch.surrogate.custom_surrogate(psi)


def test_neurons_that_no_gradient_reaches():
    """A box lets gradients through with its probability; neurons are counted once for all inputs."""
    width, gain, half = 500, vf.gain(threshold=1.0), 0.2
    x = torch.randn(1, width, generator=torch.Generator().manual_seed(1)) / gain
    layers = vf.audit(chain(width, 3, gain, box(half)), x, steps=1, gradients=True).layers
    for layer in layers:
        reached = vf.gradient_gain(
            threshold=1 - layer.mean, gain=1.0, surrogate=vf.surrogates.box(half), variance=layer.variance
        )
        spread = math.sqrt(reached * (1 - reached) / width)
        assert abs(layer.dead_gradients - (1 - reached)) < 4 * spread
        assert abs(layer.dead_gradients - (1 - 2 * reached)) > 4 * spread
        assert layer.surrogate.family == "own"
    narrow = vf.audit(chain(width, 3, gain, box(0.002)), x, steps=1, gradients=True)
    assert any(
        "no gradient reaches more than 80% of the neurons of 0 (Linear), 2 (Linear)" in words for words in narrow.problems
    )


def test_gradients_that_are_cut():
    class Cut(Looped):
        def forward(self, x):
            out, states = 0.0, [None] * 3
            for _ in range(self.steps):
                spikes = x
                for l, weight in enumerate(self.weights):
                    spikes, states[l] = self.neurons[-1 - l](weight(spikes.detach() if l == 1 else spikes), states[l])
                out = out + self.readout(spikes)
            return out

    layers = vf.audit(filled(Cut(48, 3, STEPS, lambda: snntorch.Leaky(0.5)), 4.0), data(5, 48), gradients=True).layers
    assert [layer.gradient_norm == 0 for layer in layers] == [True, False, False]
    assert [layer.dead_gradients for layer in layers] == [1.0, 0.0, 0.0]


def leaky(spike_grad, depth=8):
    return chain(300, depth, 2.8, spike_grad, beta=0.5)


def test_vanishing_gradients_are_a_problem():
    x, steep = data(8, 300), snntorch.surrogate.fast_sigmoid()
    assert vf.audit(leaky(steep), x, steps=STEPS).healthy
    report = vf.audit(leaky(steep), x, steps=STEPS, gradients=True)
    assert not report.healthy
    fate = r"alive but untrainable: gradients vanish, their square falls [0-9.]+-fold per layer \(χ = 0.0[0-9]+ at one step\)"
    assert re.fullmatch(fate + r"; widen the surrogate to fast_sigmoid\(slope=[0-9.]+\)", report.problems[-1])
    with pytest.raises(vf.results.audit.UnhealthyError, match="alive but untrainable"):
        report.assert_healthy()
    slope = dict(report.fix_surrogate.formula.arguments)["slope"]
    mended = vf.audit(leaky(snntorch.surrogate.fast_sigmoid(slope=slope)), x, steps=STEPS, gradients=True)
    assert mended.healthy
    assert mended.fix_surrogate is None
    assert abs(math.log(mended.gradient_growth)) < abs(math.log(report.gradient_growth)) / 10


@pytest.mark.parametrize(
    ("depth", "gain", "slope", "remark"),
    [
        (
            5,
            2.5,
            35,
            r"gradients vanish, .*; plain SGD needs a wider surrogate \(fast_sigmoid\(slope=.*\)\), which helped Adam too",
        ),
        (10, 4.0, 0.3, r"gradients explode, .*; plain SGD needs a far smaller learning rate"),
    ],
)
def test_gradients_that_vanish_or_explode_where_adam_learns_are_a_remark(depth, gain, slope, remark):
    model = chain(64, depth, gain, snntorch.surrogate.fast_sigmoid(slope=slope), beta=0.5)
    report = vf.audit(model, 3 * data(16, 64), steps=6, gradients=True)
    assert report.learning.verdict == "learns"
    assert abs(math.log(report.layers[0].gradient_norm / report.layers[-1].gradient_norm)) > math.log(1000)
    assert report.healthy
    assert re.fullmatch(remark, report.remarks[-1])
    assert "untrainable" not in str(report) + report.summary()
    unlike = replace(report, learning=None)
    assert "alive but untrainable" in unlike.problems[-1]
    assert not unlike.remarks


def dead_at_the_end(model):
    nn.init.zeros_(model[-4].weight)
    return model


def cut_in_the_middle(model):
    return nn.Sequential(*model[:8], NoGradient(), *model[8:])


class NoGradient(nn.Module):
    def forward(self, x):
        return x.detach()


@pytest.mark.parametrize("change", [dead_at_the_end, cut_in_the_middle, lambda model: model])
def test_a_surrogate_is_sought_only_where_one_would_help(change, monkeypatch):
    """The search runs for the network that fires and is not cut, not for one whose report names something else first."""
    sought, search = [], prediction.with_unit_growth
    monkeypatch.setattr(prediction, "with_unit_growth", lambda *args, **options: sought.append(1) or search(*args, **options))
    model = change(leaky(snntorch.surrogate.fast_sigmoid(slope=60), 6))
    report = vf.audit(model, data(8, 300), steps=STEPS, gradients=True)
    helps = change not in (dead_at_the_end, cut_in_the_middle)
    assert bool(sought) == (report.fix_surrogate is not None) == helps
    assert not report.healthy
    assert ("the surrogate to" in " ".join(report.problems)) == helps
    assert (json.loads(json.dumps(report.to_dict()))["fix_surrogate"] is not None) == helps


def test_gradients_too_small_to_be_squared_in_single_precision():
    model = chain(100, 40, 3.0, snntorch.surrogate.fast_sigmoid())
    layers = vf.audit(model, data(4, 100), steps=1, gradients=True).layers
    assert 0 < layers[0].gradient_norm < 1e-23
    assert layers[0].dead_gradients < 0.5
    assert layers[0].gradient_variance > 0


def test_exploding_gradients_and_those_that_are_not_finite():
    x = data(8, 300)
    report = vf.audit(leaky(snntorch.surrogate.atan(alpha=30)), x, steps=STEPS, gradients=True)
    assert "gradients explode, their square grows" in report.problems[-1]
    assert report.problems[-1].endswith(f"widen the surrogate to {report.fix_surrogate}")
    assert report.fix_surrogate.width > report.layers[0].surrogate.width
    overflow = vf.audit(leaky(snntorch.surrogate.sigmoid(slope=25)), x, steps=STEPS, gradients=True)
    assert overflow.problems == ["gradients are not finite (surrogate sigmoid(slope=25)) in 0 (Linear), 2 (Linear) and 6 more"]
    json.dumps(overflow.to_dict(), allow_nan=False)


def test_a_report_with_gradients_is_a_table_and_json():
    report = vf.audit(chain(100, 3, 2.8), data(4, 100), steps=1, gradients=True)
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told["layers"][0]["surrogate"] == "atan(alpha=2)"
    assert told["layers"][-1]["gradient_gain"] is None
    assert told["gradient_growth"] == report.gradient_growth
    header, first = repr(report).splitlines()[1:3]
    assert all(word in header for word in ("gradient", "χ", "no grad"))
    assert f"{report.layers[0].gradient_norm:.3g}" in first
    assert "no grad" not in repr(vf.audit(chain(100, 3, 2.8), data(4, 100), steps=1))
    pytest.importorskip("xarray")
    assert report.to_xarray()["gradient_norm"].shape == (3,)


def test_the_model_is_left_as_it_was():
    model, x = chain(60, 3, 2.8), data(4, 60)
    model[0].requires_grad_(False)
    before = left_behind(model)
    vf.audit(model, x, steps=1, gradients=True)
    assert same(left_behind(model), before)
    assert [p.requires_grad for p in model.parameters()] == [False, True, True]
    assert all(p.grad is None for p in model.parameters())


def test_gradients_is_a_switch():
    with pytest.raises(vf.DomainError, match="gradients=1 must be True or False"):
        vf.audit(chain(20, 2, 2.8), data(2, 20), gradients=1)
    with torch.inference_mode(), pytest.raises(vf.DomainError, match=r"gradients=True has no gradients within torch.inference"):
        vf.audit(chain(20, 2, 2.8), data(2, 20), steps=1, gradients=True)
