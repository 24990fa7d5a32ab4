"""Neurons driven by sampled Gaussian currents."""

from __future__ import annotations

from typing import Any

import torch

from varflow.model.neurons import Neuron
from varflow.simulation import neurons as simulation
from varflow.simulation.neurons import Cells

__all__ = ["factor", "stepped"]

JITTER = 1e-7  # added to the diagonal, relative to the largest variance, so that singular covariances can be factored


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
