"""The dense engine: networks with real weight matrices, a chunk of networks at a time, layer by layer.

All configurations of a batch send their spikes of all steps through the same matrices, in one product. Tensors have the axes
(networks, configurations, steps, neurons), parameters the shape (configurations, 1). Neurons are updated in ``neurons``;
``run`` distributes chunks over threads. For the currents of layer 1 every drive reads its random streams from the beginning, so
that its numbers do not depend on other networks in a sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from threading import Event
from typing import Any
from zlib import crc32

import numpy as np
import torch

from varflow._checks import DomainError
from varflow.model.drives import ConstantCurrents, Inputs, SpikeTrains, White
from varflow.model.network import Network
from varflow.model.weights import NAMES, WeightLaw
from varflow.simulation.neurons import Cells, arriving, respond
from varflow.simulation.streams import Draws, Streams, weight_grid, weighted_sums
from varflow.simulation.walk import Measures

_POTENTIALS = 2**22  # per batch: 32 MiB and a few copies; a larger sweep is split and draws its weights again for each batch


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

    def received(drive: Any) -> torch.Tensor:
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
        return rows(drive.currents)[:wanted]  # Given

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
    return weighted_sums(draws, grid, spikes[:, None], width, scale, shift)[:, 0]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Parameters of the configurations that are still active, each of shape (configurations, 1)."""

    place: torch.Tensor  # index within the batch
    depth: torch.Tensor
    silence_is_absorbing: torch.Tensor
    scales: torch.Tensor  # (depth, configurations, 1): a present connection has the weight scale · core + shift
    shifts: torch.Tensor
    bias_std: torch.Tensor
    cells: Cells

    def only(self, active: torch.Tensor) -> Columns:
        tensors = {field.name: getattr(self, field.name)[..., active, :] for field in fields(self)[:-1]}
        return Columns(**tensors, cells=self.cells.only(active))


@dataclass(frozen=True, slots=True, eq=False)
class PlainChains:
    """Networks that are simulated together, ``streams.repeats`` of each at a time.

    Attributes
    ----------
    places : tuple of int
        Their indices in the user's sequence.
    widths : tuple of int
        Of the deepest network.
    """

    networks: tuple[Network, ...]
    places: tuple[int, ...]
    widths: tuple[int, ...]
    streams: Streams
    dtype: torch.dtype

    @property
    def steps(self) -> int:
        return self.networks[0].steps

    @property
    def numbers(self) -> int:
        """Potentials of one network and layer."""
        return self.steps * max(self.widths)


@dataclass(frozen=True, slots=True, eq=False)
class DenseNetworks(PlainChains):
    """Networks that share their widths, weight distribution and number of steps, hence their weights."""

    @property
    def drawn(self) -> int:
        """Weights of one network."""
        return sum(width * fan_in for width, fan_in in pairwise(self.widths)) or self.widths[0]

    @torch.inference_mode()
    def simulate(self, chunk: int, wanted: int, stop: Event, second_moments: bool = True) -> dict[str, np.ndarray]:
        """The measured quantities, each of shape (configurations, wanted, depth[, steps…])."""
        columns, draws = self.columns(), self.streams.draws(chunk, "weights", dtype=self.dtype, stop=stop)
        neurons = self.streams.draws(chunk, "neurons", dtype=self.dtype, stop=stop)
        measures = Measures(self.widths, wanted, len(self.networks), self.steps, self.streams.device, second_moments)
        currents = driven(self.networks, self.widths[0], self.streams, chunk, wanted, dtype=self.dtype, stop=stop)
        for layer in range(len(self.widths)):
            width = self.widths[layer]
            cells = columns.cells.drawn(lambda width=width: neurons.fractions(width)[:, :wanted])
            membranes, spikes = respond(currents, cells, self.dtype)
            counts = spikes.sum(-1, dtype=torch.float64)
            if not counts.isfinite().all():
                _raise_explosion(self, columns, counts)
            measures.record(layer, columns.place[:, 0], membranes, counts, measures.gram(spikes))
            if layer + 1 == len(self.widths):
                break
            active = _active(counts, columns, layer)
            if not active.all():
                spikes, columns = spikes[:, active], columns.only(active)
            if not active.any():
                break
            currents = _received(draws, self, columns, layer + 1, arriving(spikes, columns.cells))
        return measures.by_configuration()

    def columns(self) -> Columns:
        device, depth = self.streams.device, len(self.widths)

        def column(values: list[float] | list[bool], dtype: torch.dtype = torch.float64) -> torch.Tensor:
            return torch.tensor(values, dtype=dtype, device=device)[:, None]

        connections = np.stack([_connections(network, depth) for network in self.networks], axis=1)
        scales, shifts = torch.tensor(connections, dtype=torch.float64, device=device).permute(2, 0, 1)[..., None]
        return Columns(
            place=torch.arange(len(self.networks), device=device)[:, None],
            depth=column([network.depth for network in self.networks]),
            silence_is_absorbing=column([network.silence_is_absorbing for network in self.networks], torch.bool),
            scales=scales,
            shifts=shifts,
            bias_std=column([network.bias_std for network in self.networks]),
            cells=Cells.of([network.neuron for network in self.networks], device),
        )


def _connections(network: Network, depth: int) -> np.ndarray:
    """Scale and shift of the weights into each layer, shape (depth, 2); 0 for layer 1 and beyond the last layer."""
    connections, law = np.zeros((depth, 2)), network.weight_law
    for layer in range(1, network.depth):
        connections[layer] = law.connection(float(network.gains[layer]), int(network.widths[layer - 1]), network.mean_gain)
    return connections


def batches(networks: Sequence[Network], *, repeats: int, seed: int, device: str, dtype: str) -> list[DenseNetworks]:
    """Group networks that share weights: equal weight distribution, steps and widths (of one width, any depth)."""
    families: dict[tuple[WeightLaw, tuple[int, ...], int], list[int]] = {}
    for place, network in enumerate(networks):
        widths = tuple(network.widths.tolist())
        shared = (network.weight_law, widths if len(set(widths)) > 1 else widths[:1], network.steps)
        families.setdefault(shared, []).append(place)
    made = []
    for (law, _, steps), places in families.items():
        widths = max((tuple(networks[place].widths.tolist()) for place in places), key=len)
        streams = Streams.of(seed=seed, law=_stream(law), widths=widths, device=torch.device(device))
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


def _raise_explosion(batch: DenseNetworks, columns: Columns, counts: torch.Tensor) -> None:
    exploded = columns.place[:, 0][~counts.isfinite().all(-1).all(0)][0]
    raise DomainError("gain", batch.networks[exploded].gain, "makes the spike counts grow beyond double precision; lower it")


def _active(counts: torch.Tensor, columns: Columns, layer: int) -> torch.Tensor:
    """True for configurations that have a next layer and are not silent for good."""
    dead = columns.silence_is_absorbing[:, 0] & ~(counts > 0).any(-1).any(0)
    return ~dead & (columns.depth[:, 0] > layer + 1)


def _received(draws: Draws, batch: DenseNetworks, columns: Columns, layer: int, spikes: torch.Tensor) -> torch.Tensor:
    """``Σ_j w_ij S_j + b_i``, with weights and biases constant in time."""
    grid, width = weight_grid(batch.networks[0].weight_law, batch.widths[layer - 1], batch.dtype), batch.widths[layer]
    current = weighted_sums(draws, grid, spikes, width, columns.scales[layer][:, None], columns.shifts[layer][:, None])
    bias = draws.normals(width)  # always drawn, so that later numbers do not depend on bias_std
    if columns.bias_std.any():
        current += (columns.bias_std * bias[: len(current), None, :].double())[:, :, None]
    return current
