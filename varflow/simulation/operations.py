r"""Each operation on real numbers: the table that the walk over a graph looks into.

The functions receive the operation, the signals that reach it, the walk and the node, and return the signal that it sends.
Weights are drawn in ``weighted``, neurons are stepped in ``neurons``; all else is arithmetic (``flows``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from varflow._checks import DomainError
from varflow.model.drives import Currents, Given, Inputs, Spikes, White
from varflow.model.extensions import map_of
from varflow.model.graph import Node
from varflow.model.layers import BatchNorm, Concat, Conv, LayerNorm, Linear, Measured, Pool, Product, RMSNorm, Spike, Sum
from varflow.model.signals import Layer, Signal
from varflow.model.sources import Source
from varflow.simulation.flows import Flow, added, joined, normalised, pooled, product, scaled
from varflow.simulation.neurons import Cells, respond
from varflow.simulation.recurrent import recurrence
from varflow.simulation.walk import Walk
from varflow.simulation.weighted import received

__all__ = ["SIMULATE", "simulate"]


def driven(operation: Source, flows: tuple[()], walk: Walk, node: Node) -> Flow:
    """What the drive sends; an input constant in time has one step."""
    steps, probes, shape, drive = walk.steps, walk.probes, operation.sends.shape, walk.network.drive
    draws = walk.stream("trains" if isinstance(drive, Spikes) else "drive")
    if isinstance(drive, Currents):
        return Flow((drive.std * draws.normals(probes, 1, *shape).double()).expand(-1, -1, steps, *shape))
    if isinstance(drive, White):
        noise = [draws.normals(probes, *shape) for _ in range(steps)]
        return Flow(drive.std * torch.stack(noise, 2).double())
    if isinstance(drive, Given):
        return Flow(_seen(drive.currents, walk).expand(-1, -1, -1, *shape))
    if isinstance(drive, Inputs):
        x = drive.x if drive.steps else drive.x[:, None]
        return Flow(_seen(x.reshape(*x.shape[:2], *shape), walk))
    if isinstance(drive, Spikes):
        rates = _seen(drive.rates, walk)
        return Flow(torch.stack([draws.trains(rates, drive.kind) for _ in range(steps)], 2), 1.0)
    own = map_of("simulate", {}, drive)
    if own is None:
        raise DomainError("drive", drive, f"has no simulate: give it by vf.register({type(drive).__name__}, simulate=…)")
    return own(drive, flows, walk, node)


def measured(operation: Measured, flows: tuple[Flow, ...], walk: Walk, node: Node) -> Flow:
    """Numbers as they were measured, of the inputs in turn; what a Fallback receives."""
    return flows[0] if flows else Flow(_seen(operation.x.swapaxes(0, 1), walk))


def _seen(table: np.ndarray, walk: Walk) -> Tensor:
    """Rows of a table, shape (networks, probes, …): network ``r`` sees one, or all of them in a batch."""
    networks, probes = walk.streams.repeats, walk.probes
    first = walk.chunk * networks + np.arange(networks)[:, None] if probes == 1 else np.zeros((networks, 1), int)
    return torch.from_numpy(table[(first + np.arange(probes)) % len(table)]).to(walk.streams.device)


def weighted(operation: Linear | Conv, flows: tuple[Flow], walk: Walk, node: Node) -> Flow:
    """``W x + b``, at every step also of an input that is constant in time."""
    (flow,) = flows
    shape = operation.after(Signal("spikes", flow.shape), width=node.width).shape
    currents = received(walk.draws, operation, flow, shape, walk.conditional).values
    return Flow(currents.expand(-1, -1, walk.steps, *shape))


def fired(operation: Spike, flows: tuple[Flow], walk: Walk, node: Node) -> Flow:
    """Spikes as they arrive at the next layer; the layer is measured before their delay."""
    (flow,) = flows
    networks, probes, steps = flow.values.shape[:3]
    neurons, delay = math.prod(flow.shape), operation.neuron.delay
    cells = Cells.of([operation.neuron], flow.values.device).drawn(lambda: _fractions(flow.shape, walk))
    back = None
    if operation.recurrent:
        back = recurrence(walk.draws, operation, neurons, probes * steps, walk.conditional)
    currents = torch.empty((networks, probes, steps, neurons), dtype=torch.float64, device=flow.values.device)
    currents.view(flow.values.shape).copy_(flow.values)
    membranes, spikes = respond(currents, cells, walk.dtype, recurrence=back)
    walk.measure(membranes, spikes)
    if delay:
        spikes = torch.cat([torch.zeros_like(spikes[:, :, :delay]), spikes[:, :, :-delay]], 2)
    return Flow(spikes.view(flow.values.shape), 1.0)


def _fractions(shape: tuple[int, ...], walk: Walk) -> Tensor:
    """Of neurons that differ; on a map, one for all positions of a channel."""
    return walk.neurons.fractions(shape[0]).repeat_interleave(math.prod(shape[1:]), -1)


def summed(operation: Sum, flows: tuple[Flow, ...], walk: Walk, node: Node) -> Flow:
    """``Σ_i f_i x_i + c``."""
    total = reduce(added, map(scaled, flows, operation.factors))
    if not operation.constant:
        return total
    one = torch.ones((), dtype=torch.float64, device=total.values.device)
    return added(total, scaled(Flow(one, 1.0), operation.constant))


def multiplied(operation: Product, flows: tuple[Flow, ...], walk: Walk, node: Node) -> Flow:
    """``Π_i x_i``."""
    return reduce(product, flows)


def concatenated(operation: Concat, flows: tuple[Flow, ...], walk: Walk, node: Node) -> Flow:
    """All ``x_i`` side by side."""
    return joined(flows)


def standardised(operation: BatchNorm | LayerNorm, flows: tuple[Flow], walk: Walk, node: Node) -> Flow:
    """``γ (u - mean)/std + β``."""
    return normalised(flows[0], operation)


def scaled_to_rms(operation: RMSNorm, flows: tuple[Flow], walk: Walk, node: Node) -> Flow:
    """``γ u/√(mean u² + ε)``, over the neurons of each input and step."""
    x = flows[0].values
    rms = (x.square().mean(tuple(range(3, x.ndim)), keepdim=True) + operation.eps).sqrt()
    return Flow(torch.where(rms > 0, operation.gamma / rms, 0.0) * x)


def windowed(operation: Pool, flows: tuple[Flow], walk: Walk, node: Node) -> Flow:
    """Averages or maxima over windows."""
    return pooled(flows[0], operation)


SIMULATE: dict[type[Layer], Callable[..., Flow]] = {  # by kind of operation
    Source: driven,
    Measured: measured,
    Linear: weighted,
    Conv: weighted,
    Spike: fired,
    Sum: summed,
    Product: multiplied,
    Concat: concatenated,
    BatchNorm: standardised,
    LayerNorm: standardised,
    RMSNorm: scaled_to_rms,
    Pool: windowed,
}


def simulate(operation: Layer, flows: tuple[Flow, ...], walk: Walk, node: Node) -> Flow:
    """The signal that an operation sends."""
    return map_of("simulate", SIMULATE, operation)(operation, flows, walk, node)  # pyright: ignore[reportOptionalCall]
