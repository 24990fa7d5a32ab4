r"""Each layer of ``vf.layers`` as a map from the signal it receives to the signal it sends.

=============  ==========================================================================
Linear, Conv   ``C = g² M + σ_b²``, ``μ = m_g e``; over a filter, the mean over its taps
centred rows   ``C = g² (M - e eᵀ) + σ_b²``
Residual       currents: ``C' = α² C + C_b``; spikes: see :func:`merged`
BatchNorm      ``C' = γ² H C H / mean of its diagonal``, ``H`` subtracting the mean over ``i``
LayerNorm      ``C' = γ² C_ij / (s_i s_j)``, ``s_i²`` the variance over neurons
Pool           average: ``M' = A M Aᵀ``
=============  ==========================================================================

Weights of a branch are fresh, so that it is uncorrelated with its shortcut, but for what passes it without weights, see
:func:`common_share`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow._progress import Report, unreported
from varflow.model.drive_kinds import Given
from varflow.model.layers import BatchNorm, Conv, Layer, LayerNorm, Linear, Pool, Residual, Scale, Spike
from varflow.model.weighted_layers import Weighted
from varflow.theory.operations.batch_norm import standardising, statistics_of
from varflow.theory.operations.neurons import Neurons
from varflow.theory.operations.pools import pooled
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.signals.increments import Differences
from varflow.theory.signals.moments import Currents, Grid, Signal, Spikes, Window, in_replicas, means_at, over_positions
from varflow.theory.signals.pair_moments import FAR, Between, Offset

UNKNOWN = "of which theory knows sums with Scale and BatchNorm with given statistics only: vf.simulate(network) draws it"

__all__ = [
    "Passage",
    "Signal",
    "Walk",
    "common_share",
    "convolved",
    "joined",
    "merged",
    "over_neurons",
    "running_scale",
    "sent",
    "squared_gains",
    "through",
    "weighted",
    "weighted_moments",
]


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """A layer, the signal (or given currents) that it received and the signal that it sent."""

    layer: Layer
    received: Signal | Given
    sent: Signal


@dataclass(frozen=True, slots=True)
class Walk:
    """What layers share on the way.

    Attributes
    ----------
    neurons : Neurons
        Their responses.
    width : int
        Neurons of a Linear without its own width.
    exchangeable : bool
        Whether the last two inputs stand for infinitely many independent ones.
    apart : bool
        Whether each position of a map is followed on its own.
    report : callable
        Of the number of layers of neurons passed.
    kept : callable
        What is kept of each of them, from its state and the grid of its index.
    passed : list
        What was kept.
    last : list of (LayerState, Grid)
        The last of them; once its spikes are merged with those of a shortcut, with these in place of its own.
    passages : list of Passage, optional
        All layers in order of completion, those of a branch before it: the way back of gradients.
    """

    neurons: Neurons
    width: int
    exchangeable: bool = False
    apart: bool = False
    report: Report = unreported
    kept: Callable[[LayerState, Grid], Any] = lambda state, grid: state
    passed: list[Any] = field(default_factory=list)
    last: list[tuple[LayerState, Grid]] = field(default_factory=list)
    passages: list[Passage] | None = None

    def fire(self, layer: Spike, currents: Currents) -> Spikes:
        """The spikes of the next layer of neurons."""
        state, spikes = self.neurons.fire(layer, currents, len(self.passed))
        self.keep(state, currents.grid)
        return spikes

    def keep(self, state: LayerState, grid: Grid) -> None:
        """Count a layer of neurons as passed."""
        self.passed.append(self.kept(state, grid))
        self.last[:] = [(state, grid)]
        self.report(len(self.passed))

    def merge(self, spikes: Spikes) -> None:
        """Put merged spikes in place of those of the last layer of neurons."""
        ((state, _),) = self.last
        moments = {"firing_rate": spikes.mean, "coincidences": spikes.moments, "pairs": spikes.pairs}
        self.last[:] = [(replace(state, **moments, changes=None), spikes.grid)]

    @property
    def leaving(self) -> list[Any]:
        """The rows of all layers of neurons, the last with the spikes that leave the network, behind its merges."""
        return [*self.passed[:-1], self.kept(*self.last[0])]

    def inside(self, signal: Signal) -> Walk:
        """The walk through a branch that receives this signal."""
        return replace(self, width=signal.channels) if signal.grid.positions == 1 else self


def through(layers: Sequence[Layer], signal: Signal, walk: Walk) -> Signal:
    """The signal after these layers."""
    for layer in layers:
        received, signal = signal, sent(layer, signal, walk)
        if walk.passages is not None:
            walk.passages.append(Passage(layer, received, signal))
    return signal


@singledispatch
def sent(layer: Layer, signal: Signal, walk: Walk) -> Signal:
    """The signal that a layer sends on."""
    raise DomainError("layers", layer, "is not covered by theory")


@sent.register
def _(layer: Spike, signal: Currents, walk: Walk) -> Spikes:
    return walk.fire(layer, signal)


def weighted(layer: Linear, signal: Spikes, walk: Walk) -> Currents:
    """Weighted sums of spikes."""
    e, M = over_positions(signal)
    grid = Grid(signal.grid.inputs, 1, 1, signal.grid.steps)
    changes = signal.changes if signal.grid.positions == 1 else None
    mean, covariance, changes = weighted_moments(layer, e, M, signal.neurons, changes)
    return Currents(mean, covariance, grid, layer.width or walk.width, changes)


sent.register(weighted)


@sent.register
def _(layer: Conv, signal: Spikes, walk: Walk) -> Currents:
    return convolved(layer, Window(*layer.windows), signal)


def convolved(layer: Conv, window: Window, signal: Spikes) -> Currents:
    """Filters of a layer over any windows."""
    grid, smaller = signal.grid, window.smaller(signal.grid)
    fan_in = signal.channels // layer.groups * len(window.taps)
    e, M = window.mean(signal.mean, grid, -1), window.under_same_tap(signal.moments, grid)
    mean, covariance, _ = weighted_moments(layer, e, M, fan_in)

    def between(offset: Offset) -> np.ndarray:
        if offset is FAR:
            M = window.inside(grid) * signal.between(FAR)
        else:
            below = offset[0] * window.stride[0], offset[1] * window.stride[1]
            M = window.under_same_tap(signal.between(below), grid)
        return _covariance(layer, *means_at(e, offset, smaller), M, fan_in)

    pairs = None if signal.pairs is None else Between(smaller.shape, between)
    return Currents(mean, covariance, smaller, layer.channels, pairs=pairs)


def squared_gains(layer: Linear | Conv, fan_in: int) -> tuple[float, float]:
    """Factors of ``M`` and of ``M - e eᵀ`` in the covariance of weighted sums; their sum is ``n Var[w]``."""
    raw, central = (layer.gain**2, 0.0) if layer.rows == "free" else (0.0, layer.gain**2)
    law = layer.law
    if law.in_degree is not None:  # variance of the number of active inputs (hypergeometric)
        scale, shift = layer.connection(fan_in)
        spread = law.in_degree * (fan_in - law.in_degree) / max(fan_in - 1, 1)
        central += (scale * law.core.mean + shift) ** 2 * spread
    return raw, central


def weighted_moments(
    layer: Linear | Conv, e: np.ndarray, M: np.ndarray, fan_in: int, changes: Differences | None = None
) -> tuple[np.ndarray, np.ndarray, Differences | None]:
    """Mean, covariance and increments of weighted sums, from the moments averaged over the inputs of a neuron."""
    raw, central = squared_gains(layer, fan_in)
    covariance, m = _covariance(layer, e, e, M, fan_in), layer.mean_gain_of(fan_in)
    if changes is None:
        return m * e, covariance, None
    increment, second = raw * changes.increment, raw * changes.second_change
    if central:
        about = changes.centred()
        increment, second = increment + central * about.increment, second + central * about.second_change
    second[..., 0] += layer.bias_std**2
    return m * e, covariance, Differences(increment, second, m * changes.mean_change)


def _covariance(layer: Linear | Conv, e: np.ndarray, other: np.ndarray, M: np.ndarray, fan_in: int) -> np.ndarray:
    """Covariance of the weighted sums of two sets of inputs with these means, and second moments between them."""
    raw, central = squared_gains(layer, fan_in)
    covariance = raw * M + layer.bias_std**2
    return covariance + central * (M - e[..., :, None] * other[..., None, :]) if central else covariance


@sent.register
def _(layer: Residual, signal: Currents | Spikes, walk: Walk) -> Signal:
    branch = through(layer.branch, signal, walk.inside(signal))
    after = joined(
        layer.merge, signal.scaled(layer.keep) if isinstance(signal, Currents) else signal, branch, common_share(layer)
    )
    if isinstance(after, Spikes):
        walk.merge(after)
    return after


def common_share(layer: Residual) -> float:
    """The part of the shortcut that its branch sends as well: ``y = share · x + …``, the rest through weights."""
    share = _past_weights(layer.branch) / layer.keep if layer.keep else 0.0
    if share and layer.merge != "add":
        raise DomainError("layers", layer, f"multiplies spikes with themselves, {UNKNOWN}")
    return share


def _past_weights(layers: Sequence[Layer]) -> float:
    """The factor of what these layers receive in what they send, besides what comes through weights."""
    if any(isinstance(layer, Weighted) for layer in layers):
        return 0.0
    factor = 1.0
    for layer in layers:
        if isinstance(layer, Scale):
            factor *= layer.factor
        elif isinstance(layer, BatchNorm) and layer.statistics is not None:
            factor *= running_scale(layer, layer.statistics[1])
        elif isinstance(layer, Residual) and layer.merge == "add":
            factor *= layer.keep + _past_weights(layer.branch)
        else:
            raise DomainError("layers", layer, f"is joined with its own input past no weights, {UNKNOWN}")
    return factor


def joined(merge: str, x: Signal, y: Signal, share: float = 0.0) -> Signal:
    """Currents added, spikes merged: two signals through different weights, or ``y`` with a ``share`` of ``x``."""
    known, most = x.pairs is not None and y.pairs is not None, max(len(x.mean), len(y.mean))
    x, y = in_replicas(x, most), in_replicas(y, most)
    if isinstance(x, Currents) and isinstance(y, Currents):
        own = 1 + 2 * share  # Cov[x + y] = Cov[x] + 2 share Cov[x] + Cov[y]
        changes = None if y.changes is None else x.increments.weighted(own) + y.changes
        mean, covariance = x.mean + y.mean, own * x.covariance + y.covariance
        pairs = Between(x.grid.shape, lambda d: own * x.between(d) + y.between(d)) if known else None
        return replace(x, mean=mean, covariance=covariance, changes=changes, pairs=pairs, shared=None)
    if not (isinstance(x, Spikes) and isinstance(y, Spikes)):
        raise DomainError("merge", merge, "needs two signals of one kind, currents or spikes")

    def between(offset: Offset) -> np.ndarray:
        (e, other_e), (q, other_q) = (means_at(each.mean, offset, x.grid) for each in (x, y))
        M = x.between(offset)
        twice = 2 * share * (M - e[..., :, None] * other_e[..., None, :]) if share else 0.0
        return merged(merge, e, M, q, y.between(offset), (other_e, other_q))[1] + twice

    mean, moments = merged(merge, x.mean, x.moments, y.mean, y.moments)[0], between((0, 0))

    one, other = x.sampled, y.sampled
    sampled = None if one is None or other is None else lambda *at: combined(merge, one(*at), other(*at))
    pairs = Between(x.grid.shape, between) if known else None
    return replace(x, mean=mean, moments=moments, sampled=sampled, changes=None, pairs=pairs)


def combined(merge: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spikes ``x`` and those of a branch ``y`` merged."""
    return x * y if merge == "and" else x * (1 - y) if merge == "iand" else x + y


def merged(
    merge: str, e: np.ndarray, M: np.ndarray, q: np.ndarray, A: np.ndarray, other: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Moments of ``x`` and an independent branch ``y`` merged: ``x + y``, ``x y`` or ``x (1 - y)``.

    ``other``: the means of the second factor of the moments, if they are not those of the first.
    """
    f, r = other or (e, q)
    if merge == "and":
        return e * q, M * A
    if merge == "iand":
        return e * (1 - q), M * (1 - q[..., :, None] - r[..., None, :] + A)
    return e + q, M + e[..., :, None] * r[..., None, :] + q[..., :, None] * f[..., None, :] + A


@sent.register
def _(layer: Scale, signal: Currents | Spikes, walk: Walk) -> Signal:
    return signal.scaled(layer.factor)


@sent.register
def _(layer: BatchNorm, signal: Currents, walk: Walk) -> Currents:
    if layer.statistics is not None:
        mean, variance = layer.statistics
        return replace(signal, changes=None).shifted(-mean).scaled(running_scale(layer, variance)).shifted(layer.beta)
    return statistics_of(layer, signal, walk.exchangeable).applied(layer, signal)


def running_scale(layer: BatchNorm, variance: float) -> float:
    """``γ/√(variance + ε)``."""
    return layer.gamma / (variance + layer.eps) ** 0.5


@sent.register
def _(layer: LayerNorm, signal: Currents, walk: Walk) -> Currents:
    centre, scale = over_neurons(layer, signal)
    mean = scale * (signal.mean - centre) + layer.beta

    def scaled(C: np.ndarray, offset: Offset = (0, 0)) -> np.ndarray:
        one, other = means_at(scale, offset, signal.grid)
        return one[..., :, None] * C * other[..., None, :]

    pairs = None if signal.pairs is None else signal.pairs.then(scaled)
    return replace(signal, mean=mean, covariance=scaled(signal.covariance), changes=None, pairs=pairs)


def over_neurons(layer: LayerNorm, signal: Currents) -> tuple[np.ndarray, np.ndarray]:
    """What a LayerNorm subtracts and multiplies by: the mean over neurons and positions, and ``γ/std``, at every ``i``."""
    grid = signal.grid

    def averaged(values: np.ndarray) -> np.ndarray:
        folded = values.reshape(-1, grid.positions, grid.steps)
        return np.broadcast_to(folded.mean(axis=1, keepdims=True), folded.shape).reshape(values.shape)

    centre = averaged(signal.mean)
    square = np.diagonal(signal.covariance, axis1=-2, axis2=-1) + signal.mean**2
    return centre, standardising(layer.gamma, np.maximum(averaged(square) - centre**2, 0.0) + layer.eps)


@sent.register
def _(layer: Pool, signal: Currents | Spikes, walk: Walk) -> Signal:
    return pooled(layer.kind, Window(*layer.windows(signal.grid.shape)), signal)
