"""What drives layer 1: its currents at every step, read from a stream of their own.

Every drive reads the chunk's drive stream from its beginning, so that networks beside it do not change its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

import numpy as np
import torch

from varflow.model.drives import Currents, Inputs
from varflow.model.network import Network
from varflow.model.weights import WeightLaw
from varflow.simulation.streams import Draws, Streams
from varflow.simulation.weights import weight_grid

__all__ = ["driven"]


def driven(
    networks: Sequence[Network], width: int, streams: Streams, chunk: int, wanted: int, *, dtype: torch.dtype, stop: Event
) -> torch.Tensor:
    """Currents of the first layer, shape (wanted, configurations, steps, width); its neurons have no bias and no delay."""
    steps, law, first = networks[0].steps, networks[0].weight_law, chunk * streams.repeats
    currents = torch.empty((wanted, len(networks), steps, width), dtype=torch.float64, device=streams.device)
    for drive in dict.fromkeys(network.drive for network in networks):
        draws = streams.draws(chunk, "drive", dtype=dtype, stop=stop)
        if isinstance(drive, Currents):
            received = drive.std * draws.normals(width)[:wanted, None].double()
        else:
            received = _through_weights(draws, drive, law, width, dtype, first + np.arange(wanted))
        for place, network in enumerate(networks):
            if network.drive == drive:
                currents[:, place] = received
    return currents


def _through_weights(
    draws: Draws, drive: Inputs, law: WeightLaw, width: int, dtype: torch.dtype, networks: np.ndarray
) -> torch.Tensor:
    """``Σ_j w_ij x_j`` for the rows of ``x`` that the networks see, of mean 0; shape (networks, steps or 1, width)."""
    x = torch.from_numpy(drive.x[networks % len(drive.x)]).to(draws.device)
    grid, (scale, shift) = weight_grid(law, drive.fan_in, dtype), law.connection(drive.input_gain, drive.fan_in, 0.0)
    sums = x.new_empty((len(x), 1, width))
    for some, neurons, weights, present in draws.weights(grid, width, drive.fan_in):
        seen = x[some]
        if not len(seen):
            break
        # Not a matrix product: its sums of real numbers would depend on how many networks are wanted.
        received = (weights[: len(seen)].double() * seen[:, None, :]).sum(-1) * (scale * grid.unit)
        if shift:
            connected = seen[:, None, :] if present is None else present[: len(seen)] * seen[:, None, :]
            received = received + shift * connected.sum(-1)
        sums[some, 0, neurons] = received
    return sums
