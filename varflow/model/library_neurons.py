"""The :class:`varflow.Neuron` of each spiking module of a library, by its preset. Nothing is imported from the libraries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.model import presets
from varflow.model.inner_weights import InnerWeights
from varflow.model.neurons import Neuron
from varflow.model.resets import Reset
from varflow.model.spiking_modules import Spiking, only, plain_value, preset_of, reads, reads_classes, recognise, with_values


@reads_classes("snntorch", "Leaky", "Synaptic", "RLeaky", "RSynaptic")
def _snntorch(module: Any) -> Spiking:
    only(module, inhibition=False, state_quant=False, graded_spikes_factor=1.0)
    preset = presets.snntorch_synaptic if hasattr(module, "alpha") else presets.snntorch_leaky
    beta = module.beta.clamp(0, 1) if hasattr(module.beta, "clamp") else min(max(module.beta, 0.0), 1.0)
    neuron, recurrent = preset_of(preset, module, beta=beta), None
    if hasattr(module, "recurrent"):
        if neuron.reset == "zero" and module.reset_delay:  # RLeaky also drops the current
            neuron = replace(neuron, reset="gate")
        if hasattr(module, "V"):
            neuron = coupled_to_itself(neuron, _one("V", module.V))
        else:
            recurrent = _linear("recurrent", module.recurrent)
    return with_values(neuron, module.threshold, beta, recurrent=recurrent)


@reads("snntorch.Lapicque")
def _lapicque(module: Any) -> Spiking:
    only(module, inhibition=False, state_quant=False, graded_spikes_factor=1.0)
    neuron = preset_of(presets.snntorch_lapicque, module, beta=None)
    return with_values(neuron, module.threshold, None)


@reads("snntorch.LeakyParallel")
def _leaky_parallel(module: Any) -> Spiking:
    """``W x + b`` of its ``torch.nn.RNN``, whose recurrent weights are the decays, on the diagonal."""
    only(module, graded_spikes_factor=1.0)
    rnn = module.rnn
    decay = rnn.weight_hh_l0.detach().diagonal()
    if (rnn.weight_hh_l0 != decay.diag()).any():
        raise DomainError("weight_hh_enable", True, "couples the membranes of different neurons")
    neuron = preset_of(presets.snntorch_leaky_parallel, beta=decay, threshold=module.threshold)
    bias = rnn.bias_ih_l0 + rnn.bias_hh_l0 if rnn.bias else None
    return with_values(neuron, module.threshold, decay, entry=InnerWeights(rnn.weight_ih_l0, bias))


def _one(name: str, value: Any) -> float:
    number = plain_value(value)
    if np.ndim(number):
        raise DomainError(name, number, "must be one number for all neurons")
    return number


def _linear(name: str, layer: Any, **more: Any) -> InnerWeights:
    if not hasattr(layer, "in_features"):
        raise DomainError(name, type(layer).__name__, "must be a Linear layer")
    return InnerWeights(layer.weight, layer.bias, **more)


@reads_classes("spikingjelly", "IFNode", "LIFNode", "ParametricLIFNode")
def _spikingjelly(module: Any) -> Spiking:
    resting, leaky = module.v_reset or 0.0, hasattr(module, "tau") or hasattr(module, "w")
    given = {"v_threshold": module.v_threshold - resting, "v_reset": None if module.v_reset is None else 0.0}
    if hasattr(module, "w"):
        given["tau"] = 1 + (-module.w).exp()
    neuron = preset_of(presets.spikingjelly_lif if leaky else presets.spikingjelly_if, module, **given)
    return with_values(neuron, given["v_threshold"], 1 - 1 / given.get("tau", getattr(module, "tau", 1.0)))


@reads("spikingjelly.MPBNLIFNode")
def _mpbn(module: Any) -> Spiking:
    """A normalisation of membranes with fixed statistics, folded into thresholds."""
    only(module, normalize_residual=False, learnable_vth=False)
    if hasattr(module.vbn, "running_mean") or (module.fold_bn and module.training):
        rule = "normalises membranes: in eval mode, re_parameterize_v_threshold() folds it into thresholds"
        raise DomainError("vbn", type(module.vbn).__name__, rule)
    threshold = module.v_threshold
    if module.fold_bn:
        if module.v_reset is None:
            raise DomainError("v_reset", None, "subtracts another number than the folded thresholds")
        threshold = (threshold - module.beta) * (module.sigma2 + module.eps).sqrt() / module.gamma + module.mu
    given = {"v_threshold": threshold - (module.v_reset or 0.0), "v_reset": None if module.v_reset is None else 0.0}
    return with_values(preset_of(presets.spikingjelly_lif, module, **given), given["v_threshold"], 1 - 1 / module.tau)


@reads_classes("spikingjelly", "CUBALIFNode", "KLIFNode", "ILIFNode")
def _spikingjelly_more(module: Any) -> Neuron:
    if hasattr(module, "c_decay"):
        return preset_of(presets.spikingjelly_cubalif, module)
    if hasattr(module, "k"):
        return preset_of(presets.spikingjelly_klif, module)
    return preset_of(presets.spikingjelly_ilif, module, module.surrogate_function)


@reads_classes("spikingjelly", "PSN", "MaskedPSN", "SlidingPSN")
def _psn(module: Any) -> Neuron:
    weight = module.masked_weight() if hasattr(module, "masked_weight") else module.weight
    return presets.spikingjelly_psn(*(values.detach().double().cpu().numpy() for values in (weight, module.bias)))


@reads("spikingjelly.LinearRecurrentContainer")
def _linear_container(module: Any) -> Spiking | None:
    """``i_t = W [x_t; y_{t-1}] + b``, then the neurons, or another linear layer and the neurons."""
    before, node = _contents(module.sub_module)
    inner = _neuron_of(node)
    if inner is None:
        return None
    weight, bias, inputs = module.rc.weight, module.rc.bias, module.rc.in_features - module.sub_module_out_features
    parts, parameters = (weight[:, :inputs], weight[:, inputs:]), (None, None)
    if before is not None:
        inner_weight, parameters = before.weight, (before.weight, before.weight)
        parts = tuple(inner_weight @ block for block in parts)
        bias = before.bias if bias is None else inner_weight @ bias + (0.0 if before.bias is None else before.bias)
    entry, recurrent = (InnerWeights(block.detach(), None, scaled) for block, scaled in zip(parts, parameters, strict=True))
    return replace(inner, entry=replace(entry, bias=bias), recurrent=recurrent)


@reads("spikingjelly.ElementWiseRecurrentContainer")
def _element_wise_container(module: Any) -> Spiking | None:
    """``i_t = x_t + c y_{t-1}``, a coupling of each neuron to itself."""
    before, node = _contents(module.sub_module)
    inner = _neuron_of(node)
    if inner is None or inner.neuron is None:
        return inner
    if before is not None:
        raise DomainError("sub_module", type(module.sub_module).__name__, "must be the neurons alone")
    return replace(inner, neuron=coupled_to_itself(inner.neuron, _slope(module.element_wise_function)))


def _slope(function: Callable[[Any, Any], Any]) -> float:
    """``c`` of ``f(y, x) = x + c y``; DomainError for any other function."""
    import torch

    y, x = torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 1.5, -1.5])
    out = function(y, x)
    slope = float(out[1] - out[0])
    if not torch.allclose(out, x + slope * y):
        raise DomainError("element_wise_function", function, "must be x + c·y with a number c")
    return slope


def _contents(module: Any) -> tuple[Any, Any]:
    """The parts of a container: a linear layer or None, and the neurons."""
    parts = list(module) if type(module).__name__ == "Sequential" else [module]
    if len(parts) == 1:
        return None, parts[0]
    if len(parts) != 2 or not hasattr(parts[0], "in_features"):
        raise DomainError("sub_module", type(module).__name__, "must be neurons, or a Linear layer and neurons")
    return parts[0], parts[1]


def _neuron_of(node: Any) -> Spiking | None:
    inner = recognise("sub_module", node)
    if inner is not None and inner.neuron is None:
        raise DomainError("sub_module", type(node).__name__, inner.reason)
    return inner


@reads_classes("norse", "LIFBoxCell", "LIFCell", "LIF", "LIFRecurrentCell", "LIFRecurrent", "LSNNCell", "LSNN", "LIFRefracCell")
def _norse(module: Any) -> Spiking:
    p, resting = getattr(module.p, "lif", module.p), _one("v_leak", getattr(module.p, "lif", module.p).v_leak)
    given = {"v_th": p.v_th - resting, "v_leak": 0.0, "v_reset": _one("v_reset", p.v_reset) - resting}
    preset = presets.norse_lif if hasattr(p, "tau_syn_inv") else presets.norse_lif_box
    for preset_of_more, name in ((presets.norse_lsnn, "tau_adapt_inv"), (presets.norse_lif_refrac, "rho_reset")):
        preset = preset_of_more if hasattr(module.p, name) else preset
    neuron, more = preset_of(preset, p, module.p, module, **given), {}
    if hasattr(module, "recurrent_weights"):  # these cells detach the reset
        neuron = replace(neuron, detach_reset=True)
        more = {"entry": InnerWeights(module.input_weights), "recurrent": InnerWeights(module.recurrent_weights)}
    return with_values(neuron, given["v_th"], p.tau_mem_inv, **more)


@reads_classes("sinabs", "LIF", "IAF", "LIFSqueeze", "IAFSqueeze", "LIFRecurrent", "IAFRecurrent")
@reads_classes("sinabs", "ALIF", "ALIFSqueeze", "ALIFRecurrent")
def _sinabs(module: Any) -> Spiking:
    adapts = hasattr(module, "adapt_scale")
    taus = {f"tau_{name}": _tau(module, name) for name in (("mem", "syn", "adapt") if adapts else ("mem", "syn"))}
    tau: Any = math.inf if taus["tau_mem"] is None else taus["tau_mem"]
    threshold = module.b0 if adapts else module.spike_threshold  # of ALIF the latter is a state
    given = taus | {"tau_mem": tau, "spike_threshold": threshold}
    neuron = preset_of(presets.sinabs_alif if adapts else presets.sinabs_lif, module, **given)
    connected = getattr(module, "rec_connect", None)
    recurrent = None if connected is None else _linear("rec_connect", connected, at_first=False)
    decay = (-1 / tau).exp() if hasattr(tau, "exp") else tau
    return with_values(neuron, threshold, decay, recurrent=recurrent)


def _tau(module: Any, name: str) -> Any:
    """A time constant, of which the module may hold the decay ``alpha`` instead."""
    tau = getattr(module, f"tau_{name}_calculated", getattr(module, f"tau_{name}", None))
    alpha = getattr(module, f"alpha_{name}", None)
    return -1 / alpha.log() if tau is None and alpha is not None else tau


@reads("stork.LIFGroup")
def _stork(module: Any) -> Neuron:
    rule = "takes no currents: they come through its own state. Describe the network by vf.neurons.stork_lif and vf.Network"
    raise DomainError("forward", "LIFGroup.forward()", rule)


def coupled_to_itself(neuron: Neuron, strength: float) -> Neuron:
    """The neuron if each of its spikes adds a current to itself at the next step: part of its reset."""
    rule = neuron.reset_rule
    if not strength or (rule.input == rule.membrane == 1 and not neuron.synaptic_decay):
        return neuron
    if neuron.heterogeneous or neuron.synaptic_decay or rule.counts or rule.input or not neuron.threshold:
        raise DomainError("V", strength, "couples neurons to themselves other than by a reset")
    taken = (1.0 if rule.delayed else neuron.decay) * rule.threshold - neuron.input_scale * strength / neuron.threshold
    return replace(neuron, reset=Reset(membrane=rule.membrane, threshold=taken, delayed=bool(taken)))
