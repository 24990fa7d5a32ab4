"""Neurons on a large map, each position followed on its own: in classes of positions, or of pairs of them.

Moments between positions are those of pairs of like covariance, computed where a layer asks for them. Windows have points of
their own, at which their positions are drawn together.
"""

from __future__ import annotations

import numpy as np

from varflow._memory import room
from varflow.model.layers import Spike
from varflow.model.neurons import Neuron
from varflow.theory.maps.patches import at_places, classes_of_pairs, covariance_of_pairs, on_map, with_means
from varflow.theory.maps.variance_classes import VarianceClasses
from varflow.theory.responses.back_propagation import Sampling, Slopes, at_one_step, moments_back
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses, points_within, spikes_at
from varflow.theory.responses.quasi_monte_carlo import causal_factor
from varflow.theory.responses.step import carried_back_alone
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.index import replicated
from varflow.theory.signals.moments import Currents, outer
from varflow.theory.signals.pair_moments import ALL_PAIRS, Offset, PairMoments, known_pairs
from varflow.theory.threads import in_threads

MATRICES = 5  # of all pairs of sequences and steps, held at once
IN_WINDOWS = 2**22  # normal numbers of all points of windows, each with points of its own
PAIRS = 16  # classes of pairs of positions with like currents, over their distance
PAIRED = 2**11  # the same, times steps, where nothing is sampled
OF_PAIRS, CLASSES = 2**8, 8  # points and classes of pairs of positions, for each offset, of gradients


def state_at_positions(neuron: Neuron, currents: Currents, number: int, responses: Responses) -> LayerState:
    """Layer ``number`` under currents times the input scale."""
    classes = VarianceClasses.of(currents, responses.replicas(neuron, currents.grid.steps), responses.seed)
    return responses.state(neuron, classes.currents(currents), number).of_groups(classes.which)


def pairs_of_spikes(neuron: Neuron, currents: Currents, rate: np.ndarray, number: int, responses: Responses) -> PairMoments:
    """``M_d`` of the spikes under these currents: the covariance of pairs of like covariance, and the means that are known."""

    def pairs(offset: Offset) -> np.ndarray:
        steps, distance = currents.grid.steps, 1 if offset is ALL_PAIRS else max(map(abs, offset))
        most = PAIRS // distance if responses.samples(neuron, steps) else max(PAIRED // steps, PAIRS)
        between = covariance_of_pairs(currents, offset)
        classes, two = classes_of_pairs(currents, offset, between, most, responses.replicas(neuron, steps), responses.seed)
        state = responses.state(neuron, two, number)
        one, other = state.firing_rate[..., :steps], state.firing_rate[..., steps:]
        covariance = state.second_moments[..., :steps, steps:] - outer(one, other)
        return with_means(covariance[:, classes.which], rate, offset, currents.grid)

    return PairMoments(currents.grid.shape, pairs)


def currents_in_windows(
    neuron: Neuron, currents: Currents, number: int, responses: Responses, places: np.ndarray, far: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Currents of the positions of each window at points of its own: parameters of neurons (scrambles, parameters, points), and
    currents past the synapse (scrambles, groups, (place, step), points); see ``patches.at_places``.
    """
    groups, size = len(places) * currents.mean.shape[1] // currents.grid.positions, places.shape[1] * currents.grid.steps
    room("layers", neuron, 8 * MATRICES * groups * size**2, "second moments over the steps and positions of each window")
    mean, covariance = responses.past_synapse(neuron, at_places(currents, places, far))
    points = points_within(IN_WINDOWS, groups * size * responses.scrambles)
    rng = np.random.default_rng([responses.seed, 4, number, groups])
    z = rng.standard_normal((responses.scrambles, groups, size, points), np.float32)
    parameters = rng.standard_normal((responses.scrambles, neuron.differing, points), np.float32)
    return parameters, causal_factor(covariance).astype(np.float32) @ z + mean[..., None].astype(np.float32)


def drawn_in_windows(
    neuron: Neuron, currents: Currents, number: int, responses: Responses, places: np.ndarray, *far: bool, channels: int = 0
) -> np.ndarray:
    """Spikes of the positions of each window together, shape (scrambles, groups, (place, step), points); ``channels``: as of
    ``Responses.drawn``.
    """
    parameters, drawn = currents_in_windows(neuron, currents, number, responses, places, *far)
    if channels and currents.shared is not None:
        rng, moments = np.random.default_rng([responses.seed, 8, number]), at_places(currents, places, *far)
        drawn = currents.shared.divided(drawn, *responses.past_synapse(neuron, moments), rng)
    return spikes_at(neuron, parameters, drawn, currents.grid.steps)


def gradients_at_positions(
    layer: Spike, gradients: Gradients, received: Currents, sampling: Sampling
) -> tuple[Gradients, Slopes]:
    """``E[Jᵀ G J]`` at every position: those of like currents get the same gradients, so that their sum is right."""
    responses = sampling.responses
    classes = VarianceClasses.of(received, responses.replicas(layer.neuron, received.grid.steps), responses.seed)
    currents, above, which = classes.currents(received), classes.of_classes(gradients.moments), classes.which
    if currents.grid.steps == 1:
        second = at_one_step(layer.neuron, currents, sampling.surrogate).second
        back = above * second
    else:
        back, slopes = moments_back(layer, above, currents, sampling.without_scatter())
        second = slopes.second
    return gradients.with_moments(back[:, which], pairs={}), Slopes(second[:, which])


def gradients_of_pairs(
    layer: Spike, moments: np.ndarray, received: Currents, offset: tuple[int, int], sampling: Sampling
) -> np.ndarray:
    """``E[J(p)ᵀ G(p, p + d) J(p + d)]``, over classes of pairs of like covariance."""
    neuron, grid, steps = layer.neuron, received.grid, received.grid.steps
    between, responses = covariance_of_pairs(received, offset), sampling.responses
    replicas = responses.replicas(neuron, steps)
    classes, two = classes_of_pairs(received, offset, between, CLASSES, replicas, responses.seed)
    z, currents = responses.at_most(OF_PAIRS).currents_at_points(neuron, two, sampling.number)
    replicas, groups, size, points = currents.shape
    here = known_pairs(offset, grid.shape)[0]
    G = moments.reshape(len(moments), -1, grid.positions, steps, steps)[:, :, here].reshape(len(moments), -1, steps, steps)
    G = np.broadcast_to(replicated(classes.of_classes(G), replicas), (replicas, groups, steps, steps))

    def one(at: int) -> np.ndarray:
        drawn = currents[at].reshape(2 * groups, steps, points).astype(np.float32)
        blocks = sampling.jacobians(neuron, z[at, size:].astype(np.float32), drawn)
        return sum((carried_back_alone(J[::2], G[at], J[1::2]) for _, J, _ in blocks), start=np.zeros(())) / points

    return on_map(np.stack(in_threads(one, replicas))[:, classes.which], offset, grid)
