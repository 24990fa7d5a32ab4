"""The currents of layer 1 at every step.

Every drive reads its random streams from the beginning, so that its numbers do not depend on other networks in a sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

import numpy as np
import torch

from varflow.model.drives import ConstantCurrents, Drive, Given, Inputs, SpikeTrains, White
from varflow.model.network import Network
from varflow.model.weights import WeightLaw
from varflow.simulation.products import weighted_sums
from varflow.simulation.streams import Draws, Streams
from varflow.simulation.weights import weight_grid


def driven(
    networks: Sequence[Network], width: int, streams: Streams, chunk: int, wanted: int, *, dtype: torch.dtype, stop: Event
) -> torch.Tensor:
    """Currents of layer 1, shape (wanted, configurations, steps, width), without bias or delay."""
    steps, law = networks[0].steps, networks[0].weight_law
    currents = torch.empty((wanted, len(networks), steps, width), dtype=torch.float64, device=streams.device)

    def draws(purpose: str = "drive") -> Draws:
        return streams.draws(chunk, purpose, dtype=dtype, stop=stop)

    def rows(table: np.ndarray) -> torch.Tensor:
        """The rows of ``table`` that the networks of the chunk receive, also those beyond ``wanted``."""
        seen = (chunk * streams.repeats + np.arange(streams.repeats)) % len(table)
        return torch.from_numpy(table[seen]).to(streams.device)

    def received(drive: Drive) -> torch.Tensor:
        """Shape (wanted, steps or 1, width)."""
        if isinstance(drive, ConstantCurrents):
            return drive.std * draws().normals(width)[:wanted, None].double()
        if isinstance(drive, White):
            noise = draws()
            return drive.std * torch.stack([noise.normals(width)[:wanted] for _ in range(steps)], 1).double()
        if isinstance(drive, Inputs):
            x = rows(drive.x if drive.steps else drive.x[:, None])[:wanted]
            return _of_numbers(draws(), x, law, drive.input_gain, width, dtype)
        if isinstance(drive, SpikeTrains):
            trains, rates = draws("trains"), rows(drive.rates)
            arrived = torch.stack([trains.trains(rates, drive.kind)[:wanted] for _ in range(steps)], 1)
            return _of_spikes(draws(), arrived, law, drive.input_gain, width, dtype)
        if isinstance(drive, Given):
            return rows(drive.currents)[:wanted]
        raise NotImplementedError(repr(drive))

    for drive in dict.fromkeys(network.drive for network in networks):
        arriving = received(drive)
        for place, network in enumerate(networks):
            if network.drive == drive:
                currents[:, place] = arriving
    return currents


def _of_numbers(
    draws: Draws, x: torch.Tensor, law: WeightLaw, input_gain: float, width: int, dtype: torch.dtype
) -> torch.Tensor:
    """``Σ_j w_ij x_j`` with weights of mean 0, for ``x`` of shape (networks, steps or 1, n_in)."""
    fan_in = x.shape[-1]
    grid, (scale, shift) = weight_grid(law, fan_in, dtype), law.connection(input_gain, fan_in, 0.0)
    sums = x.new_empty((*x.shape[:2], width))
    for networks, neurons, weights, present in draws.weights(grid, width, fan_in):
        if networks.start >= len(x):
            break
        for t, frame in enumerate(x[networks].unbind(1)):
            # Not a matrix product, whose rounding would depend on the number of networks.
            received = (weights[: len(frame)].double() * frame[:, None, :]).sum(-1) * (scale * grid.unit)
            if shift:
                connected = frame[:, None, :] if present is None else present[: len(frame)] * frame[:, None, :]
                received = received + shift * connected.sum(-1)
            sums[networks, t, neurons] = received
    return sums


def _of_spikes(
    draws: Draws, spikes: torch.Tensor, law: WeightLaw, input_gain: float, width: int, dtype: torch.dtype
) -> torch.Tensor:
    """``Σ_j w_ij S_j`` for spikes or spike counts of shape (networks, steps, n_in), as exact sums."""
    fan_in = spikes.shape[-1]
    grid, (scale, shift) = weight_grid(law, fan_in, dtype), law.connection(input_gain, fan_in, 0.0)
    sums, present = weighted_sums(draws, grid, spikes[:, None], width, bool(shift))
    currents = sums[:, 0].double() * (scale * grid.unit)
    if shift:
        currents += shift * (spikes.sum(-1, keepdim=True) if present is None else present[:, 0].double())
    return currents
