r"""Recurrent currents ``W^r S_{t-1}`` of a layer of neurons: real weights, or rows drawn causally given the spikes so far.

The weights do not change in time, so the currents of one neuron over the steps are correlated. Given the spikes
``S_1 … S_{t-1}``, its currents are a sample of ``N(0, σ² S Sᵀ)``, for every neuron independently; row ``t`` of the Cholesky
factor needs only spikes before ``t``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from varflow.model.layers import Spike
from varflow.simulation.products import digits_of
from varflow.simulation.streams import Draws
from varflow.simulation.weighted import factor
from varflow.simulation.weights import weight_grid

Recurrence = Callable[[Tensor], Tensor]


def recurrence(draws: Draws, layer: Spike, neurons: int, frames: int, conditional: bool) -> Recurrence:
    """A function from the spikes of a step, shape (networks, probes, neurons), to the currents of the next, step after step."""
    std, mean = layer.recurrent_gain / math.sqrt(neurons), layer.recurrent_mean_gain / neurons
    sums = Rows(draws) if conditional and frames < neurons else Matrix(draws, neurons)

    def currents(spikes: Tensor) -> Tensor:
        common = mean * spikes.sum(-1, keepdim=True, dtype=torch.float64)
        return common + std * sums(spikes) if std else common.expand(spikes.shape)

    return currents


class Matrix:
    """Real weights, shape (networks, neurons, neurons)."""

    def __init__(self, draws: Draws, neurons: int):
        self.grid = weight_grid("normal", neurons, draws.dtype)
        blocks = [weights.clone() for _, _, weights, _ in draws.weights(self.grid, neurons, neurons)]
        self.weights = torch.cat([block.flatten(0, 1) for block in blocks]).view(-1, neurons, neurons)

    def __call__(self, spikes: Tensor) -> Tensor:
        places, base = digits_of(spikes, self.grid)
        powers = base ** torch.arange(places.shape[1], dtype=torch.float64, device=spikes.device)
        sums = (places @ self.weights.to(places.dtype).mT[:, None]).double()
        return self.grid.unit * (powers[:, None, None] * sums).sum(1)


class Rows:
    """Rows of standard normal weights, known only through the currents drawn so far."""

    def __init__(self, draws: Draws):
        self.draws = draws
        self.spikes, self.normals, self.root = (torch.empty(0) for _ in range(3))

    def __call__(self, spikes: Tensor) -> Tensor:
        new = spikes.double()
        fresh = self.draws.normals(*new.shape[1:]).double()
        covariance = new @ new.mT
        if not len(self.spikes):
            self.spikes, self.normals, self.root = new, fresh, factor(covariance)
            return self.root @ fresh
        # Cholesky factor of the enlarged covariance: [[L, 0], [A, B]], A = C₂₁ L⁻ᵀ, B Bᵀ = C₂₂ - A Aᵀ.
        silent = (self.root.diagonal(dim1=-2, dim2=-1) == 0).double()
        A = torch.linalg.solve_triangular(self.root + torch.diag_embed(silent), (new @ self.spikes.mT).mT, upper=False).mT
        B = factor(covariance - A @ A.mT, covariance)
        currents = A @ self.normals + B @ fresh
        zeros = self.root.new_zeros(len(new), self.root.shape[1], new.shape[1])
        self.root = torch.cat([torch.cat([self.root, zeros], -1), torch.cat([A, B], -1)], -2)
        self.spikes = torch.cat([self.spikes, new], 1)
        self.normals = torch.cat([self.normals, fresh], 1)
        return currents
