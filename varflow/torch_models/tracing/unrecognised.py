"""Modules of unknown classes that turn out to be neurons in the pass: currents come out as spikes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from varflow.model.library_neurons import Spiking
from varflow.torch_models.tracing.layers import Layers
from varflow.torch_models.tracing.modules import Modules
from varflow.torch_models.tracing.origins import Provenance, tensors_in


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
            inputs, outputs = tensors_in(args), tensors_in(out)
            if not inputs or not outputs or any(each.startswith(f"{name}.") for each in spiking):  # a loop around a neuron
                return
            current, spikes = inputs[0], outputs[0]
            # A normalisation with γ = 0 sends 0, as if it were a silent neuron.
            normalised = getattr(self.provenance.origin(spikes).operation, "normalises", False)
            if name not in spiking and not normalised and _spikes(current, spikes):
                self._judge(name, module, current, spikes)
            if name in spiking:
                with torch._C.DisableTorchFunction():
                    for number, (place, *call) in enumerate(self.silent.pop(name, ())):
                        self._insert(name, module, place + number, *call)
                    self.neuron(name, module)(current, spikes)

        return hook

    def _judge(self, name: str, module: Any, current: Any, spikes: Any) -> None:
        """Make a module that spikes behind weights a neuron. A silent one may be none: its first spikes will tell."""
        silent = torch.equal(current, spikes)
        if self.provenance.origin(current).sources.isdisjoint(self.modules.weights):
            self.unweighted |= {} if silent else {name: type(module).__name__}
        elif silent:
            self.silent.setdefault(name, []).append((len(self.layers.calls), current.clone(), spikes))
        else:
            reason = f"is a {type(module).__name__}, a neuron without equations"
            self.modules.spiking[name] = module, Spiking(None, reason=reason)

    def _insert(self, name: str, module: Any, place: int, current: Any, out: Any) -> None:
        """Insert an earlier, silent call of a neuron at its place in the order of calls."""
        before = self.provenance.origin(out)
        self.neuron(name, module)(current, out)
        if before.sources:
            self.layers.replace_origin(before, self.provenance.origin(out))
        self.layers.calls.insert(place, self.layers.calls.pop())
        for calls in self.silent.values():
            calls[:] = [(later + (later >= place), *call) for later, *call in calls]


def _spikes(current: Any, out: Any) -> bool:
    """True if currents come out as spikes, or nothing as nothing."""
    if current.shape != out.shape or not bool(((out == 0) | (out == 1)).all()):
        return False
    return not torch.equal(current, out) or not out.any()
