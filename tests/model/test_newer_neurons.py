"""Neurons with a second state, filters over time and bounded counts, against the modules that they are named after.

Random currents of 50 steps go through the module and through what is read of it: spikes must be equal one by one, and
derivatives of spikes by currents those of autograd through the module. A neuron with another constant must differ.
"""

import math
from dataclasses import replace

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")

from given_currents import step_neurons  # noqa: E402

from varflow.model.library_neurons import recognise  # noqa: E402
from varflow.theory.responses.filters import synapse  # noqa: E402
from varflow.theory.responses.step import Population, jacobians, stepped, with_input  # noqa: E402
from varflow.torch_models.tracing.modules import surrogate_of_module  # noqa: E402

STEPS, NEURONS = 50, 60


class SEAdLIF(torch.nn.Module):
    """The authors' update, without weights."""

    def __init__(self, tau_u, tau_w, a, b, q=60.0):
        super().__init__()
        self.alpha, self.rho, self.a, self.b, self.q = math.exp(-1 / tau_u), math.exp(-1 / tau_w), a, b, q

    def forward(self, currents):
        u = w = torch.zeros_like(currents[0])
        spikes = []
        for current in currents:
            u = self.alpha * u + (1 - self.alpha) * (current - w)
            s = torch.ops.aten.gt(u, 1.0) + Atan.apply(u - 1.0) - Atan.apply(u - 1.0).detach()
            u = u * (1 - s.detach())
            w = self.rho * w + (1 - self.rho) * self.q * (self.a * u + self.b * s)
            spikes.append(s)
        return torch.stack(spikes)


class Atan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return torch.zeros_like(v)

    @staticmethod
    def backward(ctx, gradient):
        (v,) = ctx.saved_tensors
        return gradient / (1 + (math.pi * v) ** 2)


class OverSteps(torch.nn.Module):
    """A cell of Norse over all steps; gradients do not pass its count of refractory steps."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, currents):
        spikes, state = [], None
        for current in currents:
            fired, state = self.cell(current, None if state is None else state._replace(rho=state.rho.detach()))
            spikes.append(fired)
        return torch.stack(spikes)


def psn(neuron, spread=0.0, **options):
    torch.manual_seed(1)
    module = neuron.PSN(T=STEPS, **options)
    module.weight.data.mul_(3.0)
    module.bias.data.copy_(-torch.linspace(1 - spread, 1 + spread, STEPS)[:, None])
    return module


def masked(neuron, **options):
    torch.manual_seed(1)
    module = neuron.MaskedPSN(k=5, T=STEPS, lambda_init=0.9, step_mode="m", **options)
    module.weight.data.mul_(8.0)
    return module


def gaussian():
    return pytest.importorskip("sinabs.activation").Gaussian()


def max_spike(most):
    return pytest.importorskip("sinabs.activation").MaxSpike(most)


def membrane_reset():
    return pytest.importorskip("sinabs.activation").MembraneReset()


def with_k(module, k):
    module.k.data.fill_(k)
    return module


def jelly(make, std=1.5, surrogate="spikingjelly_atan"):
    return ("spikingjelly.activation_based", make, std, surrogate)


# package, module of it, strength of the currents, surrogate
CASES = {
    "CUBALIF": jelly(lambda sj: sj.neuron.CUBALIFNode(0.6, 0.8, 1.0, surrogate_function=sj.surrogate.ATan()), 1.0),
    "CUBALIF, soft": jelly(
        lambda sj: sj.neuron.CUBALIFNode(0.6, 0.8, v_reset=None, surrogate_function=sj.surrogate.ATan()), 0.5
    ),
    "KLIF": jelly(lambda sj: with_k(sj.neuron.KLIFNode(tau=3.0, surrogate_function=sj.surrogate.ATan()), 1.2), 3.0),
    "KLIF, soft": jelly(
        lambda sj: with_k(
            sj.neuron.KLIFNode(tau=3.0, decay_input=False, v_reset=None, surrogate_function=sj.surrogate.ATan()), 0.8
        )
    ),
    "KLIF, scaled": jelly(
        lambda sj: with_k(sj.neuron.KLIFNode(scale_reset=True, v_reset=None, surrogate_function=sj.surrogate.ATan()), 2.5)
    ),
    "ILIF": jelly(lambda sj: sj.neuron.ILIFNode(2.0, v_threshold=0.8), 2.0, None),
    "PSN": jelly(lambda sj: psn(sj.neuron, surrogate_function=sj.surrogate.ATan()), 2.0),
    "PSN, thresholds": jelly(lambda sj: psn(sj.neuron, 0.3, surrogate_function=sj.surrogate.ATan()), 2.0),
    "MaskedPSN": jelly(lambda sj: masked(sj.neuron, surrogate_function=sj.surrogate.ATan())),
    "SlidingPSN": jelly(lambda sj: sj.neuron.SlidingPSN(4, step_mode="m", surrogate_function=sj.surrogate.ATan()), 1.0),
    "Lapicque": ("snntorch", lambda sn: sn.Lapicque(R=2.0, C=3.0, init_hidden=True), 3.0, "atan"),
    "Lapicque, zero": ("snntorch", lambda sn: sn.Lapicque(0.7, reset_mechanism="zero", init_hidden=True), 3.0, "atan"),
    "LSNN": (
        "norse.torch",
        lambda no: no.LSNN(no.LSNNParameters(tau_adapt_inv=torch.tensor(50.0), beta=torch.tensor(0.4))),
        3.0,
        "norse_super",
    ),
    "refractory": (
        "norse.torch",
        lambda no: OverSteps(no.LIFRefracCell(no.LIFRefracParameters(rho_reset=torch.tensor(3.0)))),
        6.0,
        "norse_super",
    ),
    "MaxSpike": (
        "sinabs.layers",
        lambda layers: layers.LIF(5.0, spike_fn=max_spike(3), surrogate_grad_fn=gaussian(), norm_input=False),
        2.0,
        "sinabs_gaussian",
    ),
    "ALIF": ("sinabs.layers", lambda layers: layers.ALIF(5.0, 10.0, surrogate_grad_fn=gaussian()), 5.0, "sinabs_gaussian"),
    "ALIF, reset": (
        "sinabs.layers",
        lambda layers: layers.ALIF(5.0, 10.0, 3.0, reset_fn=membrane_reset(), surrogate_grad_fn=gaussian(), norm_input=False),
        1.0,
        "sinabs_gaussian",
    ),
    "ALIF, filtered": (
        "sinabs.layers",
        lambda layers: layers.ALIF(2.0, 10.0, 6.0, surrogate_grad_fn=gaussian()),
        5.0,
        "sinabs_gaussian",
    ),
    "adLIF": ("torch", lambda _: SEAdLIF(5.0, 20.0, 0.2, 0.6), 3.0, vf.surrogates.atan(2.0)),
}


@pytest.fixture(params=CASES, scope="module")
def case(request):
    """Module, neuron, currents (steps, neurons), the module's spikes, derivatives of them, and the surrogate."""
    package, make, std, surrogate = CASES[request.param]
    library = pytest.importorskip(package)
    if "spikingjelly" in package:
        library.neuron, library.surrogate = (pytest.importorskip(f"{package}.{name}") for name in ("neuron", "surrogate"))
    module = make(library)
    if isinstance(module, SEAdLIF):
        neuron, axis = vf.neurons.se_adlif(5.0, 20.0, 0.2, 0.6), 0
    else:
        spiking = recognise("x", getattr(module, "cell", module))
        assert spiking.neuron is not None, spiking.reason
        neuron, axis = spiking.neuron, 0 if isinstance(module, OverSteps) else spiking.time_axis
    given = std * np.random.default_rng(1).normal(size=(STEPS, NEURONS)).astype(np.float32) + 0.2 * std
    currents = torch.tensor(given, requires_grad=True)
    out = through(module, currents, axis)
    weights = np.random.default_rng(2).normal(size=out.shape)
    (torch.tensor(weights, dtype=out.dtype) * out).sum().backward()
    if isinstance(surrogate, str):
        surrogate = getattr(vf.surrogates, surrogate)()
    return (
        neuron,
        given,
        out.detach().double().numpy(),
        weights,
        currents.grad.double().numpy(),
        surrogate or surrogate_of_module(module),
    )


def through(module, currents, axis):
    if axis is not None:
        out = module(currents.unsqueeze(1 - axis))
        return (out[0] if isinstance(out, tuple) else out).squeeze(1 - axis)
    return torch.stack([module(current[None])[0] for current in currents])


def others(neuron):
    """Neurons with one constant changed by a tenth."""
    yield replace(neuron, threshold=1.1 * neuron.threshold)
    rule = neuron.reset_rule
    if rule.adaptation is not None:
        yield replace(neuron, reset=replace(rule, adaptation=replace(rule.adaptation, jump=1.1 * rule.adaptation.jump)))
        yield replace(neuron, reset=replace(rule, adaptation=None))
    if rule.lowest is not None:
        yield replace(neuron, reset=replace(rule, lowest=-0.1))
    if rule.most is not None:
        yield replace(neuron, reset=replace(rule, most=rule.most - 1))
        yield replace(neuron, reset=replace(rule, spacing=0.7 * rule.spacing))
    if neuron.kernel is not None:
        yield replace(neuron, kernel=np.linspace(1, 1.2, len(neuron.kernel)) * np.array(neuron.kernel))
    if rule.refractory:
        yield replace(neuron, reset=replace(rule, refractory=rule.refractory - 1))
    if neuron.synaptic_decay:
        yield replace(neuron, synaptic_decay=0.9 * neuron.synaptic_decay)


def test_spike_for_spike(case):
    neuron, given, spikes, *_ = case
    assert 0.03 < (spikes > 0).mean() < 0.75
    for step in (step_neurons, stepped):  # simulation, theory
        assert np.array_equal(step(neuron, given.astype(float))[1], spikes)
    for other in others(neuron):
        assert not np.array_equal(step_neurons(other, given.astype(float))[1], spikes), other


def derivatives(neuron, given, weights, surrogate):
    """``Σ_t G_t ∂S_t/∂I_s``."""
    currents = neuron.input_scale * synapse(neuron, STEPS) @ given.astype(float)
    population = with_input(neuron, Population.of(neuron, np.empty((0, NEURONS))))
    back = [
        np.einsum("tx,tsx->sx", weights[:, part], J[0])
        for part, J, _ in jacobians(population, currents[None], surrogate, detached=neuron.reset_detached)
    ]
    return np.concatenate(back, axis=1)


def test_derivatives_are_those_of_autograd(case, request):
    neuron, given, _, weights, gradient, surrogate = case
    if request.node.callspec.id == "PSN, thresholds":
        pytest.skip("rows are scaled to one threshold, and a surrogate with them")
    assert np.abs(gradient).max() > 0.01
    error = np.abs(derivatives(neuron, given, weights, surrogate) - gradient).max()
    assert error < 1e-4 * np.abs(gradient).max()
    if neuron.reset_rule.adaptation is not None:
        plain = replace(neuron, reset=replace(neuron.reset_rule, adaptation=None))
        assert np.abs(derivatives(plain, given, weights, surrogate) - gradient).max() > 0.01 * np.abs(gradient).max()


def test_neurons_of_all_kinds_step_side_by_side():
    """Networks of one call are those of calls of their own."""
    kinds = [
        vf.neurons.sinabs_alif(5.0, 10.0),
        vf.neurons.se_adlif(5.0, 20.0, 0.2, 0.6),
        vf.neurons.spikingjelly_psn([0.25, 0.5, 1.0]),
        vf.neurons.spikingjelly_ilif(),
        vf.neurons.sinabs_lif(5.0, min_v_mem=-0.5),
        vf.neurons.norse_lif_refrac(rho_reset=2.0),
        vf.neurons.norse_lsnn(tau_adapt_inv=50.0),
        vf.Neuron(decay=0.5, reset="gate"),
    ]
    networks = [vf.Network(width=40, depth=3, gain=3 / n.input_scale, neuron=n, steps=8) for n in kinds]
    for network, together in zip(networks, vf.simulate(networks, repeats=3), strict=True):
        alone = vf.simulate(network, repeats=3)
        assert np.array_equal(together.firing_rate, alone.firing_rate)
        assert np.allclose(together.variance, alone.variance, rtol=1e-12)


REFUSED = [
    (lambda: vf.neurons.snntorch_lapicque(R=2.0), "beta=None must be given, or both R and C"),
    (lambda: vf.neurons.snntorch_lapicque(R=0.5, C=1.0), "time_step=1.0 must be at most RC, 0.5"),
    (lambda: vf.neurons.spikingjelly_klif(k=3.0), "k=3.0 must be at most 2"),
    (lambda: vf.neurons.spikingjelly_psn([[1.0, 2.0]]), "kernel="),
    (lambda: vf.neurons.spikingjelly_psn([1.0, 2.0], bias=0.5), "bias=0.5 must be one negative number"),
    (lambda: vf.neurons.sinabs_alif(5.0, 10.0, min_v_mem=-1.0), "min_v_mem=-1.0 is not supported"),
    (lambda: vf.neurons.sinabs_alif(5.0, 10.0, spike_fn="MultiSpike"), "spike_fn='MultiSpike' is unknown"),
    (lambda: vf.neurons.norse_lif_refrac(rho_reset=0.0), "rho_reset=0.0 must be positive"),
    (lambda: vf.neurons.se_adlif(5.0, 20.0, a=9.0, b=1.0, q=60.0), "reset=Reset("),
    (lambda: vf.resets.Reset(refractory=2), "refractory=2 needs membrane=1, input=1 and nothing else"),
    (lambda: vf.resets.Reset(spacing=2.0), "spacing=2.0 needs counts=True"),
    (lambda: vf.resets.Reset(rectified=True), "rectified=True needs the lower bound lowest"),
    (lambda: vf.resets.Reset(lowest=-1.0, adaptation=vf.resets.Adaptation(decay=0.5, jump=0.1)), "adaptation=Adaptation("),
    (lambda: vf.resets.Adaptation(decay=0.5, jump=0.1, detached=True), "detached=True needs moves_threshold=True"),
    (lambda: vf.Neuron(kernel=[1.0], synaptic_decay=0.5), "kernel="),
    (
        lambda: vf.mean_field(vf.Network(width=9, depth=2, gain=2.0, steps=5, neuron=vf.Neuron(kernel=np.eye(4)))),
        "steps=5 must be at most 4",
    ),
]


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_has_no_meaning_is_refused(call, words):
    with pytest.raises(vf.DomainError) as caught:
        call()
    assert str(caught.value).startswith(words)
