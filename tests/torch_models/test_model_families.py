"""Families of models as people build them, with the libraries' own modules: audited and initialised, whatever they are.

Those that need SpikingJelly or sinabs run by ``make test-libraries``.
"""

import copy
from importlib.util import find_spec

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")

from model_families import FAMILIES  # noqa: E402
from spiking_models import left_behind, same  # noqa: E402

FIRST = [name for name, family in FAMILIES.items() if family.needs in ("snntorch", "norse")]
CASES = [pytest.param(name, marks=[] if name in FIRST else pytest.mark.slow) for name in FAMILIES]
SEEDS = [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]


def family_of(name):
    family = FAMILIES[name]
    if find_spec(family.needs) is None:
        pytest.skip(f"{family.needs} is not installed")
    return family


def late_rates(family, model, x):
    """Late rates by name of the neuron module, counted by hooks in an own pass from rest, without dropout."""
    found = {}
    for module in model.modules():
        module.training &= "Dropout" not in type(module).__name__
    kinds = [f"{type(m).__module__.partition('.')[0]}.{type(m).__name__}" for _, m in model.named_modules()]
    spiking = [(name, m) for (name, m), kind in zip(model.named_modules(), kinds, strict=True) if kind in family.spiking]

    def hook(name):
        def count(module, args, out):
            spikes = (out[0] if isinstance(out, tuple) else out).double()
            if hasattr(module, "batch_size"):  # sinabs' squeezed modules
                spikes = spikes.unflatten(0, (module.batch_size, -1)).movedim(1, 0)
            steps = spikes[None] if family.time_axis is None and not hasattr(module, "batch_size") else spikes
            found.setdefault(name, []).extend(steps.flatten(1).mean(1).tolist())

        return count

    handles = [module.register_forward_hook(hook(name)) for name, module in spiking]
    for module in model.modules():
        for call in ("reset_mem", "reset_states", "reset"):
            if callable(getattr(module, call, None)):
                getattr(module, call)()
                break
    with torch.no_grad():
        for _ in range(family.steps or 1):
            model(x)
    for handle in handles:
        handle.remove()
    return {name: float(np.mean(rates[len(rates) // 2 :])) for name, rates in found.items()}


def made(family, seed):
    torch.manual_seed(seed)
    return family.make()


def within(rates, planned, room):
    return all(abs(rates[name] / rate - 1) < room for name, rate in planned.items())


@pytest.mark.parametrize("name", CASES)
def test_audit(name):
    """Rates equal those of hooks to four digits, and the model and all random states are left as found."""
    family = family_of(name)
    model, x = made(family, 0), family.batch(0)
    before = copy.deepcopy(left_behind(model))
    report = vf.audit(model, x, steps=family.steps)
    assert same(before, left_behind(model))
    counted = late_rates(family, copy.deepcopy(model), x)
    assert {layer.neuron_name for layer in report.layers} == set(counted)
    assert {layer.neuron_name: layer.firing_rate for layer in report.layers} == pytest.approx(counted, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CASES)
def test_init_model(name, seed):
    """Every hidden layer's late rate is within 15 % of the plan on the batch and within 25 % on fresh inputs, in the model's
    mode; none is dead. The control: with the library's own weights it is not.
    """
    family = family_of(name)
    model, x, fresh = made(family, seed), family.batch(seed), family.batch(seed + 100)
    before = late_rates(family, copy.deepcopy(model), x)
    plan = vf.init.init_model(model, x, steps=family.steps, rate=0.2, generator=torch.Generator().manual_seed(seed))
    planned = {layer.neuron_name: layer.firing_rate for layer in plan.layers if layer.neuron_name}
    assert set(planned) == set(before)
    if family.output:
        planned.popitem()
    on_batch, on_fresh = (late_rates(family, copy.deepcopy(model), given) for given in (x, fresh))
    assert within(on_batch, planned, 0.15), {name: (on_batch[name], rate) for name, rate in planned.items()}
    assert within(on_fresh, planned, 0.25), {name: (on_fresh[name], rate) for name, rate in planned.items()}
    assert min(on_fresh[name] for name in planned) > 0
    assert not within(before, planned, 0.15)
