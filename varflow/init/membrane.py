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
        neuron = self.neuron
        if neuron.synaptic_decay:
            before = 0.0 if self.filtered is None else neuron.synaptic_decay * self.filtered
            current = self.filtered = current + before
        c = current if neuron.input_scale == 1 else neuron.input_scale * current
        self.H = c.clone() if self.H is None else self._next(c)  # its own: the caller may write to the currents
        self.S = self.fired(self.H) if spikes is None else spikes
        return self.H, self.S

    def _next(self, c: Any) -> Any:
        beta, theta, H, S = self.neuron.decay, self.neuron.threshold, self.H, self.S
        match self.neuron.reset:
            case "none":
                return c + beta * H
            case "subtract" | "multi_spike":
                return (c + beta * H).sub_(S, alpha=beta * theta)
            case "delayed_subtract":
                return (c + beta * H).sub_(S, alpha=theta)
            case "zero":
                return c + beta * (H - H * S)
            case _:
                return (c + beta * H) * (1 - S)

    def fired(self, H: Any) -> Any:
        """Spikes of membranes at the test."""
        neuron = self.neuron
        if neuron.reset == "multi_spike":
            return (H / neuron.threshold).floor_().clamp_(min=0)
        return (neuron.threshold < H if neuron.strict else neuron.threshold <= H).to(H.dtype)
