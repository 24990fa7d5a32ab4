r"""Neurons of a :class:`varflow.Neuron` in torch, all steps at once, with surrogate gradients written out.

.. math:: a_t = \psi_t e_t + D_t a_{t+1}, \qquad \delta_t = \lambda (1 - g S_{t-1})\, a_t, \qquad
          D_t = \beta (1 - k S_t) - [\text{attached}]\; \psi_t (\beta k H_t + \rho a \theta + g c_{t+1})

with ``e = ∂L/∂S`` and ``δ = ∂L/∂I``; coefficients as in :class:`varflow.resets.Reset`. A layer keeps its membranes only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import varflow as vf

__all__ = ["SHAPES", "Spiking", "psi"]

SHAPES = {  # of |v|/width
    "box": lambda x: (x < 1).to(x.dtype),
    "triangular": lambda x: (1 - x).clamp_(min=0),
    "gaussian": lambda x: (-x.square() / 2).exp_(),
    "exponential": lambda x: (-x).exp_(),
    "fast_sigmoid": lambda x: (1 + x).square_().reciprocal_(),
    "atan": lambda x: x.square().add_(1).reciprocal_(),
    "sigmoid": lambda x: (x / 2).clamp_(max=40).cosh_().square_().reciprocal_(),
}


def psi(surrogate: Any, v: torch.Tensor) -> torch.Tensor:
    """``ψ(v)``, for the families of :class:`varflow.surrogates.Surrogate`."""
    x = v.abs().mul_(1 / surrogate.width)
    return SHAPES[surrogate.family](x).mul_(surrogate.peak)


class Spiking(nn.Module):
    """Currents (steps, batch, neurons) to spikes of the same shape.

    ``membranes`` holds those of the last call, at the spike test.
    """

    def __init__(self, neuron: vf.Neuron, surrogate: Any = "atan"):
        super().__init__()
        rule = neuron.reset_rule
        if neuron.heterogeneous or neuron.synaptic_decay or neuron.delay or rule.counts or rule.lowest is not None:
            raise vf.DomainError("neuron", neuron, "is not covered here: equal neurons without synapse, delay or spike counts")
        self.neuron, self.surrogate = neuron, vf.surrogates.surrogate_of(surrogate)
        if self.surrogate.family not in SHAPES:
            raise vf.DomainError("surrogate", surrogate, f"must have one of the shapes {', '.join(SHAPES)}")
        self.membranes: torch.Tensor | None = None

    def forward(self, currents: torch.Tensor) -> torch.Tensor:
        spikes, self.membranes = _Steps.apply(currents, self.neuron, self.surrogate)
        return spikes


class _Steps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, currents: torch.Tensor, neuron: vf.Neuron, surrogate: Any) -> tuple[torch.Tensor, torch.Tensor]:
        rule, theta = neuron.reset_rule, float(neuron.threshold)
        subtracted = (1.0 if rule.delayed else neuron.decay) * rule.threshold * theta
        H, S = torch.empty_like(currents), torch.empty_like(currents)
        for t in range(len(currents)):
            h = torch.mul(currents[t], neuron.input_scale, out=H[t])
            if t:
                s = S[t - 1]
                if rule.input:
                    h.mul_(1 - rule.input * s)
                kept = H[t - 1] * (1 - rule.membrane * s) if rule.membrane else H[t - 1]
                h.add_(kept, alpha=neuron.decay)
                if subtracted:
                    h.add_(s, alpha=-subtracted)
            torch.gt(h, theta, out=S[t]) if neuron.strict else torch.ge(h, theta, out=S[t])
        ctx.save_for_backward(H, *((currents,) if rule.input else ()))
        ctx.neuron, ctx.surrogate, ctx.subtracted = neuron, surrogate, subtracted
        ctx.mark_non_differentiable(H)
        return S, H

    @staticmethod
    def backward(ctx: Any, e: torch.Tensor, _: Any) -> tuple[torch.Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        neuron, rule = ctx.neuron, ctx.neuron.reset_rule
        H, *rest = ctx.saved_tensors
        v = H - float(neuron.threshold)
        S = (v > 0).to(H.dtype) if neuron.strict else (v >= 0).to(H.dtype)
        slope, attached = psi(ctx.surrogate, v), not neuron.reset_detached
        delta = slope * e
        for t in reversed(range(len(H) - 1)):
            D = neuron.decay * (1 - rule.membrane * S[t]) if rule.membrane else neuron.decay
            if attached:
                through = neuron.decay * rule.membrane * H[t] + ctx.subtracted
                if rule.input:
                    through = through + rule.input * neuron.input_scale * rest[0][t + 1]
                D = D - slope[t] * through
            delta[t].add_(D * delta[t + 1])
        if rule.input:
            delta[1:].mul_(1 - rule.input * S[:-1])
        return delta.mul_(neuron.input_scale), None, None


@vf.init.reads(Spiking, time_axis=0)
def _neuron(module: Any) -> vf.Neuron:
    return module.neuron
