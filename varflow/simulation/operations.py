"""Each operation on real numbers: the maps that the walk over a graph looks up.

The functions receive the operation, the signals that reach it, the walk and the node, and return the signal that it sends.
Weights are drawn in ``weighted`` and neurons are stepped in ``neurons``; all else is arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from varflow._checks import DomainError
from varflow.model.attention import Attention, Chunk
from varflow.model.drives import ConstantCurrents, Given, Inputs, SpikeTrains, White
from varflow.model.filters import Filter
from varflow.model.graph import MAPS, Node, from_outside, wrong_return
from varflow.model.inner_weights import InnerWeights
from varflow.model.layers import ALL_STEPS, PAST_STEPS, BatchNorm, Conv, LayerNorm, Linear, Pool, RMSNorm, ScaleSteps, Spike
from varflow.model.merges import Concat, Product, Sum
from varflow.model.signals import Measured, Signal, Source, pair
from varflow.model.upsampling import Upsample
from varflow.simulation.neurons import Cells, respond
from varflow.simulation.walk import ChunkWalk, Flow, added, scaled
from varflow.simulation.weighted import by_given, received, recurrence


def driven(drive: Any, flows: tuple[()], walk: ChunkWalk, node: Node) -> Flow:
    """The flow of the drive; an input constant in time has one step."""
    steps, probes, shape = walk.steps, walk.probes, node.operation.after().shape
    draws = walk.stream("trains" if isinstance(drive, SpikeTrains) else "drive")
    if isinstance(drive, ConstantCurrents):
        return Flow((drive.std * draws.normals(probes, 1, *shape).double()).expand(-1, -1, steps, *shape))
    if isinstance(drive, White):
        noise = [draws.normals(probes, *shape) for _ in range(steps)]
        return Flow(drive.std * torch.stack(noise, 2).double())
    if isinstance(drive, Given):
        return Flow(_seen(drive.currents, walk).expand(-1, -1, -1, *shape))
    if isinstance(drive, Inputs):
        x = drive.x if drive.steps else drive.x[:, None]
        return Flow(_seen(x.reshape(*x.shape[:2], *shape), walk))
    rates = _seen(drive.rates, walk)
    return Flow(torch.stack([draws.trains(rates, drive.kind) for _ in range(steps)], 2), 1.0)


def measured(operation: Measured, flows: tuple[Flow, ...], walk: ChunkWalk, node: Node) -> Flow:
    """Numbers as they were measured, of the inputs in turn; what a Fallback receives."""
    return flows[0] if flows else Flow(_seen(operation.x.swapaxes(0, 1), walk))


def _seen(table: np.ndarray, walk: ChunkWalk) -> Tensor:
    """Rows of a table, shape (networks, probes, …): network ``r`` sees one, or all of them in a batch."""
    networks, probes = walk.streams.repeats, walk.probes
    first = walk.chunk * networks + np.arange(networks)[:, None] if probes == 1 else np.zeros((networks, 1), int)
    return torch.from_numpy(table[(first + np.arange(probes)) % len(table)]).to(walk.streams.device)


def weighted(operation: Linear | Conv, flows: tuple[Flow], walk: ChunkWalk, node: Node) -> Flow:
    """``W x + b``, at every step also of an input that is constant in time."""
    (flow,) = flows
    shape = operation.after(Signal("spikes", flow.shape), width=node.width).shape
    if node.given:
        return Flow(by_given(operation, flow, node.given).expand(-1, -1, walk.steps, *shape))
    shared = bool(node.weights)
    currents = received(walk.draws_of(node), operation, flow, shape, walk.conditional and not shared, shared).values
    return Flow(currents.expand(-1, -1, walk.steps, *shape))


def fired(operation: Spike, flows: tuple[Flow], walk: ChunkWalk, node: Node) -> Flow:
    """Spikes as they arrive at the next layer; the layer is measured before their delay."""
    (flow,) = flows
    networks, probes, steps = flow.values.shape[:3]
    neurons, delay = math.prod(flow.shape), operation.neuron.delay
    cells = Cells.of([operation.neuron], flow.values.device).drawn(lambda: _fractions(flow.shape, walk, node))
    back = InnerWeights(torch.from_numpy(node.given["weight"]).to(flow.values.device)) if "weight" in node.given else None
    if operation.recurrent and back is None:
        back = recurrence(walk.draws, operation, neurons, probes * steps, walk.conditional)
    currents = torch.empty((networks, probes, steps, neurons), dtype=torch.float64, device=flow.values.device)
    currents.view(flow.values.shape).copy_(flow.values)
    membranes, spikes = respond(currents, cells, walk.dtype, recurrence=back)
    walk.measure(membranes, spikes)
    if delay:
        spikes = torch.cat([torch.zeros_like(spikes[:, :, :delay]), spikes[:, :, :-delay]], 2)
    return Flow(spikes.view(flow.values.shape), 1.0)


def _fractions(shape: tuple[int, ...], walk: ChunkWalk, node: Node) -> Tensor:
    """Fractions of neurons that differ, as given; else random ones, on a map one for all positions of a channel."""
    if "fractions" in node.given:
        return torch.from_numpy(node.given["fractions"])[:, None].expand(-1, walk.streams.repeats, -1)
    return walk.neurons.fractions(shape[0]).repeat_interleave(math.prod(shape[1:]), -1)


def summed(operation: Sum, flows: Sequence[Flow], walk: ChunkWalk, node: Node) -> Flow:
    """``Σ_i f_i x_i + c``."""
    if node.given:  # c is part of the biases before
        return flows[0]
    total = reduce(added, map(scaled, flows, operation.factors))
    if not operation.constant:
        return total
    one = torch.ones((), dtype=torch.float64, device=total.values.device)
    return added(total, scaled(Flow(one, 1.0), operation.constant))


def multiplied(operation: Product, flows: Sequence[Flow], *_: Any) -> Flow:
    """``Π_i x_i``; whole numbers stay whole. The number of channels of a mask may be smaller: one for each group."""
    most = max(flow.values.shape[3:4].numel() for flow in flows)
    copies = [most // flow.values.shape[3:4].numel() for flow in flows]
    pairs = zip(flows, copies, strict=True)
    x, *others = (replace(flow, values=flow.values.repeat_interleave(n, 3)) if n > 1 else flow for flow, n in pairs)
    for y in others:
        real = x.unit is None or y.unit is None
        x = Flow(x.real * y.real) if real else Flow(x.values * y.values, x.unit * y.unit)  # pyright: ignore[reportOperatorIssue]
    return x


def concatenated(operation: Concat, flows: Sequence[Flow], *_: Any) -> Flow:
    """Neurons (or channels of maps) of all ``x_i`` side by side, in whole numbers if they have one unit."""
    steps = max(flow.values.shape[2] for flow in flows)  # an input that is constant in time has one
    unit, *others = {flow.unit for flow in flows}
    parts = [flow.real if others else flow.values.double() for flow in flows]
    return Flow(torch.cat([part.expand(-1, -1, steps, *part.shape[3:]) for part in parts], 3), None if others else unit)


SUMS = {"dot": "...ai,...aj,...cj->...ci", "token": "...ai->...i", "channel": "...ci->...c"}  # tokens i, j; channels a, c


def attended(operation: Attention, flows: Sequence[Flow], walk: ChunkWalk, node: Node) -> Flow:
    """Sums of products of ``q``, ``k`` and ``v`` over tokens and channels of each head; or of one of them."""
    x = [flow.real.flatten(4).unflatten(3, (operation.heads, -1)) for flow in flows]
    sends = operation.after(*(Signal("spikes", flow.shape) for flow in flows)).shape
    return Flow(operation.scale * torch.einsum(SUMS[operation.kind], *x).reshape(*x[0].shape[:3], *sends))


def part_of(operation: Chunk, flows: Sequence[Flow], *_: Any) -> Flow:
    """One of the parts of a layer."""
    return replace(flows[0], values=flows[0].values.chunk(operation.chunks, 3)[operation.number])


def pooled(pool: Pool, flows: Sequence[Flow], *_: Any) -> Flow:
    """The average or maximum over windows, zeros in the padding; sums of whole numbers stay whole."""
    (flow,) = flows
    maps, windows = flow.values.flatten(0, 2), pool.windows(flow.values.shape[-2:])
    if pool.kind == "max":  # of a padded map: torch's own padding is -∞
        found = functional.max_pool2d(functional.pad(maps, windows.edges), windows.size, windows.stride)
    else:
        found = functional.avg_pool2d(maps.double(), windows.size, windows.stride, windows.padding, divisor_override=1)
    found = found.view(*flow.values.shape[:3], *found.shape[1:])
    if pool.kind == "max":
        return Flow(found, flow.unit)
    size = math.prod(windows.size)
    return Flow(found / size) if flow.unit is None else Flow(found, flow.unit / size)


def upsampled(layer: Upsample, flows: Sequence[Flow], *_: Any) -> Flow:
    """A map with every entry repeated, or with zeros between them."""
    x, (down, along) = flows[0].values, pair(layer.factor)
    if not layer.zeros:
        return replace(flows[0], values=x.repeat_interleave(down, -2).repeat_interleave(along, -1))
    spaced = x.new_zeros(*x.shape[:-2], *layer.with_zeros(*x.shape[-2:]))
    spaced[..., ::down, ::along] = x
    return replace(flows[0], values=spaced)


def normalised(layer: BatchNorm | LayerNorm, flows: Sequence[Flow], *_: Any) -> Flow:
    """Each neuron (or channel) over probes, steps and positions; or each probe and step over neurons."""
    currents = flows[0].values
    if isinstance(layer, BatchNorm) and layer.statistics is not None:
        mean, variance, *spread = (
            torch.tensor(value, dtype=currents.dtype, device=currents.device) for value in layer.statistics
        )
        if layer.follows_batch:
            of_batch, over_neurons = _over_batch(layer, currents), 3
            about = of_batch - of_batch.mean(over_neurons, keepdim=True)
            mean = mean + about * (spread[0] / about.std(over_neurons, correction=0, keepdim=True)).clamp(max=1)
    elif isinstance(layer, BatchNorm) and layer.over == PAST_STEPS:
        mean, square = (_over_batch(layer, power) for power in (currents, currents.square()))
        variance = (square - mean.square()).clamp(min=0)
    else:
        over_steps = (2,) if getattr(layer, "over", None) == ALL_STEPS else ()
        axes = (1, *over_steps, *range(4, currents.ndim)) if isinstance(layer, BatchNorm) else tuple(range(3, currents.ndim))
        variance, mean = torch.var_mean(currents, axes, correction=0, keepdim=True)
    std = (variance + layer.eps).sqrt()
    factor = torch.where(std > 0, layer.gamma / std, 0.0)
    return Flow(torch.addcmul(layer.beta - factor * mean, factor, currents))


def _over_batch(layer: BatchNorm, values: Tensor) -> Tensor:
    """Means over a batch and positions, and over all steps, each, or those up to each."""
    each = values.mean((1, *range(4, values.ndim)), keepdim=True)
    if layer.over != PAST_STEPS:
        return each.mean(2, keepdim=True) if layer.over == ALL_STEPS else each
    return each.cumsum(2) / torch.arange(1, 1 + each.shape[2]).to(each).view(-1, *[1] * (each.ndim - 3))


def scaled_by_steps(layer: ScaleSteps, flows: Sequence[Flow], *_: Any) -> Flow:
    """``f_t I_t + c_t``."""
    currents = flows[0].values
    factors, constants = (
        currents.new_tensor(each).view(-1, *[1] * (currents.ndim - 3)) for each in (layer.factors, layer.constants or (0.0,))
    )
    return Flow(torch.addcmul(constants, factors, currents))


def filtered(layer: Filter, flows: Sequence[Flow], walk: ChunkWalk, node: Node) -> Flow:
    """``F x`` over the steps."""
    x = flows[0].real.expand(-1, -1, walk.steps, *flows[0].shape)
    return Flow(torch.einsum("ts,nps...->npt...", x.new_tensor(layer.response(walk.steps)), x))


def scaled_to_rms(layer: RMSNorm, flows: Sequence[Flow], *_: Any) -> Flow:
    """``γ u/√(mean u² + ε)``, over the neurons of each probe and step."""
    x = flows[0].values
    rms = (x.square().mean(tuple(range(3, x.ndim)), keepdim=True) + layer.eps).sqrt()
    return Flow(torch.where(rms > 0, layer.gamma / rms, 0.0) * x)


MAPS["simulate"] |= {
    **dict.fromkeys((ConstantCurrents, White, Given, Inputs, SpikeTrains), driven),
    Measured: measured,
    Linear: weighted,
    Conv: weighted,
    Spike: fired,
    Sum: summed,
    Product: multiplied,
    Concat: concatenated,
    Attention: attended,
    Chunk: part_of,
    BatchNorm: normalised,
    LayerNorm: normalised,
    RMSNorm: scaled_to_rms,
    ScaleSteps: scaled_by_steps,
    Filter: filtered,
    Pool: pooled,
    Upsample: upsampled,
}


def simulate(node: Node, flows: tuple[Flow, ...], walk: ChunkWalk, sends: Signal) -> Flow:
    """The signal that an operation sends, or for the source the drive."""
    sender = replace(node, operation=walk.network.drive) if isinstance(node.operation, Source) else node
    state = torch.get_rng_state()
    flow = sender.map("simulate")(sender.operation, flows, walk, node)
    if from_outside(type(sender.operation)):
        if not torch.equal(state, torch.get_rng_state()):
            rule = "draws from torch's global generator, so that results depend on batches and threads: pass walk.generator"
            raise DomainError(node.name, node.operation, rule)
        _check(flow, flows, walk, sender, sends)
    return flow


def _check(flow: Any, flows: tuple[Flow, ...], walk: ChunkWalk, node: Node, sends: Signal) -> None:
    """DomainError if a layer or drive from outside does not send what the graph says, or what is no number."""
    shape = (walk.streams.repeats, walk.probes, walk.steps, *sends.shape)
    if not isinstance(flow, Flow) or flow.values.shape not in (shape, (*shape[:2], 1, *shape[3:])):
        values = flow.values if isinstance(flow, Flow) else flow
        wanted = f"vf.simulation.Flow(values) with values of shape {shape}{', as its after says' if flows else ''}"
        raise wrong_return("simulate", node, values, wanted)
    if flow.values.isnan().any() and all(each.values.isfinite().all() for each in flows):
        rule = "has a simulate that returns NaN for finite numbers, as 0/0 in a silent network: add a small eps to what divides"
        raise DomainError(node.name, node.operation, rule)
