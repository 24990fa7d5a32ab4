"""The dense engine: networks with real weight matrices, one chunk of them at a time, layer by layer.

Every configuration of a batch sends its spikes through the same matrices, in one product. Tensors have the axes
(networks, configurations, neurons); parameters are columns (configurations, 1). How chunks are shared out to threads, and
what the user is told, is the business of ``run``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from threading import Event
from zlib import crc32

import numpy as np
import torch

from varflow.model.drives import Currents, Inputs, White
from varflow.model.network import Network
from varflow.model.weights import NAMES, WeightLaw
from varflow.simulation.streams import Draws, Streams
from varflow.simulation.weights import WeightGrid, weight_grid

__all__ = ["Batch", "batches", "simulate_chunk"]

# Potentials a batch may hold at once (8 bytes each, and a few copies); larger sweeps draw their weights once per batch.
_POTENTIALS = 2**22


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The parameters of the configurations that are still active, shape (configurations, 1) each."""

    place: torch.Tensor  # of the configuration in its batch, shape (configurations,)
    depth: torch.Tensor
    silence_is_final: torch.Tensor
    scales: torch.Tensor  # of the cores of present connections, shape (depth, configurations, 1)
    shifts: torch.Tensor  # of present connections, likewise
    bias_std: torch.Tensor
    input_scale: torch.Tensor
    threshold: torch.Tensor
    strict: torch.Tensor

    def only(self, active: torch.Tensor) -> Columns:
        kept = {
            field.name: getattr(self, field.name)[active] for field in fields(self) if field.name not in ("scales", "shifts")
        }
        return Columns(scales=self.scales[:, active], shifts=self.shifts[:, active], **kept)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Networks that share their widths and weight law, hence their weights.

    Attributes
    ----------
    places : tuple of int
        Where they stand in the sequence the user gave.
    widths : tuple of int
        Of the deepest of them.
    """

    networks: tuple[Network, ...]
    places: tuple[int, ...]
    widths: tuple[int, ...]
    streams: Streams
    dtype: torch.dtype

    def chunks(self, repeats: int) -> list[tuple[int, int]]:
        """(chunk, networks wanted of it) for so many networks."""
        size = self.streams.repeats
        return [(start // size, min(size, repeats - start)) for start in range(0, repeats, size)]

    def columns(self) -> Columns:
        device, depth = self.streams.device, len(self.widths)

        def column(values: list[float] | list[bool], dtype: torch.dtype = torch.float64) -> torch.Tensor:
            return torch.tensor(values, dtype=dtype, device=device)[:, None]

        connections = np.stack([_connections(network, depth) for network in self.networks], axis=1)
        scales, shifts = torch.tensor(connections, dtype=torch.float64, device=device).permute(2, 0, 1)[..., None]
        return Columns(
            place=torch.arange(len(self.networks), device=device),
            depth=column([network.depth for network in self.networks]),
            silence_is_final=column([network.silence_is_final for network in self.networks], torch.bool),
            scales=scales,
            shifts=shifts,
            bias_std=column([network.bias_std for network in self.networks]),
            input_scale=column([network.neuron.input_scale for network in self.networks]),
            threshold=column([network.neuron.threshold for network in self.networks]),
            strict=column([network.neuron.strict for network in self.networks], torch.bool),
        )


def _connections(network: Network, depth: int) -> np.ndarray:
    """Scale and shift of the connections into each layer, shape (depth, 2); nothing for layer 1 and beyond the last."""
    found, law = np.zeros((depth, 2)), network.weight_law
    for layer in range(1, network.depth):
        found[layer] = law.connection(float(network.gains[layer]), int(network.widths[layer - 1]), network.mean_gain)
    return found


def batches(networks: Sequence[Network], *, repeats: int, seed: int, device: str, dtype: str) -> list[Batch]:
    """Sort networks into batches that share weights; networks of one equal width do so whatever their depths."""
    families: dict[tuple[WeightLaw, tuple[int, ...]], list[int]] = {}
    for place, network in enumerate(networks):
        widths = tuple(network.widths.tolist())
        families.setdefault((network.weight_law, widths if len(set(widths)) > 1 else widths[:1]), []).append(place)
    made = []
    for (law, _), places in families.items():
        widths = max((tuple(networks[place].widths.tolist()) for place in places), key=len)
        streams = Streams.of(seed=seed, law=_stream(law), widths=widths, device=torch.device(device))
        most = max(1, _POTENTIALS // (min(repeats, streams.repeats) * max(widths)))
        for start in range(0, len(places), most):
            some = tuple(places[start : start + most])
            members = tuple(networks[place] for place in some)
            deepest = max((tuple(network.widths.tolist()) for network in members), key=len)
            made.append(Batch(members, some, deepest, streams, getattr(torch, dtype)))
    return made


def _stream(law: WeightLaw) -> int:
    """A number that keeps the streams of different laws apart."""
    return NAMES.index(law.label) if law.label in NAMES else crc32(law.label.encode()) + len(NAMES)


@torch.inference_mode()
def simulate_chunk(batch: Batch, chunk: int, wanted: int, stop: Event) -> tuple[np.ndarray, np.ndarray]:
    """Sample variance and firing rate of every layer, shape (configurations, wanted, depth) each."""
    columns, draws = batch.columns(), batch.streams.draws(chunk, "weights", dtype=batch.dtype, stop=stop)
    variance = torch.zeros((len(batch.widths), wanted, len(batch.networks)), dtype=torch.float64, device=batch.streams.device)
    firing_rate = torch.zeros_like(variance)
    variance[np.equal(batch.widths, 1)] = math.nan  # also where nothing is alive: one neuron has no variance
    potential = _driven(batch, chunk, wanted, stop).mul_(columns.input_scale)
    for layer, width in enumerate(batch.widths):
        spikes = _fire(potential, columns).to(batch.dtype)
        counts = spikes.sum(-1).double()
        firing_rate[layer].index_copy_(1, columns.place, counts / width)
        if width > 1:
            variance[layer].index_copy_(1, columns.place, _sample_variance(potential))
        if layer + 1 == len(batch.widths):
            break
        active = _active(counts, columns, layer)
        if not active.all():
            spikes, counts, columns = spikes[:, active], counts[:, active], columns.only(active)
        if not active.any():
            break
        potential = _received(draws, batch, columns, layer + 1, spikes, counts).mul_(columns.input_scale)
    return _by_configuration(variance), _by_configuration(firing_rate)


def _fire(potential: torch.Tensor, columns: Columns) -> torch.Tensor:
    above = potential > columns.threshold
    if columns.strict.all():
        return above
    return above | ((potential == columns.threshold) & ~columns.strict)


def _sample_variance(potential: torch.Tensor) -> torch.Tensor:
    """With ddof = 1; overwrites the potentials, since fresh memory costs more than the arithmetic."""
    deviation = potential.sub_(potential.mean(-1, keepdim=True))
    return deviation.square_().sum(-1) / (potential.shape[-1] - 1)


def _active(counts: torch.Tensor, columns: Columns, layer: int) -> torch.Tensor:
    """Which configurations have a next layer, and anything to tell it."""
    dead = columns.silence_is_final[:, 0] & ~(counts > 0).any(0)
    return ~dead & (columns.depth[:, 0] > layer + 1)


def _received(
    draws: Draws, batch: Batch, columns: Columns, layer: int, spikes: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    """``Σ_j w_ij x_j + b_i``, the weights of present connections being ``scale · core + shift``."""
    fan_in, law = batch.widths[layer - 1], batch.networks[0].weight_law
    grid, shifts = weight_grid(law, fan_in, batch.dtype), columns.shifts[layer]
    sums, present = _weighted_sums(draws, grid, spikes, batch.widths[layer], bool(shifts.any()))
    current = sums.double()
    current *= columns.scales[layer] * grid.unit
    bias = draws.normals(batch.widths[layer])  # always, so that a stream does not depend on who reads it
    if shifts.any():
        current += shifts * (counts[:, :, None] if present is None else present.double())
    if columns.bias_std.any():
        current += columns.bias_std * bias[: len(current), None, :].double()
    return current


def _weighted_sums(
    draws: Draws, grid: WeightGrid, spikes: torch.Tensor, width: int, count: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """``Σ_j w_ij x_j``, exact, in units of the grid; and if wanted how many active inputs each neuron has (None: all)."""
    spikes = spikes.to(grid.accumulate)
    sums = spikes.new_empty((*spikes.shape[:2], width))
    numbers = torch.empty_like(sums) if count and not grid.described.always_present else None
    for networks, neurons, weights, present in draws.weights(grid, width, spikes.shape[-1]):
        inputs = spikes[networks]
        sums[networks, :, neurons] = inputs @ weights[: len(inputs)].to(grid.accumulate).mT
        if numbers is not None and present is not None:
            numbers[networks, :, neurons] = inputs @ present[: len(inputs)].to(grid.accumulate).mT
    return sums, numbers


def _driven(batch: Batch, chunk: int, wanted: int, stop: Event) -> torch.Tensor:
    """Currents of the first layer. Every drive reads the chunk's drive stream from its beginning."""
    currents = torch.empty((wanted, len(batch.networks), batch.widths[0]), dtype=torch.float64, device=batch.streams.device)
    for drive in dict.fromkeys(network.drive for network in batch.networks):
        draws = batch.streams.draws(chunk, "drive", dtype=batch.dtype, stop=stop)
        if isinstance(drive, (Currents, White)):
            received = drive.std * draws.normals(batch.widths[0])[:wanted].double()
        elif isinstance(drive, Inputs):
            received = _input_currents(draws, drive, batch, chunk * batch.streams.repeats, wanted)
        else:
            raise NotImplementedError(repr(drive))
        for place, network in enumerate(batch.networks):
            if network.drive == drive:
                currents[:, place] = received
    return currents


def _input_currents(draws: Draws, drive: Inputs, batch: Batch, first: int, wanted: int) -> torch.Tensor:
    """``Σ_j w_ij x_j`` for the rows of ``x`` that networks ``first …`` see, mean 0 and variance ``input_gain²/n_in``."""
    rows = (first + np.arange(wanted)) % len(drive.x)
    x = torch.from_numpy(drive.frames(1)[rows, 0]).to(batch.streams.device)
    law = batch.networks[0].weight_law
    grid, (scale, shift) = weight_grid(law, drive.fan_in, batch.dtype), law.connection(drive.input_gain, drive.fan_in, 0.0)
    sums = x.new_empty((wanted, batch.widths[0]))
    for networks, neurons, weights, present in draws.weights(grid, batch.widths[0], drive.fan_in):
        seen = x[networks]
        if not len(seen):
            break
        # Not a matrix product: its sums of real numbers would depend on how many networks are wanted.
        received = (weights[: len(seen)].double() * seen[:, None, :]).sum(-1) * (scale * grid.unit)
        if shift:
            connected = seen[:, None, :] if present is None else present[: len(seen)] * seen[:, None, :]
            received = received + shift * connected.sum(-1)
        sums[networks, neurons] = received
    return sums


def _by_configuration(layers: torch.Tensor) -> np.ndarray:
    return layers.permute(2, 1, 0).cpu().numpy()
