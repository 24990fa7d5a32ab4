"""Weights of models rounded to few bits: the lattice, rates that are kept where the usual clips lose them, predictions."""

import copy
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import t as student_t

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")

STEPS = 8
REFINED = 0.02  # relative deviation from a rate at which refinement ends


def deep(layers=12, width=160, decay=0.5, rate=0.14, seed=1, **options):
    torch.manual_seed(seed)
    pairs = pairwise([32] + [width] * layers)
    modules = [m for n, k in pairs for m in (torch.nn.Linear(n, k), snntorch.Leaky(decay, init_hidden=True, **options))]
    model, inputs = torch.nn.Sequential(*modules), torch.rand(16, 32)
    vf.init.init_model(model, inputs, steps=STEPS, rate=rate)
    return model, inputs


def weights(model):
    return [parameter.detach().clone() for parameter in model.parameters() if parameter.dim() > 1]


def furthest(report, kind):
    return abs(report.firing_rate[kind] / report.firing_rate["full"] - 1).max()


def test_two_bits_keep_rates_where_the_usual_clips_silence_the_network():
    model, inputs = deep()
    report = vf.init.quantise_(model, inputs, bits=2, steps=STEPS)
    assert furthest(report, "set") < 0.25
    assert furthest(report, "mse") > 0.5
    assert furthest(report, "minmax") > 0.9
    assert report.survival["set"] == 1 > report.survival["minmax"]
    assert report.predicted_survival["set"] > 0.9 > report.predicted_survival["minmax"]
    assert report.distance["full"].max() == 0
    assert report.distance["set"][-1] < report.distance["minmax"][-1] / 3
    seen = vf.audit(model, inputs, steps=STEPS)
    np.testing.assert_allclose([layer.firing_rate for layer in seen.layers], report.firing_rate["set"], rtol=1e-6)


@pytest.mark.parametrize("per", ["layer", "channel"])
def test_weights_are_integers_times_steps_that_place_the_threshold(per):
    model, inputs = deep(layers=3)
    for layer in model[::2]:
        torch.nn.init.normal_(layer.bias, std=0.1)
    before = weights(model)
    report = vf.init.quantise_(model, inputs, bits=3, per=per, steps=STEPS)
    for layer, old, mean, k in zip(model[::2], before, report.step, report.integer_threshold, strict=True):
        w = layer.weight.detach().double()
        rows = w if per == "channel" else w.flatten()[None]
        steps = torch.stack([row.abs()[row != 0].min() for row in rows])[:, None]
        integers = rows / steps
        torch.testing.assert_close(integers, integers.round(), rtol=0, atol=1e-5)
        assert integers.abs().max() < 3.001
        np.testing.assert_allclose(float(steps.mean()), mean, rtol=1e-5)
        thresholds = 1 / steps + 0.5
        torch.testing.assert_close(thresholds, thresholds.round(), rtol=0, atol=1e-4)
        np.testing.assert_allclose(float(thresholds.mean()), k, rtol=1e-5)
        biases = layer.bias.detach().double() / steps.flatten()
        torch.testing.assert_close(biases, biases.round(), rtol=0, atol=1e-5)
        assert np.corrcoef(w.flatten(), old.flatten())[0, 1] > 0.95


def test_the_clip_has_the_smallest_squared_error():
    from varflow.torch_models.rounding import _least_squares, _rounded

    rows = torch.randn(4, 4000, generator=torch.Generator().manual_seed(0))
    top = rows.abs().amax(1, keepdim=True)
    found = _least_squares(rows, top / 3, 3) * 3

    def error(clip):
        return (_rounded(rows, clip / 3, 3) * clip / 3 - rows).square().mean(1)

    finer = torch.stack([error(fraction * top) for fraction in torch.linspace(0.2, 1, 400)]).amin(0)
    assert float((error(found) / finer).max()) < 1.01
    assert float((error(top) / finer).min()) > 1.5
    np.testing.assert_allclose(float(found.mean()), 1.9525, rtol=0.05)  # of normal weights


def test_kept_survival_loses_no_gain_and_the_next_threshold_would():
    model, inputs = deep(layers=3)
    before = weights(model)
    report = vf.init.quantise_(model, inputs, bits=4, keep="survival", steps=STEPS)
    for old, new, k in zip(before, weights(model), report.integer_threshold, strict=True):
        gain = float(new.square().sum() / old.square().sum()) ** 0.5
        assert gain >= 1 - 1e-5
        assert gain * (k - 0.5) / (k + 0.5) < 1
    assert report.predicted_rate["set"][-1] >= report.predicted_rate["full"][-1]


def test_an_audit_predicts_rounding_and_changes_nothing():
    model, inputs = deep()
    state = copy.deepcopy(model.state_dict())
    report = vf.audit(model, inputs, steps=STEPS, bits=2)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert report.rounding.firing_rate == {}
    assert "rounded to 2 bits: alive, predicted: 100 % full" in str(report)
    assert report.rounding.predicted_survival["set"] > 0.9 > report.rounding.predicted_survival["minmax"]
    done = vf.init.quantise_(model, inputs, bits=2, keep="survival", steps=STEPS)
    np.testing.assert_allclose(done.predicted_rate["minmax"], report.rounding.predicted_rate["minmax"], rtol=1e-6)


def test_potentials_of_memoryless_neurons_are_predicted_as_sums_of_integers():
    """A threshold just above a sum of integers acts as if it were half a step higher."""
    model, inputs = deep(layers=4, width=300, decay=0.0, rate=0.2, reset_mechanism="none")
    for layer in model[2::2]:
        with torch.no_grad():
            layer.weight.copy_((0.4 * layer.weight / layer.weight.std()).round().clamp(-1, 1) / 2.02)
    report = vf.init.quantise_(model, inputs, bits=2, keep="survival", steps=STEPS)
    off = {kind: np.abs(report.predicted_rate[kind] - report.firing_rate[kind])[1:].mean() for kind in ("full", "minmax")}
    assert off["minmax"] < 0.02
    assert off["full"] > 0.04  # the same lattice, predicted as if it were none


def normalised(training):
    torch.manual_seed(0)
    modules = [torch.nn.Conv2d(1, 8, 3), torch.nn.BatchNorm2d(8), snntorch.Leaky(0.5, init_hidden=True)]
    modules += [torch.nn.Flatten(), torch.nn.Linear(8 * 36, 20), snntorch.Leaky(0.5, init_hidden=True), torch.nn.Linear(20, 5)]
    return torch.nn.Sequential(*modules).train(training), torch.rand(16, 1, 8, 8)


@pytest.mark.parametrize("training", [True, False])
def test_normalisations_readouts_and_frozen_weights(training):
    model, inputs = normalised(training)
    vf.init.init_model(model, inputs, steps=STEPS)
    model[4].requires_grad_(requires_grad=False)
    report = vf.init.quantise_(model, inputs, bits=4, steps=STEPS)
    assert furthest(report, "set") < 0.1
    assert np.isnan(report.integer_threshold[0])
    assert report.integer_threshold[1] > 1
    for module in (model[0], model[4], model[6]):
        assert len(module.weight.unique()) <= 15


def leaky():
    return snntorch.Leaky(0.5, init_hidden=True)


def recurrent_of_norse():
    norse = pytest.importorskip("norse.torch")
    return norse.SequentialState(torch.nn.Linear(32, 32), norse.LIFRecurrentCell(32, 32), torch.nn.Linear(32, 32), leaky())


def recurrent_of_snntorch():
    inner = snntorch.RLeaky(0.5, linear_features=32, init_hidden=True)
    return torch.nn.Sequential(torch.nn.Linear(32, 32), inner, torch.nn.Linear(32, 32), leaky())


def computed():
    weight = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(32, 32))
    return torch.nn.Sequential(torch.nn.Linear(32, 32), leaky(), weight, leaky())


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (recurrent_of_norse, ["1.input_weights", "1.recurrent_weights"]),
        (recurrent_of_snntorch, ["1.recurrent.weight"]),
        (computed, ["2.parametrizations.weight.original0", "2.parametrizations.weight.original1"]),
        (lambda: deep(layers=2)[0], []),
    ],
)
def test_weights_that_keep_their_precision_are_named(made, names):
    torch.manual_seed(0)
    model = made()
    before = copy.deepcopy(model.state_dict())
    report = vf.init.quantise_(model, 4 * torch.rand(16, 32), bits=3, steps=STEPS)
    assert list(report.unrounded) == names
    after = model.state_dict()
    assert [name for name in after if after[name].dim() > 1 and len(after[name].unique()) > 7] == names
    assert all(torch.equal(before[name], after[name]) for name in names)
    assert ("not rounded" in str(report)) == bool(names)


class Unlike(snntorch.Leaky):
    """Does not step as its parameters say."""

    def forward(self, x, *state):
        return super().forward(3 * x, *state)


def test_what_theory_does_not_cover_is_measured_alone():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), Unlike(0.5, init_hidden=True))
    report = vf.init.quantise_(model, torch.rand(16, 32), bits=3, steps=STEPS)
    assert np.isnan([*report.predicted_survival.values()]).all()
    assert min(report.survival.values()) >= 0
    assert "alive, measured" in report.words
    assert "predicted" not in report.words


def test_after_an_error_the_model_is_as_before(monkeypatch):
    from varflow.torch_models import rounding

    def interrupted(*arguments):
        raise KeyboardInterrupt

    model, inputs = deep(layers=3)
    before = weights(model)
    monkeypatch.setattr(rounding, "settle", interrupted)
    with pytest.raises(KeyboardInterrupt):
        vf.init.quantise_(model, inputs, bits=4, steps=STEPS)
    assert all(map(torch.equal, before, weights(model)))


@pytest.mark.parametrize(
    "options", [{"bits": 1}, {"bits": 17}, {"bits": 4, "keep": "gain"}, {"bits": 4, "per": "row"}, {"bits": 4, "clip": "max"}]
)
def test_other_arguments_are_refused(options):
    model, inputs = torch.nn.Sequential(torch.nn.Linear(32, 5), snntorch.Leaky(0.5, init_hidden=True)), torch.rand(16, 32)
    with pytest.raises(vf.DomainError):
        vf.init.quantise_(model, inputs, steps=STEPS, **options)


@pytest.mark.slow
def test_twenty_layers_of_four_bits_keep_their_rates():
    """On average over layers, to the 2 % at which layers count as settled; a single layer of 256 scatters by 3 %."""
    seeds, moved = 8, {"set": [], "minmax": []}
    for seed in range(seeds):
        report = vf.init.quantise_(*deep(layers=20, width=256, seed=seed), bits=4, steps=STEPS)
        for kind, rows in moved.items():
            rows.append(report.firing_rate[kind] / report.firing_rate["full"] - 1)

    def keeps(kind):
        means = np.mean(moved[kind], axis=1)
        return abs(means.mean()) < REFINED + student_t.isf(5e-4, seeds - 1) * means.std(ddof=1) / seeds**0.5

    assert keeps("set")
    assert not keeps("minmax")  # plain rounding, whose steps are not placed
    scatter = {kind: np.square(rows).mean(axis=1) for kind, rows in moved.items()}
    assert (scatter["set"] < scatter["minmax"]).all()  # by chance once in 2^8
