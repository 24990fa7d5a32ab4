"""Spiking modules of other libraries, read by their attributes: which :class:`varflow.Neuron` each one is.

Nothing is imported from those libraries: a module is known by the names of its class, of the package it lives in and of what it
stores. What a module does beyond the families of :class:`varflow.Neuron` is refused by name; nothing is approximated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from varflow._checks import DomainError
from varflow.model.neurons import Neuron

__all__ = ["Spiking", "recognise"]


@dataclass(frozen=True, slots=True)
class Spiking:
    """What a spiking module is.

    Attributes
    ----------
    neuron : Neuron
    time_axis : int, optional
        Axis of its input that is time; None for a module that is called once per step.
    batch_size, steps : int, optional
        For modules whose input has batch and time in one axis, batch first: one of the two sizes.
    """

    neuron: Neuron
    time_axis: int | None = None
    batch_size: int | None = None
    steps: int | None = None


def recognise(name: str, module: Any) -> Spiking | None:
    """The neuron of a spiking module; None for a module that is none, as those that only integrate. Refuses spiking modules
    beyond the families.
    """
    package = type(module).__module__.partition(".")[0]
    reader = _READERS.get(package)
    if reader is None or not hasattr(module, _THRESHOLDS[package]) or type(module).__name__ in _INTEGRATE:
        return None
    found = reader(_Reading(name, module))
    if found is None:
        covered = ", ".join(_COVERED[package])
        refuse(name, module, f"is a spiking module that is not covered; those of {package} that are: {covered}")
    return found


def refuse(name: str, module: Any, rule: str) -> None:
    """Say of a module by its name and class what cannot be dealt with."""
    raise DomainError("model", f"{name or '(root)'}: {type(module).__name__}", rule)


class _Reading:
    """A module with what can be asked of it, so that each refusal names the attribute and its value."""

    def __init__(self, name: str, module: Any):
        self.name, self.module = name, module
        self.kinds = {kind.__name__ for kind in type(module).__mro__}

    def number(self, attribute: str, holder: Any = None) -> float:
        """One number for all neurons."""
        value = getattr(self.module if holder is None else holder, attribute)
        values = value.detach().double().flatten().tolist() if hasattr(value, "detach") else [float(value)]
        if max(values) - min(values) > 1e-6 * max(map(abs, values)):
            refuse(self.name, self.module, f"has a {attribute} for each neuron: one value for all is covered")
        return _tidy(values[0])

    def require(self, attribute: str, wanted: Any, holder: Any = None) -> None:
        """Refuse any other value of an attribute."""
        value = getattr(self.module if holder is None else holder, attribute, wanted)
        value = value.item() if hasattr(value, "item") and value.numel() == 1 else value
        if value != wanted and not (value is None and wanted is False):
            refuse(self.name, self.module, f"has {attribute}={value!r}: only {wanted!r} is covered")


def _tidy(value: float) -> float:
    """Of what was stored in single precision, the short decimal it came from."""
    short = float(f"{value:.7g}")
    return short if abs(short - value) <= 1e-7 * abs(value) else value


def _snntorch(read: _Reading) -> Spiking | None:
    module, kind = read.module, type(read.module).__name__
    if kind not in _COVERED["snntorch"]:
        return None
    read.require("inhibition", False)
    read.require("state_quant", False)
    read.require("graded_spikes_factor", 1.0)
    mechanism = module.reset_mechanism
    if mechanism == "subtract":
        read.require("reset_delay", True)
    resets = {"subtract": "delayed_subtract", "zero": "zero" if kind == "Leaky" else "gate", "none": "none"}
    if kind == "Synaptic":
        read.require("reset_delay", True)
    neuron = Neuron(
        read.number("threshold"),
        decay=min(max(read.number("beta"), 0.0), 1.0),
        reset=resets[mechanism],
        synaptic_decay=read.number("alpha") if kind == "Synaptic" else 0.0,
    )
    return Spiking(neuron)


def _spikingjelly(read: _Reading) -> Spiking | None:
    module = read.module
    if type(module).__name__ not in _COVERED["spikingjelly"]:
        return None
    if module.v_reset is not None:
        read.require("v_reset", 0.0)
    decay, scale = 1.0, 1.0
    if "IFNode" not in read.kinds or "LIFNode" in read.kinds:
        learned = hasattr(module, "w")
        leak = 1 / (1 + math.exp(-read.number("w"))) if learned else 1 / read.number("tau")
        decay, scale = 1 - leak, leak if module.decay_input else 1.0
    reset = "subtract" if module.v_reset is None else "zero"
    neuron = Neuron(read.number("v_threshold"), decay=_tidy(decay), input_scale=_tidy(scale), reset=reset, strict=False)
    return Spiking(neuron, time_axis=0 if getattr(module, "step_mode", "s") == "m" else None)


def _norse(read: _Reading) -> Spiking | None:
    module, kind = read.module, type(read.module).__name__
    if hasattr(module, "recurrent_weights"):
        rule = "holds its weights as raw parameters (input_weights, recurrent_weights): use a layer and a feed-forward cell"
        refuse(read.name, module, rule)
    if kind not in _COVERED["norse"]:
        return None
    p, dt = module.p, float(module.dt)
    read.require("v_leak", 0.0, p)
    subtract = getattr(getattr(p, "reset_method", None), "__name__", "reset_value") == "reset_subtract"
    if not subtract:
        read.require("v_reset", 0.0, p)
    leak = dt * read.number("tau_mem_inv", p)
    neuron = Neuron(
        read.number("v_th", p),
        decay=_tidy(1 - leak),
        input_scale=_tidy(leak),
        reset="subtract" if subtract else "zero",
        synaptic_decay=_tidy(1 - dt * read.number("tau_syn_inv", p)) if hasattr(p, "tau_syn_inv") else 0.0,
    )
    return Spiking(neuron, time_axis=None if kind.endswith("Cell") else 0)


def _sinabs(read: _Reading) -> Spiking | None:
    module, kind = read.module, type(read.module).__name__
    if kind not in _COVERED["sinabs"]:
        return None
    read.require("min_v_mem", None)
    if getattr(module, "rec_connect", None) is not None:
        refuse(read.name, module, "has recurrent connections: only feed-forward layers are covered")
    leaky = module.tau_mem is not None
    decay = math.exp(-1 / read.number("tau_mem")) if leaky else 1.0
    synapse = math.exp(-1 / read.number("tau_syn")) if getattr(module, "tau_syn", None) is not None else 0.0
    fires, resets = (getattr(f, "__name__", type(f).__name__) for f in (module.spike_fn, module.reset_fn))
    known = {("MultiSpike", "MembraneSubtract"): "multi_spike", ("SingleSpike", "MembraneSubtract"): "subtract"}
    known |= {("SingleSpike", "MembraneReset"): "zero"}
    if (fires, resets) not in known:
        refuse(read.name, module, f"spikes by {fires} and resets by {resets}: that pair is not covered")
    if resets == "MembraneSubtract":
        read.require("subtract_value", None, module.reset_fn)
    scale = 1 - decay if leaky and module.norm_input else 1.0
    neuron = Neuron(
        read.number("spike_threshold"),
        decay=decay,
        input_scale=scale * (synapse or 1.0),  # its filter takes in the new input with the decay: i = a (i + x)
        reset=known[fires, resets],
        strict=False,
        synaptic_decay=synapse,
    )
    if not kind.endswith("Squeeze"):
        return Spiking(neuron, time_axis=1)
    batch, steps = (size if size is not None and size > 0 else None for size in (module.batch_size, module.num_timesteps))
    return Spiking(neuron, time_axis=1, batch_size=batch, steps=steps)


_READERS: dict[str, Callable[[_Reading], Spiking | None]] = {
    "snntorch": _snntorch,
    "spikingjelly": _spikingjelly,
    "norse": _norse,
    "sinabs": _sinabs,
}
_THRESHOLDS = {"snntorch": "threshold", "spikingjelly": "v_threshold", "norse": "p", "sinabs": "spike_threshold"}
_INTEGRATE = {"LI", "LICell", "LIBoxCell", "ExpLeak", "ExpLeakSqueeze"}  # of Norse and sinabs, for readouts
_COVERED = {
    "snntorch": ("Leaky", "Synaptic"),
    "spikingjelly": ("IFNode", "LIFNode", "ParametricLIFNode"),
    "norse": ("LIFBoxCell", "LIFCell", "LIF"),
    "sinabs": ("LIF", "LIFSqueeze", "IAF", "IAFSqueeze"),
}
