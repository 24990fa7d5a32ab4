"""Models and inputs that are easily got wrong: ``init_model`` and ``audit`` are right about them or refuse them by name, and
leave them as they were.
"""

import copy
import math
from collections import namedtuple

import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

from spiking_models import Looped, left_behind, same  # noqa: E402
from torch import nn  # noqa: E402

X = torch.rand(6, 32, generator=torch.Generator().manual_seed(0))
STEPS = 6


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def leaky(**options):
    return snntorch.Leaky(**{"beta": 0.5, "init_hidden": True} | options)


def chain(*neurons):
    first, second = (*neurons, leaky(), leaky())[:2]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 32), first, nn.Linear(32, 32), second)
    for weight in model[::2]:
        nn.init.normal_(weight.weight, std=2.5 / 32**0.5)
    return model


def tied():
    model = chain()
    model[2].weight = model[0].weight
    return model


def one_hidden_state_for_two_layers():
    neuron = leaky()
    return chain(neuron, neuron)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Checked(nn.Linear):
    """A forward of its own that is that of its kind."""

    def forward(self, x):
        assert x.shape[-1] == self.in_features
        return nn.functional.linear(x, self.weight, self.bias)


def with_first(kind):
    torch.manual_seed(0)
    return nn.Sequential(kind(32, 64), leaky(), nn.Linear(64, 64), leaky())


class EmptiedEachStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = chain()

    def forward(self, x):
        for _ in range(STEPS):
            self.layers[1].reset_mem()
            out = self.layers(x)
        return out


def scripted():
    return nn.Sequential(torch.jit.trace(nn.Linear(32, 32), X), leaky())


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("no way " * 100)


def loader():
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, torch.arange(6)), batch_size=3)


# judge, model, inputs, steps, words
REFUSED = {
    "sparse inputs": ("both", chain, X.to_sparse(), STEPS, r"inputs='shape \(6, 32\)' is sparse: give inputs.to_dense"),
    "whole numbers": (
        "both",
        chain,
        X.long(),
        STEPS,
        r"inputs are torch.int64, weights torch.float32: give inputs.to\(",
    ),
    "double inputs": ("both", chain, X.double(), STEPS, r"inputs are torch.float64, weights torch.float32: give inputs.to\("),
    "tiny inputs": ("init", chain, 1e-20 * X, STEPS, r"inputs='rms 5.*e-21' is out of scale for 0: scale them to about 1"),
    "double spikes": (
        "both",
        lambda: Looped(32, 2, 3).double(),
        X.double(),
        None,
        r"weights are torch.float64, its neurons return another precision: take a float32 copy",
    ),
    "labels": (
        "both",
        chain,
        (X, torch.arange(6)),
        STEPS,
        r"takes 2 positional arguments but 3 were given; if these are labels, drop them: give inputs\[0\]",
    ),
    "labels in a list": ("both", chain, [X, [1, 0, 2, 0, 1, 1]], STEPS, r"if these are labels, drop them: give inputs\[0\]"),
    "one input with its label": ("both", chain, (X[0], 3), STEPS, r"if these are labels, drop them: give inputs\[0\]"),
    "a loader": ("both", chain, loader(), STEPS, r"inputs='DataLoader' is no batch: give one without its labels, next\(iter"),
    "a data set": ("both", chain, loader().dataset, STEPS, r"inputs='TensorDataset' is no batch: give one without its labels"),
    "NaN": ("both", chain, X.clone().fill_(math.nan), STEPS, r"inputs='shape \(6, 32\)' holds numbers that are not finite"),
    "infinity": ("both", chain, X / 0, STEPS, r"inputs='shape \(6, 32\)' holds numbers that are not finite"),
    "NaN in one of several": (
        "both",
        chain,
        (X, {"mask": X / 0}),
        STEPS,
        r"inputs='argument 1, shape \(6, 32\)' holds numbers that are not finite",
    ),
    "NaN in a keyword": (
        "both",
        chain,
        {"input": X, "mask": X / 0},
        STEPS,
        r"inputs='argument mask, shape \(6, 32\)' holds numbers that are not finite",
    ),
    "an empty batch": ("both", chain, X[:0], STEPS, r"inputs='shape \(0, 32\)' is empty: give a batch of data"),
    "other sizes": (
        "both",
        chain,
        X[:, :31],
        STEPS,
        r"inputs='shape \(6, 31\)' do not go through the model at 0, a Linear: mat1 and mat2 shapes cannot be multiplied",
    ),
    "an error of its own": (
        "both",
        lambda: nn.Sequential(chain(), Failing()),
        X,
        STEPS,
        r"do not go through the model at 1, a Failing: (no way ){28}no w…$",
    ),
    "double weights": ("both", lambda: chain().double(), X, STEPS, r"weights torch.float64: give inputs.to\(torch.float64"),
}


def judges(which):
    fill = lambda model, x, **options: vf.init.init_model(model, x, generator=seeded(), **options)  # noqa: E731
    return {"init": [fill], "audit": [vf.audit], "both": [fill, vf.audit]}[which]


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refusals_by_name(case):
    which, make, x, steps, words = case
    for judge in judges(which):
        model = make()
        before = copy.deepcopy(left_behind(model))
        with pytest.raises(vf.DomainError, match=words) as caught:
            judge(model, x, steps=steps)
        assert same(before, left_behind(model))
        assert len(str(caught.value)) < 400
        assert "\n" not in str(caught.value)


def test_the_model_beside_those_refused_goes_through():
    """It is alive, and still is after it was filled with other weights."""
    model, (fill,) = chain(), judges("init")
    before = [weight.weight.clone() for weight in model[::2]]
    assert [layer.firing_rate > 0 for layer in vf.audit(model, X, steps=STEPS).layers] == [True, True]
    fill(model, X, steps=STEPS, rate=0.2)
    assert not any(torch.equal(weight.weight, old) for weight, old in zip(model[::2], before, strict=True))
    assert [layer.firing_rate > 0 for layer in vf.audit(model, X, steps=STEPS).layers] == [True, True]


def test_the_error_of_a_model_is_chained():
    with pytest.raises(vf.DomainError) as caught:
        vf.audit(nn.Sequential(chain(), Failing()), X, steps=STEPS)
    assert type(caught.value.__cause__) is RuntimeError


def test_models_without_numbers_are_named():
    lazy = nn.Sequential(nn.LazyLinear(32), nn.LazyBatchNorm1d(), leaky())
    for judge in judges("both"):
        for model, rule in ((chain().to("meta"), "is on the meta device"), (lazy, "belongs to a lazy module")):
            with pytest.raises(vf.DomainError, match=f"model='0.weight' {rule}"):
                judge(model, X, steps=STEPS)


def test_inputs_on_another_device_are_named(monkeypatch):
    """The meta device stands in for a card."""
    monkeypatch.setattr("varflow.torch_models.tracing.trace.check_inputs", lambda inputs: None)
    for judge in judges("both"):
        with pytest.raises(vf.DomainError, match=r"inputs are on meta, the model on cpu: give inputs.to\('cpu'\)"):
            judge(chain(), X.to("meta"), steps=STEPS)


@pytest.mark.parametrize(
    ("make", "steps", "name"), [(one_hidden_state_for_two_layers, STEPS, "1"), (EmptiedEachStep, None, "layers.1")]
)
def test_modules_that_do_not_step_like_their_neuron_are_only_measured(make, steps, name):
    report = vf.audit(make(), X, steps=steps)
    assert any(f"{name} does not step as Neuron" in note for note in report.notes)
    assert math.isnan(report[name].predicted_rate)
    vf.init.init_model(make(), X, steps=steps)


def orthogonal():
    model = chain()
    model[2] = nn.utils.parametrizations.orthogonal(model[2])
    return model


MEASURED = {
    "tied weights": (tied, "2", "kept: 2 shares its weights with 0"),
    "computed weights": (orthogonal, "2", "kept: 2 computes its weight from other parameters"),
    "an integrator": (
        lambda: chain(leaky(), leaky(threshold=1e9, reset_mechanism="none")),
        "2",
        "kept: 3 has a threshold of 1e+09, others of 1: a readout?",
    ),
    "threshold 0": (lambda: chain(leaky(threshold=0.0), leaky()), "0", "kept: 1 has a threshold of 0"),
    "a forward of its own": (lambda: with_first(Doubled), "0", "measured: weights"),
    "a normalisation without shifts": (lambda: chain(nn.Sequential(nn.RMSNorm(32), leaky())), "0", "measured: γ of 1.0"),
}


@pytest.mark.parametrize("case", MEASURED.values(), ids=MEASURED)
def test_what_theory_does_not_plan_is_measured(case):
    """The row says how the layer was set, its rate is what hooks find, and those that are scaled have the rate asked for to
    within a spike of each 50; with torch's weights they do not.
    """
    make, name, words = case
    model = make()
    plan = vf.init.init_model(model, X, rate=0.25, steps=STEPS, generator=seeded())
    rows = {row.name: row for row in plan.layers}
    assert rows[name].set_by == words
    for neuron, rate in late_rates(model).items():
        (row,) = (row for row in plan.layers if row.neuron_name == neuron)
        assert row.measured_rate == pytest.approx(rate, rel=1e-5)
        if row.set_by == "measured: weights":
            assert rate == pytest.approx(0.25, rel=0.02)
    before = late_rates(make())
    scaled = [row.neuron_name for row in plan.layers if row.set_by == "measured: weights"]
    assert any(abs(before[neuron] / 0.25 - 1) > 0.02 for neuron in scaled)


WEIGHT_NORMS = {
    "per row": nn.utils.parametrizations.weight_norm,
    "per column": lambda layer: nn.utils.parametrizations.weight_norm(layer, dim=1),
    "of the whole": lambda layer: nn.utils.parametrizations.weight_norm(layer, dim=None),
    "by a hook": nn.utils.weight_norm,
}


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("norm", WEIGHT_NORMS.values(), ids=WEIGHT_NORMS)
def test_weight_norm_is_set_by_its_magnitudes(norm):
    """The same rates as with the same weights without it, drawn and scaled; readouts too."""
    plain, normed = (nn.Sequential(*chain(), nn.Linear(32, 4)) for _ in range(2))
    for l in (0, 2, 4):
        normed[l] = norm(normed[l])
    options = {"rate": 0.25, "steps": STEPS, "refine": True}
    expected, plan = (vf.init.init_model(model, X, generator=seeded(), **options) for model in (plain, normed))
    assert [row.set_by for row in plan.layers] == [row.set_by for row in expected.layers]
    normed(X)  # the hook computes weights in a pass
    for l in (0, 2, 4):
        torch.testing.assert_close(normed[l].weight, plain[l].weight, rtol=1e-4, atol=1e-6)
    assert late_rates(normed) == pytest.approx(late_rates(plain), rel=1e-3)


@pytest.mark.parametrize("frozen", [(0, 1), (5,), (7,), (0, 1, 3)], ids=str)
def test_frozen_parameters_are_left_alone_and_named(frozen):
    """Also normalisations and readouts; the layers after a pretrained encoder are scaled to their rate."""
    model = nn.Sequential(*chain(nn.Sequential(nn.BatchNorm1d(32), leaky())), nn.Linear(32, 32), leaky(), nn.Linear(32, 4))
    model = nn.Sequential(model[0], *model[1], *model[2:])
    for l in frozen:
        model[l].requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in model.named_parameters() if not parameter.requires_grad}
    rest = {name: parameter.clone() for name, parameter in model.named_parameters() if parameter.requires_grad}
    plan = vf.init.init_model(model, X, rate=0.25, steps=STEPS, generator=seeded())
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], values) for name, values in before.items())
    before_gamma = () if 1 in frozen else ("0.weight",)
    changed = {name for name, values in rest.items() if not torch.equal(now[name], values)}
    assert {name for name in rest if "bias" not in name}.difference(changed) == set(before_gamma)
    weights = [str(l) for l in frozen if isinstance(model[l], nn.Linear)]
    assert [note for note in plan.notes if "frozen weights" in note] == [
        f"frozen weights are left as they are: {', '.join(weights)}"
    ]
    scaled = {row.neuron_name for row in plan.layers if row.set_by.startswith("measured: ")}
    rates = late_rates(model)
    assert scaled
    assert all(rates[name] == pytest.approx(0.25, rel=0.05) for name in scaled)  # what single layers are scaled to


def test_a_readout_behind_frozen_layers_is_drawn():
    model = nn.Sequential(*chain(), nn.Linear(32, 4))
    model[:-1].requires_grad_(False)
    before = copy.deepcopy(model)
    plan = vf.init.init_model(model, X, steps=STEPS, rate=0.2, generator=seeded())
    assert [torch.equal(model[l].weight, before[l].weight) for l in (0, 2, 4)] == [True, True, False]
    assert [row.set_by.partition(":")[0] for row in plan.layers] == ["kept", "kept", "theory"]
    model.requires_grad_(False)
    with pytest.raises(vf.DomainError, match=r"no layer whose weights can be set: 0 is frozen \(requires_grad=False\)"):
        vf.init.init_model(model, X, steps=STEPS)


def weights(model):
    return [module.weight for module in model if isinstance(module, nn.Linear)]


@pytest.mark.parametrize("readout", [[], [nn.Linear(32, 3)]], ids=["no readout", "a readout"])
def test_behind_normalisations_without_scale_rates_are_kept_and_named(readout):
    """Weights do not change them, so they are not drawn; readouts are, and in eval mode, where they have an effect, all."""
    norm = lambda: nn.Sequential(nn.BatchNorm1d(32, affine=False), leaky())  # noqa: E731
    model = nn.Sequential(*chain(norm(), norm()), *readout)
    before = copy.deepcopy(model)
    plan = vf.init.init_model(model, X, rate=0.25, steps=STEPS, generator=seeded())
    rows, measured = plan.layers[:2], late_rates(model)
    assert [row.set_by for row in rows] == [f"kept: {l}.1 has a normalisation without γ to set before it" for l in (1, 3)]
    assert [row.measured_rate for row in rows] == pytest.approx(list(measured.values()), rel=1e-5)
    assert [row.firing_rate for row in rows] == [row.measured_rate for row in rows]
    assert [row.gain for row in rows] == [
        pytest.approx(float(w.detach().std()) * 32**0.5, rel=1e-2) for w in weights(before)[:2]
    ]
    rule = "are those that their normalisations give, whatever the scale of weights; a free γ (affine=True) would be set"
    assert [note for note in plan.notes if "γ" in note] == [f"rates of 1.1, 3.1 {rule}"]
    same_weights = [torch.equal(now, then) for now, then in zip(weights(model), weights(before), strict=True)]
    assert same_weights == [True, True, *(False for _ in readout)]
    with torch.no_grad():
        model[0].weight.mul_(3)
        assert late_rates(model)["1.1"] == pytest.approx(measured["1.1"], rel=1e-3)
        for _ in range(20):
            model(X)
    plan = vf.init.init_model(model.eval(), X, rate=0.25, steps=STEPS, generator=seeded())
    assert [row.set_by for row in plan.layers[:2]] == ["measured: weights"] * 2


class OwnNorm(nn.BatchNorm1d):
    """A class of another package, as SpikingJelly's."""


def test_a_normalisation_with_a_scale_of_zero_is_no_neuron():
    """Its output is 0 like that of silent neurons, and goes into neurons."""
    model = nn.Sequential(nn.Linear(32, 32), OwnNorm(32), leaky(), nn.Linear(32, 3))
    nn.init.zeros_(model[1].weight)
    assert [layer.neuron_name for layer in vf.audit(model, X, steps=STEPS).layers] == ["2"]
    plan = vf.init.init_model(model, X, steps=STEPS, generator=seeded())
    assert [layer.set_by for layer in plan.layers] == ["measured: γ of 1", "theory"]
    assert late_rates(model)["2"] == pytest.approx(plan.layers[0].firing_rate, rel=0.02)


def late_rates(model):
    found = {name: [] for name, module in model.named_modules() if isinstance(module, snntorch.Leaky)}
    for name in found:
        model.get_submodule(name).reset_mem()
        model.get_submodule(name).register_forward_hook(lambda m, a, out, name=name: found[name].append(float(out.mean())))
    with torch.no_grad():
        for _ in range(STEPS):
            model(X)
    return {name: sum(rates[STEPS // 2 :]) / (STEPS - STEPS // 2) for name, rates in found.items()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, by its own compiler
@pytest.mark.parametrize("judge", judges("both"))
def test_scripted_modules_are_refused_by_name(judge):
    with pytest.raises(vf.DomainError, match=r"model='0' is compiled by torch.jit: give the module it was made from"):
        judge(scripted(), X, steps=STEPS)


def test_a_loss_must_be_a_function():
    with pytest.raises(vf.DomainError, match="loss=5 must be a function of the model's output"):
        vf.audit(chain(), X, 5, steps=STEPS)


@pytest.mark.parametrize("neurons", [3, "Leaky", [snntorch.Leaky]])
@pytest.mark.parametrize("judge", [*judges("both"), lambda model, x, **options: vf.Monitor(model, x, **options)])
def test_neurons_must_be_a_dict(judge, neurons):
    with pytest.raises(vf.DomainError, match=r"^neurons=.* must be a dict from a class, name or module"):
        judge(chain(), X, steps=STEPS, neurons=neurons)


def test_inference_mode():
    """Weights that were made in it are set in it; gradients are not to be had."""
    with torch.inference_mode():
        model = chain()
        plan = vf.init.init_model(model, X, steps=STEPS, generator=seeded())
        assert vf.audit(model, X, steps=STEPS).healthy
        with pytest.raises(vf.DomainError, match=r"has no gradients within torch.inference_mode: leave that mode"):
            vf.audit(model, X, torch.sum, steps=STEPS)
    plain = chain()
    assert [layer.gain for layer in vf.init.init_model(plain, X, steps=STEPS, generator=seeded()).layers] == [
        layer.gain for layer in plan.layers
    ]
    assert torch.equal(plain[0].weight, model[0].weight)


def test_inputs_that_are_zero_are_no_fault_of_the_widths():
    x = torch.cat([X, torch.zeros(2, 32)])
    notes = [vf.init.init_model(chain(), given, steps=STEPS, rate=0.2, dry_run=True).notes for given in (X, x)]
    assert notes == [(), ("25 % of the inputs are all zero and cannot activate any layer",)]


def test_layers_with_a_forward_of_their_own_are_not_predicted():
    """Those that do as their kind does are."""
    doubled, plain = vf.audit(with_first(Doubled), X, steps=STEPS), vf.audit(with_first(Checked), X, steps=STEPS)
    assert "not covered by the theory: 0 is a Doubled whose output is not that of a Linear" in doubled.notes
    assert math.isnan(doubled.layers[0].predicted_rate)
    assert not any(math.isnan(layer.predicted_rate) for layer in (*doubled.layers[1:], *plain.layers))
    vf.init.init_model(with_first(Checked), X, steps=STEPS)


class Functional(nn.Module):
    """Weights that are parameters of the model."""

    def __init__(self):
        super().__init__()
        self.weight, self.a, self.b = nn.Parameter(0.3 * torch.randn(32, 32)), leaky(), leaky()

    def forward(self, x):
        return self.b(nn.functional.linear(self.a(nn.functional.linear(x, self.weight)), self.weight.T))


class LowRank(nn.Module):
    def __init__(self):
        super().__init__()
        self.u, self.v = (nn.Parameter(torch.randn(shape) / 4) for shape in ((32, 8), (8, 32)))

    def forward(self, x):
        return x @ self.u @ self.v


class Between(nn.Module):
    """What makes the currents of the second layer from the spikes of the first."""

    def __init__(self, module, call=lambda module, spikes: module(spikes)):
        super().__init__()
        self.first, self.a, self.module, self.b, self.call = nn.Linear(32, 32), leaky(), module, leaky(), call

    def forward(self, x):
        return self.b(self.call(self.module, self.a(self.first(x))))


class Long(nn.Module):
    """All steps in one call, by a neuron that has weights."""

    def __init__(self):
        super().__init__()
        self.cell = snntorch.SLSTM(32, 20, threshold=0.05)

    def forward(self, x):
        synaptic, membrane = self.cell.init_slstm()
        for current in x:
            spikes, synaptic, membrane = self.cell(current, synaptic, membrane)
        return spikes


class Cell(nn.Module):
    """A neuron of one's own with its weights in it."""

    def __init__(self, wide=20):
        super().__init__()
        self.inner, self.v = nn.Linear(32, wide), None

    def reset(self):
        self.v = None

    def forward(self, x):
        v = self.inner(x) if self.v is None else 0.5 * self.v + self.inner(x)
        spikes = (v > 0.2).to(x)
        self.v = v - spikes
        return spikes


# model, steps, neurons, number of layers without a prediction
WITHOUT_WEIGHTS = {
    "functional weights": (Functional, STEPS, None, 2),
    "an own weight module": (lambda: nn.Sequential(LowRank(), leaky(), LowRank(), leaky()), STEPS, None, 2),
    "an own one after Linear": (lambda: Between(LowRank()), STEPS, None, 1),
    "attention": (
        lambda: Between(nn.MultiheadAttention(32, 4, batch_first=True), lambda module, s: module(s, s, s)[0]),
        STEPS,
        None,
        1,
    ),
    "bilinear": (lambda: Between(nn.Bilinear(32, 32, 32), lambda module, s: module(s, s)), STEPS, None, 1),
    "neurons only": (lambda: nn.Sequential(leaky(), leaky()), STEPS, None, 2),
    "a cell with weights": (Long, None, None, 1),
    "a parallel neuron": (lambda: nn.Sequential(snntorch.LeakyParallel(32, 20)), None, None, 1),
    "an own cell": (Cell, STEPS, {Cell: None}, 1),
    "an own cell with equations": (Cell, STEPS, {Cell: vf.Neuron(0.2, decay=0.5)}, 1),
    "an own square cell with equations": (lambda: Cell(32), STEPS, {Cell: vf.Neuron(0.2, decay=0.5)}, 1),
}


@pytest.mark.parametrize("case", WITHOUT_WEIGHTS.values(), ids=WITHOUT_WEIGHTS)
def test_layers_without_a_weight_module_are_measured(case):
    """Notes name each, once for each reason; a chain beside them has neither notes nor such rows."""
    make, steps, neurons, unknown = case
    torch.manual_seed(0)
    model, x = make(), 3 * (X if steps else X.expand(STEPS, 6, 32))
    rates = {name: [] for name, module in model.named_modules()}
    report = vf.audit(model, x, steps=steps, neurons=neurons)
    for name in rates:
        model.get_submodule(name).register_forward_hook(lambda m, a, out, name=name: rates[name].append(spikes_of(out)))
    with torch.no_grad():
        for _ in range(steps or 1):
            model(x)
    for layer in report.layers:
        found = torch.stack(rates[layer.neuron_name])
        found = found.flatten(0, 1) if len(found) == 1 else found
        assert layer.firing_rate == pytest.approx(float(found[len(found) // 2 :].mean()), rel=1e-5)
    silent = [layer for layer in report.layers if math.isnan(layer.predicted_rate)]
    assert len(silent) == unknown
    assert max(map(len, report.notes)) < 400
    assert len(set(report.notes)) == len(report.notes)
    for layer in silent:
        assert any(note.startswith("not covered") and (layer.neuron_name or "(root)") in note for note in report.notes)
    assert not any(math.isnan(layer.predicted_rate) for layer in vf.audit(chain(), X, steps=STEPS).layers)


def test_layers_without_weights_have_no_gain():
    """In the table it is a dash; that of the layer with weights is their gain."""
    model = nn.Sequential(leaky(), nn.AvgPool1d(2), leaky(), nn.Linear(16, 16), leaky())
    report = vf.audit(model, 3 * X, steps=STEPS)
    assert [math.isnan(layer.gain) for layer in report.layers] == [True, True, False]
    gains = [line.split()[3] for line in str(report).splitlines()[2:5]]
    assert gains == ["–", "–", f"{float(model[3].weight.detach().std(correction=0)) * 4:.4g}"]
    assert report.to_dict()["layers"][0]["gain"] is None


def spikes_of(out):
    return (out if isinstance(out, torch.Tensor) else out[0]).detach()


def maps(*weights):
    return nn.Sequential(*[module for weight in weights for module in (weight, leaky())])


class CalledTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Linear(32, 32), nn.Linear(32, 32)
        self.a, self.b, self.c = leaky(), leaky(), leaky()

    def forward(self, x):
        return self.c(self.again(self.b(self.again(self.a(self.first(x))))))


class Embedded(nn.Module):
    """Neurons that receive an embedding, and a layer after them."""

    def __init__(self):
        super().__init__()
        self.table, self.a, self.second, self.b = nn.Embedding(6, 32), leaky(), nn.Linear(32, 32), leaky()

    def forward(self, x):
        return self.b(self.second(self.a(3 * self.table(x))))


FRAMES = 3 * torch.rand(2, 2, 6, 6, generator=seeded())

# model, inputs, note, whether each layer is predicted
UNPREDICTED = {
    "reflected": (
        lambda: maps(
            nn.Conv2d(2, 4, 3), *[nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect") for _ in "ab"], nn.Conv2d(4, 4, 3)
        ),
        FRAMES,
        "not covered by the theory: 2 pads with 'reflect'; likewise 4",
        [True, False, False, True],
    ),
    "three dimensions": (
        lambda: maps(nn.Conv3d(1, 4, 3)),
        FRAMES[:, :1, None].expand(-1, -1, 4, -1, -1),
        "not covered by the theory: 0 is a convolution in three dimensions",
        [False],
    ),
    "depthwise": (
        lambda: maps(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=4)),
        FRAMES,
        "not covered by the theory: 2 sums 1 channels in each group, too few to be Gaussian",
        [True, False],
    ),
    "circular": (
        lambda: maps(nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular")),
        FRAMES,
        "not covered by the theory: 0 pads with 'circular'",
        [False],
    ),
    "one Linear for two layers": (
        CalledTwice,
        3 * X,
        "not covered by the theory: again is called for several layers",
        [True, False, False],
    ),
    "an embedding": (Embedded, torch.arange(6), "not covered by the theory: a follows no weight layer", [False, True]),
    "twenty of a kind": (
        lambda: nn.Sequential(*[m for _ in range(20) for m in (nn.Linear(32, 32), snntorch.Alpha(0.8, 0.5, init_hidden=True))]),
        3 * X,
        "not covered by the theory: 1 is a Alpha of snntorch, of which Lapicque, Leaky, LeakyParallel, RLeaky, RSynaptic, "
        "Synaptic are known; "
        "likewise 3, 5 and 17 more",
        [False] * 20,
    ),
}


@pytest.mark.parametrize("case", UNPREDICTED.values(), ids=UNPREDICTED)
def test_what_has_no_prediction_is_named_once(case):
    make, inputs, note, predicted = case
    torch.manual_seed(0)
    report = vf.audit(make(), inputs, steps=STEPS)
    assert [note for note in report.notes if "not covered" in note] == [note]
    assert [not math.isnan(layer.predicted_rate) for layer in report.layers] == predicted
    assert ("predicted: infinite width" in str(report)) == any(predicted)


class Leaving(nn.Module):
    """Half of the inputs leave the loop after every second step."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(32, 32), nn.Linear(32, 32)
        self.a, self.b = snntorch.Leaky(0.5), snntorch.Leaky(0.5)

    def forward(self, x):
        a = b = torch.zeros(len(x), 32)
        for t in range(STEPS):
            spikes, a = self.a(self.first(x), a)
            spikes, b = self.b(self.second(spikes), b)
            if t % 2:
                x, a, b = (values[: max(len(x) // 2, 1)] for values in (x, a, b))
        return spikes


def test_inputs_that_leave_the_batch_during_the_pass():
    """Rates are means over those still in it; with all inputs to the end there is no note, and other rates."""
    torch.manual_seed(0)
    model, found = Leaving(), {"a": [], "b": []}
    report = vf.audit(model, 6 * X)
    for name in found:
        getattr(model, name).register_forward_hook(
            lambda m, a, out, name=name: found[name].append(float(out[0].detach().mean()))
        )
    model(6 * X)
    for name, rates in found.items():
        assert report[name].firing_rate == pytest.approx(sum(rates[STEPS // 2 :]) / (STEPS - STEPS // 2), rel=1e-5)
        assert report[name].firing_rates == pytest.approx(rates, rel=1e-5)
    (note,) = report.notes
    rule = "receives fewer inputs at some steps: its rates are means over those; likewise b"
    assert note == f"not covered by the theory: a {rule}"
    assert report.inputs == 6
    assert report["a"].firing_rate > 0
    monitor = vf.Monitor(model, 6 * X)
    monitor()
    assert [monitor.scalars[f"firing_rate/{name}"] for name in found] == [report[name].firing_rate for name in found]
    alone = vf.audit(model, 6 * X[:1])
    assert not alone.notes
    assert alone["a"].firing_rate != pytest.approx(report["a"].firing_rate, rel=0.01)


def test_layers_whose_inputs_leave_are_set():
    """Their rates are those of the audit."""
    model = Leaving()
    plan = vf.init.init_model(model, 6 * X, rate=0.2, refine=True, generator=seeded())
    report = vf.audit(model, 6 * X)
    for row in plan.layers:
        assert row.measured_rate == pytest.approx(report[row.name].firing_rate, rel=1e-5)
        assert row.measured_rate == pytest.approx(0.2, rel=0.15)


class Pyramid(nn.Module):
    """One convolution and one neuron for maps of three sizes, at every step or one size after the other."""

    def __init__(self, at_every_step):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.a, self.at_every_step = nn.Conv2d(2, 4, 3, padding=1), snntorch.Leaky(0.5), at_every_step

    def forward(self, x):
        maps = [nn.functional.adaptive_avg_pool2d(x, size) for size in (6, 4, 2)]
        states, out = [()] * 3, 0.0
        order = [(t, k) for t in range(STEPS) for k in range(3)]
        for _, k in order if self.at_every_step else sorted(order, key=lambda each: each[1]):
            spikes, *states[k] = self.a(self.conv(maps[k]), *states[k])
            out = out + spikes.mean()
        return out


@pytest.mark.parametrize("make", [lambda: Pyramid(True), Leaving], ids=["maps of several sizes", "inputs that leave"])
def test_silence_under_inputs_of_several_shapes_has_its_cause(make):
    x = FRAMES if isinstance(make(), Pyramid) else X
    for factor, cause in ((0.01, "beyond the theory"), (0.0, "dead input")):
        assert vf.audit(make(), factor * x).cause == cause


@pytest.mark.parametrize("at_every_step", [True, False])
def test_maps_of_several_sizes_have_a_row_each(at_every_step):
    """Rates and spikes are those that hooks find in maps of that size; the first size is scaled to its rate."""
    model, found, x = Pyramid(at_every_step), {}, 2 * FRAMES
    judged = vf.audit(model, x, gradients=True), vf.init.init_model(model, x, rate=0.2, generator=seeded()), vf.audit(model, x)
    model.a.register_forward_hook(lambda m, a, out: found.setdefault(tuple(out[0].shape[1:]), []).append(out[0].detach()))
    model(x)
    before, plan, after = judged
    assert [layer.neuron_name for layer in after.layers] == ["a", "a (conv, 4×4×4)", "a (conv, 4×2×2)"]
    assert [layer.label for layer in after.layers] == ["conv (Conv2d)", "a (conv, 4×4×4)", "a (conv, 4×2×2)"]
    assert (after.steps, after.inputs) == (STEPS, 2)
    for layer, spikes in zip(after.layers, map(torch.stack, found.values()), strict=True):
        assert layer.firing_rate == pytest.approx(float(spikes[STEPS // 2 :].mean()), rel=1e-5)
        assert layer.spikes == pytest.approx(float(spikes.sum()) / 2, rel=1e-5)
        assert layer.dead_fraction == pytest.approx(float((spikes.sum((0, 1)) == 0).float().mean()))
    assert [math.isnan(layer.predicted_rate) for layer in after.layers] == [True] * 3
    assert before.notes == after.notes == ("not covered by the theory: conv is called for several layers",)
    assert all(layer.gradient_norm > 0 for layer in before.layers)
    assert [row.measured_rate for row in plan.layers] == pytest.approx([layer.firing_rate for layer in after.layers], rel=1e-5)
    assert plan.layers[0].measured_rate == pytest.approx(0.2, rel=0.05)
    assert "nan" not in str(plan) + str(after)


class WithAxes(nn.Module):
    """Spikes of more axes than its currents have, as SpikingJelly's ``GatedLIFNode`` returns for dense layers."""

    def __init__(self, axes):
        super().__init__()
        self.axes = axes

    def forward(self, current):
        return (current > 0.3).to(current)[(None,) * self.axes]


def test_neurons_that_add_axes_are_named():
    """Inputs are in no axis of their own then, and the table counts one."""
    for axes, inputs in ((0, 6), (2, 1)):
        model = nn.Sequential(nn.Linear(32, 32), WithAxes(axes), nn.Linear(32, 4))
        report = vf.audit(model, X, steps=STEPS, neurons={WithAxes: None})
        assert f"{STEPS} steps, {inputs} input{'s' if inputs > 1 else ''}, " in str(report)
        words = "1 returns spikes of shape (1, 1, 6, 32) for currents of shape (6, 32): from there on inputs count as neurons"
        assert (words in report.notes) == bool(axes)


class ByFunction(nn.Module):
    def __init__(self, spike):
        super().__init__()
        self.first, self.second, self.spike = nn.Linear(32, 32), nn.Linear(32, 4), spike

    def forward(self, x):
        v = 0.0
        for _ in range(STEPS):
            v = 0.5 * v + self.first(x)
            spikes = self.spike(v - 0.2)
            v = v - spikes
        return self.second(spikes)


class Atan(nn.Module):
    def forward(self, v):
        return snntorch.surrogate.atan()(v)


def test_a_spike_function_within_a_forward_is_to_become_a_module():
    for judge in judges("both"):
        with pytest.raises(
            vf.DomainError, match="a function that makes the spikes is found once it is the forward of a module"
        ):
            judge(ByFunction(snntorch.surrogate.atan()), X)
    (layer,) = vf.audit(ByFunction(Atan()), X).layers
    assert (layer.name, layer.neuron_name, layer.firing_rate > 0) == ("first", "spike", True)


def test_oddities_are_noted_by_the_audit():
    assert vf.audit(chain(), X, steps=STEPS).notes == ()
    (note,) = vf.audit(tied(), X, steps=STEPS).notes
    assert note == "2 shares its weights with 0: predicted as if they were independent"
    (note,) = vf.audit(chain(leaky(), leaky(threshold=1e9)), X, steps=STEPS).notes
    assert note == "3 has a threshold of 1e+09, others of 1: a readout?"


class Readout(nn.Module):
    """Norse's leaky integrator after the last weights."""

    def __init__(self):
        super().__init__()
        self.a, self.lif, self.b, self.li = nn.Linear(32, 64), norse.LIFBoxCell(), nn.Linear(64, 10), norse.LICell()

    def forward(self, x):
        spiking = integrating = None
        for _ in range(STEPS):
            spikes, spiking = self.lif(self.a(x), spiking)
            out, integrating = self.li(self.b(spikes), integrating)
        return out


def test_integrators_are_readouts():
    plan = vf.init.init_model(Readout(), 4 * X, rate=0.2, generator=seeded())
    assert [(layer.name, layer.neuron_name) for layer in plan.layers] == [("a", "lif"), ("b", "")]
    assert plan.layers[1].weight_std == pytest.approx((64 * plan.layers[0].firing_rate) ** -0.5, rel=1e-6)
    model = norse.SequentialState(nn.Linear(32, 64), norse.LIF(), nn.Linear(64, 10), norse.LI())
    assert [layer.neuron for layer in vf.init.init_model(model, X.expand(STEPS, 6, 32)).layers][1] is None


class Merged(nn.Module):
    """Time and batch in one axis while the layer inside runs, as SpikingJelly's ``SeqToANNContainer`` does it."""

    def __init__(self, *inner):
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x):
        return self.inner(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def test_time_and_batch_in_one_axis():
    """The plan is that of the same layers with the axes apart, for inputs that change in time."""
    x = torch.rand(STEPS, 5, 32, generator=seeded()) * torch.arange(1, STEPS + 1)[:, None, None]
    apart = norse.SequentialState(nn.Linear(32, 48), norse.LIF(), nn.Linear(48, 48), norse.LIF())
    merged = norse.SequentialState(Merged(nn.Linear(32, 48)), norse.LIF(), Merged(nn.Linear(48, 48)), norse.LIF())
    one, other = (vf.init.init_model(model, x, rate=0.2, generator=seeded()) for model in (apart, merged))
    assert [layer.gain for layer in one.layers] == [layer.gain for layer in other.layers]
    still = vf.init.init_model(merged, x.mean(0).expand(STEPS, 5, 32), rate=0.2, dry_run=True)
    assert still.layers[0].gain != pytest.approx(one.layers[0].gain, rel=0.01)
    rates = [[layer.firing_rate for layer in vf.audit(model, x).layers] for model in (apart, merged)]
    assert rates[0] == rates[1]
    maps = norse.SequentialState(
        Merged(nn.Conv2d(2, 16, 3)), norse.LIF(), Merged(nn.Flatten(), nn.Linear(16 * 16, 10)), norse.LIF()
    )
    frames = torch.rand(STEPS, 4, 2, 6, 6, generator=seeded())
    plan = vf.init.init_model(maps, frames, generator=seeded())
    report = vf.audit(maps, frames)
    assert report.layers[0].firing_rate == pytest.approx(plan.layers[0].firing_rate, rel=0.1)  # refined on the batch


def test_what_models_are_wrapped_in_and_return():
    """A tuple, a dict, nothing; dropout in train mode; one input, one layer, one step."""

    class Returns(nn.Module):
        def __init__(self, what):
            super().__init__()
            self.inner, self.what = chain(), what

        def forward(self, x):
            return self.what(self.inner(x))

    plain = vf.init.init_model(chain(), X, steps=STEPS, dry_run=True)
    for what in (lambda out: (out, 1), lambda out: {"out": out}, lambda out: None):
        plan = vf.init.init_model(Returns(what), X, steps=STEPS, dry_run=True)
        assert [layer.gain for layer in plan.layers] == [layer.gain for layer in plain.layers]
        vf.audit(Returns(what), X, steps=STEPS)
    model = nn.Sequential(*chain()[:2], nn.Dropout(0.5), *chain()[2:]).train()
    plan = vf.init.init_model(model, X, steps=STEPS, dry_run=True)
    assert [layer.gain for layer in plan.layers] == [layer.gain for layer in plain.layers]
    assert model[2].training
    one, alone = (vf.init.init_model(chain(), x, steps=STEPS, dry_run=True) for x in (X[:1], X[0]))
    assert [layer.gain for layer in one.layers] == [layer.gain for layer in alone.layers]
    (layer,) = vf.init.init_model(nn.Sequential(nn.Linear(32, 256), leaky()), X, steps=STEPS, rate=0.2).layers
    assert layer.firing_rate == pytest.approx(0.2, rel=0.05)
    assert vf.audit(Looped(32, 2, 1), X, steps=1).steps == 1


class Wordless(Exception):
    def __str__(self):
        raise ValueError


def fails(*_):
    raise Wordless


def divides(*_):
    return 1 // 0


HOOKS = {
    "after": lambda layer, hook: layer.register_full_backward_hook(hook),
    "before": lambda layer, hook: layer.register_full_backward_pre_hook(hook),
    "weight": lambda layer, hook: layer.weight.register_hook(hook),
}


@pytest.mark.parametrize(("hook", "words"), [(fails, "<Wordless>"), (divides, "integer division or modulo by zero")])
@pytest.mark.parametrize("kind", HOOKS)
def test_errors_of_backward_hooks_are_told_as_such(kind, hook, words):
    model = nn.Sequential(nn.Linear(32, 16), leaky(), nn.Linear(16, 16), leaky())
    HOOKS[kind](model[2], hook)
    said = rf"fails in a backward hook or function of this model: {words}"
    with pytest.raises(vf.DomainError, match=rf"gradients=True {said}"):
        vf.audit(model, X, steps=STEPS, gradients=True)
    with pytest.raises(vf.DomainError, match=rf"loss=.* {said}"):
        vf.Monitor(model, X, steps=STEPS, loss=lambda out: out[0].sum()).step()


@pytest.mark.parametrize(("loss", "words"), [(fails, "<Wordless>"), (divides, "integer division or modulo by zero")])
def test_errors_of_a_loss_are_told_as_such(loss, words):
    model = nn.Sequential(nn.Linear(32, 16), leaky())
    with pytest.raises(vf.DomainError, match=rf"loss=.* fails for the model's output: {words}"):
        vf.audit(model, X, loss, steps=STEPS)
    model.register_forward_hook(loss)
    with pytest.raises(vf.DomainError, match=rf"do not go through the model.*: {words}"):
        vf.audit(model, X, steps=STEPS)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_layers_without_neurons_and_weights_of_any_size_are_named():
    for width, fan_in in ((0, 32), (16, 0)):
        model = nn.Sequential(nn.Linear(32, 16), leaky(), nn.Linear(16, width), leaky(), nn.Linear(width, 4), leaky())
        if width:
            model = nn.Sequential(nn.Linear(32, fan_in), leaky(), nn.Linear(fan_in, width), leaky())
        with pytest.raises(vf.DomainError, match=r"shape \(.*0.*\).*: a layer has no neurons or no inputs"):
            vf.audit(model, X, steps=STEPS)
    model = nn.Sequential(nn.Linear(32, 16), leaky())
    with torch.no_grad():
        model[0].weight[3] = -1e25
    with pytest.raises(vf.DomainError, match=r"model='0\.weight' holds a variance beyond float32"):
        vf.audit(model, X, steps=STEPS)


AUDITS = (vf.audit, vf.init.init_model, lambda *args, **steps: vf.init.quantise_(*args, bits=4, **steps), vf.read)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("0.weight", math.nan),
        ("0.bias", math.inf),
        ("1.running_var", math.nan),
        ("1.weight", -math.inf),
        ("2.threshold", math.nan),
        ("2.beta", math.nan),
        ("3.bias", math.nan),
    ],
)
def test_numbers_that_are_not_finite_are_named(name, value):
    def model(value):
        layers = nn.Sequential(nn.Linear(32, 16), nn.BatchNorm1d(16), leaky(), nn.Linear(16, 4))
        {**dict(layers.named_parameters()), **dict(layers.named_buffers())}[name].data.flatten()[:1].fill_(value)
        return layers

    for call in AUDITS:
        with pytest.raises(vf.DomainError, match=f"model='{name}' holds numbers that are not finite, 1 of"):
            call(model(value), X, steps=STEPS)
    vf.audit(model(1.0), X, steps=STEPS)


@pytest.mark.parametrize("value", [math.nan, torch.tensor([1.0, math.nan])], ids=["number", "tensor"])
@pytest.mark.parametrize("kind", ["LIF", "LIFBox"])
def test_parameters_of_norse_that_are_not_numbers_are_named(kind, value):
    def model(value):
        parameters = getattr(norse, f"{kind}Parameters")(v_th=value)
        return norse.SequentialState(nn.Linear(32, 2), getattr(norse, f"{kind}Cell")(parameters))

    for call in AUDITS:
        with pytest.raises(vf.DomainError, match=r"model='1\.p\.v_th' holds numbers that are not finite, 1 of"):
            call(model(value), X, steps=STEPS)
    vf.audit(model(torch.tensor(math.inf)), X, steps=STEPS)  # a readout


class Shifted(nn.Module):
    """A class of a user's own, with a number that may not be known yet; it is added at once or never."""

    def __init__(self, used):
        super().__init__()
        self.used = used
        self.register_buffer("shift", torch.tensor(math.nan))

    def forward(self, x):
        return x + self.shift if self.used else x


def test_a_buffer_without_a_value_is_refused_where_it_reaches_currents():
    model = nn.Sequential(nn.Linear(32, 16), Shifted(True), leaky(), nn.Linear(16, 4))
    for call in AUDITS[:3]:
        with pytest.raises(vf.DomainError, match="model='2' receives numbers that are not finite"):
            call(model, X, steps=STEPS)
    vf.audit(nn.Sequential(nn.Linear(32, 16), Shifted(False), leaky(), nn.Linear(16, 4)), X, steps=STEPS)


def test_a_mask_may_be_infinite_and_a_state_left_by_an_earlier_pass_is_none_of_the_model():
    model = chain()
    model.register_buffer("mask", torch.full((2,), -math.inf))
    for neuron in (module for module in model.modules() if hasattr(module, "mem")):
        neuron.mem = torch.full((6, 32), math.nan)
    vf.audit(model, X, steps=STEPS)


def test_named_tuples_are_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights, self.neuron = nn.Linear(32, 16), leaky()

        def forward(self, left, right):
            return self.neuron(self.weights(left - right))

    Pair = namedtuple("Pair", ["left", "right"])
    model, other = Two(), X.flip(0)
    for inputs in (Pair(X, other), [X, other]):
        report = vf.audit(model, inputs, steps=STEPS, gradients=True)
        assert report.layers[0].firing_rate == vf.audit(model, (X, other), steps=STEPS).layers[0].firing_rate
        assert math.isfinite(report.layers[0].gradient_norm)


@pytest.mark.parametrize(("between", "method"), [((), "sampled networks"), ((nn.LayerNorm(16),), "infinite width")])
def test_a_report_says_how_rates_were_predicted(between, method):
    layers = [(nn.Linear(16, 16), *between, snntorch.Leaky(beta=0.5, init_hidden=True)) for _ in range(2)]
    report = vf.audit(nn.Sequential(*(module for layer in layers for module in layer)), torch.rand(3, 16), steps=2)
    assert report.method == method
    assert f"predicted: {method}" in str(report)
