"""Models in half precision: initialised and audited where they run, refused with what to do where they do not."""

import math

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

from spiking_models import Looped, norse_loop  # noqa: E402
from torch import nn  # noqa: E402

HALVES = [torch.float16, torch.bfloat16]
WIDTH, STEPS, NETWORKS = 64, 6, 24
X = torch.rand(4, WIDTH, generator=torch.Generator().manual_seed(0))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Cast(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, x):
        return x.to(self.dtype)


def cast_after_each(dtype):
    """snnTorch's neurons return single precision: casts bring it back."""
    layers = (m for _ in range(4) for m in (nn.Linear(WIDTH, WIDTH), snntorch.Leaky(0.5, init_hidden=True), Cast(dtype)))
    return nn.Sequential(*layers).to(dtype)


def spikingjelly_layers(dtype):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    return nn.Sequential(*(m for _ in range(4) for m in (nn.Linear(WIDTH, WIDTH), neuron.LIFNode(2.0)))).to(dtype)


MODELS = {
    "norse": (lambda dtype: norse_loop(WIDTH, 4, STEPS).to(dtype), None),
    "snntorch with casts": (cast_after_each, STEPS),
    "spikingjelly": (spikingjelly_layers, STEPS),
}


def own_rates(model, x, steps):
    """Late rates of the modules' own spikes, added up in double precision."""
    found = {}

    def hook(module, args, out):
        found.setdefault(module, []).append((out[0] if isinstance(out, tuple) else out).double().mean().item())

    kinds = ("Leaky", "LIFBoxCell", "LIFNode")
    neurons = [module for module in model.modules() if type(module).__name__ in kinds]
    handles = [module.register_forward_hook(hook) for module in neurons]
    for module in neurons:
        if steps is not None:  # the model leaves the loop in time, and the start, to its caller
            (module.reset_mem if hasattr(module, "reset_mem") else module.reset)()
    with torch.no_grad():
        for _ in range(steps or 1):
            model(x)
    for handle in handles:
        handle.remove()
    return np.array([np.mean(rates[len(rates) // 2 :]) for rates in found.values()])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_models_in_half_precision_have_the_planned_rates(name, dtype):
    """Mean over networks of every layer: 4 standard errors, and 3 % for rounding and the plan's own random numbers."""
    make, steps = MODELS[name]
    torch.manual_seed(0)
    model, x = make(dtype), X.to(dtype)
    plan = vf.init.init_model(model, x, steps=steps, generator=seeded(), refine=False)
    assert {p.dtype for p in model.parameters()} == {dtype}
    report = vf.audit(model, x, steps=steps)
    measured = [layer.firing_rate for layer in report.layers]
    assert measured == pytest.approx(own_rates(model, x, steps), rel=1e-4)
    rows = [measured]
    for seed in range(1, NETWORKS):
        for layer in plan.layers:
            nn.init.normal_(model.get_submodule(layer.name).weight, std=layer.weight_std, generator=seeded(100 + seed))
        rows.append(own_rates(model, x, steps))
    rates, planned = np.array(rows), np.array([layer.firing_rate for layer in plan.layers if layer.neuron is not None])
    error = rates.std(0, ddof=1) / math.sqrt(NETWORKS)
    assert np.all(np.abs(rates.mean(0) - planned) < 4 * error + 0.03 * planned), (rates.mean(0) / planned, error / planned)
    wrong = 1.25 * planned  # a plan that is 25 % off is rejected
    assert not np.all(np.abs(rates.mean(0) - wrong) < 4 * error + 0.03 * wrong)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_autocast_holds_for_the_model_only(dtype):
    """Plans are those of single precision, weights that were just drawn are those that run, and spikes are counted right."""
    model, x = Looped(800, 2, STEPS), torch.rand(4, 800, generator=seeded())
    alone = vf.init.init_model(model, x, rate=0.4, generator=seeded(1), dry_run=True)
    with torch.autocast("cpu", dtype=dtype):
        vf.audit(model, x)  # casts of the old weights are kept from now on
        plan = vf.init.init_model(model, x, rate=0.4, generator=seeded(1))
        within, own = vf.audit(model, x), own_rates(model, x, None)
    assert [layer.gain for layer in plan.layers] == [layer.gain for layer in alone.layers]
    assert [layer.firing_rate for layer in within.layers] == pytest.approx(own, rel=1e-6)  # 320 spikes: too many for 8 bits
    after = vf.audit(model, x)
    for one, other in zip(within.layers, after.layers, strict=True):
        assert one.firing_rate == pytest.approx(other.firing_rate, rel=0.03)  # rounded currents: a few other spikes
        assert one.predicted_rate == other.predicted_rate


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("judge", [vf.init.init_model, vf.audit])
def test_models_that_do_not_run_in_half_precision_are_refused_with_what_to_do(judge, dtype):
    model = Looped(32, 3, STEPS).to(dtype)
    before = [parameter.clone() for parameter in model.parameters()]
    words = rf"inputs=.*weights are {dtype}, its neurons return another precision: take a float32 copy, copy.deepcopy\(model\)"
    with pytest.raises(vf.DomainError, match=words):
        judge(model, X[:, :32].to(dtype))
    assert all(map(torch.equal, before, model.parameters()))
    judge(model.float(), X[:, :32])  # and that helps
    with pytest.raises(vf.DomainError) as end:
        judge(model, X[:, :7])
    assert "float32 copy" not in str(end.value)


@pytest.mark.parametrize(("dtype", "scale", "refused"), [(torch.float16, 1e-5, True), (torch.bfloat16, 1e-5, False)])
def test_weights_that_half_precision_does_not_hold_are_refused(dtype, scale, refused):
    model, x = norse_loop(32, 3, STEPS).to(dtype), (scale * X[:, :32]).to(dtype)
    before = [parameter.clone() for parameter in model.parameters()]
    if not refused:
        vf.init.init_model(model, x)
        return
    with pytest.raises(vf.DomainError, match=r"model='weights.0' needs weights of standard deviation 1.*e\+05, beyond float16"):
        vf.init.init_model(model, x)
    assert all(map(torch.equal, before, model.parameters()))
