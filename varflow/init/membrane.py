"""The update of a neuron on torch tensors: membranes at the spike test, from currents and, where known, from spikes."""

from __future__ import annotations

from typing import Any

from varflow.model.neurons import Neuron

__all__ = ["Membrane"]


class Membrane:
    """``H`` and ``S`` of a layer of neurons, one step at a time, from rest.

    ``step(current)`` returns ``(H, S)``. With ``spikes`` given, those are what resets: the membranes of a library's own
    neurons, read from what goes in and what comes out of them.
    """

    def __init__(self, neuron: Neuron):
        self.neuron = neuron
        self.filtered: Any = None
        self.H: Any = None
        self.S: Any = None

    def step(self, current: Any, spikes: Any = None) -> tuple[Any, Any]:
        neuron, scale = self.neuron, self.neuron.input_scale
        if neuron.synaptic_decay:
            before = 0.0 if self.filtered is None else neuron.synaptic_decay * self.filtered
            current = self.filtered = current + before
        if self.H is None:
            self.H = scale * current
        else:
            self._advance(current, scale)
        self.S = self.fired(self.H) if spikes is None else spikes
        return self.H, self.S

    def _advance(self, current: Any, scale: float) -> None:
        """The next membranes, written over the last: one tensor serves all steps."""
        beta, theta, H, S = self.neuron.decay, self.neuron.threshold, self.H, self.S
        match self.neuron.reset:
            case "none":
                H.mul_(beta).add_(current, alpha=scale)
            case "subtract" | "multi_spike":
                H.mul_(beta).add_(current, alpha=scale).sub_(S, alpha=beta * theta)
            case "delayed_subtract":
                H.mul_(beta).add_(current, alpha=scale).sub_(S, alpha=theta)
            case "zero":
                H.addcmul_(H, S, value=-1).mul_(beta).add_(current, alpha=scale)
            case _:
                H.mul_(beta).add_(current, alpha=scale).mul_(1 - S)

    def fired(self, H: Any) -> Any:
        """Spikes of membranes at the test."""
        neuron = self.neuron
        if neuron.reset == "multi_spike":
            return (H / neuron.threshold).floor_().clamp_(min=0)
        return (neuron.threshold < H if neuron.strict else neuron.threshold <= H).to(H.dtype)
