r"""Currents of layers with random weights, forward and recurrent: with real weights, or drawn given the signals they carry.

Both kinds of forward layer, ``Linear`` and ``Conv``, multiply *columns*: the inputs of one neuron for one probe, step and
position. With weights ``w`` whose rows (neurons, or channels of a map) are independent, the currents of a row over the columns
``X`` are

.. math:: I = a\, w X + b\, 1^T X + \text{bias}

free rows: ``a`` and ``b`` the scale and shift of a connection; centred rows: ``b = -a mean(w)``; standardised rows: also
``a = g/|w - mean(w)|``. Given ``X`` and for normal weights, free rows are independent samples of ``N(m, σ_w² XᵀX)``.

Recurrent weights do not change in time: the currents of one neuron over the steps are correlated. Given the spikes
``S_1 … S_{t-1}``, its currents are a sample of ``N(0, σ² S Sᵀ)``, for every neuron independently; row ``t`` of the Cholesky
factor needs only spikes before ``t``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from varflow.model.layers import Conv, Linear, Spike
from varflow.simulation.streams import Draws, WeightGrid, digits_of, weight_grid
from varflow.simulation.walk import Flow

_COLUMNS = 2**22  # numbers in the columns multiplied at once: the windows of a map hold each number many times
_DEPENDENT = 1e-9  # of the total variance: columns with less of their own are linear combinations of others
Recurrence = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Wiring:
    """Connections from inputs to outputs; the rows of a group share their inputs.

    Attributes
    ----------
    rows : int
        Neurons or channels of one group.
    shape : tuple of int
        Of the currents.
    """

    layer: Linear | Conv
    groups: int
    fan_in: int
    rows: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, layer: Linear | Conv, received: tuple[int, ...], shape: tuple[int, ...]) -> Wiring:
        if isinstance(layer, Linear):
            return cls(layer, 1, math.prod(received), shape[0], shape)
        return cls(layer, layer.groups, layer.fan_in(received[0]), layer.channels // layer.groups, shape)

    @property
    def positions(self) -> int:
        return math.prod(self.shape[1:])

    def conditional(self, frames: int) -> bool:
        """True if currents can be drawn given the signal, and cost less so, for this number of probes × steps."""
        columns = frames * self.positions
        return self.layer.law.normal_given_spikes and (columns == 1 or columns < min(self.fan_in, self.rows))

    def columns(self, values: Tensor) -> Tensor:
        """Columns of ``values`` of shape (networks, frames, *shape): shape (networks × groups, fan_in, frames × positions)."""
        layer = self.layer
        if isinstance(layer, Linear):
            return values.flatten(2).mT
        padded, windows = functional.pad(values, layer.windows.edges), layer.windows
        for axis, size, stride, gap in zip((3, 4), windows.size, windows.stride, windows.dilation, strict=True):
            padded = padded.unfold(axis, gap * (size - 1) + 1, stride)[..., ::gap]
        return padded.permute(0, 2, 5, 6, 1, 3, 4).reshape(len(values) * self.groups, self.fan_in, -1)


def received(draws: Draws, layer: Linear | Conv, flow: Flow, shape: tuple[int, ...], conditional: bool, shared: bool) -> Flow:
    """Currents of this shape; with ``conditional`` drawn without weights, where that is exact and costs less. Weights that are
    ``shared`` are drawn also where nothing arrives, since the biases come after them.
    """
    wiring = Wiring.of(layer, flow.shape, shape)
    networks, probes, steps = flow.values.shape[:3]
    without = conditional and wiring.conditional(probes * steps)
    sums = _drawn(draws, wiring, flow) if without else _weighted(draws, wiring, flow, shared)
    bias = layer.bias_std * draws.normals(shape[0]).double()  # always drawn: later numbers do not depend on bias_std
    if layer.bias_std and layer.biases == "uniform":  # √3 σ_b (2 Φ(z) - 1)
        bias = math.sqrt(3) * layer.bias_std * torch.erf(bias / (math.sqrt(2) * layer.bias_std))
    currents = sums.reshape(networks, shape[0], probes, steps, *shape[1:]).movedim(1, 3)
    return Flow(currents + bias.view(networks, 1, 1, shape[0], *[1] * len(shape[1:])) if layer.bias_std else currents)


def _weighted(draws: Draws, wiring: Wiring, flow: Flow, shared: bool) -> Tensor:
    """``a w X + b 1ᵀX`` with real weights, shape (networks × groups, rows, columns): whole numbers are summed exactly."""
    grid, values = weight_grid(wiring.layer.law, wiring.fan_in, draws.dtype), flow.values.flatten(1, 2)
    places, base = digits_of(values, grid) if flow.unit else (values.double()[:, None], 1.0)
    sums = values.new_zeros(len(values) * wiring.groups, wiring.rows, values.shape[1], wiring.positions, dtype=torch.float64)
    if not (shared or places.any()):
        return sums
    powers = base ** torch.arange(places.shape[1], dtype=torch.float64, device=values.device)
    per_frame = places.shape[1] * wiring.fan_in * wiring.positions
    for copies, rows, weights, present in draws.weights(grid, wiring.rows, wiring.fan_in, wiring.groups):
        first, last = copies.start // wiring.groups, -(-copies.stop // wiring.groups)  # a block may begin within a network
        copies_here = slice(copies.start - first * wiring.groups, copies.stop - first * wiring.groups)
        scale, shift = _coefficients(wiring, grid, weights)
        per_product = max(1, _COLUMNS // (per_frame * len(weights)))
        for start in range(0, values.shape[1], per_product):
            frames = slice(start, start + per_product)
            columns = wiring.columns(places[first:last, :, frames].flatten(1, 2))[copies_here]

            def added(products: Tensor) -> Tensor:
                parts = products.double().view(*products.shape[:-1], len(powers), -1, wiring.positions)
                return parts[..., 0, :, :] if len(powers) == 1 else (powers[:, None, None] * parts).sum(-3)

            current = scale * added(weights.to(columns.dtype) @ columns)
            if torch.is_tensor(shift) or shift:
                reach = columns.sum(-2, keepdim=True) if present is None else present.to(columns.dtype) @ columns
                current += shift * added(reach)
            sums[copies, rows, frames] = current * (flow.unit or 1.0)
    return sums


def _coefficients(wiring: Wiring, grid: WeightGrid, weights: Tensor) -> tuple[Tensor | float, Tensor | float]:
    """``a`` and ``b``, numbers or of shape (networks × groups, rows, 1, 1)."""
    layer = wiring.layer
    scale, shift = layer.connection(wiring.fan_in)
    if layer.rows == "free":
        return scale * grid.unit, shift
    mean = weights.double().mean(-1)[..., None, None]
    if layer.rows == "centred":
        return scale * grid.unit, -scale * grid.unit * mean
    length = (weights.double() - mean[..., 0]).square().sum(-1).sqrt()[..., None, None]
    scales = torch.where(length > 0, layer.gain / length, 0.0)  # rows of equal weights send nothing
    return scales, -scales * mean


def _drawn(draws: Draws, wiring: Wiring, flow: Flow) -> Tensor:
    """Currents given the signal, in the shape of ``_weighted``."""
    layer, unit = wiring.layer, flow.unit or 1.0
    columns = wiring.columns(flow.values.flatten(1, 2))
    totals = unit * columns.sum(-2, dtype=torch.float64)
    if layer.rows != "free":
        columns = columns.double() - totals[:, None] / (unit * wiring.fan_in)
    gram = (columns.mT @ columns).double() * unit**2
    normals = draws.normals(wiring.groups, wiring.rows, gram.shape[-1]).double().flatten(0, 1)
    root = factor(gram)
    scale, shift = layer.connection(wiring.fan_in)
    if layer.rows == "standardised":
        return layer.gain * (normals @ root.mT) / _length(draws, wiring, normals, root)
    currents = (scale * layer.law.std * root @ normals.mT).mT  # neurons last in memory, as in what follows
    mean = scale * layer.law.mean + shift if layer.rows == "free" else 0.0
    return currents.add_(mean * totals[:, None]) if mean else currents


def factor(covariance: Tensor, joint: Tensor | None = None) -> Tensor:
    """The Cholesky factor ``L``, ``L Lᵀ = C + 1e-12 tr(C) 1``, with exact zeros for steps of variance 0.

    ``joint``: the covariance of which ``C`` is what other steps leave; it then sets the trace and which variances are 0.
    """
    if covariance.shape[-1] == 1 and joint is None:
        return covariance.sqrt()
    size = (covariance if joint is None else joint).diagonal(dim1=-2, dim2=-1)
    total = size.sum(-1, keepdim=True)
    ridge = torch.where(total > 0, 1e-12 * total, 1.0)  # steps with equal spikes make C singular
    return torch.linalg.cholesky(covariance + torch.diag_embed(ridge.expand_as(size))) * (size > 0)[..., None]


def _length(draws: Draws, wiring: Wiring, normals: Tensor, root: Tensor) -> Tensor:
    r"""Lengths of the normal vectors in the centred space, of which the standardised rows are the directions.

    The currents of a vector ``z`` are ``X z``. Its part in the span of ``X``, of ``r`` dimensions, has the length of the
    normal numbers already drawn, one for every independent column; the rest has ``n - 1 - r`` dimensions, so that its squared
    length is :math:`χ²_{n-1-r}`.
    """
    variances = root.diagonal(dim1=-2, dim2=-1).square()
    independent = variances > _DEPENDENT * root.square().sum((-2, -1), keepdim=True)[..., 0]
    remaining = (wiring.fan_in - 1 - independent.sum(-1)).double()[:, None].expand(normals.shape[:2])
    squares = 2 * draws.gammas(remaining / 2) + (normals.square() * independent[:, None]).sum(-1)
    return squares.sqrt()[..., None]


def by_given(layer: Linear | Conv, flow: Flow, given: Mapping[str, Any]) -> Tensor:
    """``W x + b`` by weights and biases that are given, shape (networks, probes, steps, …)."""
    x, (weight, bias) = flow.real, (torch.from_numpy(given[name]).to(flow.values.device) for name in ("weight", "bias"))
    if isinstance(layer, Linear):
        return functional.linear(x.flatten(3), weight, bias)
    return functional.conv2d(x.flatten(0, 2), weight, bias, *layer.windows[1:], layer.groups).unflatten(0, x.shape[:3])


def recurrence(draws: Draws, layer: Spike, neurons: int, frames: int, conditional: bool) -> Recurrence:
    """A function from the spikes of a step, shape (networks, probes, neurons), to the currents of the next, step after step."""
    std, mean = layer.recurrent_gain / math.sqrt(neurons), layer.recurrent_mean_gain / neurons
    sums = Rows(draws) if conditional and frames < neurons else Matrix(draws, neurons)

    def currents(spikes: Tensor) -> Tensor:
        common = mean * spikes.sum(-1, keepdim=True, dtype=torch.float64)
        return common + std * sums(spikes) if std else common.expand(spikes.shape)

    return currents


class Matrix:
    """Real weights, shape (networks, neurons, neurons)."""

    def __init__(self, draws: Draws, neurons: int):
        self.grid = weight_grid("normal", neurons, draws.dtype)
        blocks = [weights.clone() for _, _, weights, _ in draws.weights(self.grid, neurons, neurons)]
        self.weights = torch.cat([block.flatten(0, 1) for block in blocks]).view(-1, neurons, neurons)

    def __call__(self, spikes: Tensor) -> Tensor:
        places, base = digits_of(spikes, self.grid)
        powers = base ** torch.arange(places.shape[1], dtype=torch.float64, device=spikes.device)
        sums = (places @ self.weights.to(places.dtype).mT[:, None]).double()
        return self.grid.unit * (powers[:, None, None] * sums).sum(1)


class Rows:
    """Rows of standard normal weights, known only through the currents drawn so far."""

    def __init__(self, draws: Draws):
        self.draws = draws
        self.spikes, self.normals, self.root = (torch.empty(0) for _ in range(3))

    def __call__(self, spikes: Tensor) -> Tensor:
        new = spikes.double()
        fresh = self.draws.normals(*new.shape[1:]).double()
        covariance = new @ new.mT
        if not len(self.spikes):
            self.spikes, self.normals, self.root = new, fresh, factor(covariance)
            return self.root @ fresh
        # Cholesky factor of the enlarged covariance: [[L, 0], [A, B]], A = C₂₁ L⁻ᵀ, B Bᵀ = C₂₂ - A Aᵀ.
        silent = (self.root.diagonal(dim1=-2, dim2=-1) == 0).double()
        A = torch.linalg.solve_triangular(self.root + torch.diag_embed(silent), (new @ self.spikes.mT).mT, upper=False).mT
        B = factor(covariance - A @ A.mT, covariance)
        currents = A @ self.normals + B @ fresh
        zeros = self.root.new_zeros(len(new), self.root.shape[1], new.shape[1])
        self.root = torch.cat([torch.cat([self.root, zeros], -1), torch.cat([A, B], -1)], -2)
        self.spikes = torch.cat([self.spikes, new], 1)
        self.normals = torch.cat([self.normals, fresh], 1)
        return currents
