"""The :class:`varflow.Neuron` of each spiking module.

Modules are recognised by class. Their equations are given by the presets of :mod:`varflow.neurons`; a reader here calls a
preset with the module's attributes of the same names, and adds how the module is called. Nothing is imported from the
libraries. A module that does something beyond its preset raises DomainError; nothing is approximated.
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
    """The neuron of a spiking module, and how the module is called.

    Attributes
    ----------
    neuron : Neuron
    time_axis : int, optional
        Time axis of its input; None for a module that is called once per step.
    batch_size, steps : int, optional
        For modules whose input has batch and time in one axis (batch first): one of the two sizes.
    """

    neuron: Neuron
    time_axis: int | None = None
    batch_size: int | None = None
    steps: int | None = None


Reader = TypeVar("Reader", bound="Callable[[Any], Neuron | Spiking]")

_READERS: dict[type | str, Callable[[Any], Spiking]] = {}


def reads(kind: type | str, *, time_axis: int | None = None) -> Callable[[Reader], Reader]:
    """Register the neuron of a module class, so that ``audit`` and ``init_model`` support it.

    Decorates a function from a module to its :class:`varflow.Neuron`, which may raise :class:`varflow.DomainError` for a module
    without one. An audit checks that the module steps like that neuron.

    Parameters
    ----------
    kind : class or str
        The class (subclasses excluded), or ``"package.Class"``, which is not imported.
    time_axis : int, optional
        Time axis of the module's input; by default the module is called once per step.

    Raises
    ------
    DomainError
        For another kind, or a negative axis.

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
                raise DomainError("neuron", found, "was returned by the reader, which must return a vf.Neuron")
            return found if isinstance(found, Spiking) else Spiking(found, time_axis=axis)

        _READERS[kind] = read
        return reader

    return register


def recognise(name: str, module: Any) -> Spiking | None:
    """The neuron of a spiking module; None for modules that do not spike, such as pure integrators. DomainError for spiking
    modules without a reader.
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
    rule = f"is a spiking module that is not supported; of {package} these are: {', '.join(covered)}"
    refuse(name, module, f"{rule}. vf.init.reads adds one")


def refuse(name: str, module: Any, rule: str) -> NoReturn:
    """Raise DomainError for a module, with its name and class."""
    raise DomainError("model", f"{name or '(root)'}: {type(module).__name__}", rule)


# How an attribute becomes an argument.


def _preset(preset: Callable[..., Neuron], *holders: Any, **given: Any) -> Neuron:
    """A preset called with the module's attributes of the same names."""
    taken = [name for name in inspect.signature(preset).parameters if name not in given]
    found = {name: _plain(name, getattr(holder, name)) for name in taken for holder in holders if hasattr(holder, name)}
    return preset(**found, **given)


def _plain(name: str, value: Any) -> Any:
    """The number of a tensor that is the same for all neurons; anything else unchanged."""
    if not hasattr(value, "detach"):
        return value
    values = value.detach().double().flatten().tolist()
    if max(values) - min(values) > 1e-6 * max(map(abs, values)):
        raise DomainError(name, values, "must be one value for all neurons")
    short = float(f"{values[0]:.7g}")  # the decimal that was stored in single precision
    return short if abs(short - values[0]) <= 1e-7 * abs(values[0]) else values[0]


def _only(module: Any, **wanted: Any) -> None:
    """Raise unless attributes have these values."""
    for name, value in wanted.items():
        found = _plain(name, getattr(module, name, value))
        if found != value and not (found is None and value is False):
            raise DomainError(name, found, f"is not supported, only {value!r}")


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
