r"""Coherence of gradients: the mean cosine between the gradients of two inputs by a layer's weights, of one readout for all.

From the cosine ``k`` between the gradients of two halves of a batch, ``m`` inputs each, whose readout ``Σ_t v·S_t`` of the last
spikes has the same normal ``v`` for all inputs,

.. math:: k = \frac{m c}{1 + (m - 1) c}, \qquad c = \frac{k}{m - (m - 1) k}

What would help a network that forgets is the theory of a chain of its neurons, with one thing changed, and normalisation for
convolutions, which is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from math import nan, sqrt
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from varflow._checks import ConvergenceError, DomainError
from varflow._restoring import kept, rewinding
from varflow.kernels.trainability import trainability
from varflow.model.layers import Linear, Residual, Spike
from varflow.model.network import Network
from varflow.model.over_neurons import mean_of
from varflow.results.learning import Learning
from varflow.torch_models.audit.gradients import check_gradients
from varflow.torch_models.audit.step import Passes, halved
from varflow.torch_models.tracing.measurements import LayerMeasurement
from varflow.torch_models.tracing.modules import surrogate_of_module
from varflow.torch_models.tracing.origins import tensors_in
from varflow.torch_models.tracing.traced import Trace, TracedLayer, steps_first

MOST = 64  # inputs
CENTRED = 0.1  # mean square of row sums over that of independent weights


def learning(
    model: Any, inputs: Any, steps: int | None, traced: Trace, seen: Mapping[str, LayerMeasurement]
) -> Learning | None:
    """Will the model learn? None where no gradients are to be had, and for a single input. The model is unchanged."""
    number = min(len(next(iter(seen.values())).alive), MOST)
    try:
        check_gradients(model, "inputs", inputs)
        halves = halved(inputs, traced, seen, steps, number)
        return kept(model, lambda: _learning(model, inputs, halves, steps, traced, number // 2))
    except DomainError:
        return None


def _learning(model: Any, inputs: Any, halves: Any, steps: int | None, traced: Trace, m: int) -> Learning:
    readout = _Readout(traced)
    passes = Passes(model, steps, traced, readout)
    weights = passes.unfrozen()
    _freeze(model, lambda: passes.sent(inputs, None))
    rewind = rewinding(model, but=model.parameters())
    for half in halves:
        passes.gradients.append(passes.differentiated(half, None, weights, readout.see))
        rewind()
    k = np.array([passes.cosine(layer) for layer in traced.layers])
    if not np.isfinite(k).any():
        raise DomainError("model", type(model).__name__, "has no finite gradients")
    names = tuple(layer.neuron_name for layer in traced.layers)
    return Learning(names, k / (m - (m - 1) * k), traced.depth, _structure(model, traced))


def _structure(model: Any, traced: Trace) -> str:
    """Key of ``varflow.results.learning.LIMITS``: what besides depth shapes coherence."""
    if any(len(traced.senders_to(layer)) > 1 for layer in traced.layers):
        return "shortcuts"
    if any(isinstance(each, _BatchNorm) for each in model.modules()):
        return "batch normalisation"
    hidden = [
        weight.weight.detach().float().flatten(1) for layer in traced.layers for weight in layer.weights if not layer.driven
    ]
    centred = [float(W.sum(1).square().mean() / W.square().sum(1).mean()) < CENTRED for W in hidden]
    return "centred weights" if centred and all(centred) else "plain"


class _Readout:
    """``Σ_t v·S_t`` of the last spikes, summed over inputs; a loss of :class:`Passes`."""

    def __init__(self, traced: Trace):
        self.last, self.value, self.v = traced.last, 0.0, dict[TracedLayer, Any]()
        self.generator = torch.Generator().manual_seed(0)

    def see(self, layer: TracedLayer, number: int, current: Any, run: Callable[[], Any]) -> Any:
        out = run()
        if layer in self.last:
            S = steps_first(layer.spiking, tensors_in(out)[0])
            if layer not in self.v:
                self.v[layer] = torch.randn(S.shape[2:], generator=self.generator).to(S)
            self.value = self.value + (S * self.v[layer]).sum()
        return out

    def __call__(self, output: Any) -> Any:
        value, self.value = self.value, 0.0
        return value


def _freeze(model: Any, run: Callable[[], Any]) -> None:
    """Let batch normalisations use the statistics of a whole batch, so that no input acts on another."""
    norms = (each for each in model.modules() if isinstance(each, _BatchNorm) and each.training)
    known = [each for each in norms if each.running_mean is not None]
    for each in known:
        for name in ("running_mean", "running_var", "num_batches_tracked"):  # new ones: a graph of the user may hold the old
            setattr(each, name, torch.zeros_like(getattr(each, name)))
        each.momentum = None  # the mean over calls
    if known:
        with torch.no_grad():
            run()
    for each in known:
        each.eval()


POINTS, SCRAMBLES = 2**9, 2
WIDTH = 100
SHORTCUT = sqrt(0.5)  # gain of a branch, that of the hidden layers being 1, which keeps rates near 0.2 over 50 layers


def with_remedies(learning: Learning, traced: Trace, gains: list[float]) -> Learning:
    """The verdict on a network of layers with these gains, with what would help it, best first."""
    if learning.structure != "plain":
        return learning
    if any(weight.weight.dim() > 2 for layer in traced.layers for weight in layer.weights):
        return replace(learning, remedies={"batch normalisation between its convolutions and neurons": nan})
    hidden = next((layer for layer in traced.layers if not layer.driven and layer.neuron is not None), None)
    surrogate = None if hidden is None else surrogate_of_module(hidden.module)
    if learning.shallow or hidden is None or surrogate is None:
        return learning
    spike, gain = Spike(hidden.neuron), float(np.nanmedian(gains))  # NaN for layers without weights of their own
    branch = SHORTCUT * mean_of(hidden.neuron.threshold)
    plain = [spike, *[Linear(gain=gain), spike] * (learning.depth - 1)]
    shortcuts = [*[Residual(spike, Linear(gain=branch))] * (learning.depth - 1), spike]
    tried = {"a shortcut of currents around every layer": (shortcuts, traced.steps, surrogate)}
    if learning.verdict != "learns":
        wide = surrogate.widened(2 * surrogate.width)
        tried[f"a surrogate twice as wide, {wide}"] = plain, traced.steps, wide
        tried[f"{2 * traced.steps} steps"] = plain, 2 * traced.steps, surrogate
    found = {}
    for remedy, (layers, steps, psi) in tried.items():
        with suppress(ConvergenceError, DomainError):
            network = Network(width=WIDTH, steps=steps, layers=layers)
            found[remedy] = trainability(network, psi, points=POINTS, scrambles=SCRAMBLES).reach
    better = {remedy: layers for remedy, layers in found.items() if layers > learning.reach}
    return replace(learning, remedies=dict(sorted(better.items(), key=lambda each: -each[1])))
