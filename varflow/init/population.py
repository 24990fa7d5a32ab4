r"""A layer of neurons driven by Gaussian currents, as populations: what a random layer makes of the layer below it.

The state of a layer in time is ``M(t, t') = E[S_t S_t']``. Given the spikes below, currents of a dense layer with normal
weights are independent over its neurons, of covariance ``g² M + σ_b²``: drawing them so is exact at finite width, one
population for one network, and no weight matrix is needed. With few large populations it is infinite width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from varflow._checks import require
from varflow.init.membrane import Membrane
from varflow.model.neurons import Neuron

__all__ = ["Response", "respond"]

JITTER = 1e-7  # of the largest variance: what makes a covariance of constant currents positive definite


@dataclass(frozen=True, slots=True)
class Response:
    """Of every population (leading axes ``...``, the last one of steps): mean spikes ``rate`` and second moments
    ``coincidences`` of shape (..., steps, steps), ``variance`` and ``mean`` of the membranes at the spike test.
    """

    rate: Any
    coincidences: Any
    variance: Any
    mean: Any


def respond(neuron: Neuron, covariance: Any, mean: Any, size: int, generator: Any) -> Response:
    """Populations of ``size`` neurons whose currents have the given covariance (..., T, T) and mean (..., T)."""
    torch = require("torch", "torch")
    *leading, steps, _ = covariance.shape
    scale = covariance.diagonal(dim1=-2, dim2=-1).amax(-1)[..., None, None].clamp(min=1e-30)
    eye = torch.eye(steps, dtype=covariance.dtype, device=covariance.device)
    factor = torch.linalg.cholesky_ex(covariance / scale + JITTER * eye)[0] * scale.sqrt()
    noise = torch.randn((*leading, steps, size), generator=generator, device=covariance.device)
    currents = factor.float() @ noise + mean.float()[..., None]
    H, S, membrane = currents, torch.empty_like(currents), Membrane(neuron)
    for current, spikes in zip(currents.unbind(-2), S.unbind(-2), strict=True):
        potential, fired = membrane.step(current)
        spikes.copy_(fired)
        current.copy_(potential)  # the currents are not needed any more: their place is taken by the membranes
    coincidences = (S @ S.mT / size).to(covariance.dtype)
    variance, average = torch.var_mean(H, -1, correction=1 if size > 1 else 0)
    return Response(S.mean(-1).to(covariance.dtype), coincidences, variance.to(covariance.dtype), average.to(covariance.dtype))
