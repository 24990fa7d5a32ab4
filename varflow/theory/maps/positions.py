"""Neurons on a large map, each position followed on its own: in classes of positions, or of pairs of them.

Moments between positions are those of pairs of like covariance, computed where a layer asks for them. Windows have points of
their own, at which their positions are drawn together. Pairs of positions, or all of a window, are followed together.

Members of a class of like currents stand for all of it. Currents are alike if the means and standard deviations of ``I_t`` and
of ``I_1 + … + I_t`` are, for every ``t``: what a memoryless neuron sees, and an integrator. Classes of most scatter are divided
first, each where its widest value has its mean. In each replica another member stands for a class: the average of its
covariances over time would be one position that is driven evenly, where one fires early and another late. Of one step, and of
one replica, it is the average.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from scipy import sparse

from varflow._memory import room
from varflow.model.layers import Spike
from varflow.model.neurons import Neuron
from varflow.theory.responses.back_propagation import Sampling, Slopes, at_one_step, moments_back
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses, points_within, spikes_at
from varflow.theory.responses.quasi_monte_carlo import causal_factor
from varflow.theory.responses.step import Population, carried_back_alone
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Currents, means_at, outer
from varflow.theory.signals.places import ALL_PAIRS, Grid, Offset, PairMoments, known_pairs, on_map, replicated
from varflow.theory.threads import in_threads

TOGETHER = 400  # positions × steps of a map up to which positions are followed together
GROUPS, FEWEST = 2**14, 64  # inputs × positions × steps that are computed one by one; at least 64 positions
SCATTER = 1e-4  # within classes, of the sum of squares, below which none is divided; of one step all are
EQUAL = 1e-20  # the same of values that are equal but for rounding


@dataclass(frozen=True, slots=True, eq=False)
class VarianceClasses:
    """Classes of positions, or of pairs of them, each input's own.

    Attributes
    ----------
    which : ndarray of int, shape (inputs × groups of each,)
        The class of every group.
    classes : int
        Their number, of all inputs.
    members : ndarray of int, shape (replicas, classes), optional
        The group that stands for each class; None if the average does.
    """

    which: np.ndarray
    classes: int
    members: np.ndarray | None = None

    @classmethod
    def of(cls, currents: Currents, replicas: int, seed: int) -> VarianceClasses:
        """Positions of like currents; the grid is ``per_position``, with groups ``(input, row, column)``."""
        inputs, most = currents.mean.shape[1] // currents.grid.positions, max(GROUPS // currents.grid.steps, FEWEST)
        values = currents.mean, currents.covariance
        least = SCATTER if currents.grid.steps > 1 else EQUAL
        return cls.of_marks(marks(*values), inputs, most, least).with_members(replicas, seed, *values)

    @classmethod
    def of_marks(cls, marks: np.ndarray, inputs: int, most: int, least: float = SCATTER) -> VarianceClasses:
        """At most ``most`` classes, at least one for each input, of groups with like marks (groups, marks); as few as leave a
        scatter of ``least``.
        """
        groups, classes, least = np.arange(len(marks)), inputs, least * np.sum(marks**2)
        which = groups * inputs // len(marks)
        while True:
            mean = _sums(which, marks) / np.bincount(which)[:, None]
            about = marks - mean[which]
            scatter = _sums(which, about**2)
            scatter[scatter <= EQUAL * _sums(which, marks**2)] = 0.0
            of_classes = scatter.sum(axis=1)
            first = np.argsort(-of_classes, kind="stable")[: max(most - classes, 0)]
            divided = first[of_classes[first] >= of_classes.mean()]
            if of_classes.sum() <= least or not len(divided):
                return cls(which, classes)
            new = np.full(classes, -1)
            new[divided] = classes + np.arange(len(divided))
            above = about[groups, scatter.argmax(axis=1)[which]] > 0
            which = np.where(above & (new[which] >= 0), new[which], which)
            classes += len(divided)

    def with_members(self, replicas: int, seed: int, *values: np.ndarray) -> VarianceClasses:
        """Members of each class evenly spread over it, from a random one on, in as many replicas as these values have or more;
        none for one replica.
        """
        if replicas == 1:
            return self
        replicas, number = max(replicas, *map(len, values)), np.bincount(self.which)
        at = (np.arange(replicas)[:, None] + np.random.default_rng([seed, 5]).random(self.classes)) / replicas
        members = np.argsort(self.which, kind="stable")[number.cumsum() - number + (at * number).astype(int)]
        return VarianceClasses(self.which, self.classes, members)

    def of_classes(self, values: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """Values with axes (replicas, groups, …) of what stands for each class; of ``groups`` instead of all in their order."""
        values = values if groups is None else values[:, groups]
        if self.members is not None:
            return values[np.arange(len(self.members))[:, None] % len(values), self.members]
        number = np.bincount(self.which)[:, None]
        means = np.stack([_sums(self.which, each.reshape(len(each), -1)) / number for each in values])
        return means.reshape(len(values), self.classes, *values.shape[2:])

    def currents(self, of: Currents) -> Currents:
        """One current for each class."""
        grid = Grid(1, 1, 1, of.grid.steps) if of.grid.per_position else of.grid
        return Currents(self.of_classes(of.mean), self.of_classes(of.covariance), grid, of.channels, shared=of.shared)


def marks(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Means and standard deviations of ``I_i`` and of ``I_1 + … + I_i``, averaged over replicas, shape (groups, marks)."""
    mean = mean.mean(axis=0)
    return np.concatenate([mean, mean.cumsum(axis=-1), np.sqrt(np.maximum(of_sums(covariance), 0.0))], axis=-1)


def of_sums(covariance: np.ndarray) -> np.ndarray:
    """``Cov[I_i, J_i]`` and ``Cov[I_1 + … + I_i, J_1 + … + J_i]`` from ``Cov[I_i, J_j]``, averaged over replicas."""
    until, of_entries = np.tri(covariance.shape[-1]), np.einsum("rgii->gi", covariance)
    added = np.einsum("rgij,ij->gi", covariance, until) + np.einsum("rgji,ij->gi", covariance, until) - of_entries
    return np.concatenate([of_entries, added.cumsum(axis=-1)], axis=-1) / len(covariance)


def _sums(which: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums over each class of values (groups, …)."""
    return sparse.csr_array((np.ones(len(which)), (which, np.arange(len(which))))) @ values


def with_means(covariance: np.ndarray, mean: np.ndarray, offset: Offset, grid: Grid) -> np.ndarray:
    """``M_d`` on the map, from covariances of its pairs, groups ``(input, p)``, and all means."""
    covariance = covariance if offset is ALL_PAIRS else on_map(covariance, offset, grid)
    return covariance + outer(*means_at(mean, offset, grid))


def covariance_of_pairs(currents: Currents, offset: Offset) -> np.ndarray:
    """Covariances of the pairs ``p, p + d`` of the map, groups ``(input, p)``; for ``ALL_PAIRS``, of each input."""
    between, grid = currents.between(offset), currents.grid
    if offset is ALL_PAIRS:
        return between
    return between[:, groups_of_pairs(offset, grid, currents.mean.shape[1] // grid.positions)[0]]


def classes_of_pairs(
    currents: Currents, offset: Offset, between: np.ndarray, most: int, replicas: int, seed: int
) -> tuple[VarianceClasses, Currents]:
    """At most ``most`` classes for each input of pairs of positions whose currents and their sums are alike, and the currents
    of what stands for each class, in one index ``(2, …)``; ``between``: covariances of the two. For ``ALL_PAIRS`` all pairs of
    an input, of which the average stands.
    """
    grid, (mean, covariance) = currents.grid, (currents.mean, currents.covariance)
    inputs = mean.shape[1] // grid.positions
    if offset is ALL_PAIRS:
        mean, covariance = (x.reshape(len(x), -1, grid.positions, *x.shape[2:]).mean(axis=2) for x in (mean, covariance))
        here = there = np.arange(inputs)
        classes = VarianceClasses(here, inputs)
    else:
        here, there = groups_of_pairs(offset, grid, inputs)
        each, alone = marks(mean, covariance), of_sums(covariance)
        both = np.sqrt(np.maximum(alone[here] + alone[there] + 2 * of_sums(between), 0.0))
        classes = VarianceClasses.of_marks(np.concatenate([each[here], each[there], both], axis=-1), inputs, most * inputs)
        classes = classes.with_members(replicas, seed, mean, covariance, between)
    B = classes.of_classes(between)
    parts = {
        (0, 0): classes.of_classes(covariance, here),
        (0, 1): B,
        (1, 0): B.swapaxes(-1, -2),
        (1, 1): classes.of_classes(covariance, there),
    }
    means = np.concatenate([classes.of_classes(mean, here), classes.of_classes(mean, there)], axis=-1)
    steps = grid.steps
    return classes, Currents(means, _in_one_index(2, parts), Grid(1, 1, means.shape[-1] // steps, steps), currents.channels)


def groups_of_pairs(offset: tuple[int, int], grid: Grid, inputs: int) -> np.ndarray:
    """Groups ``(input, p)`` and ``(input, p + d)`` where both lie on the map, shape (2, pairs)."""
    pairs = known_pairs(offset, grid.shape)
    return (grid.positions * np.arange(inputs)[:, None] + pairs[:, None]).reshape(2, -1)


def at_places(currents: Currents, places: np.ndarray, far: bool = False) -> Currents:
    """Currents at ``places`` (windows, places) together, groups ``(input, window)``, index ``(place, step)``.

    ``far``: the first half of the places and the second count as far from each other.
    """
    grid, number, steps = currents.grid, places.shape[1], currents.grid.steps

    def between(a: int, b: int) -> np.ndarray:
        if far and a < number // 2 <= b:
            return np.repeat(currents.between(ALL_PAIRS), len(places), axis=1)
        return covariance_of_places(currents, places[:, a], places[:, b])

    upper = {(a, b): between(a, b) for a in range(number) for b in range(a, number)}
    parts = upper | {(b, a): M.swapaxes(-1, -2) for (a, b), M in upper.items() if a < b}
    mean, covariance = _at(currents.mean, places, grid), _in_one_index(number, parts)
    return Currents(mean.reshape(len(mean), -1, number * steps), covariance, Grid(1, 1, number, steps), currents.channels)


def covariance_of_windows(currents: Currents, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Covariances of all places (windows, places) of two windows each, groups ``(input, window)``, index ``(place, step)``."""
    number = here.shape[1]
    taps = np.ndindex(number, number)
    return _in_one_index(number, {(a, b): covariance_of_places(currents, here[:, a], there[:, b]) for a, b in taps})


def _in_one_index(number: int, parts: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
    """Covariances in the index ``(place, step)``, of those between each two places; one replica stands for all."""
    replicas = max(map(len, parts.values()))
    _, groups, steps, later = parts[0, 0].shape
    blocks = np.empty((replicas, groups, number, steps, number, later))
    for (a, b), M in parts.items():
        blocks[:, :, a, :, b] = M
    return blocks.reshape(replicas, groups, number * steps, -1)


def covariance_of_places(currents: Currents, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Covariances of positions ``here`` and ``there`` (windows,), groups ``(input, window)``."""
    grid = currents.grid
    (rows, columns), (other_rows, other_columns) = np.divmod(here, grid.width), np.divmod(there, grid.width)
    offsets, which = np.unique([other_rows - rows, other_columns - columns], axis=1, return_inverse=True)
    moments = [_at(currents.between((int(down), int(along))), here, grid) for down, along in offsets.T]
    if len(moments) == 1:
        return moments[0]
    inputs = moments[0].shape[1] // len(here)
    return reduce(np.add, (M * np.tile(which.ravel() == n, inputs)[:, None, None] for n, M in enumerate(moments)))


def _at(values: np.ndarray, places: np.ndarray, grid: Grid) -> np.ndarray:
    """Values with groups ``(input, position)`` at some positions."""
    at = values.reshape(len(values), -1, grid.positions, *values.shape[2:]).take(places, axis=2)
    return at.reshape(len(values), -1, *values.shape[2:])


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
    enough = replace(responses, points=points_within(IN_WINDOWS, groups * size * responses.scrambles))
    return drawn_currents(neuron, mean, covariance, enough, number, groups)


def drawn_currents(
    neuron: Neuron, mean: np.ndarray, covariance: np.ndarray, responses: Responses, *seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters of neurons (scrambles, parameters, points), and currents (scrambles, groups, i, points) of these moments."""
    rng = np.random.default_rng([responses.seed, 4, *seed])
    z = rng.standard_normal((responses.scrambles, *mean.shape[1:], responses.points), np.float32)
    parameters = rng.standard_normal((responses.scrambles, neuron.differing, responses.points), np.float32)
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
        back, slopes = moments_back(layer, above, currents, replace(sampling, scatter=False))
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
        blocks = sampling.jacobians(neuron, Population.of(neuron, z[at, size:].astype(np.float32)), drawn)
        return sum((carried_back_alone(J[::2], G[at], J[1::2]) for _, J, _ in blocks), start=np.zeros(())) / points

    return on_map(np.stack(in_threads(one, replicas))[:, classes.which], offset, grid)
