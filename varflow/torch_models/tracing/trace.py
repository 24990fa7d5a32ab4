"""Tracing of one forward pass: which neuron layer follows which weight layers by which operations, and the number of steps.

The structure comes from what each tensor was made of (``provenance``), not from the order of modules. A model that runs is
traced; what has no theory is named in ``TracedLayer.unknown``. The model is unchanged afterwards.

Modules of unknown classes turn out to be neurons in the pass where currents come out as spikes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

import torch

from varflow._progress import Report, unreported
from varflow._restoring import at_rest, kept
from varflow.model.library_neurons import Spiking
from varflow.model.signals import Unknown
from varflow.torch_models.tracing.checks import advised, check_inputs, check_model, check_neurons, check_numbers
from varflow.torch_models.tracing.layers import Layers
from varflow.torch_models.tracing.modules import Modules, Neurons
from varflow.torch_models.tracing.origins import INPUT, Provenance, tensors_in
from varflow.torch_models.tracing.passes import copied, forward, generators, reseed
from varflow.torch_models.tracing.traced import Trace, TracedLayer


@dataclass(slots=True, eq=False)
class Unrecognised:
    """Modules that may be neurons.

    Attributes
    ----------
    silent : dict of str to list
        Calls of modules that may be neurons but have not fired: place among the calls of neurons, current, output.
    unweighted : dict of str to str
        Classes of modules that return spikes but follow no weight module, by name.
    """

    tracer: _Tracer
    silent: dict[str, list[Any]] = field(default_factory=dict)
    unweighted: dict[str, str] = field(default_factory=dict)

    def hook(self, name: str) -> Callable[[Any, Any, Any], None]:
        """A hook that makes a module a neuron if currents come out as spikes."""
        spiking = self.tracer.modules.spiking

        def hook(module: Any, args: Any, out: Any) -> None:
            inputs, outputs = tensors_in(args), tensors_in(out)
            if not inputs or not outputs or self._encloses(module):
                return
            current, spikes = inputs[0], outputs[0]
            # A normalisation with γ = 0 sends 0, as if it were a silent neuron.
            normalised = getattr(self.tracer.provenance.origin(spikes).operation, "normalises", False)
            if name not in spiking and not normalised and _spikes(current, spikes):
                self._judge(name, module, current, spikes)
            if name in spiking:
                with torch._C.DisableTorchFunction():
                    for number, (place, *call) in enumerate(self.silent.pop(name, ())):
                        self._insert(name, module, place + number, *call)
                    self.tracer.called(name, module)(current, spikes)

        return hook

    def _encloses(self, module: Any) -> bool:
        """True for a module around a neuron; names would not tell, since a neuron has that of the first place that holds it."""
        neurons = {neuron for neuron, _ in self.tracer.modules.spiking.values()}
        return any(each in neurons for each in module.modules() if each is not module)

    def _judge(self, name: str, module: Any, current: Any, spikes: Any) -> None:
        """Make a module that spikes behind weights a neuron. A silent one may be none: its first spikes will tell."""
        silent = torch.equal(current, spikes)
        if self.tracer.provenance.origin(current).sources.isdisjoint(self.tracer.modules.weights):
            self.unweighted |= {} if silent else {name: type(module).__name__}
        elif silent:
            self.silent.setdefault(name, []).append((len(self.tracer.layers.calls), current.clone(), spikes))
        else:
            reason = f"is a {type(module).__name__}, a neuron without equations"
            self.tracer.modules.spiking[name] = module, Spiking(None, reason=reason)

    def _insert(self, name: str, module: Any, place: int, current: Any, out: Any) -> None:
        """Insert an earlier, silent call of a neuron at its place in the order of calls."""
        before = self.tracer.provenance.origin(out)
        self.tracer.called(name, module)(current, out)
        if before.sources:
            self.tracer.layers.replace_origin(before, self.tracer.provenance.origin(out))
        self.tracer.layers.calls.insert(place, self.tracer.layers.calls.pop())
        for calls in self.silent.values():
            calls[:] = [(later + (later >= place), *call) for later, *call in calls]


def _spikes(current: Any, out: Any) -> bool:
    """True if currents come out as spikes, or nothing as nothing."""
    if current.shape != out.shape or not bool(((out == 0) | (out == 1)).all()):
        return False
    return not torch.equal(current, out) or not out.any()


def trace(
    model: Any,
    inputs: Any,
    steps: int | None = None,
    record: Callable[[TracedLayer, Any, Any], None] | None = None,
    report: Report = unreported,
    neurons: Neurons | None = None,
    number: int = 0,
) -> Trace:
    """Run the model once and return its structure.

    Parameters
    ----------
    model : torch.nn.Module
    inputs : tensor, tuple of positional or dict of keyword arguments
    steps : int, optional
        Number of calls, for models that leave the loop over time to the caller.
    record : callable, optional
        ``record(layer, currents, spikes)``, called after every call of a neuron.
    report : callable, optional
        ``report(done)``, called after every call of the model.
    neurons : dict, optional
        Neurons of modules that are not known by themselves, by class, name or module; None for those to be measured only.
    number : int
        Of the pass: another one than 0 draws other random numbers.

    Raises
    ------
    DomainError
        For models without spiking layers, lazy modules, inputs that do not fit.
    """

    def traced() -> Trace:
        tracer = _Tracer(model, record, neurons or {})
        tracer.enclose()
        reseed(number)
        at_rest(spiking := [module for module, _ in tracer.modules.spiking.values()])
        check_numbers(model, spiking)
        before = generators()
        with torch.no_grad(), tracer.provenance:
            forward(model, tracer.labelled(inputs), steps, spiking, report, tracer.where)
        return replace(tracer.result(), random=generators() != before)

    check_model(model)
    check_neurons(neurons)
    with advised(model, inputs):
        check_inputs(inputs)
        return kept(model, traced)


class _Tracer:
    """Wrappers around the modules of a model, by which each tensor gets its origin and the layers hear of their calls."""

    def __init__(self, model: Any, record: Any, neurons: Neurons):
        self.modules = Modules(model, neurons)
        self.layers = Layers(self.modules)
        self.record = record
        self.running: list[str] = []
        self.provenance = Provenance(self._place)
        self.unrecognised = Unrecognised(self)

    def labelled(self, inputs: Any) -> Any:
        """Copies of the inputs, whose origin is the input."""
        copies, origin = copied(inputs), self.provenance.origins.sender(INPUT)
        for tensor in tensors_in(copies):
            self.provenance.put(tensor, origin)
        return copies

    def enclose(self) -> None:
        """Wrap the forwards of weights and neurons, and add hooks to all other modules."""
        modules = self.modules
        for module, name in modules.names.items():
            if module in modules.inside:
                continue
            if name in modules.weights:
                self._enclose(name, module, self._weight(name))
            elif name in modules.readers:
                self._enclose(name, module, self._operation(name, module))
            elif name in modules.spiking:
                self._enclose(name, module, self.called(name, module))
            else:
                module.register_forward_pre_hook(self._enter(name), prepend=True)
                if modules.may_spike(module):
                    module.register_forward_hook(self.unrecognised.hook(name))
                module.register_forward_hook(self._leave)

    def where(self) -> str:
        """The module that runs, if it is not the whole model, in words."""
        name = self.running[-1] if self.running else ""
        names = self.modules.names.items()
        return f" at {name}, a {next(type(module).__name__ for module, other in names if other == name)}" if name else ""

    def _place(self) -> str:
        return repr(self.running[-1]) if self.running and self.running[-1] else "the model's forward"

    def _enter(self, name: str) -> Callable[..., None]:
        return lambda module, args: self.running.append(name)

    def _leave(self, *_: Any) -> None:
        self.running.pop()

    def _enclose(self, name: str, module: Any, note: Callable[[Any, Any], None]) -> None:
        """Wrap a module's forward: a third of the cost of hooks, which would dominate tracing. Its output gets its origin here,
        not by the torch-function mode.
        """
        inner, unseen = module.forward, torch._C.DisableTorchFunction

        @wraps(inner)
        def forward(*args: Any, **kwargs: Any) -> Any:
            with unseen():
                self.running.append(name)
                out = inner(*args, **kwargs)
                note(args[0] if args else next(iter(kwargs.values())), out)
                self.running.pop()
            return out

        module.__dict__["forward"] = forward

    def _weight(self, name: str) -> Callable[[Any, Any], None]:
        source = self.provenance.origins.sender(name)

        def note(received: Any, out: Any) -> None:
            self.layers.weights_called(name, self.provenance.origin(received), received)
            self.provenance.put(out, source)

        return note

    def called(self, name: str, module: Any) -> Callable[[Any, Any], None]:
        def note(current: Any, out: Any) -> None:
            outputs = tensors_in(out)
            layer = self.layers.neuron_called(name, module, self.provenance.origin(current), current, outputs[0])
            if self.record is not None:
                self.record(layer, current, outputs[0])
            source = self.provenance.origins.sender(layer.neuron_name)
            for tensor in outputs:
                self.provenance.put(tensor, source)

        return note

    def _operation(self, name: str, module: Any) -> Callable[[Any, Any], None]:
        """Note the operation that the reader of a module gives; the origin of its further inputs does not count."""
        reader, words = self.modules.readers[name], f"{type(module).__name__} in {name!r}"

        def note(received: Any, out: Any) -> None:
            origin = self.provenance.origin(received)
            if origin.sources != {INPUT}:  # a function of the input alone counts as input
                origin = self.provenance.origins.after(name, (origin,), lambda: (reader(module) or Unknown(words), words))
            for tensor in tensors_in(out):
                self.provenance.put(tensor, origin)

        return note

    def result(self) -> Trace:
        if not self.layers.layers:
            raise self.modules.none_spikes(self.unrecognised.unweighted)
        return self.layers.completed(self.provenance.parameters, self.provenance.origins.calls)
