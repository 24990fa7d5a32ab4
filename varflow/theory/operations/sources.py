"""Activations that were measured where something unknown lies before: their moments over channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from varflow.model.coverage import enter
from varflow.model.layers import Measured
from varflow.theory.operations.visit import BY_OVERLAP, Visit, WayBack
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.index import Grid
from varflow.theory.signals.moments import Spikes, held
from varflow.theory.signals.overlap import Activations, Overlap, told_apart
from varflow.theory.signals.pair_moments import ALL_PAIRS, Offset, PairMoments, known_pairs


def forward(layer: Measured, received: tuple[Any, ...], visit: Visit) -> Any:
    """The moments over channels of activations that were measured; of a Fallback, what it receives if that is known, with the
    overlaps by which a batch is.
    """
    walk = visit.walk
    followed = walk.batching is not BY_OVERLAP or getattr(received[0] if received else None, "overlap", None) is not None
    if received and ((received[0] is not None and followed) or layer.x is None):  # a Fallback of which there is no need
        return received[0]
    steps = walk.steps or len(layer.x)
    height, width = layer.x.shape[3:] if layer.x.ndim == 5 else (1, 1)
    grid = Grid(1, height, width, steps)
    return measured(layer.x, replace(grid, per_position=walk.effort.per_position(grid)), overlaps=walk.batching is BY_OVERLAP)


def measured(x: np.ndarray, grid: Grid, *, overlaps: bool) -> Spikes:
    """Moments over the channels of activations (steps, inputs, channels, …), of one step if they are the same at all. Where the
    axes after channels are no positions of the grid, they are rows, which count as inputs.
    """
    of = x.reshape(*x.shape[:3], -1).transpose(1, 3, 0, 2)  # (inputs, positions, steps, channels)
    spikes = of_activations(of, replace(grid, steps=len(x)))
    if not overlaps:
        return spikes
    spikes = replace(spikes, overlap=_overlap(of, grid))
    return spikes if told_apart(spikes.grid) == told_apart(grid) else held(spikes, grid.steps)


def of_activations(x: np.ndarray, grid: Grid) -> Spikes:
    """Moments over the channels of activations (inputs, positions, steps, channels)."""
    each = x.reshape(-1, grid.size, x.shape[-1])
    pairs = PairMoments(grid.shape, lambda offset: _products(x, offset, grid)) if grid.per_position else None
    return Spikes(each.mean(axis=-1)[None], (each @ each.swapaxes(-1, -2) / x.shape[-1])[None], grid, x.shape[-1], pairs=pairs)


def _products(x: np.ndarray, offset: Offset, grid: Grid) -> np.ndarray:
    inputs, positions, steps, channels = x.shape
    if offset is ALL_PAIRS:
        sums, same_position = x.sum(axis=1), np.einsum("apsc,aptc->ast", x, x)
        return ((sums @ sums.swapaxes(-1, -2) - same_position) / (channels * positions * (positions - 1)))[None]
    here, there = known_pairs(offset, grid.shape)
    M = np.zeros((inputs, positions, steps, steps))
    M[:, here] = x[:, here] @ x[:, there].swapaxes(-1, -2) / channels
    return M.reshape(1, -1, steps, steps)


def _overlap(x: np.ndarray, grid: Grid) -> Overlap:
    """The overlap of different inputs, and the activations themselves at all steps."""
    inputs, positions, _, channels = x.shape
    at_all_steps = np.broadcast_to(x, (inputs, positions, grid.steps, channels)) if x.shape[2] == 1 else x
    of = x  # rows of an input: each has overlaps with its own of other inputs
    if positions == grid.positions:
        of = x.reshape(inputs, 1, -1, channels) if told_apart(grid) else x.mean(axis=1, keepdims=True)
    sums, same_input = of.sum(axis=0), np.einsum("bric,brjc->ij", of, of)
    pairs = max(inputs * (inputs - 1), 1) * of.shape[1] * channels
    return Overlap(((np.einsum("ric,rjc->ij", sums, sums) - same_input) / pairs)[None], Activations(at_all_steps, grid))


def passed_back(layer: Measured, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """The gradients as they are: a Fallback passes on what it receives."""
    return [gradients for _ in visit.received]


enter(Measured, forward=forward, backward=passed_back)
