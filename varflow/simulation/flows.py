"""Signals between layers as numbers, and the layers that need nothing random: sums, products, pools and normalisations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from varflow.model.layers import BatchNorm, LayerNorm, Pool

__all__ = ["Flow", "added", "joined", "normalised", "pooled", "product", "scaled"]

_LARGEST_RATIO = 2**20  # of two units: whole numbers this much larger stay far below 2^53


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Currents or spikes of every network, probe (an input) and step.

    Attributes
    ----------
    values : Tensor, shape (networks, probes, steps, *shape)
        In float32 only zeros and ones.
    unit : float, optional
        The signal is ``unit × values`` with whole numbers ``values``, whose weighted sums are exact. None: any real numbers.
    """

    values: Tensor
    unit: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape[3:])

    @property
    def real(self) -> Tensor:
        values = self.values.double()
        return values if self.unit in (None, 1.0) else values * self.unit


def scaled(flow: Flow, factor: float) -> Flow:
    """``factor × flow``; whole numbers stay whole."""
    if factor == 1:
        return flow
    if flow.unit is None or not flow.unit * abs(factor):
        return Flow(flow.values * (factor if flow.unit is None else 0.0), flow.unit)
    return Flow(flow.values if factor > 0 else -flow.values.double(), flow.unit * abs(factor))


def added(x: Flow, y: Flow) -> Flow:
    """``x + y``, in whole numbers if one unit is a multiple of the other."""
    if x.unit and y.unit:
        unit = min(x.unit, y.unit)
        n, m = (round(other.unit / unit) for other in (x, y) if other.unit)
        if max(n, m) <= _LARGEST_RATIO and math.isclose(n * unit, x.unit) and math.isclose(m * unit, y.unit):
            return Flow(n * x.values.double() + m * y.values.double(), unit)
    return Flow(x.real + y.real)


def product(x: Flow, y: Flow) -> Flow:
    """``x y``; whole numbers stay whole."""
    if x.unit is None or y.unit is None:
        return Flow(x.real * y.real)
    return Flow(x.values * y.values, x.unit * y.unit)


def joined(flows: Sequence[Flow]) -> Flow:
    """Neurons (or channels of maps) of several signals side by side, in whole numbers if they have one unit."""
    steps = max(flow.values.shape[2] for flow in flows)  # an input that is constant in time has one
    units = {flow.unit for flow in flows}
    parts = [flow.values.double() if len(units) == 1 else flow.real for flow in flows]
    parts = [part.expand(-1, -1, steps, *part.shape[3:]) for part in parts]
    return Flow(torch.cat(parts, 3), units.pop() if len(units) == 1 else None)


def pooled(flow: Flow, pool: Pool) -> Flow:
    """The average or maximum over windows, zeros in the padding; sums of whole numbers stay whole."""
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


def normalised(flow: Flow, layer: BatchNorm | LayerNorm) -> Flow:
    """Each neuron (or channel) over probes, steps and positions; or each probe and step over neurons."""
    currents = flow.values
    if isinstance(layer, BatchNorm) and layer.statistics is not None:
        mean, variance = (torch.tensor(value, dtype=currents.dtype, device=currents.device) for value in layer.statistics)
    else:
        axes = (1, 2, *range(4, currents.ndim)) if isinstance(layer, BatchNorm) else tuple(range(3, currents.ndim))
        variance, mean = torch.var_mean(currents, axes, correction=0, keepdim=True)
    std = (variance + layer.eps).sqrt()
    factor = torch.where(std > 0, layer.gamma / std, 0.0)
    return Flow(torch.addcmul(layer.beta - factor * mean, factor, currents))
