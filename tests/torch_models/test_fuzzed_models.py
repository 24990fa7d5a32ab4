"""Rates of random models are those of hooks in an independent run; the models are left, bit for bit, as they were found."""

import warnings
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

import varflow as vf

torch = pytest.importorskip("torch")

from fuzzed_models import FORMS, Inside, case, everything, rates, unlike  # noqa: E402

QUICK, MANY = (0, 5, 6, 17, 31, 33, 37, 58), range(200)  # the first two quick ones draw random numbers
PASSES, RUNS = 5, 30  # of a model that draws random numbers: those of an audit, and of one's own


def audited(made, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's checkpoints, of single steps
        return vf.audit(made.model, made.inputs, steps=made.steps, **options)


def changed(before, after):
    return [path for path in {**before, **after} if before.get(path) != after.get(path)]


def own_runs(number):
    """Mean late rates by hooks, and their standard deviations, for a model that draws random numbers."""
    found = []
    for seed in range(RUNS):
        made = case(number)
        torch.manual_seed(1000 + seed)
        np.random.seed(1000 + seed)  # noqa: NPY002
        found.append(rates(made))
    return tuple({name: of([run[name] for run in found], axis=0) for name in found[0]} for of in (np.mean, _std))


def _std(values, axis):
    return np.std(values, axis=axis, ddof=1)


@cache
def watched(number):
    """What changed in a model; layers whose rates are off; and deviations in standard errors, of models with random numbers."""
    made = case(number)
    torch.manual_seed(number)
    np.random.seed(number)  # noqa: NPY002
    before = everything(made.model)
    report = audited(made)
    altered = changed(before, everything(made.model))
    if not made.random:
        return altered, unlike(report, rates(case(number))), []
    mean, spread = own_runs(number)
    errors = {name: of * (1 / PASSES + 1 / RUNS) ** 0.5 + 1e-6 for name, of in spread.items()}  # 1e-6: rounding of a mean
    z = [
        (layer.firing_rate - mean[name][number]) / errors[name][number]
        for name in mean
        for number, layer in enumerate(each for each in report.layers if each.neuron_name.partition(" ")[0] == name)
    ]
    return altered, unlike(report, mean, digits=1.0), z


def beyond(z):
    """Whether more deviations are larger than three standard errors than chance makes them, at a false alarm of 1e-3."""
    chance = 2 * student.sf(3, RUNS - 1)
    return sum(abs(each) > 3 for each in z) > binom.ppf(1 - 1e-3, len(z), chance)


@pytest.mark.parametrize("number", QUICK)
def test_a_random_model(number):
    altered, wrong, z = watched(number)
    assert not altered
    assert not wrong
    assert not beyond(z)


@pytest.mark.slow
def test_many_random_models():
    found = {number: watched(number) for number in MANY}
    assert {number: altered[:3] for number, (altered, *_) in found.items() if altered} == {}
    assert {number: wrong for number, (_, wrong, _) in found.items() if wrong} == {}
    assert not beyond([each for *_, z in found.values() for each in z])


def test_all_kinds_are_drawn():
    """With two models or more of each; their layers are alive."""
    drawn = [case(number) for number in MANY]
    for kind in ("form", "arrangement", "shared", "wrapped", "chance", "checkpoints", "residual", "maps"):
        several = [getattr(made.drawn, kind) for made in drawn]
        assert min(map(several.count, several)) > 1
    assert {made.drawn.form for made in drawn} == {Inside, *FORMS}
    classes = [{type(neuron).__name__ for neuron in made.neurons} for made in drawn]
    assert all(sum(name in each for each in classes) > 1 for name in set.union(*classes))
    assert len(set.union(*classes)) == 8
    assert np.mean([rate > 0.01 for made in drawn[:20] for each in rates(made).values() for rate in each]) > 0.9


@pytest.mark.parametrize("number", QUICK[2:])
def test_other_weights_are_told_apart(number):
    """Rates of a model with one weight 5 % larger, one that no normalisation follows, are not those of the audit."""
    made, other = case(number), case(number)
    with torch.no_grad():
        other.scaled.weight.mul_(1.05)
    assert unlike(audited(made), rates(other))


@pytest.mark.parametrize("number", QUICK)
def test_one_bit_is_seen(number):
    """Of any tensor that can be reached; so are a longer list and a flag."""
    made = case(number)
    before = everything(made.model)
    generator = np.random.default_rng(number)
    tensors = [each for each in (*made.model.parameters(), *made.model.buffers()) if each.numel()]
    bits = tensors[generator.integers(len(tensors))].detach().numpy().reshape(-1).view(np.uint8)
    bits[generator.integers(len(bits))] ^= 1
    assert changed(before, everything(made.model))
    for alter in (lambda: made.model.train(not made.model.training), lambda: setattr(made.neurons[0], "more", [1])):
        before = everything(made.model)
        assert not changed(before, everything(made.model))
        alter()
        assert changed(before, everything(made.model))
    made.neurons[0].more.append(2)
    assert changed(before, everything(made.model))


def test_plans_and_audits_see_the_same_spikes():
    """Those of the neurons themselves, also where a hook lets only some through."""
    snntorch = pytest.importorskip("snntorch")
    torch.manual_seed(2)
    parts = [m for _ in range(3) for m in (torch.nn.Linear(40, 40), snntorch.Leaky(0.7, init_hidden=True))]
    model, x = torch.nn.Sequential(*parts), torch.rand(7, 40)
    mask = (torch.arange(40) % 3 > 0).float()
    model[1].register_forward_hook(lambda module, args, out: out * mask)
    plan = vf.init.init_model(model, x, steps=6, rate=0.3, refine=True, generator=torch.Generator().manual_seed(0))
    report = vf.audit(model, x, steps=6)
    planned, measured = [each.measured_rate for each in plan.layers], [each.firing_rate for each in report.layers]
    assert np.allclose(planned, measured, rtol=0, atol=1e-6)
    assert abs(measured[0] - 0.3) < 0.03
