r"""A layer of neurons driven by Gaussian currents, as populations: what a random layer makes of the layer below it.

The state of a layer in time is ``M(t, t') = E[S_t S_t']``. Given the spikes below, currents of a dense layer with normal
weights are independent over its neurons, of covariance ``g² M + σ_b²``: drawing them so is exact at finite width, one
population for one network, and no weight matrix is needed. With few large populations it is infinite width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from varflow._checks import require
from varflow.model.neurons import Neuron
from varflow.torch_models.membrane import Membrane

__all__ = ["Response", "factor", "respond", "stepped"]

JITTER = 1e-7  # of the largest variance: what makes a covariance of constant currents positive definite


@dataclass(frozen=True, slots=True)
class Response:
    """Of every population (leading axes ``...``, the last one of steps): mean spikes ``rate`` and second moments
    ``coincidences`` of shape (..., steps, steps), ``variance`` and ``mean`` of the membranes at the spike test. ``across``, of
    shape (populations, sites, sites), has the second moments between sites, mean over the steps, where that was asked for.
    """

    rate: Any
    coincidences: Any
    variance: Any
    mean: Any
    across: Any = None


def respond(neuron: Neuron, covariance: Any, mean: Any, size: int, generator: Any, *, between: Any = None) -> Response:
    """Populations of ``size`` neurons whose currents have the given covariance (..., T, T) and mean (..., T).

    The leading axes are populations and sites. Sites are independent, or have currents with the covariance ``between`` them
    (populations, sites, sites), the same at all steps up to its scale; then ``across`` says how the spikes go together.
    """
    torch = require("torch", "torch")
    *leading, steps, _ = covariance.shape
    noise = _normal(torch, (*leading, steps, size), generator, covariance.device)
    if between is not None:
        across_sites = factor(torch, _correlation(between)).float()
        noise = (across_sites @ noise.flatten(1, -3).flatten(2)).view_as(noise)
    currents = (factor(torch, covariance).float() @ noise).add_(mean.float()[..., None])
    H, S = stepped(torch, neuron, currents, out=noise)  # in its place: new memory costs as much as the numbers in it
    coincidences = (S @ S.mT / size).to(covariance.dtype)
    norm, average = (neuron.input_scale * values.double() for values in (torch.linalg.vector_norm(H, dim=-1), H.mean(-1)))
    variance = (norm**2 - size * average**2).clamp(min=0) / max(size - 1, 1)
    rate = S.mean(-1).to(covariance.dtype)
    if between is None:
        return Response(rate, coincidences, variance, average)
    sites = S.flatten(1, -3).flatten(2)
    return Response(rate, coincidences, variance, average, (sites @ sites.mT / sites.shape[-1]).to(covariance.dtype))


def _normal(torch: Any, shape: tuple[int, ...], generator: Any, device: Any) -> Any:
    """Normal numbers, of the second half of the populations those of the first with the sign turned: each population has its
    law, for half the draws.
    """
    if shape[0] % 2:
        return torch.randn(shape, generator=generator, device=device)
    numbers = torch.empty(shape, device=device)
    half, mirrored = numbers.chunk(2)
    torch.neg(half.normal_(generator=generator), out=mirrored)
    return numbers


def stepped(torch: Any, neuron: Neuron, currents: Any, *, out: Any = None) -> tuple[Any, Any]:
    """Membranes over the input scale, in the place of the currents (..., T, size), and spikes."""
    S, membrane = torch.empty_like(currents) if out is None else out, Membrane(neuron)
    for current, spikes in zip(currents.unbind(-2), S.unbind(-2), strict=True):
        membrane.step(current, out=spikes)
    return currents, S


def factor(torch: Any, covariance: Any) -> Any:
    """Lower Cholesky factors, of singular matrices too."""
    scale = covariance.diagonal(dim1=-2, dim2=-1).amax(-1)[..., None, None].clamp(min=1e-30)
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    return torch.linalg.cholesky_ex(covariance / scale + JITTER * eye)[0] * scale.sqrt()


def _correlation(covariance: Any) -> Any:
    """Correlations; 1 with itself and 0 with all others for a site that is silent."""
    std = covariance.diagonal(dim1=-2, dim2=-1).clamp(min=1e-30).sqrt()
    found = covariance / (std[..., None] * std[..., None, :])
    found.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    return found
