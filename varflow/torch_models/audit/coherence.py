r"""Coherence of gradients: the mean cosine between the gradients of two inputs by a layer's weights, of one readout for all.

From the cosine ``k`` between the gradients of two halves of a batch, ``m`` inputs each, whose readout ``Σ_t v·S_t`` of the last
spikes has the same normal ``v`` for all inputs,

.. math:: k = \frac{m c}{1 + (m - 1) c}, \qquad c = \frac{k}{m - (m - 1) k}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from varflow._checks import DomainError
from varflow._restoring import kept, rewinding
from varflow.results.learning import Learning
from varflow.torch_models.audit.gradients import check_gradients
from varflow.torch_models.audit.step import Passes, halved
from varflow.torch_models.tracing.measurements import LayerMeasurement
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
