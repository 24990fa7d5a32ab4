"""The update of a neuron on torch tensors: membranes at the spike test, from currents and, where known, from spikes."""

from __future__ import annotations

from typing import Any

from varflow._checks import require
from varflow.model.neurons import Neuron

__all__ = ["Membrane"]


class Membrane:
    """``H/λ`` and ``S`` of a layer of neurons, one step at a time, from rest; ``λ`` is the input scale.

    ``step(current)`` returns both. With ``spikes`` given, those are what resets: the membranes of a library's own
    neurons, read from what goes in and what comes out of them.
    """

    def __init__(self, neuron: Neuron):
        self.neuron, self.threshold = neuron, neuron.threshold / neuron.input_scale
        self.filtered: Any = None
        self.H: Any = None
        self.S: Any = None

    def step(self, current: Any, spikes: Any = None) -> tuple[Any, Any]:
        decay = self.neuron.synaptic_decay
        if decay:
            current = self.filtered = current.clone() if self.filtered is None else self.filtered.mul_(decay).add_(current)
        if self.H is None:
            self.H = current.clone()
        else:
            self._advance(current)
        self.S = self.fired(self.H) if spikes is None else spikes
        return self.H, self.S

    def _advance(self, current: Any) -> None:
        """The next membranes, written over the last: one tensor serves all steps, and each term costs one pass."""
        torch, beta, theta, H, S = require("torch", "torch"), self.neuron.decay, self.threshold, self.H, self.S
        reset = self.neuron.reset
        if reset == "zero":
            H.addcmul_(H, S, value=-1)
        torch.add(current, H, alpha=beta, out=H)
        if reset in ("subtract", "multi_spike"):
            H.sub_(S, alpha=beta * theta)
        elif reset == "delayed_subtract":
            H.sub_(S, alpha=theta)
        elif reset == "gate":
            H.addcmul_(H, S, value=-1)

    def fired(self, H: Any) -> Any:
        """Spikes of membranes at the test, in these units."""
        if self.neuron.reset == "multi_spike":
            return (H / self.threshold).floor_().clamp_(min=0)
        return (self.threshold < H if self.neuron.strict else self.threshold <= H).to(H.dtype)
