"""The update of a neuron on torch tensors: membranes at the spike test, from currents and, if known, spikes."""

from __future__ import annotations

from typing import Any

from varflow._checks import require
from varflow.model.neurons import Neuron

__all__ = ["Membrane"]


class Membrane:
    """``H/λ`` and ``S`` of a layer of neurons, one step at a time, from rest; ``λ`` is the input scale.

    ``step(current)`` returns both and overwrites the current by ``H/λ``, so that no memory is allocated. Given ``spikes`` are
    used for the reset: that gives the membranes of a library's neurons from their inputs and outputs.
    """

    def __init__(self, neuron: Neuron):
        self.torch, self.neuron, self.threshold = require("torch", "torch"), neuron, neuron.threshold / neuron.input_scale
        self.filtered: Any = None
        self.H: Any = None
        self.S: Any = None

    def step(self, current: Any, spikes: Any = None, *, out: Any = None) -> tuple[Any, Any]:
        decay = self.neuron.synaptic_decay
        if decay:
            self.filtered = current.clone() if self.filtered is None else self.filtered.mul_(decay).add_(current)
            current.copy_(self.filtered)
        if self.H is not None:
            self._continue(current)
        self.H = current
        self.S = self.fired(current, out=out) if spikes is None else spikes
        return self.H, self.S

    def _continue(self, current: Any) -> None:
        """``c`` becomes ``β (1 - kS) H - ρ a θ S + (1 - gS) c`` with the last membranes and their spikes."""
        beta, rule, H, S = self.neuron.decay, self.neuron.reset_rule, self.H, self.S
        current.add_(H, alpha=beta)
        if rule.input:
            current.addcmul_(current, S, value=-rule.input)
        if rule.membrane != rule.input:
            current.addcmul_(H, S, value=-beta * (rule.membrane - rule.input))
        if rule.threshold:
            current.sub_(S, alpha=(1.0 if rule.delayed else beta) * rule.threshold * self.threshold)

    def fired(self, H: Any, *, out: Any = None) -> Any:
        """Spikes of membranes at the test, in these units."""
        torch = self.torch
        out = torch.empty_like(H) if out is None else out
        if self.neuron.reset_rule.counts:
            return torch.div(H, self.threshold, out=out).floor_().clamp_(min=0)
        return (torch.gt if self.neuron.strict else torch.ge)(H, self.threshold, out=out)
