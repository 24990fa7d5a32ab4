"""Networks of leaky neurons in plain torch, many at once: spikes forwards, a surrogate derivative backwards by autograd.

Nothing here comes from the theory or the simulator of varflow: only descriptions of neurons do.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

import varflow as vf
from validation.training.spiking import psi

__all__ = ["Networks", "Step"]


class Step(torch.autograd.Function):
    """A step forwards, ``ψ`` backwards."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, psi: Any) -> Tensor:
        ctx.save_for_backward(psi(v))
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.saved_tensors[0], None


class Networks:
    """``number`` networks of equal layers, with their own normal weights; signals are (networks, steps, inputs, neurons)."""

    def __init__(self, network: vf.Network, number: int, seed: int, surrogate: Any = None):
        self.neuron, self.gain, self.steps = network.neuron, float(network.gains[-1]), network.steps
        self.number, self.width, self.depth = number, int(network.widths[0]), network.depth
        self.psi = None if surrogate is None else partial(psi, surrogate)
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.number, *shape, generator=self.generator)

    def driven(self, correlation: Tensor) -> Tensor:
        """Currents N(0, 1) of layer 1, the same at all steps; ``correlation`` of the inputs."""
        mixed = torch.linalg.cholesky(correlation) @ self.normal(len(correlation), self.width)
        return mixed[:, None].expand(-1, self.steps, -1, -1).clone()

    def fired(self, currents: Tensor) -> Tensor:
        """Spikes of a layer, by the update of its membrane."""
        neuron, rule, out = self.neuron, self.neuron.reset_rule, []
        leak, theta = neuron.decay, neuron.threshold
        subtracted = (1 if rule.delayed else leak) * rule.threshold * theta
        h = s = torch.zeros_like(currents[:, 0])
        for current in currents.unbind(1):
            r = s.detach() if neuron.reset_detached else s
            h = leak * (1 - rule.membrane * r) * h - subtracted * r + neuron.input_scale * current
            s = (h > theta).to(h.dtype) if self.psi is None else Step.apply(h - theta, self.psi)
            out.append(s)
        return torch.stack(out, dim=1)

    def sent(self, spikes: Tensor) -> Tensor:
        """Currents of the next layer, by weights drawn anew."""
        weights = self.normal(self.width, self.width) * (self.gain / math.sqrt(self.width))
        return (spikes.flatten(1, 2) @ weights.mT).unflatten(1, spikes.shape[1:3])

    @torch.inference_mode()
    def second_moments(self, correlation: Tensor) -> Tensor:
        """``(1/nT) Σ S_a·S_b`` of two inputs in every layer, shape (networks, depth)."""
        spikes, found = self.fired(self.driven(correlation)), []
        for _ in range(self.depth - 1):
            found.append((spikes[:, :, 0] * spikes[:, :, 1]).mean((1, 2)))
            spikes = self.fired(self.sent(spikes))
        found.append((spikes[:, :, 0] * spikes[:, :, 1]).mean((1, 2)))
        return torch.stack(found, dim=1)

    def gradient_energies(self, inputs: int = 1, shared: bool = True) -> Tensor:
        """``‖∂L/∂I_{l,t}‖²``, mean over independent inputs, shape (networks, depth, steps).

        The loss is ``Σ_t v·S_t`` with ``E‖v‖² = 1``, the same ``v`` at all steps if ``shared``.
        """
        currents = [self.driven(torch.eye(inputs)).requires_grad_()]
        for _ in range(self.depth - 1):
            currents.append(self.sent(self.fired(currents[-1])))
            currents[-1].retain_grad()
        v = self.normal(1 if shared else self.steps, inputs, self.width) / math.sqrt(self.width)
        (v * self.fired(currents[-1])).sum().backward()
        return torch.stack([x.grad.square().sum(-1).mean(-1) for x in currents if x.grad is not None], dim=1)
