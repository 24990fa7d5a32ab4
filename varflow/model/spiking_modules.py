"""Spiking modules, recognised by class, and the readers of their neurons; those of libraries are in ``library_neurons``.

Their equations are given by the presets of :mod:`varflow.neurons`; a reader calls a preset with the module's attributes of the
same names, and adds how the module is called and which weights it holds. A module that does something beyond its preset has no
neuron and is only measured; nothing is approximated.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

import numpy as np

from varflow._checks import DomainError, integer
from varflow.model.inner_weights import InnerWeights
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons


@dataclass(frozen=True, slots=True, eq=False)
class Spiking:
    """The neuron of a spiking module, and how the module is called.

    Attributes
    ----------
    neuron : Neuron, optional
        None for a module that is only measured.
    time_axis : int, optional
        Time axis of its input; None for a module that is called once per step.
    batch_size, steps : int, optional
        For modules whose input has batch and time in one axis (batch first): one of the two sizes.
    reason : str
        Why it is only measured, in words that follow its name.
    recurrent : InnerWeights, optional
        From the spikes of the step before to its currents.
    entry : InnerWeights, optional
        From what it is called with to its currents; None if it is called with currents.
    values : dict of str to tensor
        ``threshold`` and ``decay``, where they differ between neurons, as they broadcast over one step.
    """

    neuron: Neuron | None
    time_axis: int | None = None
    batch_size: int | None = None
    steps: int | None = None
    reason: str = ""
    recurrent: InnerWeights | None = None
    entry: InnerWeights | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


Found = Neuron | Spiking | None
Reader = TypeVar("Reader", bound="Callable[[Any], Found]")

_READERS: dict[type | str, tuple[Callable[[Any], Found], int | None]] = {}  # with the time axis


def reads(kind: type | str, *, time_axis: int | None = None) -> Callable[[Reader], Reader]:
    """Register the neuron of a module class, so that ``audit`` and ``init_model`` support it.

    Decorates a function from a module to its :class:`varflow.Neuron`, which may raise :class:`varflow.DomainError` for a module
    without one, which is then only measured. So is a module that does not step like its neuron.

    Parameters
    ----------
    kind : class or str
        The class (with subclasses that keep its ``forward``), or ``"package.Class"``, which is not imported.
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
        _READERS[kind] = reader, axis
        return reader

    return register


def reads_classes(package: str, *names: str) -> Callable[[Reader], Reader]:
    """:func:`reads` for the classes of a library that are read alike."""

    def register(reader: Reader) -> Reader:
        for name in names:
            reads(f"{package}.{name}")(reader)
        return reader

    return register


def recognise(name: str, module: Any) -> Spiking | None:
    """The neuron of a spiking module; None for modules that do not spike, such as pure integrators."""
    reader = _reader_of(type(module))
    if reader is None:
        return _without_reader(module)
    read, axis = reader
    called: dict[str, Any] = {"time_axis": axis} if axis is not None else _called(module)
    try:
        neuron = read(module)
    except DomainError as error:
        words = f"has {str(error).removesuffix(error.rule).strip()}, which {error.rule}"
        return Spiking(None, **called, reason=words)
    if isinstance(neuron, Neuron):
        return Spiking(neuron, **called)
    if not isinstance(neuron, Spiking | None):
        refuse(name, module, f"has neuron={neuron!r}, by its reader, which must return a vf.Neuron")
    return None if neuron is None else replace(neuron, **called)


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _reader_of(kind: type) -> tuple[Callable[[Any], Found], int | None] | None:
    """The reader of a class, or of a class of another package from which it inherits its ``forward``."""
    for base in kind.__mro__:
        reader = _READERS.get(base) or _READERS.get(f"{_package(base)}.{base.__name__}")
        if reader is not None:
            inherits = _package(base) != _package(kind) and getattr(kind, "forward", None) is getattr(base, "forward", None)
            return reader if base is kind or inherits else None
    return None


def _without_reader(module: Any) -> Spiking | None:
    """A spiking module of a library, or a class derived from one, of which no equations are known."""
    kind = next((base for base in type(module).__mro__ if _package(base) in _THRESHOLDS), None)
    if kind is None or not _spikes(kind, module):
        return None
    package, derivation = _package(kind), "" if kind is type(module) else f", derived from {kind.__name__} of"
    with_reader = sorted(key.partition(".")[2] for key in _READERS if isinstance(key, str) and key.startswith(f"{package}."))
    words = f"is a {type(module).__name__}{derivation or ' of'} {package}, of which {', '.join(with_reader)} are known"
    return Spiking(None, **_called(module), reason=words)


def _spikes(kind: type, module: Any) -> bool:
    """True if a module of a library has a threshold and returns spikes."""
    package, name = _package(kind), kind.__name__
    if name in _INTEGRATE or "NonSpiking" in name or "Encoder" in name or (name in _OPTIONAL and not module.output):
        return False
    return hasattr(module, _THRESHOLDS[package]) or kind.__module__.startswith("spikingjelly.activation_based.neuron")


def _called(module: Any) -> dict[str, Any]:
    """Time axis of a module of a library, and sizes of a joined axis of batch and time, as arguments of :class:`Spiking`."""
    packages = {_package(base) for base in type(module).__mro__}
    if "sinabs" in packages:
        sizes = [getattr(module, name, None) for name in ("batch_size", "num_timesteps")]
        batch, steps = (size if size is not None and size > 0 else None for size in sizes)
        return {"time_axis": 1, "batch_size": batch, "steps": steps}
    modes = module.supported_step_mode() if hasattr(module, "supported_step_mode") else ("s",)
    several = getattr(module, "step_mode", modes[0]) == "m" if "spikingjelly" in packages else hasattr(module, "record_states")
    return {"time_axis": 0 if several or type(module).__name__ in _SEQUENCES else None}


def refuse(name: str, module: Any, rule: str) -> NoReturn:
    """Raise DomainError for a module, with its name and class."""
    raise DomainError("model", f"{name or '(root)'}: {type(module).__name__}", rule)


# How an attribute becomes an argument.


def preset_of(preset: Callable[..., Neuron], *holders: Any, **given: Any) -> Neuron:
    """A preset called with the module's attributes of the same names."""
    taken = [name for name in inspect.signature(preset).parameters if name not in given]
    values = {name: plain_value(getattr(holder, name)) for name in taken for holder in holders if hasattr(holder, name)}
    values |= {name: plain_value(value) for name, value in given.items()}
    known = all(isinstance(value, int | float | str | None) for value in values.values())  # others may have no hash
    return _of_numbers(preset, **values) if known else preset(**values)


@lru_cache(maxsize=256, typed=True)
def _of_numbers(preset: Callable[..., Neuron], **values: Any) -> Neuron:
    """A preset called with numbers and names: most layers of a model have the same."""
    return preset(**values)


def plain_value(value: Any) -> Any:
    """The number of a tensor that is the same for all neurons, its values if they differ; anything else unchanged."""
    if not hasattr(value, "detach"):
        return value
    values = value.detach().double().flatten().cpu().numpy()
    if not values.size or not np.allclose(values, values[0], 1e-6, 0.0, equal_nan=True):  # none before the first step
        return values
    first = float(values[0])
    short = float(f"{first:.7g}")  # the decimal that was stored in single precision
    return short if abs(short - first) <= 1e-7 * abs(first) else first


def only(module: Any, **wanted: Any) -> None:
    """Raise unless attributes have these values."""
    for name, value in wanted.items():
        actual = plain_value(getattr(module, name, value))
        if np.any(actual != value) and not (actual is None and value is False):
            raise DomainError(name, actual, f"is not supported, only {value!r}")


def with_values(neuron: Neuron, threshold: Any, decay: Any, **more: Any) -> Spiking:
    """A neuron with the tensors of those parameters that differ between neurons."""
    given = {"threshold": threshold, "decay": decay}
    values = {name: value.detach() for name, value in given.items() if isinstance(getattr(neuron, name), OverNeurons)}
    return Spiking(neuron, values=values, **more)


_THRESHOLDS = {"snntorch": "threshold", "spikingjelly": "v_threshold", "norse": "p", "sinabs": "spike_threshold"}
_INTEGRATE = {"LI", "LICell", "LIBoxCell", "LILinearCell", "ExpLeak", "ExpLeakSqueeze"}  # of Norse and sinabs, for readouts
_SEQUENCES = {"LeakyParallel", "LeakyKernel", "StateLeaky", "LinearLeaky", "AssociativeLeaky"}  # of snnTorch, all steps at once
_OPTIONAL = {"StateLeaky", "LinearLeaky"}  # of snnTorch, which return membranes unless ``output`` is set
