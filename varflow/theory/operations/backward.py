"""Layers of ``vf.layers`` backwards: each undoes what it did on the way forwards, by the maps of ``gradients.maps``.

A branch of a ``Residual`` is uncorrelated with its shortcut, but for the part that they share. What a BatchNorm over infinitely
many inputs subtracts from gradients of mean 0 vanishes; of a batch of given inputs it is of order 1/inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import singledispatch

import numpy as np

from varflow._checks import DomainError
from varflow._progress import Report, unreported
from varflow.model.drive_kinds import Given
from varflow.model.layers import BatchNorm, Conv, Layer, LayerNorm, Linear, Pool, Residual, Scale, Spike
from varflow.model.surrogate import Surrogate
from varflow.theory.maps.maxima_backward import maximum_back
from varflow.theory.operations.backward_maps import (
    averaged_back,
    batch_back,
    convolved_back,
    factor_back,
    standardised_back,
    weighted_back,
)
from varflow.theory.operations.batch_norm import centred_over_batch, statistics_of
from varflow.theory.operations.forward import Passage, Walk, common_share, running_scale
from varflow.theory.operations.neurons_backward import Slopes, driven_backwards, fired_backwards
from varflow.theory.responses.jacobians import Sampling
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Currents, Spikes, Window, means_at, over_positions
from varflow.theory.signals.replicas import aligned

__all__ = ["WayBack", "back_through"]


@dataclass(frozen=True, slots=True, eq=False)
class WayBack:
    """What layers share on the way back.

    Attributes
    ----------
    walk : Walk
        The forward pass.
    surrogate : callable
        ``ψ``, of ``H - θ``.
    detached : bool, optional
        Whether resets are detached; by default each neuron says so.
    report : callable
        Of the number of layers of neurons passed.
    scatter : bool
        Whether the scatter between networks is wanted too.
    passages, states : list
        What the forward pass has kept of the layers that are still ahead.
    layers : list
        Gradients and slopes of every layer of neurons, the last layer first.
    weights : list of ndarray, shape (replicas, groups, inputs, inputs)
        ``E⟨∂L_a/∂W, ∂L_b/∂W⟩`` of every layer with weights, the last layer first.
    """

    walk: Walk
    surrogate: Surrogate
    detached: bool | None = None
    report: Report = unreported
    scatter: bool = True
    passages: list[Passage] = field(init=False)
    states: list[LayerState] = field(init=False)
    layers: list[tuple[Gradients, Slopes]] = field(default_factory=list, init=False)
    weights: list[np.ndarray] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "passages", list(self.walk.passages or ()))
        object.__setattr__(self, "states", list(self.walk.passed))

    def keep_weights(
        self, layer: Linear | Conv, gradients: Gradients, fan_in: int, inputs: Callable[..., tuple[np.ndarray, ...]]
    ) -> None:
        r"""Keep ``E⟨∂L_a/∂W, ∂L_b/∂W⟩ = n_out n_in Σ G^δ(i, j) M(i, j)``, ``i`` of input ``a`` and ``j`` of ``b``.

        ``inputs(d)``: means at ``p`` and ``p + d``, and second moments, of what arrives at each output ``p``.
        """
        grid = gradients.grid

        def moments(offset: tuple[int, int] = (0, 0)) -> np.ndarray:
            e, other, M = inputs(offset)
            return M if layer.rows == "free" else M - e[..., :, None] * other[..., None, :]

        M, own = moments(), grid.size // grid.inputs
        if gradients.balanced:
            M = centred_over_batch(M, grid, self.walk.exchangeable)
        parts = [(gradients.moments, M), *((2 * G, moments(offset)) for offset, G in gradients.pairs.items())]  # in both orders
        both = sum((np.multiply(*aligned(*each)) for each in parts), start=np.zeros(()))
        each = both.reshape(*both.shape[:-2], grid.inputs, own, grid.inputs, own).sum(axis=(-3, -1))
        if grid.apart:
            each = each.reshape(len(each), -1, grid.positions, *each.shape[2:]).sum(axis=2)
        self.weights.append(gradients.channels * fan_in * each)


def back_through(layers: Sequence[Layer], gradients: Gradients, way: WayBack) -> Gradients:
    """Gradients by the signal before these layers."""
    for layer in reversed(layers):
        gradients = returned(layer, gradients, way.passages.pop(), way)
    return gradients


@singledispatch
def returned(layer: Layer, gradients: Gradients, passage: Passage, way: WayBack) -> Gradients:
    """Gradients by the signal that a layer received."""
    raise DomainError("layers", layer, "is not covered by the theory of gradients")


@returned.register
def _(layer: Spike, gradients: Gradients, passage: Passage, way: WayBack) -> Gradients:
    detached, received = layer.neuron.reset_detached if way.detached is None else way.detached, passage.received
    state, number = way.states.pop(), len(way.states)
    if isinstance(received, Given):
        found, slopes = driven_backwards(layer, gradients, received, way.surrogate, detached)
    else:
        assert isinstance(received, Currents)
        sampling = Sampling(number, way.walk.neurons, way.surrogate, detached, way.scatter)
        found, slopes = fired_backwards(layer, gradients, received, state, sampling)
    way.layers.append((found, slopes))
    way.report(len(way.layers))
    return found


@returned.register
def _(layer: Linear, gradients: Gradients, passage: Passage, way: WayBack) -> Gradients:
    spikes = passage.received
    assert isinstance(spikes, Spikes)
    e, M = over_positions(spikes)
    way.keep_weights(layer, gradients, spikes.neurons, lambda offset: (e, e, M))
    return weighted_back(layer, gradients, spikes)


@returned.register
def _(layer: Conv, gradients: Gradients, passage: Passage, way: WayBack) -> Gradients:
    spikes, window = passage.received, Window(*layer.windows)
    assert isinstance(spikes, Spikes)
    fan_in, grid = spikes.channels // layer.groups * len(window.taps), spikes.grid
    e = window.mean(spikes.mean, grid, -1)

    def inputs(offset: tuple[int, int]) -> tuple[np.ndarray, ...]:
        M = spikes.between((layer.stride * offset[0], layer.stride * offset[1])) if any(offset) else spikes.moments
        return *means_at(e, offset, gradients.grid), window.under_same_tap(M, grid)

    way.keep_weights(layer, gradients, fan_in, inputs)
    return convolved_back(layer, window, gradients, spikes)


@returned.register
def _(layer: Residual, gradients: Gradients, passage: Passage, way: WayBack) -> Gradients:
    x, y = passage.received, way.passages[-1].sent
    if isinstance(x, Currents) or layer.merge == "add":
        own = layer.keep**2 * (1 + 2 * common_share(layer))  # beside the share's square, which comes through the branch
        return gradients.times(own) + back_through(layer.branch, gradients, way)
    assert isinstance(x, Spikes)
    assert isinstance(y, Spikes)
    gradients = _settled(layer, gradients)
    open_ = y if layer.merge == "and" else y.scaled(-1.0).shifted(1.0)  # x y or x (1 - y)
    return factor_back(gradients, open_) + back_through(layer.branch, factor_back(gradients, x), way)


@returned.register
def _(layer: Scale, gradients: Gradients, passage: Passage, way: WayBack) -> Gradients:
    return gradients.times(layer.factor**2)


@returned.register
def _(layer: BatchNorm, gradients: Gradients, passage: Passage, way: WayBack) -> Gradients:
    assert isinstance(passage.received, Currents)
    if layer.statistics is not None:
        return gradients.times(running_scale(layer, layer.statistics[1]) ** 2)
    statistics = statistics_of(layer, passage.received, way.walk.exchangeable)
    if way.walk.exchangeable:
        return replace(gradients.times(statistics.scale[..., None, None] ** 2), balanced=True)
    C = statistics.applied(layer, passage.received).covariance / (layer.gamma**2 or 1.0)
    return batch_back(gradients, C, statistics.scale, (C**2).mean(axis=(-2, -1)), passage.received.grid.size)


@returned.register
def _(layer: LayerNorm, gradients: Gradients, passage: Passage, way: WayBack) -> Gradients:
    assert isinstance(passage.received, Currents)
    return standardised_back(layer, gradients, passage.received)


@returned.register
def _(layer: Pool, gradients: Gradients, passage: Passage, way: WayBack) -> Gradients:
    signal = passage.received
    window = Window(*layer.windows(signal.grid.shape))
    assert not isinstance(signal, Given)
    if layer.kind == "average":
        return averaged_back(window, _settled(layer, gradients), signal.grid)
    assert isinstance(signal, Spikes)
    return maximum_back(window, _settled(layer, gradients), signal)


def _settled(layer: Layer, gradients: Gradients) -> Gradients:
    """Gradients, unless which spikes they go to depends on the membranes below."""
    if gradients.chosen:
        rule = "must not stand directly below a max pool: which spike is the largest depends on membranes; put a Spike between"
        raise DomainError("layers", layer, rule)
    return gradients
