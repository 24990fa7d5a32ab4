"""Models whose normalisations differ between steps (BNTT, TEBN, tdBN, modules called step by step): read, predicted, scaled."""

from dataclasses import replace

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
L = vf.layers
STEPS = 5
FORMS = "all", "each", "bntt", "tebn"


class Model(torch.nn.Module):
    """Weights, a normalisation of this form, and leaky neurons, with steps first between layers."""

    def __init__(self, form, weights, norm):
        super().__init__()
        self.form, self.weights = form, torch.nn.ModuleList(weights)
        number = STEPS if form == "bntt" else 1
        self.norms = torch.nn.ModuleList(torch.nn.ModuleList(norm() for _ in range(number)) for _ in weights)
        for norms in self.norms:
            for module, gamma in zip(norms, (1.5, 1.2, 1.0, 1.3, 1.6) if number > 1 else (1.4,), strict=True):
                torch.nn.init.constant_(module.weight, gamma)
        self.factors = torch.nn.ParameterList(torch.linspace(0.8, 1.3, STEPS) for _ in weights) if form == "tebn" else None
        self.neurons = torch.nn.ModuleList(snntorch.Leaky(0.5, reset_mechanism="zero") for _ in weights)

    def normalised(self, layer, x):
        norms = self.norms[layer]
        if self.form in ("bntt", "each"):
            return torch.stack([norms[t % len(norms)](x[t]) for t in range(STEPS)])
        y = norms[0](x.flatten(0, 1)).view_as(x)
        return y if self.factors is None else y * self.factors[layer].view(-1, *[1] * (x.dim() - 1))

    def forward(self, x):
        x = x.expand(STEPS, *x.shape)
        for layer, (weight, neuron) in enumerate(zip(self.weights, self.neurons, strict=True)):
            x = self.normalised(layer, weight(x.flatten(0, 1)).unflatten(0, (STEPS, -1)))
            membrane, spikes = neuron.init_leaky(), []
            for current in x:
                spike, membrane = neuron(current, membrane)
                spikes.append(spike)
            x = torch.stack(spikes)
        return x

    def rates(self, x):
        """Measured mean rates (layers, steps)."""
        rates = [[] for _ in self.neurons]
        hooks = [
            neuron.register_forward_hook(lambda _, __, out, each=each: each.append(out[0].mean().item()))
            for neuron, each in zip(self.neurons, rates, strict=True)
        ]
        with torch.no_grad():
            self(x)
        for hook in hooks:
            hook.remove()
        return np.array(rates)


def dense(form, depth=3):
    weights = [torch.nn.Linear(300, 300, bias=False) for _ in range(depth)]
    return Model(form, weights, lambda: torch.nn.BatchNorm1d(300))


def convolutional(form, depth=6):
    weights = [torch.nn.Conv2d(32 if layer else 3, 32, 3, padding=1, bias=False) for layer in range(depth)]
    return Model(form, weights, lambda: torch.nn.BatchNorm2d(32))


def in_eval(model, x, passes):
    with torch.no_grad():
        for _ in range(passes):
            model(x)
    return model.eval()


def misses(make, x, passes, redraws, bias, **effort):
    """Largest difference of rates from those predicted of each network, over 3 standard errors and a bias; and predictions."""
    torch.manual_seed(0)
    found, predicted = [], []
    for _ in range(redraws):
        model = in_eval(make(), x, passes) if passes else make()
        found.append(model.rates(x))
        predicted.append(np.asarray(vf.mean_field(vf.read(model, x), **effort).firing_rate))
    difference, found = np.array(predicted) - found, np.mean(found, axis=0)
    allowed = 3 * difference.std(axis=0, ddof=1) / redraws**0.5 + bias * found
    return (np.abs(difference.mean(axis=0)) / allowed).max(), np.mean(predicted, axis=0)


@pytest.mark.parametrize("passes", [0, 60], ids=["train", "eval"])
def test_rates_of_every_step_are_predicted(passes):
    """Of dense networks, within 3 % and 1/32 for a batch of 32; those of another form are not."""
    x, predicted = torch.randn(32, 300, generator=torch.Generator().manual_seed(1)), {}
    for form in FORMS if passes == 0 else ("each", "bntt"):
        miss, predicted[form] = misses(lambda form=form: dense(form), x, passes, 4, 0.03 + 1 / 32, points=2**8, scrambles=2)
        assert miss < 1
    assert np.abs(predicted["bntt"] / predicted["each"] - 1).max() > 0.1
    if passes == 0:
        assert np.abs(predicted["tebn"] / predicted["all"] - 1).max() > 0.1
        assert np.abs(predicted["each"] / predicted["all"] - 1).max() > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("passes", [0, 60], ids=["train", "eval"])
@pytest.mark.parametrize("form", FORMS)
def test_rates_of_six_convolutions_are_predicted(form, passes):
    """Eight redraws, within 3 standard errors and 3 %."""
    x = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    assert misses(lambda: convolutional(form), x, passes, 8, 0.03, points=64, scrambles=2)[0] < 1


@pytest.mark.parametrize(
    ("form", "kinds"),
    [
        ("all", [L.BatchNorm(1.4)]),
        ("each", [L.BatchNorm(1.4, over="each step")]),
        ("tebn", [L.BatchNorm(1.4), L.ScaleSteps(np.linspace(0.8, 1.3, STEPS))]),
    ],
)
def test_forms_are_read(form, kinds):
    network = vf.read(dense(form).train(), torch.randn(8, 300))
    found = [each for each in network.layers if isinstance(each, L.BatchNorm | L.ScaleSteps)]
    assert list(map(repr, found)) == list(map(repr, kinds * 3))


def test_another_number_of_steps_is_unknown():
    model = dense("tebn")
    model.factors = torch.nn.ParameterList(torch.linspace(0.8, 1.3, 8) for _ in range(3))

    def normalised(layer, x):  # eight numbers for five steps of eight inputs: inputs, not steps
        y = model.norms[layer][0](x.flatten(0, 1)).view_as(x)
        return (y.swapaxes(0, 1) * model.factors[layer].view(-1, 1, 1)).swapaxes(0, 1)

    model.normalised = normalised
    assert np.isnan(vf.audit(model, torch.randn(8, 300)).layers[0].predicted_rate)


def test_init_model_sets_all_gammas_of_a_layer():
    torch.manual_seed(0)
    model, x = dense("bntt"), torch.randn(32, 300)
    assert "γ of norms.1.0, norms.1.1 and 3 more" in str(vf.init.init_model(model, x, rate=0.15))
    for norms in model.norms:
        assert len({norm.weight[0].item() for norm in norms}) == 1
    np.testing.assert_allclose(model.rates(x)[:, STEPS // 2 :].mean(axis=1), 0.15, rtol=0.15)


def test_running_means_that_follow_the_batch():
    """Theory and simulation of statistics after many passes agree; means that are all equal are another network."""
    spike = L.Spike(vf.Neuron(1.0, decay=0.5, reset="zero"))
    drive = vf.drives.inputs(np.random.default_rng(0).random((32, 60)))

    def network(*statistics, over="all steps"):
        block = [L.Linear(300, gain=1.5), L.BatchNorm(1.4, 0.1, statistics, over=over), spike]
        return vf.Network(layers=block * 2, drive=drive, steps=4)

    ensemble = vf.simulate(network(0.0, 0.4, 0.9), repeats=40)
    assert vf.compare(vf.mean_field(network(0.0, 0.4, 0.9), points=2**10), ensemble, bias=0.03).passed
    assert not vf.compare(vf.mean_field(network(0.0, 0.4), points=2**10), ensemble, bias=0.03).passed
    rng = np.random.default_rng(0)  # what all inputs have in common changes from step to step
    changing = vf.drives.inputs(rng.normal(size=(1, 4, 60)) + 0.5 * rng.normal(size=(32, 4, 60)))
    each_step = replace(network(0.0, 0.4, 0.9, over="each step"), drive=changing)
    ensemble = vf.simulate(each_step, repeats=40)
    assert vf.compare(vf.mean_field(each_step, points=2**10), ensemble, bias=0.03).passed
    all_steps = replace(network(0.0, 0.4, 0.9), drive=changing)
    assert not vf.compare(vf.mean_field(all_steps, points=2**10), ensemble, bias=0.03).passed
    with pytest.raises(vf.DomainError, match="batch"):
        vf.finite_width(vf.Network(width=50, layers=[spike, L.Linear(gain=2.0), L.BatchNorm(1.0, 0.0, (0.0, 1.0, 0.5)), spike]))


def test_a_few_inputs_stand_for_the_batch(monkeypatch):
    """The gain of the first normalisation by 8 of 64 inputs is that by all; taken about the mean of the eight it is not."""
    from varflow.theory.operations import batch_norm
    from varflow.torch_models.prediction.signals import InfiniteWidth
    from varflow.torch_models.tracing.measurements import trace_and_measure

    torch.manual_seed(0)
    measured = trace_and_measure(dense("each"), torch.randn(64, 300), None, None)

    def gain(inputs):
        walk = InfiniteWidth.of(measured.trace, measured.covered, inputs)
        return next(visit.kept["batch"].gain.mean() for visit in walk.visits if "batch" in visit.kept)

    assert gain(8) == pytest.approx(gain(64), rel=0.02)
    by_overlap = batch_norm.by_overlap
    monkeypatch.setattr(batch_norm, "by_overlap", lambda layer, x, overlap, inputs: by_overlap(layer, x, overlap, 8))
    assert gain(8) != pytest.approx(gain(64), rel=0.02)
