"""The dense engine: networks with real weight matrices, a chunk of networks at a time, layer by layer.

All configurations of a batch send their spikes of all steps through the same matrices, in one product. Tensors have the axes
(networks, configurations, steps, neurons), parameters the shape (configurations, 1). Neurons are updated in ``neurons``;
``run`` distributes chunks over threads. For the currents of layer 1 every drive reads its random streams from the beginning, so
that its numbers do not depend on other networks in a sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import Event
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from varflow._checks import DomainError
from varflow.model.drives import ConstantCurrents, Given, Inputs, White
from varflow.model.network import Network
from varflow.model.weights import NAMES, WeightLaw
from varflow.simulation.neurons import Cells, arriving, respond
from varflow.simulation.streams import BLOCK, Draws, Streams, WeightGrid, once, weight_grid, weighted_sums
from varflow.simulation.walk import Batch, Measures

_POTENTIALS = 2**22  # per batch: 32 MiB and a few copies; a larger sweep is split and draws its weights again for each batch


def driven(batch: Batch, chunk: int, wanted: int, stop: Event) -> Tensor:
    """Currents of layer 1, shape (wanted, configurations, steps, width), without bias or delay."""
    networks, streams, steps, width = batch.networks, batch.streams, batch.steps, batch.widths[0]
    currents = torch.empty((wanted, len(networks), steps, width), dtype=torch.float64, device=streams.device)

    def draws(purpose: str = "drive") -> Draws:
        return streams.draws(chunk, purpose, dtype=batch.dtype, stop=stop)

    def rows(table: np.ndarray) -> Tensor:
        """The rows of ``table`` that the networks of the chunk receive, also those beyond ``wanted``."""
        seen = (chunk * streams.repeats + np.arange(streams.repeats)) % len(table)
        return torch.from_numpy(table[seen]).to(streams.device)

    def received(drive: Any) -> Tensor:
        """Shape (wanted, steps or 1, width)."""
        if isinstance(drive, ConstantCurrents):
            return drive.std * draws().normals(width)[:wanted, None].double()
        if isinstance(drive, White):
            noise = draws()
            return drive.std * torch.stack([noise.normals(width)[:wanted] for _ in range(steps)], 1).double()
        if isinstance(drive, Given):
            return rows(drive.currents)[:wanted]
        law, fan_in = networks[0].weight_law, drive.fan_in
        grid, connection = weight_grid(law, fan_in, batch.dtype), law.connection(drive.input_gain, fan_in, 0.0)
        if isinstance(drive, Inputs):
            x = rows(drive.x if drive.steps else drive.x[:, None])[:wanted]
            return _of_numbers(draws(), x, grid, width, *connection)
        trains, rates = draws("trains"), rows(drive.rates)
        arrived = torch.stack([trains.trains(rates, drive.kind)[:wanted] for _ in range(steps)], 1)
        return weighted_sums(draws(), grid, arrived[:, None], width, *connection)[:, 0]

    for drive in dict.fromkeys(network.drive for network in networks):
        arriving = received(drive)
        for place, network in enumerate(networks):
            if network.drive == drive:
                currents[:, place] = arriving
    return currents


def _of_numbers(draws: Draws, x: Tensor, grid: WeightGrid, width: int, scale: float, shift: float) -> Tensor:
    """``Σ_j w_ij x_j`` for ``x`` of shape (networks, steps or 1, n_in)."""
    sums = x.new_empty((*x.shape[:2], width))
    for networks, neurons, weights, present in draws.weights(grid, width, x.shape[-1]):
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


@dataclass(frozen=True, slots=True, eq=False)
class DenseNetworks(Batch):
    """Networks that share their widths, weight distribution and number of steps, hence their weights."""

    @property
    def drawn(self) -> int:
        """Weights of one network."""
        return sum(width * fan_in for width, fan_in in pairwise(self.widths)) or self.widths[0]

    @torch.inference_mode()
    def simulate(self, chunk: int, wanted: int, stop: Event, second_moments: bool = True) -> dict[str, np.ndarray]:
        """The measured quantities, each of shape (configurations, wanted, depth[, steps…])."""
        networks, device = self.networks, self.streams.device
        draws, neurons = (self.streams.draws(chunk, name, dtype=self.dtype, stop=stop) for name in ("weights", "neurons"))

        def of_each(values: Any) -> Tensor:
            return torch.from_numpy(np.array(values)).to(device)

        depths, absorbing = (of_each([getattr(one, name) for one in networks]) for name in ("depth", "silence_is_absorbing"))
        connections = of_each([_connections(network, len(self.widths)) for network in networks]).movedim(0, 2)[..., None, None]
        bias_std = of_each([network.bias_std for network in networks])[:, None]
        place, cells = torch.arange(len(networks), device=device), Cells.of([network.neuron for network in networks], device)
        measures = Measures(self, wanted, len(networks), second_moments)
        currents = driven(self, chunk, wanted, stop)
        for layer, width in enumerate(self.widths):
            drawn = cells.drawn(lambda width=width: neurons.fractions(width)[:, :wanted])
            membranes, spikes = respond(currents, drawn, self.dtype)
            counts = spikes.sum(-1, dtype=torch.float64)
            if not (finite := counts.isfinite().all(-1).all(0)).all():
                gain = networks[place[~finite][0]].gain
                raise DomainError("gain", gain, "makes the spike counts grow beyond double precision; lower it")
            measures.record(layer, place, membranes, counts, measures.gram(spikes))
            silent = absorbing[place] & ~(counts > 0).any(-1).any(0)
            active = ~silent & (depths[place] > layer + 1)
            if not active.all():
                spikes, place, cells = spikes[:, active], place[active], cells.only(active)
            if layer + 1 == len(self.widths) or not active.any():
                break
            grid = weight_grid(networks[0].weight_law, width, self.dtype)
            arrived, connection = arriving(spikes, cells), connections[:, layer + 1, place]
            currents = _received(draws, grid, arrived, self.widths[layer + 1], connection, bias_std[place])
        return measures.by_configuration()


def _connections(network: Network, depth: int) -> np.ndarray:
    """Scale and shift of the weights into each layer, shape (2, depth); 0 for layer 1 and beyond the last layer."""
    connections, law = np.zeros((2, depth)), network.weight_law
    for layer in range(1, network.depth):
        connections[:, layer] = law.connection(float(network.gains[layer]), int(network.widths[layer - 1]), network.mean_gain)
    return connections


def batches(networks: Sequence[Network], *, repeats: int, seed: int, device: str, dtype: str) -> list[DenseNetworks]:
    """Group networks that share weights: equal weight distribution, steps and widths (of one width, any depth)."""
    families: dict[tuple[WeightLaw, tuple[int, ...], int], list[int]] = {}
    for place, network in enumerate(networks):
        widths = tuple(network.widths.tolist())
        families.setdefault((network.weight_law, once(widths), network.steps), []).append(place)
    made = []
    for (law, _, steps), places in families.items():
        widths = max((tuple(networks[place].widths.tolist()) for place in places), key=len)
        block, weights = BLOCK[torch.device(device).type], max((n * m for n, m in pairwise(widths)), default=widths[0] ** 2)
        streams = Streams.of(max(1, block // weights), block, torch.device(device), seed, _stream(law), *once(widths))
        largest = max(1, _POTENTIALS // (min(repeats, streams.repeats) * max(widths) * steps))
        for start in range(0, len(places), largest):
            rows = tuple(places[start : start + largest])
            members = tuple(networks[place] for place in rows)
            deepest = max((tuple(network.widths.tolist()) for network in members), key=len)
            made.append(DenseNetworks(members, rows, deepest, streams, getattr(torch, dtype)))
    return made


def _stream(law: WeightLaw) -> int:
    """A number that gives every weight distribution its own random stream."""
    return NAMES.index(law.label) if law.label in NAMES else crc32(law.label.encode()) + len(NAMES)


def _received(draws: Draws, grid: WeightGrid, spikes: Tensor, width: int, connection: Tensor, bias_std: Tensor) -> Tensor:
    """``Σ_j w_ij S_j + b_i``, with weights and biases constant in time."""
    current = weighted_sums(draws, grid, spikes, width, *connection)
    bias = draws.normals(width)  # always drawn, so that later numbers do not depend on bias_std
    if bias_std.any():
        current += (bias_std * bias[: len(current), None, :].double())[:, :, None]
    return current
