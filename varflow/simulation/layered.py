"""Networks made of ``vf.layers``: one walk over their layers, for both engines.

The engines differ only in how layers with random weights are drawn: by real weights, or given the signal below. A chunk of
networks is always simulated whole, so that sums of real numbers do not depend on how many networks were asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Event

import numpy as np
import torch
from torch import Tensor

from varflow._checks import DomainError
from varflow.campaign import Cancelled
from varflow.model.chains import layers_of
from varflow.model.drives import Currents, Given, Inputs, Spikes, White
from varflow.model.layers import BatchNorm, Conv, LayerNorm, Linear, Pool, Residual, Scale, Spike
from varflow.model.network import Network
from varflow.model.signals import Layer, Signal, first_signal, sites
from varflow.simulation.flows import Flow, added, merged, normalised, pooled, scaled
from varflow.simulation.measures import Measures
from varflow.simulation.neurons import Cells, respond
from varflow.simulation.recurrent import recurrence
from varflow.simulation.streams import BLOCK, Streams
from varflow.simulation.weighted import Wiring, received

__all__ = ["Layered", "Walk", "batch_of", "batches"]

_BATCH = 256  # inputs of a random drive that a BatchNorm sees: its mean and variance are then off by O(1/256)
_FEWEST_INPUTS, _NUMBERS = 16, 2**24  # fewer inputs, at least 16, if a signal of 256 had more numbers than this (128 MiB)
# Networks of a chunk: 32; fewer if their potentials exceed 2^19, more below 2^14, where Python's overhead dominates.
_TOGETHER, _MOST, _FEWEST = 32, 2**19, 2**14
_STREAM = {"dense": 2**41, "conditional": 2**42}  # above every stream number of a weight distribution


@dataclass(frozen=True)
class Layered:
    """Simulations of one network made of layers, as :class:`varflow.simulation.dense.Batch` of a plain chain."""

    networks: tuple[Network]
    places: tuple[int, ...]
    streams: Streams
    dtype: torch.dtype
    conditional: bool
    probes: int

    @property
    def steps(self) -> int:
        return self.networks[0].steps

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.networks[0].widths.tolist())

    @cached_property
    def numbers(self) -> int:
        """Numbers of one network held at once: the largest signal, and the shortcuts around it."""
        largest, _, nested = _sizes(self.networks[0], self.conditional, self.probes)
        return self.probes * self.steps * largest * (1 + nested)

    @property
    def drawn(self) -> int:
        """About the numbers that one network draws."""
        return self.numbers * len(self.widths)

    @torch.inference_mode()
    def simulate(self, chunk: int, wanted: int, stop: Event, coincidences: bool = True) -> dict[str, np.ndarray]:
        """The measured quantities, each of shape (1, wanted, depth[, steps…])."""
        walk = Walk(self, chunk, wanted, stop, coincidences)
        walk.from_drive()
        return walk.measures.by_configuration()


def batches(
    networks: Sequence[Network], places: Sequence[int], *, engine: str, seed: int, device: str, dtype: str
) -> list[Layered]:
    """One for each network; ``places`` are their indices in the user's sequence."""
    options = {"engine": engine, "seed": seed, "device": device, "dtype": dtype}
    return [batch_of(network, place, **options) for network, place in zip(networks, places, strict=True)]


def batch_of(
    network: Network, place: int = 0, *, probes: int = 0, engine: str, seed: int, device: str = "cpu", dtype: str = "float32"
) -> Layered:
    """Of one network; ``probes``: inputs sent through it, by default as many as its layers need."""
    where, conditional = torch.device(device), engine == "conditional"
    probes = probes or _probes(network)
    largest, weights, _ = _sizes(network, conditional, probes)
    one = probes * network.steps * largest
    together = max(1, min(max(_TOGETHER, _FEWEST // one), _MOST // one, BLOCK[where.type] // max(1, weights)))
    together = 2 ** (together.bit_length() - 1)
    root = np.random.SeedSequence([seed, _STREAM[engine]]).generate_state(1, np.uint64)[0]
    streams = Streams(together, BLOCK[where.type], int(root), where)
    return Layered((network,), (place,), streams, getattr(torch, dtype), conditional, probes)


def _layers(network: Network) -> tuple[tuple[Layer, ...], Signal, int | None]:
    """The layers, the signal that the first of them receives (numbers of a drive pass a Linear first), and the width."""
    drive, layers, width = network.drive, layers_of(network), network.width if isinstance(network.width, int) else None
    signal = first_signal(drive, layers, int(network.widths[0]) if network.layers is None else width, network.steps)
    if isinstance(drive, (Inputs, Spikes)) and signal.kind == "currents":
        into = Linear(signal.size, gain=drive.input_gain, weights=network.weights, mean_gain=0.0)
        return (into, *layers), Signal("input", (drive.fan_in,)), width
    return layers, signal, width


def _sizes(network: Network, conditional: bool, probes: int) -> tuple[int, int, int]:
    """Numbers of the largest signal at one step of a probe, weights of the largest layer, and the deepest nesting."""
    largest, weights, deepest = 1, 0, 0
    frames = probes * network.steps
    for layer, before, after, nested in sites(*_layers(network)):
        largest, deepest = max(largest, before.size, after.size), max(deepest, nested)
        if isinstance(layer, (Linear, Conv)):
            wiring = Wiring.of(layer, before.shape, after.shape)
            drawn = conditional and wiring.conditional(frames)
            weights = weights if drawn else max(weights, wiring.groups * wiring.rows * wiring.fan_in)
        if isinstance(layer, Spike) and layer.recurrent and not (conditional and frames < after.size):
            weights = max(weights, after.size**2)
    return largest, weights, deepest


def _probes(network: Network) -> int:
    """Inputs sent through each network: one, or for a BatchNorm its batch."""
    drive = network.drive
    places = list(sites(*_layers(network)))
    if not any(layer.over_batch for layer, *_ in places):
        return 1
    if isinstance(drive, (Given, Inputs)):
        return drive.kinds
    largest = max(max(before.size, after.size) for _, before, after, _ in places)
    batch = max(_FEWEST_INPUTS, min(_BATCH, _NUMBERS // (network.steps * largest)))
    return -(-batch // drive.kinds) * drive.kinds  # every row of rates equally often


class Walk:
    """One chunk of networks on its way through the layers; spiking layers are measured as they come."""

    def __init__(self, batch: Layered, chunk: int, wanted: int, stop: Event, coincidences: bool):
        self.batch, self.chunk, self.stop, self.spiking = batch, chunk, stop, 0
        self.draws = batch.streams.draws(chunk, "weights", dtype=batch.dtype, stop=stop)
        self.neurons = batch.streams.draws(chunk, "neurons", dtype=batch.dtype, stop=stop)
        self.measures = Measures(batch.widths, wanted, 1, batch.steps, batch.streams.device, coincidences)
        sending = [layer for layer, _, after, _ in sites(*_layers(batch.networks[0])) if after.kind == "spikes"]
        self.last = next(layer for layer in reversed(sending) if layer.spikes or isinstance(layer, Residual))
        self.leaving: Flow | None = None

    def from_drive(self) -> None:
        """Through the whole network. If it ends in a merge, the spikes that leave it count as those of its last layer."""
        layers, signal, width = _layers(self.batch.networks[0])
        self.through(layers, _driven(self.batch, signal, self.chunk, self.stop), width)
        if self.leaving is not None:
            self.spiking -= 1
            self.measure(None, self.leaving.real.flatten(3))

    def through(self, layers: Sequence[Layer], flow: Flow, width: int | None) -> Flow:
        for layer in layers:
            if self.stop.is_set():
                raise Cancelled
            flow = self.after(layer, flow, width)
        return flow

    def after(self, layer: Layer, flow: Flow, width: int | None) -> Flow:
        if isinstance(layer, Spike):
            return self.spikes(layer, flow)
        if isinstance(layer, (Linear, Conv)):
            shape = layer.after(Signal("spikes", flow.shape), width=width).shape
            currents = received(self.draws, layer, flow, shape, self.batch.conditional).values
            return Flow(currents.expand(-1, -1, self.batch.steps, *shape))  # an input may be constant in time
        if isinstance(layer, Residual):
            after = self.merged(layer, flow, self.through(layer.branch, flow, Signal("spikes", flow.shape).inner_width(width)))
            self.leaving = after if layer is self.last else None
            return after
        if isinstance(layer, (BatchNorm, LayerNorm)):
            return normalised(flow, layer)
        if isinstance(layer, Pool):
            return pooled(flow, layer)
        if isinstance(layer, Scale):
            return scaled(flow, layer.factor)
        raise NotImplementedError(repr(layer))

    def merged(self, layer: Residual, shortcut: Flow, branch: Flow) -> Flow:
        if layer.keep != 1:
            return added(scaled(shortcut, layer.keep), branch)
        flow = merged(layer.merge, shortcut, branch)
        if not flow.values.sum().isfinite():
            raise self.explosion()
        return flow

    def spikes(self, layer: Spike, flow: Flow) -> Flow:
        """Spikes as they arrive at the next layer; the layer is measured before their delay."""
        networks, probes, steps = flow.values.shape[:3]
        neurons = math.prod(flow.shape)
        cells = Cells.of([layer.neuron], flow.values.device).drawn(lambda: self._fractions(flow.shape))
        back = None
        if layer.recurrent:
            back = recurrence(self.draws, layer, neurons, probes * steps, self.batch.conditional)
        currents = torch.empty((networks, probes, steps, neurons), dtype=torch.float64, device=flow.values.device)
        currents.view(flow.values.shape).copy_(flow.values)
        membranes, spikes = respond(currents, cells, self.batch.dtype, recurrence=back)
        self.measure(membranes, spikes)
        if layer.neuron.delay:
            spikes = torch.cat([torch.zeros_like(spikes[:, :, : layer.neuron.delay]), spikes[:, :, : -layer.neuron.delay]], 2)
        return Flow(spikes.view(flow.values.shape), 1.0)

    def _fractions(self, shape: tuple[int, ...]) -> Tensor:
        """Of neurons that differ; on a map, one for all positions of a channel."""
        return self.neurons.fractions(shape[0]).repeat_interleave(math.prod(shape[1:]), -1)

    def measure(self, membranes: Tensor | None, spikes: Tensor) -> None:
        wanted = self.measures.networks
        counts = spikes[:wanted].sum(-1, dtype=torch.float64)
        if not (counts.isfinite().all() and (membranes is None or membranes.sum().isfinite())):
            raise self.explosion()
        potentials = None if membranes is None else membranes[:wanted]
        self.measures.record(self.spiking, None, potentials, counts, self.measures.gram(spikes[:wanted]))
        self.spiking += 1

    def explosion(self) -> DomainError:
        return DomainError(
            "layers", self.batch.networks[0].layers, "make signals grow beyond double precision; lower their gains"
        )


def _driven(batch: Layered, signal: Signal, chunk: int, stop: Event) -> Flow:
    """What the first layer receives; an input constant in time has one step."""
    (network,), streams, probes = batch.networks, batch.streams, batch.probes
    networks, steps, drive = streams.repeats, batch.steps, network.drive
    draws = streams.draws(chunk, "trains" if isinstance(drive, Spikes) else "drive", dtype=batch.dtype, stop=stop)

    def seen(table: np.ndarray) -> Tensor:
        """Rows of a table, shape (networks, probes, …): network ``r`` sees one, or all of them in a batch."""
        first = chunk * networks + np.arange(networks)[:, None] if probes == 1 else np.zeros((networks, 1), int)
        return torch.from_numpy(table[(first + np.arange(probes)) % len(table)]).to(streams.device)

    if isinstance(drive, Currents):
        return Flow((drive.std * draws.normals(probes, 1, *signal.shape).double()).expand(-1, -1, steps, *signal.shape))
    if isinstance(drive, White):
        noise = [draws.normals(probes, *signal.shape) for _ in range(steps)]
        return Flow(drive.std * torch.stack(noise, 2).double())
    if isinstance(drive, Given):
        return Flow(seen(drive.currents).expand(-1, -1, -1, *signal.shape))
    if isinstance(drive, Inputs):
        x = drive.x if drive.steps else drive.x[:, None]
        return Flow(seen(x.reshape(*x.shape[:2], *signal.shape)))
    if isinstance(drive, Spikes):
        rates = seen(drive.rates)
        return Flow(torch.stack([draws.trains(rates, drive.kind) for _ in range(steps)], 2), 1.0)
    raise NotImplementedError(repr(drive))
