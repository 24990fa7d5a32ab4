r"""A layer of neurons driven by Gaussian currents, simulated as populations without weight matrices.

The state of a layer in time is ``M(t, t') = E[S_t S_t']``. Given the spikes below, currents of a dense layer with normal
weights are independent over its neurons with covariance ``g² M + σ_b²``: sampling them is exact at finite width, one population
per network. A few large populations stand for infinite width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from varflow.model.neurons import Neuron
from varflow.simulation import neurons as simulation
from varflow.simulation.neurons import Cells

__all__ = ["Response", "factor", "respond", "stepped"]

JITTER = 1e-7  # added to the diagonal, relative to the largest variance, so that singular covariances can be factored


@dataclass(frozen=True, slots=True)
class Response:
    """For every population (leading axes ``...``, then steps): mean spikes ``rate``, second moments ``coincidences`` of shape
    (..., steps, steps), ``variance`` and ``mean`` of the membranes at the spike test. ``across``, shape (populations, sites,
    sites), has second moments between sites, averaged over steps, if requested.
    """

    rate: Any
    coincidences: Any
    variance: Any
    mean: Any
    across: Any = None


def respond(neuron: Neuron, covariance: Any, mean: Any, size: int, generator: Any, *, between: Any = None) -> Response:
    """Populations of ``size`` neurons whose currents have the given covariance (..., T, T) and mean (..., T).

    The leading axes are populations and sites. Sites are independent, or their currents have the covariance ``between``
    (populations, sites, sites), the same at all steps up to a factor; ``across`` then has the second moments of their spikes.
    """
    *leading, steps, _ = covariance.shape
    noise = _normal((*leading, steps, size), generator, covariance.device)
    if between is not None:
        across_sites = factor(_correlation(between)).float()
        noise = (across_sites @ noise.flatten(1, -3).flatten(2)).view_as(noise)
    currents = (factor(covariance).float() @ noise).add_(mean.float()[..., None])
    H, S = stepped(neuron, currents, out=noise)  # in place: allocation costs as much as the arithmetic
    coincidences = (S @ S.mT / size).to(covariance.dtype)
    norm, average = torch.linalg.vector_norm(H, dim=-1).double(), H.mean(-1).double()
    variance = (norm**2 - size * average**2).clamp(min=0) / max(size - 1, 1)
    rate = S.mean(-1).to(covariance.dtype)
    if between is None:
        return Response(rate, coincidences, variance, average)
    sites = S.flatten(1, -3).flatten(2)
    return Response(rate, coincidences, variance, average, (sites @ sites.mT / sites.shape[-1]).to(covariance.dtype))


def _normal(shape: tuple[int, ...], generator: Any, device: Any) -> Any:
    """Normal numbers; the second half of the populations are minus the first half (antithetic), which halves the draws."""
    if shape[0] % 2:
        return torch.randn(shape, generator=generator, device=device)
    numbers = torch.empty(shape, device=device)
    half, mirrored = numbers.chunk(2)
    torch.neg(half.normal_(generator=generator), out=mirrored)
    return numbers


def stepped(neuron: Neuron, currents: Any, *, out: Any) -> tuple[Any, Any]:
    """Membranes, overwriting the currents (..., T, size), and spikes, written to ``out``."""
    cells, networks = Cells.of([neuron], currents.device, currents.dtype), currents.flatten(0, -3)[:, None]
    H, S = simulation.respond(networks, cells, currents.dtype, out.flatten())
    return H.view_as(currents), S.view_as(currents)


def factor(covariance: Any) -> Any:
    """Lower Cholesky factors, also of singular matrices."""
    scale = covariance.diagonal(dim1=-2, dim2=-1).amax(-1)[..., None, None].clamp(min=1e-30)
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    return torch.linalg.cholesky_ex(covariance / scale + JITTER * eye)[0] * scale.sqrt()


def _correlation(covariance: Any) -> Any:
    """Correlations; a silent site has 1 with itself and 0 with all others."""
    std = covariance.diagonal(dim1=-2, dim2=-1).clamp(min=1e-30).sqrt()
    found = covariance / (std[..., None] * std[..., None, :])
    found.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    return found
