r"""Layers of neurons: currents become spikes.

Forwards, the response of a neuron to Gaussian currents (``responses``), or to given ones, or to maxima of currents. Backwards
``G^δ = E[Jᵀ G^e J]`` with its Jacobian ``J`` (``responses.back_propagation``). On a large map each position is followed on its
own (``maps.positions``). The overlap of two inputs is that of neurons which receive two inputs of the average moments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow._memory import gibibytes, room
from varflow.model.drives import Given, Inputs
from varflow.model.graph import Node, Uncovered, enter
from varflow.model.layers import Spike
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.theory.layer import layer_of
from varflow.theory.maps import positions
from varflow.theory.maps.positions import MATRICES
from varflow.theory.operations.visit import Visit, WayBack
from varflow.theory.responses.back_propagation import Sampling, Slopes, at_one_step, driven_back, moments_back
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.responses.step import driven_by
from varflow.theory.signals.counted import Count, Counted, CountedCurrents, Counts, Gaussian, no_chain
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Currents, Spikes, outer
from varflow.theory.signals.places import Grid, Overlap, aligned, averages, told_apart, with_correlation

LONGEST = 2048  # inputs × positions × steps: the work grows with their square or cube


@dataclass(frozen=True, slots=True, eq=False)
class GivenCurrents:
    """Currents of a layer of so many neurons, given one by one: neither moments nor independent of each other."""

    drive: Given
    channels: int

    def fire(self, layer: Spike, number: int, responses: Responses) -> tuple[LayerState, Spikes]:
        """The first layer, stepped with these currents."""
        state = driven_by(self.drive, layer.neuron)
        grid = Grid(1, 1, 1, state.firing_rate.shape[-1])
        spikes = Spikes(state.firing_rate, state.second_moments, grid, self.channels)
        return state, spikes.later(layer.neuron.delay)


def forward(layer: Spike, received: tuple[Any], visit: Visit) -> Spikes:
    """Spikes of a layer of neurons; its state is kept for the walk."""
    (signal,), effort = received, visit.walk.effort
    if hasattr(signal, "fire") and not layer.recurrent:  # currents that are given or drawn
        state, spikes = signal.fire(layer, visit.layer_number, effort.responses)
    elif isinstance(signal, Currents):
        responses = effort.of(signal.grid)
        regular = with_jitter(signal, effort.jitter)
        state, spikes = fire(layer, replace(regular, overlap=None), visit.layer_number, responses)
        if signal.overlap is not None:
            overlap = overlap_of_spikes(layer, signal, signal.overlap, spikes, visit.layer_number, responses)
            spikes = replace(spikes, overlap=overlap)
        signal = regular
    else:
        raise Uncovered(
            "layers",
            layer,
            "receives no currents, or has recurrent weights, which need Gaussian ones: not those of attention or maxima",
        )
    visit.kept.update(state=state, received=signal)
    return spikes


def fire(layer: Spike, currents: Currents, number: int, responses: Responses) -> tuple[LayerState, Spikes]:
    """Layer ``number`` of neurons: its state over the whole index, and the spikes that arrive at the next layer."""
    grid, neuron = currents.grid, layer.neuron
    _fits(layer, currents)
    currents = currents if neuron.input_scale == 1 else currents.scaled(neuron.input_scale)
    if layer.recurrent:
        state, draw = responses.recurrent_state(layer, currents, number), None
    elif grid.per_position:
        state = positions.state_at_positions(neuron, currents, number, responses)
        draw = partial(positions.drawn_in_windows, neuron, currents, number, responses)
    else:
        state = responses.state(neuron, currents, number)
        draw = partial(responses.drawn, neuron, currents, number)
    if currents.pairs is not None:
        state = replace(state, pairs=positions.pairs_of_spikes(neuron, currents, state.firing_rate, number, responses))
    moments = state.firing_rate, state.second_moments
    spikes = Spikes(*moments, grid, currents.channels, draw, state.changes, state.pairs)
    return state, spikes.later(neuron.delay)


def _fits(layer: Spike, currents: Currents) -> None:
    size, steps = currents.grid.size, currents.grid.steps
    if size > LONGEST:
        needed = gibibytes(8 * MATRICES * size**2)
        if size == steps:
            rule = f"must be at most {LONGEST} (here moments need {needed}); if activity becomes stationary, fewer show it"
            raise DomainError("steps", steps, rule)
        rule = f"needs moments over {size} inputs × positions × steps ({needed}), at most {LONGEST}: take fewer"
        raise DomainError("layers", layer, rule)
    room("layers", layer, 8 * MATRICES * currents.covariance.size, "second moments over inputs, positions and steps")


def with_jitter(currents: Currents, jitter: float) -> Currents:
    """Currents at several positions, with a small variance of their own."""
    grid = currents.grid
    if not jitter or grid.size == grid.steps:
        return currents
    variance = np.diagonal(currents.covariance, axis1=-2, axis2=-1)
    covariance = currents.covariance + jitter * variance[..., None] * np.eye(grid.size)
    places = {name: getattr(currents, name) for name in ("changes", "pairs", "overlap", "shared")}
    return currents.with_moments(currents.mean, covariance, sampled=None, **places)


def overlap_of_spikes(
    layer: Spike, currents: Currents, overlap: Overlap, sent: Spikes, number: int, responses: Responses
) -> Overlap:
    """The overlap of the spikes that are sent: means of single inputs, and the correlation that two average inputs have."""
    mean, one_input = averages(currents)
    one_input, between = np.broadcast_arrays(one_input, overlap.between)
    mean = np.broadcast_to(mean, (len(one_input), mean.shape[1]))
    covariance = np.block([[one_input, between], [between.swapaxes(-1, -2), one_input]])[:, None]
    grid = currents.grid
    grid = replace(grid, inputs=2) if told_apart(grid) else Grid(2, 1, 1, grid.steps)
    pair = fire(layer, Currents(np.tile(mean, 2)[:, None], covariance, grid, currents.channels), number, responses)[1]
    C, size = pair.moments - outer(pair.mean, pair.mean), mean.shape[1]
    single, e = sent.moments - outer(sent.mean, sent.mean), averages(sent)[0]
    between = with_correlation(C[:, 0, :size, size:], C[..., :size, :size], single, currents.grid)
    return Overlap(between + outer(e, e))


# Backwards.


def backward(layer: Spike, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by currents: ``G^δ = E[Jᵀ G^e J]``."""
    received, surrogate = visit.kept["received"], way.surrogate_of(visit.node_number)
    if surrogate is None:
        raise Uncovered("surrogate", layer, "has no surrogate that is known")
    detached = layer.neuron.reset_detached if way.detached is None else way.detached
    if isinstance(received, GivenCurrents):
        back, slopes = driven_back(layer, gradients, received.drive, surrogate, detached)
    else:
        above = gradients.on_map(way.laid_out(received).grid, received.channels)
        responses = way.walk.effort.back(received.grid)
        sampling = Sampling(visit.layer_number, responses, surrogate, detached, way.scatter)
        if isinstance(received, Currents):
            back, slopes = fired_back(layer, above, received, visit.kept["state"], sampling)
        else:
            back, slopes = received.back(layer, above, sampling), None
    way.keep(visit.node_number, back, slopes)
    return [back]


def fired_back(
    layer: Spike, gradients: Gradients, received: Currents, state: LayerState, sampling: Sampling
) -> tuple[Gradients, Slopes]:
    """Gradients by the currents of a layer, from those by the spikes that arrive at the next one."""
    together = _with_recurrent(layer, received, state).scaled(layer.neuron.input_scale)
    routed, per_position = gradients.routed, gradients.grid.per_position
    by_spikes = replace(gradients, balanced=None, routed=()).earlier(layer.neuron.delay)
    received = together.per_position() if per_position else together
    back, slopes = _settled_back(layer, by_spikes, received, sampling)
    if received.pairs is not None and by_spikes.pairs:
        pairs = {d: positions.gradients_of_pairs(layer, G, received, d, sampling) for d, G in by_spikes.pairs.items()}
        back = replace(back, pairs=pairs)
    for each in routed:
        more = each.back(layer, together, sampling)
        back += more.per_position() if per_position else more
    return back, slopes


def _settled_back(layer: Spike, by_spikes: Gradients, received: Currents, sampling: Sampling) -> tuple[Gradients, Slopes]:
    """Gradients by currents, from those by spikes that are independent of the membranes."""
    if received.grid.per_position:
        return positions.gradients_at_positions(layer, by_spikes, received, sampling)
    if received.grid.size == 1:
        slopes = at_one_step(layer.neuron, received, sampling.surrogate)
        return by_spikes.times(slopes.second), slopes
    back, slopes = moments_back(layer, by_spikes.moments, received, sampling)
    return by_spikes.with_moments(back, pairs={}), slopes


def _with_recurrent(layer: Spike, received: Currents, state: LayerState) -> Currents:
    """Currents from below and from the layer's own spikes."""
    if not layer.recurrent:
        return received
    size, steps = received.grid.size, received.grid.steps
    later = np.arange(size)[np.arange(size) % steps > 0]
    M, e = state.second_moments, state.firing_rate
    covariance, mean = (np.array(aligned(*each)[0]) for each in ((received.covariance, M), (received.mean, e)))
    covariance[..., later[:, None], later] += layer.recurrent_gain**2 * M[..., (later - 1)[:, None], later - 1]
    mean[..., later] += layer.recurrent_mean_gain * e[..., later - 1]
    return Currents(mean, covariance, received.grid, received.channels, pairs=received.pairs, shared=received.shared)


# Counts.


def count(spike: Spike, received: tuple[CountedCurrents], counts: Counts, node: Node) -> Counted:
    """Neurons, given the count before the weights; recurrent weights act from the second step on."""
    (currents,) = received
    if currents.below is not None and currents.linear is not None:
        fan_in = counts.gathered[currents.below].width
        layer = layer_of(spike.neuron, currents.linear, fan_in, currents.width, currents.affine)
        return counts.add(Count(currents.width, currents.below, layer))
    if counts.start is not None:
        raise no_chain(node, "is the second layer that the drive reaches")
    counts.start = _counted_from_drive(counts.network, spike.neuron, currents, node)
    return counts.add(Count(currents.width))


def _counted_from_drive(network: Network, neuron: Neuron, currents: CountedCurrents, node: Node) -> Gaussian:
    """The driven layer: currents of the drive, or its numbers through first weights."""
    linear = currents.linear
    if linear is None:
        mean, variance = np.zeros(network.drive.n_inputs), network.drive.current_variances
    else:
        assert isinstance(network.drive, Inputs)
        if not linear.law.normal_given_spikes or linear.rows == "standardised":
            raise no_chain(
                node, f"receives the drive through {linear!r}: the first layer must have normal weights, not standardised"
            )
        x = network.drive.frames(1).reshape(network.drive.n_inputs, -1)
        first, second = x.mean(axis=-1), np.mean(x**2, axis=-1)
        square = second - first**2 if linear.rows == "centred" else second
        mean, variance = linear.mean_gain_of(x.shape[-1]) * first, linear.gain**2 * square + linear.bias_std**2
    factor, shift = (neuron.input_scale * value for value in currents.affine)
    return Gaussian(neuron.threshold, factor * mean + shift, factor**2 * variance, neuron.strict)


enter(Spike, forward=forward, backward=backward, count=count)
