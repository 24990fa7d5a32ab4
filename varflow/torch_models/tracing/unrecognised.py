"""Modules of unknown classes that turn out to be neurons in the pass: currents come out as spikes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from varflow.model.library_neurons import Spiking
from varflow.torch_models.tracing.layers import Layers
from varflow.torch_models.tracing.modules import Modules
from varflow.torch_models.tracing.origins import Origin, Provenance, tensors_in


@dataclass(slots=True, eq=False)
class Unrecognised:
    """Modules that may be neurons.

    Attributes
    ----------
    silent : dict of str to list
        Calls of modules that may be neurons but have not fired, with their places in the order of calls of neurons.
    unweighted : dict of str to str
        Classes of modules that return spikes but follow no weight module, by name.
    """

    modules: Modules
    layers: Layers
    provenance: Provenance
    neuron: Callable[[str, Any], Callable[[Any, Any], None]]  # tells the layers of a call
    silent: dict[str, list[Any]] = field(default_factory=dict)
    unweighted: dict[str, str] = field(default_factory=dict)

    def hook(self, name: str) -> Callable[[Any, Any, Any], None]:
        """A hook that makes a module a neuron if currents come out as spikes."""
        spiking = self.modules.spiking

        def hook(module: Any, args: Any, out: Any) -> None:
            given, outputs = tensors_in(args), tensors_in(out)
            if not given or not outputs:
                return
            normalised = getattr(self._origin(outputs[0]).operation, "normalises", False)  # with γ = 0 it sends 0, as if silent
            if name not in spiking and not normalised and _spikes(given[0], outputs[0]):
                silent, reason = torch.equal(given[0], outputs[0]), f"is a {type(module).__name__}, a neuron without equations"
                if not self._origin(given[0]).sources.isdisjoint(self.modules.weights):
                    if silent:  # it may be no neuron: its first spikes will tell
                        call = len(self.layers.calls), given[0].clone(), outputs[0]
                        self.silent.setdefault(name, []).append(call)
                        return
                    spiking[name] = module, Spiking(None, reason=reason)
                elif not silent:
                    self.unweighted[name] = type(module).__name__
            if name in spiking:
                with torch._C.DisableTorchFunction():
                    for number, (place, *tensors) in enumerate(self.silent.pop(name, ())):
                        self._was_silent(name, module, place + number, *tensors)
                    self.neuron(name, module)(given[0], outputs[0])

        return hook

    def _was_silent(self, name: str, module: Any, place: int, current: Any, out: Any) -> None:
        """Add an earlier call of a neuron, without currents and spikes, to the calls then made."""
        before = self._origin(out)
        self.neuron(name, module)(current, out)
        if before.sources:
            self.layers.replace_origin(before, self._origin(out))
        self.layers.calls.insert(place, self.layers.calls.pop())
        for calls in self.silent.values():
            calls[:] = [(each + (each >= place), *tensors) for each, *tensors in calls]

    def _origin(self, tensor: Any) -> Origin:
        return self.provenance.of(tensor) or self.provenance.origins.sender("")


def _spikes(current: Any, out: Any) -> bool:
    """True if currents come out as spikes, or nothing as nothing."""
    if current.shape != out.shape or not bool(((out == 0) | (out == 1)).all()):
        return False
    return not torch.equal(current, out) or not out.any()
