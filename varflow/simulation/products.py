"""Weighted sums of spikes with weights on an integer grid: exact, hence independent of order and batching."""

from __future__ import annotations

import torch

from varflow.simulation.streams import Draws
from varflow.simulation.weights import WeightGrid


def weighted_sums(
    draws: Draws, grid: WeightGrid, spikes: torch.Tensor, width: int, count: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """``Σ_j w_ij S_j``, exact, in grid units; and with ``count`` the number of spikes that reach each neuron (None: all)."""
    digits, base = digits_of(spikes, grid)
    rows = digits.flatten(1, -2)
    sums = rows.new_empty((*rows.shape[:2], width))
    numbers = torch.empty_like(sums) if count and not grid.described.always_present else None
    for networks, neurons, weights, present in draws.weights(grid, width, spikes.shape[-1]):
        inputs = rows[networks]
        sums[networks, :, neurons] = inputs @ weights[: len(inputs)].to(rows.dtype).mT
        if numbers is not None and present is not None:
            numbers[networks, :, neurons] = inputs @ present[: len(inputs)].to(rows.dtype).mT

    places = base ** torch.arange(digits.shape[1], dtype=torch.float64, device=spikes.device)

    def added(products: torch.Tensor) -> torch.Tensor:
        parts = products.view(*digits.shape[:-1], width)
        return parts[:, 0] if len(places) == 1 else (places[:, None, None, None] * parts).sum(1)

    return added(sums), None if numbers is None else added(numbers)


def digits_of(spikes: torch.Tensor, grid: WeightGrid) -> tuple[torch.Tensor, float]:
    """Whole numbers as digits along a new axis 1, lowest first, in a base for which sums are exact; 0/1 spikes as they are."""
    if spikes.dtype != torch.float64 or spikes.abs().max() <= 1:
        return spikes.to(grid.accumulate)[:, None], 1.0
    # A grid for sums in float32 needs 24 of the 53 bits of a double and leaves 29 to the counts; one for float64 leaves none.
    base = 2.0**29 if grid.accumulate == torch.float32 else 2.0
    digits = []
    while spikes.any():
        higher = (spikes / base).trunc_()
        digits.append(spikes - base * higher)
        spikes = higher
    return torch.stack(digits, 1), base
