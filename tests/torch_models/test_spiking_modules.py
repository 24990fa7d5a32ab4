"""Real modules of the libraries, as they are read: their spikes are those of the neuron and of the weights that were read,
and their membranes are reconstructed from currents and spikes. What has no equations is measured, with the reason.
"""

import math
from dataclasses import replace

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")
snntorch = pytest.importorskip("snntorch")
norse = pytest.importorskip("norse.torch")

from torch import nn  # noqa: E402

from varflow.model.library_neurons import recognise  # noqa: E402
from varflow.torch_models.tracing.measurements import Recorder  # noqa: E402
from varflow.torch_models.tracing.traced import TracedLayer  # noqa: E402

STEPS, INPUTS, N = 30, 4, 50


def uniform(low, high, seed=0):
    return low + (high - low) * torch.rand(N, generator=torch.Generator().manual_seed(seed))


def given(std, n=N):
    generator = torch.Generator().manual_seed(1)
    constant = torch.randn(1, INPUTS, n, generator=generator)
    return std * (constant + torch.randn(STEPS, INPUTS, n, generator=generator)) + 0.2


def run(module, spiking, currents):
    """Spikes, and the states returned with them, step by step."""
    with torch.no_grad():
        if spiking.time_axis is not None:
            out = module(currents.movedim(0, spiking.time_axis))
            return (out[0] if isinstance(out, tuple) else out).movedim(spiking.time_axis, 0), None
        spikes, states, state = [], [], ()
        for current in currents:
            out = module(current, *state)
            fired, *now = out if isinstance(out, tuple) else (out,)
            state = now if type(module).__module__.startswith("norse") else ()  # others keep it themselves
            spikes.append(fired)
            states.append(now)
        return torch.stack(spikes), states


def watched(module, spiking, currents, spikes):
    recorder, layer = Recorder(), TracedLayer(("w",), "lif", [nn.Linear(N, N)], module, spiking)
    axis = spiking.time_axis
    if axis is not None:
        recorder(layer, currents.movedim(0, axis), spikes.movedim(0, axis))
    else:
        for current, fired in zip(currents, spikes, strict=True):
            recorder(layer, current, fired)
    return recorder.results()["lif"]


def altered(spiking):
    """The same with another decay and other recurrent weights."""
    decay = 0.5 if spiking.neuron.heterogeneous else 0.8 * spiking.neuron.decay
    values = {name: value for name, value in spiking.values.items() if name != "decay"}
    changed = [replace(spiking, neuron=replace(spiking.neuron, decay=decay), values=values)]
    if spiking.recurrent is not None:
        changed.append(replace(spiking, recurrent=replace(spiking.recurrent, weight=0.8 * spiking.recurrent.weight)))
    return changed


def check(module, std=1.5, n=N):
    """The spikes are those of what was read, and of nothing else."""
    torch.manual_seed(2)
    spiking, currents = recognise("lif", module), given(std, n)
    assert spiking.neuron is not None, spiking.reason
    spikes, states = run(module, spiking, currents)
    assert 0.02 < spikes.mean() < 0.9
    seen = watched(module, spiking, currents, spikes)
    assert seen.reason == ""
    assert seen.firing_rate.mean() == pytest.approx(float(spikes.mean()), rel=1e-6)
    assert np.isfinite(seen.variance).all()
    for other in altered(spiking):
        wrong = watched(module, other, currents, spikes)
        assert wrong.reason.startswith("does not step as Neuron(")
        assert np.isnan(wrong.variance).all()
        assert wrong.firing_rate.mean() == seen.firing_rate.mean()
    return spiking, seen, states


def scaled(module, factor):
    """Stronger recurrent weights than the library's, so that they matter."""
    with torch.no_grad():
        for name in ("recurrent", "rec_connect"):
            if hasattr(module, name):
                getattr(module, name).weight.mul_(factor)
    return module


RECURRENT = {
    "RLeaky": lambda **options: snntorch.RLeaky(0.7, linear_features=N, **options),
    "RSynaptic": lambda **options: snntorch.RSynaptic(0.5, 0.7, linear_features=N, **options),
}


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("kind", RECURRENT)
def test_snntorch_recurrent(kind, reset):
    module = scaled(RECURRENT[kind](reset_mechanism=reset), 3.0)
    spiking, seen, states = check(module)
    weight = module.recurrent.weight.detach().double()
    assert spiking.recurrent.gain == pytest.approx(float(weight.std(correction=0)) * math.sqrt(N), rel=1e-6)
    assert spiking.recurrent.mean_gain == pytest.approx(float(weight.mean()) * N, rel=1e-6)
    H = torch.stack([state[-1] for state in states])  # snnTorch returns membranes before the reset
    assert seen.mean == pytest.approx(H.mean((1, 2)).numpy(), rel=1e-4, abs=1e-5)
    assert seen.variance == pytest.approx(H.var(2, correction=1).mean(1).numpy(), rel=2e-2)
    family = {"subtract": "delayed_subtract", "zero": "gate", "none": "none"}[reset]
    assert spiking.neuron.reset == family


def test_recurrent_without_bias_at_rest_with_hidden_state():
    module = snntorch.RLeaky(0.7, linear_features=N, init_hidden=True, reset_delay=False, reset_mechanism="zero")
    module.recurrent.bias = None
    spiking, *_ = check(scaled(module, 2.0))
    assert spiking.neuron.reset == "zero"
    assert spiking.recurrent.bias is None


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("strength", [0.4, -0.7])
def test_each_neuron_to_itself(strength, reset):
    """A coupling of one neuron to itself is part of its reset."""
    spiking, *_ = check(snntorch.RLeaky(0.7, V=strength, all_to_all=False, reset_mechanism=reset))
    assert spiking.recurrent is None
    if reset == "subtract":
        assert spiking.neuron.reset.threshold == pytest.approx(1 - strength)


HETEROGENEOUS = {
    "decays": (lambda: snntorch.Leaky(uniform(0.2, 0.9)), {"decay"}),
    "learned": (
        lambda: snntorch.Leaky(uniform(0.2, 0.9), threshold=uniform(0.5, 1.5, 1), learn_beta=True),
        {"decay", "threshold"},
    ),
    "zero": (lambda: snntorch.Leaky(0.7, threshold=uniform(0.5, 1.5), reset_mechanism="zero"), {"threshold"}),
    "synaptic": (lambda: snntorch.Synaptic(0.5, uniform(0.2, 0.9), threshold=uniform(0.5, 1.5, 1)), {"decay", "threshold"}),
    "recurrent": (lambda: snntorch.RLeaky(uniform(0.2, 0.9), linear_features=N), {"decay"}),
    "Norse": (lambda: norse.LIFCell(norse.LIFParameters(v_th=uniform(0.2, 0.6))), {"threshold"}),
}


@pytest.mark.parametrize("kind", HETEROGENEOUS)
def test_neurons_that_differ(kind):
    made, names = HETEROGENEOUS[kind]
    module = made()
    spiking, *_ = check(module, std=3.0 if kind == "Norse" else 1.5)
    assert set(spiking.values) == names
    assert spiking.neuron.heterogeneous
    for name in names:
        of_module = {"threshold": "threshold", "decay": "beta"}[name]
        values = module.p.v_th if kind == "Norse" else getattr(module, of_module)
        quantiles = getattr(spiking.neuron, name).quantile((np.arange(N) + 0.5) / N)
        assert quantiles == pytest.approx(np.sort(values.detach().numpy()), rel=1e-6)


def test_learned_but_still_equal_values_are_one_number():
    module = snntorch.Leaky(torch.full((N,), 0.9), threshold=torch.ones(N), learn_beta=True, learn_threshold=True)
    spiking, *_ = check(module)
    assert spiking.neuron == vf.Neuron(1.0, decay=0.9, reset="delayed_subtract")
    assert not spiking.values


@pytest.mark.parametrize("kind", ["LIFRecurrentCell", "LIFRecurrent"])
@pytest.mark.parametrize("autapses", [False, True])
def test_norse_recurrent(kind, autapses):
    torch.manual_seed(0)
    module = getattr(norse, kind)(30, N, autapses=autapses)
    spiking, _, _states = check(module, std=4.0, n=30)
    assert spiking.time_axis == (0 if kind == "LIFRecurrent" else None)
    assert spiking.entry.weight is module.input_weights
    assert spiking.entry.in_features == 30
    assert spiking.recurrent.weight is module.recurrent_weights
    assert spiking.recurrent.gain == pytest.approx(math.sqrt(2.0), rel=0.1)  # the library's weights, N(0, 2/n)
    expected = float(module.input_weights.detach().double().std(correction=0)) * math.sqrt(30)
    assert spiking.entry.gain == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["LIFCell", "LIF", "LIFBoxCell"])
def test_potentials_are_measured_from_rest(kind):
    box = kind == "LIFBoxCell"
    given = {"v_leak": -65.0, "v_reset": -65.0, "v_th": -64.5}
    parameters = (norse.LIFBoxParameters if box else norse.LIFParameters)(**{k: torch.tensor(v) for k, v in given.items()})
    spiking, *_ = check(getattr(norse, kind)(parameters), std=4.0)
    assert spiking.neuron.threshold == pytest.approx(0.5)


MEASURED = {
    "Alpha": (lambda: snntorch.Alpha(0.8, 0.5, init_hidden=True), "is a Alpha of snntorch, of which"),
    "SLSTM": (lambda: snntorch.SLSTM(N, N, threshold=0.1), "is a SLSTM of snntorch"),
    "LIFAdExCell": (lambda: norse.LIFAdExCell(), "is a LIFAdExCell of norse"),
    "graded": (lambda: snntorch.Leaky(0.5, graded_spikes_factor=2.0), "graded_spikes_factor=2.0, which is not supported"),
    "delay": (lambda: snntorch.Leaky(0.5, reset_delay=False), "reset_delay=False, which has no equivalent"),
    "filtered": (lambda: snntorch.RSynaptic(0.5, 0.5, V=0.4, all_to_all=False), "V=0.4, which couples neurons to themselves"),
    "couplings": (lambda: snntorch.RLeaky(0.5, V=uniform(-1, 1), all_to_all=False), "must be one number for all neurons"),
    "time constants": (
        lambda: norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=uniform(100, 300))),
        "must be one number for all neurons, as their inputs are scaled by it too",
    ),
}


@pytest.mark.parametrize("kind", MEASURED)
def test_without_equations_spikes_are_measured(kind):
    made, words = MEASURED[kind]
    torch.manual_seed(0)
    module, currents = made(), given(4.0)
    spiking = recognise("lif", module)
    assert spiking.neuron is None
    assert words in spiking.reason
    assert "\n" not in spiking.reason
    spikes, _ = run(module, spiking, currents)
    seen = watched(module, spiking, currents, spikes)
    assert spikes.any()
    assert seen.firing_rate == pytest.approx(spikes.mean(2).numpy(), rel=1e-6)
    assert seen.dead_fraction == float((spikes.sum((0, 1)) == 0).double().mean())
    assert np.isnan(seen.variance).all()
    assert np.isnan(seen.mean).all()
    assert not seen.reason


def test_derived_classes():
    """A class that keeps the forward of the library's is read; its equations are checked. With its own it is measured."""

    class Same(snntorch.Leaky):
        pass

    class Own(snntorch.Leaky):
        def forward(self, current, mem=None):
            spikes, mem = super().forward(current, mem)
            return spikes, 0.5 * mem

    class Noisy(norse.LIFCell):
        def initial_state(self, x):
            return super().initial_state(x)._replace(i=torch.full_like(x, 9.0))

    check(Same(0.5))
    assert recognise("x", Own(0.5)).reason.startswith("is a Own, derived from Leaky of snntorch")
    module, currents = Noisy(), given(3.0)
    spiking = recognise("x", module)
    assert spiking.neuron == recognise("x", norse.LIFCell()).neuron
    spikes, _ = run(module, spiking, currents)
    assert watched(module, spiking, currents, spikes).reason.startswith("does not step as Neuron(")


def test_readouts_are_no_neurons():
    assert [recognise("x", module) for module in (norse.LICell(), norse.LI(), norse.LIBoxCell())] == [None] * 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: snntorch.Lapicque(0.7, init_hidden=True),
        lambda: norse.LSNN(norse.LSNNParameters(tau_adapt_inv=torch.tensor(50.0), beta=torch.tensor(0.3))),
        lambda: norse.LSNNCell(norse.LSNNParameters(tau_adapt_inv=torch.tensor(50.0), v_th=torch.tensor(0.5))),
    ],
    ids=["Lapicque", "LSNN", "LSNNCell"],
)
def test_newer_neurons(make):
    check(make(), std=3.0)


@pytest.mark.parametrize("bias", [True, False])
def test_a_parallel_neuron_holds_its_weights(bias):
    module = snntorch.LeakyParallel(30, N, beta=0.7, bias=bias, threshold=0.8)
    spiking, *_ = check(module, std=3.0, n=30)
    assert spiking.entry.weight is module.rnn.weight_ih_l0
    assert "couples the membranes" in recognise("x", snntorch.LeakyParallel(30, N, beta=0.7, weight_hh_enable=True)).reason


# With SpikingJelly and sinabs.


@pytest.mark.parametrize("kind", ["PSN", "MaskedPSN", "SlidingPSN", "CUBALIFNode", "KLIFNode", "ILIFNode"])
def test_newer_neurons_of_spikingjelly(jelly, kind):
    _, neuron = jelly
    torch.manual_seed(0)
    options = {
        "PSN": {"T": STEPS},
        "MaskedPSN": {"k": 4, "T": STEPS, "step_mode": "m"},
        "SlidingPSN": {"k": 4, "step_mode": "m"},
    }
    module = getattr(neuron, kind)(**options.get(kind, {}))
    if kind in ("PSN", "MaskedPSN"):
        module.weight.data.mul_(4.0)
    if "PSN" not in kind:
        check(module, std=1.0)
        return
    torch.manual_seed(2)
    spiking, currents = recognise("lif", module), given(1.0)
    spikes, _ = run(module, spiking, currents)
    seen = watched(module, spiking, currents, spikes)
    assert seen.reason == ""
    other = replace(spiking, neuron=replace(spiking.neuron, kernel=1.1 * np.array(spiking.neuron.kernel)))
    assert watched(module, other, currents, spikes).reason.startswith("does not step as Neuron(")


@pytest.mark.parametrize("kind", ["ALIF", "ALIFSqueeze", "ALIFRecurrent"])
def test_newer_neurons_of_sinabs(kind):
    layers = pytest.importorskip("sinabs.layers", reason="sinabs is not installed")
    torch.manual_seed(0)
    options = {"ALIFSqueeze": {"batch_size": INPUTS}, "ALIFRecurrent": {"rec_connect": nn.Linear(N, N)}}
    module = getattr(layers.alif, kind)(tau_mem=5.0, tau_adapt=10.0, **options.get(kind, {}))
    if kind != "ALIFSqueeze":
        check(module, std=3.0)
    else:
        assert recognise("x", module).neuron == recognise("x", layers.ALIF(tau_mem=5.0, tau_adapt=10.0)).neuron


@pytest.fixture(scope="module")
def jelly():
    pytest.importorskip("spikingjelly", reason="SpikingJelly is not installed")
    from spikingjelly.activation_based import layer, neuron

    return layer, neuron


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_spikingjelly_linear_container(jelly, mode, bias, inner):
    layer, neuron = jelly
    torch.manual_seed(0)
    node = neuron.LIFNode(decay_input=False, v_reset=None)
    sub, inputs = (nn.Sequential(nn.Linear(30, N), node), 30) if inner else (node, N)
    module = layer.LinearRecurrentContainer(sub, inputs, N, bias=bias, step_mode=mode)
    spiking, *_ = check(module, std=4.0, n=inputs)
    weight = module.rc.weight.detach().double()
    recurrent = weight[:, inputs:]
    recurrent = sub[0].weight.detach().double() @ recurrent if inner else recurrent
    assert spiking.recurrent.gain == pytest.approx(float(recurrent.std(correction=0)) * math.sqrt(N), rel=1e-5)
    assert spiking.time_axis == (0 if mode == "m" else None)
    before, parameter = spiking.entry.weight.clone(), spiking.entry.parameter
    with torch.no_grad():
        (spiking.entry.weight if parameter is None else parameter).mul_(2.0)
    assert torch.allclose(recognise("x", module).entry.weight, 2 * before)


@pytest.mark.parametrize("v_reset", [None, 0.0])
@pytest.mark.parametrize("strength", [1.0, -0.5])
def test_spikingjelly_element_wise_container(jelly, strength, v_reset):
    layer, neuron = jelly
    node = neuron.LIFNode(tau=3.0, v_reset=v_reset, decay_input=False)
    spiking, *_ = check(layer.ElementWiseRecurrentContainer(node, lambda y, x: x + strength * y))
    assert spiking.recurrent is None
    assert spiking.neuron.reset_rule.delayed
    product = layer.ElementWiseRecurrentContainer(neuron.LIFNode(), lambda y, x: x * (1 + y))
    assert "must be x + c·y" in recognise("x", product).reason


@pytest.mark.parametrize("v_reset", [-0.4, 0.2])
def test_spikingjelly_from_rest(jelly, v_reset):
    _, neuron = jelly
    spiking, *_ = check(neuron.LIFNode(v_reset=v_reset), std=2.0)
    assert spiking.neuron.threshold == pytest.approx(1 - v_reset)


def test_spikingjelly_without_equations(jelly):
    _, neuron = jelly
    for node in (neuron.QIFNode(), neuron.EIFNode(), neuron.IzhikevichNode(), neuron.GatedLIFNode(T=STEPS)):
        assert recognise("x", node).neuron is None
    assert recognise("x", neuron.PSN(T=STEPS)).time_axis == 0
    assert recognise("x", neuron.NonSpikingLIFNode()) is None


@pytest.mark.parametrize("kind", ["LIFRecurrent", "IAFRecurrent"])
def test_sinabs_recurrent(kind):
    layers = pytest.importorskip("sinabs.layers", reason="sinabs is not installed")
    torch.manual_seed(0)
    leaky = {"tau_mem": 5.0, "norm_input": False} if kind == "LIFRecurrent" else {}
    fires = {"spike_fn": __import__("sinabs.activation").activation.SingleSpike}
    module = getattr(layers, kind)(rec_connect=nn.Linear(N, N), **leaky, **fires)
    spiking, *_ = check(module)
    assert spiking.recurrent.weight is module.rec_connect.weight
    assert spiking.time_axis == 1


@pytest.mark.parametrize("kind", ["IAF", "LIF"])
@pytest.mark.parametrize("fires", ["MultiSpike", "SingleSpike"])
def test_sinabs_lower_bound(kind, fires):
    layers = pytest.importorskip("sinabs.layers", reason="sinabs is not installed")
    activation = __import__("sinabs.activation").activation
    leaky = {"tau_mem": 5.0} if kind == "LIF" else {}
    module = getattr(layers, kind)(
        **leaky, spike_fn=getattr(activation, fires), min_v_mem=-0.5, spike_threshold=torch.tensor(0.7)
    )
    spiking, *_ = check(module, std=5.0 if leaky else 1.0)
    assert spiking.neuron.reset_rule.lowest == pytest.approx(-0.5 / 0.7)


def test_sinabs_time_constants():
    layers = pytest.importorskip("sinabs.layers", reason="sinabs is not installed")
    spiking, *_ = check(layers.LIF(tau_mem=uniform(2.0, 9.0), norm_input=False), std=1.0)
    assert set(spiking.values) == {"decay"}
