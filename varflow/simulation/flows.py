"""Signals between layers as numbers: whole ones of a unit where they can be, so that their sums are exact."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

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
