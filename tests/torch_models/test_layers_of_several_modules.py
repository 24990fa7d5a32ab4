"""Neurons that several weight modules feed, as projection shortcuts do, and modules whose gain has no effect: the audit runs,
and advises only on modules that there are.
"""

import math
from itertools import pairwise

import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from varflow.torch_models.prediction.signals import uncovered  # noqa: E402
from varflow.torch_models.tracing.checks import unlike_their_class  # noqa: E402
from varflow.torch_models.tracing.trace import trace  # noqa: E402

STEPS = 6


def leaky():
    return snntorch.Leaky(0.5, init_hidden=True)


def data(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def multi_step(kind):
    """A layer that merges time and batch while it runs, as SpikingJelly's do in mode "m"."""

    def forward(self, x):
        return kind.forward(self, x.flatten(0, 1)).unflatten(0, x.shape[:2])

    return type(kind.__name__, (kind,), {"forward": forward})


Conv2d, Linear, BatchNorm2d = map(multi_step, (nn.Conv2d, nn.Linear, nn.BatchNorm2d))


def spiking_jelly():
    layer, neuron = (pytest.importorskip(f"spikingjelly.activation_based.{name}") for name in ("layer", "neuron"))
    mode = {"step_mode": "m"}
    return lambda *sizes, **options: layer.Conv2d(*sizes, **options, **mode), lambda: neuron.LIFNode(**mode)


LIBRARIES = {"plain": lambda: (Conv2d, norse.LIF), "spikingjelly": spiking_jelly}


class Projected(nn.Module):
    """A block with a projection on its shortcut, which skips ``skipped`` layers: what the two receive has other channels."""

    def __init__(self, library, channels=4, out=8, skipped=1, gain=None):
        super().__init__()
        conv, neuron = library()
        sizes = [channels, *skipped * [out + 2], out, out]
        self.convs = nn.ModuleList(conv(n, k, 3, padding=1) for n, k in pairwise(sizes))
        self.shortcut, self.neurons = conv(channels, out, 1), nn.ModuleList(neuron() for _ in self.convs)
        self.norse = isinstance(self.neurons[0], norse.LIF)
        for seed, weight in enumerate([*self.convs, self.shortcut] if gain else []):
            vf.init.normal_(weight.weight, gain, generator=torch.Generator().manual_seed(seed))

    def forward(self, x):
        spikes, last = x, len(self.convs) - 2
        for l, (conv, neuron) in enumerate(zip(self.convs, self.neurons, strict=True)):
            currents = conv(spikes) + (self.shortcut(x) if l == last else 0)
            spikes = neuron(currents)[0] if self.norse else neuron(currents)
        return spikes


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
@pytest.mark.parametrize(("channels", "out", "skipped"), [(4, 8, 1), pytest.param(3, 5, 2, marks=pytest.mark.slow), (6, 2, 0)])
def test_projection_shortcuts(library, channels, out, skipped):
    """Sources with other numbers of channels; each module is compared with its kind on an input of its own shape."""
    torch.manual_seed(0)
    model, x = Projected(library, channels, out, skipped), 8 * data(STEPS, 2, channels, 6, 6)
    traced = trace(model, x)
    assert traced.layers[skipped].names == (f"convs.{skipped}", "shortcut")
    assert [fed.shape[2] for fed in traced.layers[skipped].received] == [out + 2 if skipped else channels, channels]
    assert unlike_their_class(traced) == {}
    report = vf.audit(model, x)
    assert all(math.isfinite(layer.predicted_rate) for layer in report.layers)
    assert report.layers[skipped].gain == pytest.approx(math.hypot(*report.layers[skipped].gains.values()))


def test_a_shortcut_that_is_unlike_its_kind_is_named():
    class Doubled(Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    model = Projected(LIBRARIES["plain"])
    model.shortcut = Doubled(4, 8, 1)
    words = unlike_their_class(trace(model, data(STEPS, 2, 4, 6, 6)))
    assert words == {"shortcut": "shortcut is a Doubled whose output is not that of a Conv2d"}


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name"), [("ms_resnet", "ms_resnet18"), ("spiking_resnet", "spiking_resnet18")])
def test_residual_networks_of_spikingjelly(module, name):
    pytest.importorskip("spikingjelly.activation_based")
    models = __import__(f"spikingjelly.activation_based.model.{module}", fromlist=[name])
    from spikingjelly.activation_based import functional, neuron

    model = getattr(models, name)(spiking_neuron=neuron.LIFNode)
    functional.set_step_mode(model, "m")
    report = vf.audit(model, data(3, 2, 3, 32, 32))
    assert report.fixes == {}  # all are normalised
    assert not any("shares" in note for note in report.notes)


# Advice.


def with_fixes(model, fixes):
    modules = dict(model.named_modules())
    for seed, (name, gain) in enumerate(fixes.items()):
        vf.init.normal_(modules[name].weight, gain, generator=torch.Generator().manual_seed(seed))
    return model


def projected(gain=0.4):
    return Projected(LIBRARIES["plain"], channels=8, out=32, skipped=2, gain=gain), 8 * data(STEPS, 4, 8, 6, 6)


def test_advice_names_modules():
    model, x = projected()
    report = vf.audit(model, x)
    assert {"convs.2", "shortcut"} < set(report.fixes) <= set(dict(model.named_modules()))
    assert report.fix_layer in report.fixes
    row = report["shortcut"]
    assert row.name == "convs.2+shortcut"
    assert math.hypot(report.fixes["convs.2"], report.fixes["shortcut"]) == pytest.approx(row.needed_gain)


def test_all_advice_at_once_and_one_piece_after_the_other():
    """Both end in health, the former in one go; as much as there was does not."""
    model, x = projected()
    fixes = vf.audit(model, x).fixes
    assert vf.audit(with_fixes(model, fixes), x).healthy
    assert not vf.audit(with_fixes(model, dict.fromkeys(fixes, 0.4)), x).healthy
    for _ in range(12):
        report = vf.audit(model, x)
        if report.healthy:
            break
        with_fixes(model, {report.fix_layer: report.fix_gain})
    assert report.healthy


class Branches(nn.Module):
    """``join(a, b)`` of two branches into each of two neurons, one after the other."""

    def __init__(self, join, norm=nn.Identity, width=48):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c, self.d = (nn.Linear(width, width) for _ in range(4))
        self.norm, self.other, self.join = norm(), norm(), join
        self.first, self.second = leaky(), leaky()
        for weight in (self.a, self.b, self.c, self.d):
            nn.init.normal_(weight.weight, std=0.1 / width**0.5)
            nn.init.zeros_(weight.bias)

    def forward(self, x):
        x = self.first(self.join(self.norm, self.a(x), self.b(x)))
        return self.second(self.join(self.other, self.c(x), self.d(x)))


def functional(training):
    return lambda: lambda x: F.batch_norm(x, torch.zeros(48), torch.ones(48), training=training)


NORMS = {
    "batch": (lambda: nn.BatchNorm1d(48), True),
    "batch, in evaluation mode": (lambda: nn.BatchNorm1d(48).eval(), False),
    "batch, without running statistics": (lambda: nn.BatchNorm1d(48, track_running_stats=False).eval(), True),
    "layer": (lambda: nn.LayerNorm(48), True),
    "group": (lambda: nn.GroupNorm(4, 48), True),
    "root mean square": (lambda: nn.RMSNorm(48), True),
    "function": (functional(training=True), True),
    "function, of given statistics": (functional(training=False), False),
    "none": (nn.Identity, False),
}


# How two branches are joined, and whose scale a normalisation then takes out.
JOINS = {
    "sum": (lambda norm, a, b: 0.5 * norm(a + b), "ab"),
    "one": (lambda norm, a, b: norm(a) + b, "a"),
    "one that is added to both": (lambda norm, a, b: norm(a) + a + b, ""),
    "each": (lambda norm, a, b: norm(a) + norm(b), "ab"),
}


def first_currents(join, norm, larger):
    """With the weights of some modules three times as large, all far above what normalisations add to a variance."""
    model, seen = Branches(join, norm), []
    model.first.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    for name in "ab":
        model.get_submodule(name).weight.data *= 3e4 if name in larger else 1e4
    model(data(6, 48))
    return seen[0]


PAIRS = [*((norm, "one") for norm in NORMS), *((norm, join) for norm in ("batch", "none") for join in JOINS if join != "one")]


@pytest.mark.parametrize(("norm", "join"), PAIRS)
def test_gains_without_effect_are_not_advised_on(norm, join):
    """And have none: the currents of the first neurons are the same with three times the weights; others are not."""
    (norm, normalises), (join, without) = NORMS[norm], JOINS[join]
    without = without if normalises else ""
    assert set(trace(Branches(join, norm), data(6, 48), steps=STEPS).layers[0].scaled_by) == set("ab") - set(without)
    plain = first_currents(join, norm, "")
    same = {names: torch.allclose(first_currents(join, norm, names), plain, rtol=1e-3) for names in ("a", "b", "ab")}
    assert not without or same[without]
    assert not any(same[name] for name in set("ab") - set(without))
    assert not set(vf.audit(Branches(join, norm), data(6, 48), steps=STEPS).fixes) & set(without)


def test_normalised_layers_say_so():
    report = vf.audit(Branches(lambda norm, a, b: 0.2 * norm(a + b), lambda: nn.BatchNorm1d(48)), data(6, 48), steps=STEPS)
    assert (report.first_dead, report.cause, report.fix_layer, report.fixes) == ("a+b", "normalisation", None, {})
    assert " behind a (Linear) and 1 more never spikes " in report.problems[0]
    assert "(scaled by batch_norm in 'norm'): normalisation: " in report.problems[0]


# What is said of them.


def in_a_row(number):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(32, 32) for _ in range(number)), leaky(), nn.Linear(32, 32), leaky())


@pytest.mark.parametrize("number", [2, 3])
def test_linear_layers_in_a_row(number):
    last, before = number - 1, number - 2
    words = uncovered(trace(in_a_row(number), data(4, 32), steps=STEPS))
    assert words == [f"{last} receives the currents of {before}, without a neuron between"]
    report = vf.audit(in_a_row(number), data(4, 32), steps=STEPS)
    assert math.isnan(report.layers[0].needed_gain)
    assert not any("later" in note for note in report.notes)


def test_currents_that_go_on_are_not_shared_weights():
    """As in networks whose shortcuts add currents: the first module feeds two neurons."""

    class Onward(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b, self.one, self.two = nn.Linear(32, 32), nn.Linear(32, 32), leaky(), leaky()

        def forward(self, x):
            currents = self.a(x)
            return self.two(currents + self.b(self.one(currents)))

    report = vf.audit(Onward(), data(4, 32), steps=STEPS)
    assert [layer.name for layer in report.layers] == ["a", "b"]
    assert not any("shares" in note for note in report.notes)


def test_two_modules_with_inputs_of_other_shapes_that_drive_one_layer():
    """Dead, so that what they receive is looked at."""

    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.fine, self.coarse = nn.Conv2d(2, 6, 4, stride=2, padding=1, bias=False), nn.Conv2d(2, 6, 1, bias=False)
            self.neuron = leaky()

        def forward(self, x):
            return self.neuron(self.fine(x) + self.coarse(F.avg_pool2d(x, 2)))

    report = vf.audit(Pyramid(), 1e-3 * data(3, 2, 8, 8), steps=STEPS)
    assert (report.first_dead, report.cause) == ("fine+coarse", "first-layer scale")
    assert report.fix_layer in ("fine", "coarse")
    assert vf.audit(Pyramid(), torch.zeros(3, 2, 8, 8), steps=STEPS).cause == "dead input"


def test_gradients_of_all_modules_of_a_layer():
    model, x = Branches(lambda norm, a, b: a + 2 * b), 50 * data(6, 48)
    report = vf.audit(model, x, lambda out: out.sum(), steps=1)
    for neuron in (model.first, model.second):
        neuron.reset_mem()
    model(x).sum().backward()
    both = torch.cat([model.a.weight.grad, model.b.weight.grad])
    assert report.layers[0].gradient_variance == pytest.approx(float(both.square().mean()), rel=1e-4)
    assert float(both.square().mean()) > 2 * float(model.a.weight.grad.square().mean()) > 0


def test_layers_that_take_more_than_their_input():
    class Scaled(nn.Linear):
        def forward(self, x, factor):
            return factor * super().forward(x)

    class Scaling(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.neuron = Scaled(32, 32), leaky()

        def forward(self, x):
            return self.neuron(self.a(x, 2.0))

    notes = vf.audit(Scaling(), data(4, 32), steps=STEPS).notes
    assert any("a is a Scaled whose output is not that of a Linear" in note for note in notes)


@pytest.mark.parametrize(("error", "words"), [(KeyError("y"), "KeyError 'y'"), (ZeroDivisionError(), "ZeroDivisionError")])
def test_errors_of_the_forward_are_refusals(error, words):
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.neuron = nn.Linear(32, 32), leaky()

        def forward(self, x):
            raise error

    for judge in (vf.audit, vf.init.init_model):
        with pytest.raises(vf.DomainError, match=f"do not go through the model: {words}"):
            judge(Failing(), data(4, 32))
