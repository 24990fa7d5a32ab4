"""Spiking modules: which :class:`varflow.Neuron` each one is.

A module is known by its class. What it computes is said once, by a preset of :mod:`varflow.neurons`; its reader here calls that
with the module's attributes of the same names, and adds how the module is called. Nothing is imported from the libraries. What
a module does beyond its preset is refused by name; nothing is approximated.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from varflow._checks import DomainError, integer
from varflow.model import presets
from varflow.model.neurons import Neuron

__all__ = ["Spiking", "reads", "recognise"]


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


Reader = TypeVar("Reader", bound="Callable[[Any], Neuron | Spiking]")

_READERS: dict[type | str, Callable[[Any], Spiking]] = {}


def reads(kind: type | str, *, time_axis: int | None = None) -> Callable[[Reader], Reader]:
    """Say which neuron the modules of a class are, so that ``audit`` and ``init_model`` cover them.

    Decorates a function from a module to its :class:`varflow.Neuron`, which may raise :class:`varflow.DomainError` for a module
    without one. An audit checks that the module steps as that neuron does.

    Parameters
    ----------
    kind : class or str
        The class, without its subclasses, or ``"package.Class"``, which is not imported.
    time_axis : int, optional
        Axis of the module's input that is time; by default the module is called once per step.

    Raises
    ------
    DomainError
        For a kind that is neither, or a negative axis.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> class Half(torch.nn.Module):
    ...     beta, v = 0.5, 0.0
    ...
    ...     def forward(self, current):
    ...         h = self.beta * self.v + current
    ...         spikes = (h > 1).float()
    ...         self.v = h - spikes / 2
    ...         return spikes
    >>> @vf.init.reads(Half)
    ... def half(module):
    ...     return vf.Neuron(1.0, decay=module.beta, reset=vf.resets.Reset(threshold=0.5))
    """
    if not (isinstance(kind, type) or (isinstance(kind, str) and kind.count(".") == 1)):
        raise DomainError("kind", kind, "must be a class or its name as 'package.Class'")
    axis = None if time_axis is None else integer("time_axis", time_axis, minimum=0)

    def register(reader: Reader) -> Reader:
        def read(module: Any) -> Spiking:
            found = reader(module)
            if not isinstance(found, (Neuron, Spiking)):
                raise DomainError("neuron", found, "must be a vf.Neuron: that is what a reader returns")
            return found if isinstance(found, Spiking) else Spiking(found, time_axis=axis)

        _READERS[kind] = read
        return reader

    return register


def recognise(name: str, module: Any) -> Spiking | None:
    """The neuron of a spiking module; None for a module that is none, as those that only integrate. Refuses spiking modules
    without a reader.
    """
    package, kind = type(module).__module__.partition(".")[0], type(module).__name__
    read = _READERS.get(type(module)) or _READERS.get(f"{package}.{kind}")
    if read is not None:
        try:
            return read(module)
        except DomainError as error:
            refuse(name, module, f"has {str(error).removesuffix(error.rule).strip()}, which {error.rule}")
    if package not in _THRESHOLDS or not hasattr(module, _THRESHOLDS[package]) or kind in _INTEGRATE:
        return None
    if hasattr(module, "recurrent_weights"):
        rule = "holds its weights as raw parameters (input_weights, recurrent_weights): use a layer and a feed-forward cell"
        refuse(name, module, rule)
    covered = sorted(key.partition(".")[2] for key in _READERS if isinstance(key, str) and key.startswith(f"{package}."))
    rule = f"is a spiking module that is not covered; those of {package} that are: {', '.join(covered)}"
    refuse(name, module, f"{rule}. vf.init.reads adds one")


def refuse(name: str, module: Any, rule: str) -> NoReturn:
    """Say of a module by its name and class what cannot be dealt with."""
    raise DomainError("model", f"{name or '(root)'}: {type(module).__name__}", rule)


# How an attribute becomes an argument.


def _preset(preset: Callable[..., Neuron], *holders: Any, **given: Any) -> Neuron:
    """A preset called with the attributes that are named as its parameters."""
    taken = [name for name in inspect.signature(preset).parameters if name not in given]
    found = {name: _plain(name, getattr(holder, name)) for name in taken for holder in holders if hasattr(holder, name)}
    return preset(**found, **given)


def _plain(name: str, value: Any) -> Any:
    """Of a tensor, its one number for all neurons; anything else as it is."""
    if not hasattr(value, "detach"):
        return value
    values = value.detach().double().flatten().tolist()
    if max(values) - min(values) > 1e-6 * max(map(abs, values)):
        raise DomainError(name, values, "must be one value for all neurons")
    short = float(f"{values[0]:.7g}")  # of what was stored in single precision, the decimal it came from
    return short if abs(short - values[0]) <= 1e-7 * abs(values[0]) else values[0]


def _only(module: Any, **wanted: Any) -> None:
    """Refuse any other value of an attribute."""
    for name, value in wanted.items():
        found = _plain(name, getattr(module, name, value))
        if found != value and not (found is None and value is False):
            raise DomainError(name, found, f"is not covered: only {value!r} is")


# The libraries.


@reads("snntorch.Leaky")
@reads("snntorch.Synaptic")
def _snntorch(module: Any) -> Neuron:
    _only(module, inhibition=False, state_quant=False, graded_spikes_factor=1.0)
    preset = presets.snntorch_leaky if type(module).__name__ == "Leaky" else presets.snntorch_synaptic
    return _preset(preset, module, beta=min(max(_plain("beta", module.beta), 0.0), 1.0))


@reads("spikingjelly.IFNode")
@reads("spikingjelly.LIFNode")
@reads("spikingjelly.ParametricLIFNode")
def _spikingjelly(module: Any) -> Spiking:
    kind = type(module).__name__
    learned = {"tau": 1 + math.exp(-_plain("w", module.w))} if kind == "ParametricLIFNode" else {}
    neuron = _preset(presets.spikingjelly_if if kind == "IFNode" else presets.spikingjelly_lif, module, **learned)
    return Spiking(neuron, time_axis=0 if getattr(module, "step_mode", "s") == "m" else None)


@reads("norse.LIFBoxCell")
def _norse_box(module: Any) -> Neuron:
    return _preset(presets.norse_lif_box, module.p, module)


@reads("norse.LIFCell")
@reads("norse.LIF", time_axis=0)
def _norse(module: Any) -> Neuron:
    return _preset(presets.norse_lif, module.p, module)


@reads("sinabs.LIF", time_axis=1)
@reads("sinabs.IAF", time_axis=1)
def _sinabs(module: Any) -> Neuron:
    taus = {name: getattr(module, f"{name}_calculated", getattr(module, name, None)) for name in ("tau_mem", "tau_syn")}
    tau_mem, tau_syn = (_plain(name, tau) for name, tau in taus.items())
    return _preset(presets.sinabs_lif, module, tau_mem=math.inf if tau_mem is None else tau_mem, tau_syn=tau_syn)


@reads("sinabs.LIFSqueeze")
@reads("sinabs.IAFSqueeze")
def _sinabs_squeezed(module: Any) -> Spiking:
    batch, steps = (size if size is not None and size > 0 else None for size in (module.batch_size, module.num_timesteps))
    return Spiking(_sinabs(module), time_axis=1, batch_size=batch, steps=steps)


@reads("stork.LIFGroup")
def _stork(module: Any) -> Neuron:
    rule = "takes no currents: they come through its own state. Describe the network by vf.neurons.stork_lif and vf.Network"
    raise DomainError("forward", "LIFGroup.forward()", rule)


_THRESHOLDS = {"snntorch": "threshold", "spikingjelly": "v_threshold", "norse": "p", "sinabs": "spike_threshold"}
_INTEGRATE = {"LI", "LICell", "LIBoxCell", "ExpLeak", "ExpLeakSqueeze"}  # of Norse and sinabs, for readouts
