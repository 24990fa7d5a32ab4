"""Networks of ``vf.layers`` in plain torch, with a surrogate under autograd: the gradients that the theory must predict."""

import math
from dataclasses import replace
from functools import partial

import torch
from torch.nn import functional as F

import varflow as vf
from validation.torch_networks import Step

L = vf.layers


def atan(v):
    """snnTorch's default."""
    return 1 / (1 + (math.pi * v) ** 2)


def neurons(layer, currents, psi, detached, recurrent=None):
    """Spikes (batch, steps, …) of these currents; ``recurrent``: weights among the neurons."""
    neuron, spikes = layer.neuron, []
    rule, beta, theta = neuron.reset_rule, neuron.decay, neuron.threshold
    i = h = s = torch.zeros_like(currents[:, 0])
    for I in currents.unbind(1):
        i = neuron.synaptic_decay * i + I + (0 if recurrent is None else (recurrent @ s[..., None])[..., 0])
        r = s.detach() if detached else s
        kept = beta * (1 - rule.membrane * r) * h - (1 if rule.delayed else beta) * rule.threshold * theta * r
        if rule.lowest is not None:
            kept = torch.clamp(kept, min=beta * rule.lowest * theta)
        h = kept + (1 - rule.input * r) * neuron.input_scale * i
        s = Step.apply(h - theta, psi)
        spikes.append(s)
    silent = [torch.zeros_like(s)] * neuron.delay
    return torch.stack([*silent, *spikes][: currents.shape[1]], dim=1)


class Run:
    """Drawn weights, and the currents into every layer of neurons, of which gradients are taken: of one network, or of several
    with one input each.
    """

    def __init__(self, psi=atan, detached=None, seed=0, networks=()):
        self.psi, self.detached, self.networks = psi, detached, networks
        self.generator = torch.Generator().manual_seed(seed)
        self.currents, self.weights = [], []

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.generator)

    def through(self, layers, x):
        for layer in layers:
            x = self.after(layer, x)
        return x

    def weight(self, layer, *shape):
        W = (layer.gain / math.sqrt(math.prod(shape[1:])) * self.normal(*self.networks, *shape)).requires_grad_()
        self.weights.append(W)
        return W if layer.rows == "free" else W - W.mean(tuple(range(1 - len(shape), 0)), keepdim=True)

    def after(self, layer, x):
        if isinstance(layer, L.Spike):
            x = (
                x.requires_grad_().clone() if x.is_leaf else x.clone()
            )  # gradients through these neurons, not through a shortcut
            x.retain_grad()
            self.currents.append(x)
            n = x.shape[-1]
            R = self.normal(*self.networks, n, n) * (layer.recurrent_gain / math.sqrt(n)) if layer.recurrent else None
            return neurons(layer, x, self.psi, layer.neuron.reset_detached if self.detached is None else self.detached, R)
        if isinstance(layer, L.Linear):
            x = x.flatten(2)
            return x @ self.weight(layer, layer.width, x.shape[-1]).mT
        if isinstance(layer, L.Conv):
            windows = layer.windows
            W = self.weight(layer, layer.channels, x.shape[2], *windows.size)
            convolved = partial(F.conv2d, stride=windows.stride, padding=windows.padding, dilation=windows.dilation)
            if not self.networks:
                return self.per_map(x, lambda y: convolved(y, W))
            side_by_side = convolved(x.swapaxes(0, 1).flatten(1, 2), W.flatten(0, 1), groups=len(x))
            return side_by_side.unflatten(1, W.shape[:2]).swapaxes(0, 1)
        if isinstance(layer, L.Pool):
            pool = {"average": F.avg_pool2d, "max": F.max_pool2d}[layer.kind]
            return self.per_map(x, lambda y: pool(y, *layer.windows(y.shape[-2:])[:3]))
        if isinstance(layer, L.Upsample):
            copies = self.per_map(x, lambda y: F.interpolate(y, scale_factor=layer.factor))
            first = F.pad(torch.ones(1, 1), (0, layer.factor - 1, 0, layer.factor - 1)).repeat(*x.shape[-2:])
            if not layer.zeros:
                return copies
            return (copies * first)[..., : copies.shape[-2] + 1 - layer.factor, : copies.shape[-1] + 1 - layer.factor]
        if isinstance(layer, L.Residual):
            y = self.through(layer.branch, x)
            return {"add": layer.keep * x + y, "and": x * y, "iand": x * (1 - y)}[layer.merge]
        if isinstance(layer, L.ScaleSteps):
            factors, constants = (torch.tensor(each).view(-1, *[1] * (x.ndim - 2)) for each in (layer.factors, layer.constants))
            return factors * x + constants
        if isinstance(layer, L.Filter):
            late = F.pad(layer.scale * x, (0, 0) * (x.ndim - 2) + (layer.delay, 0))[:, : x.shape[1]].split(1, dim=1)
            late = list(late)
            for decay in layer.decays:
                for t in range(1, len(late)):
                    late[t] = late[t] + decay * late[t - 1]
            return torch.cat(late, dim=1)
        if isinstance(layer, L.Scale):
            return layer.factor * x
        if isinstance(layer, L.LayerNorm):
            axes = tuple(range(2, x.ndim))
            return layer.gamma * (x - x.mean(axes, keepdim=True)) / x.var(axes, correction=0, keepdim=True).sqrt() + layer.beta
        assert isinstance(layer, L.BatchNorm)
        if layer.statistics is not None:
            mean, variance = layer.statistics
            return layer.gamma * (x - mean) / math.sqrt(variance + layer.eps) + layer.beta
        assert not self.networks
        axes = (0, 1, *range(3, x.ndim))
        if layer.over == "past steps":
            parts = [replace(layer, over="all steps") for _ in range(x.shape[1])]
            return torch.cat([self.after(part, x[:, : t + 1])[:, t:] for t, part in enumerate(parts)], dim=1)
        axes = axes[:1] + axes[2:] if layer.over == "each step" else axes
        return layer.gamma * (x - x.mean(axes, keepdim=True)) / x.var(axes, correction=0, keepdim=True).sqrt() + layer.beta

    @staticmethod
    def per_map(x, function):
        y = function(x.flatten(0, 1))
        return y.reshape(*x.shape[:2], *y.shape[1:])


def gradients(layers, x, *, psi=atan, detached=None, readout="shared", seed=0):
    """``‖δ_{l,t}‖²`` (layers of neurons, steps), mean over inputs, and ``‖∂L/∂W‖²`` of every layer with weights.

    ``x``: currents or numbers (batch, steps, …). Readout weights of squared norm 1 on average, independent for each input.
    """
    energy, weights = _squares(layers, x, Run(psi, detached, seed), readout)
    return energy.mean(1), torch.stack([square.sum() / len(x) for square in weights])


def gradients_of_each(layers, x, *, psi=atan, detached=None, readout="shared", seed=0):
    """The same of as many networks as inputs, which get one each: (networks, layers of neurons, steps), (networks, layers)."""
    energy, weights = _squares(layers, x, Run(psi, detached, seed, (len(x),)), readout)
    return energy.swapaxes(0, 1), torch.stack([square.flatten(1).sum(1) for square in weights], dim=1)


def _squares(layers, x, run, readout):
    """``δ²`` summed over each layer of neurons (layers, inputs, steps), and ``(∂L/∂W)²``."""
    flat = run.through(layers, x).flatten(2)
    v = run.normal(len(x), flat.shape[1] if readout == "independent" else 1, flat.shape[2]) / math.sqrt(flat.shape[2])
    (v * flat).sum().backward()
    return torch.stack([I.grad.flatten(2).square().sum(2) for I in run.currents]), [W.grad.square() for W in run.weights]


def tangent_kernel(layers, x, *, psi=atan, seed=0):
    """``⟨∂L_a/∂W, ∂L_b/∂W⟩`` of every layer with weights and every two inputs, with one readout for all inputs and steps."""
    run = Run(psi, seed=seed)
    flat = run.through(layers, x).flatten(2)
    losses = (run.normal(flat.shape[2]) / math.sqrt(flat.shape[2]) * flat).sum((1, 2))
    each = [torch.autograd.grad(loss, run.weights, retain_graph=True) for loss in losses]
    return torch.stack(
        [
            torch.stack([g.flatten() for g in layer]) @ torch.stack([g.flatten() for g in layer]).T
            for layer in zip(*each, strict=True)
        ]
    )
