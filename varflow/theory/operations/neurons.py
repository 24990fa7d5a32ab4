"""Layers of neurons at infinite width: from the moments of currents to those of spikes, by the method that fits the neuron.

One step without spike counts, or several without reset: bivariate orthants of all pairs of probes and steps (``one_step``,
``responses.orthants``). A reset: quasi-Monte Carlo. Recurrent weights: one sweep over time.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr

from varflow._checks import DomainError, choice, deprecated, integer
from varflow._memory import gibibytes, room
from varflow.model.distributions import distribution
from varflow.model.layers import Spike
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons
from varflow.theory.layer import standardised_threshold
from varflow.theory.maps.patches import about_means, at_places, between_pairs, pairs_alike
from varflow.theory.maps.variance_classes import Alike
from varflow.theory.responses.bivariate_tail import orthant
from varflow.theory.responses.filters import past_synapse
from varflow.theory.responses.layer_state import LayerState, mixed
from varflow.theory.responses.orthants import Orthants, of_decays, within
from varflow.theory.responses.quasi_monte_carlo import QuasiMonteCarlo, causal_factor, normal_points
from varflow.theory.responses.recurrence import recurrent_layer
from varflow.theory.responses.stepping import MEMBERS, Population, averaging_error, stepped
from varflow.theory.signals.moments import Currents, Grid, Spikes
from varflow.theory.signals.pair_moments import FAR, Between, Offset
from varflow.theory.signals.replicas import replicated
from varflow.theory.signals.shared_scale import SharedScale
from varflow.theory.threads import one_thread

__all__ = ["IN_WINDOWS", "METHODS", "Neurons", "one_step", "points_within"]

METHODS = ("auto", "orthants", "quasi_monte_carlo")
LONGEST = 2048  # probes × steps: the work grows with their square or cube
MATRICES = 5  # of all pairs of probes and steps, held at once
NUMBERS = 2**26  # normal numbers of all points of several probes: 256 MB
IN_WINDOWS = 2**22  # the same of windows of large maps, each with points of its own
LONG = 100  # probes × steps beyond which threads pay for products of matrices
PAIRS = 16  # classes of pairs of positions with like currents, over their distance
PAIRED = 2**11  # the same, times steps, where nothing is sampled


@dataclass(frozen=True, slots=True)
class Neurons:
    """Responses of every layer of one walk, with the points that they share.

    Parameters
    ----------
    points, scrambles, seed : int
        Of quasi-Monte Carlo; for several probes fewer points, if they would not fit into ``NUMBERS``.
    method : str
        One of ``METHODS``; see :func:`varflow.mean_field`.
    """

    points: int
    scrambles: int
    seed: int
    method: str = "auto"
    _made: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method == "histories":
            deprecated("method='histories' is gone: method='quasi_monte_carlo', which it now means, states its error")
            object.__setattr__(self, "method", "quasi_monte_carlo")
        choice("method", self.method, METHODS)
        for name, minimum in (("points", 1), ("scrambles", 2), ("seed", 0)):
            object.__setattr__(self, name, integer(name, getattr(self, name), minimum=minimum))
        if self.points & (self.points - 1):
            raise DomainError("points", self.points, "must be a power of two, for which Sobol points are balanced")

    def samples(self, neuron: Neuron, steps: int) -> bool:
        """Whether the response to currents over these steps has noise; DomainError if the method does not fit the neuron."""
        normal = neuron.reset_rule.absent or (steps == 1 and not neuron.reset_rule.counts)
        if self.method == "orthants" and not normal:
            rule = "needs normal potentials, so reset='none'; with a reset use method='quasi_monte_carlo'"
            raise DomainError("method", self.method, rule)
        if steps == 1 and self.method not in ("auto", "orthants"):
            raise DomainError("method", self.method, "needs several steps; a single one is exact with method='auto'")
        return not normal or self.method == "quasi_monte_carlo"

    def replicas(self, neuron: Neuron, steps: int) -> int:
        """Numerical copies of the network whose scatter is the error; 1 if the response is exact."""
        return self.scrambles if self.samples(neuron, steps) else 1 if steps == 1 else Orthants.replicas

    def fire(self, layer: Spike, currents: Currents, number: int) -> tuple[LayerState, Spikes]:
        """Layer ``number`` of neurons: its state over the whole index, and the spikes that arrive at the next layer."""
        grid, neuron = currents.grid, layer.neuron
        self._fits(layer, currents)
        currents = currents if neuron.input_scale == 1 else currents.scaled(neuron.input_scale)
        draw = pairs = None
        if layer.recurrent:
            mean, covariance = (replicated(values, self.scrambles) for values in (currents.mean, currents.covariance))
            state = recurrent_layer(layer, mean, covariance, grid.steps, self._sampling(neuron, grid), number)
        else:
            state = self._state(neuron, currents, number)
            draw = partial(self._drawn, neuron, currents, number)
        if currents.pairs is not None:
            pairs = Between(grid.shape, partial(self._between, neuron, currents, state.firing_rate, number))
            state = replace(state, pairs=pairs)
        spikes = Spikes(state.firing_rate, state.coincidences, grid, currents.channels, draw, state.changes, pairs)
        return state, spikes.later(neuron.delay)

    def _between(self, neuron: Neuron, currents: Currents, rate: np.ndarray, number: int, offset: Offset) -> np.ndarray:
        """``M_d`` of spikes: the covariance of pairs of like covariance, and the means that are known."""
        steps, distance = currents.grid.steps, 1 if offset is FAR else max(map(abs, offset))
        most = PAIRS // distance if self.samples(neuron, steps) else max(PAIRED // steps, PAIRS)
        between = between_pairs(currents, offset)
        alike, two = pairs_alike(currents, offset, between, most, self.replicas(neuron, steps), self.seed)
        state = self._state(neuron, two, number)
        one, other = state.firing_rate[..., :steps], state.firing_rate[..., steps:]
        covariance = state.coincidences[..., :steps, steps:] - one[..., :, None] * other[..., None, :]
        return about_means(covariance[:, alike.which], rate, offset, currents.grid)

    def _fits(self, layer: Spike, currents: Currents) -> None:
        size, steps = currents.grid.size, currents.grid.steps
        if size > LONGEST:
            needed = gibibytes(8 * MATRICES * size**2)
            if size == steps:
                rule = f"must be at most {LONGEST} (here moments need {needed}); if activity becomes stationary, fewer show it"
                raise DomainError("steps", steps, rule)
            rule = f"needs moments over {size} probes and steps ({needed}), at most {LONGEST}: fewer steps, inputs or positions"
            raise DomainError("layers", layer, rule)
        room("layers", layer, 8 * MATRICES * currents.covariance.size, "second moments over probes and steps")

    def _state(self, neuron: Neuron, currents: Currents, number: int) -> LayerState:
        grid = currents.grid
        if grid.apart:
            alike = Alike.of(currents, self.replicas(neuron, grid.steps), self.seed)
            return self._state(neuron, alike.currents(currents), number).of_groups(alike.which)
        with one_thread() if grid.size <= LONG else nullcontext():
            if self.samples(neuron, grid.steps):
                return self._sampling(neuron, grid)(*self._filtered(neuron, currents), number, currents.shared)
            if grid.steps == 1:
                return one_step(neuron, currents.mean, currents.covariance, currents.shared)
            probes = grid.size // grid.steps
            responses = self._once(of_decays, neuron, grid.steps, probes)
            state = mixed([(weight, respond(currents.increments)) for weight, respond in responses])
            return replace(state, point_fraction=averaging_error(neuron, Orthants.replicas))

    def _filtered(self, neuron: Neuron, currents: Currents) -> tuple[np.ndarray, np.ndarray]:
        """Moments past the synapse, of every replica."""
        probes = currents.grid.size // currents.grid.steps
        mean, covariance = past_synapse(neuron, currents.mean, currents.covariance, probes)
        return replicated(mean, self.scrambles), replicated(covariance, self.scrambles)

    def _once(self, make: Any, *parts: Any, **more: Any) -> Any:
        """``make(…)``, kept for the layers to come."""
        key = (make, parts, *more.values())
        if key not in self._made:
            self._made[key] = make(*parts, **more)
        return self._made[key]

    def _sampling(self, neuron: Neuron, grid: Grid) -> QuasiMonteCarlo:
        points, sizes = self.points, {"scrambles": self.scrambles, "seed": self.seed}
        if grid.size > grid.steps:
            points = min(points, points_within(NUMBERS, grid.size * self.scrambles))
        normals = self._once(normal_points, grid.size + neuron.differing, points=points, **sizes)
        return QuasiMonteCarlo(neuron, normals, self.seed, steps=grid.steps)

    def currents_at_points(self, neuron: Neuron, currents: Currents, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Normal numbers of every point (scrambles, i + parameters, points), and its currents (scrambles, groups, i, points).

        Currents are those past the synapse, times the input scale; points of different layers are independent.
        """
        sampling, size = self._sampling(neuron, currents.grid), currents.grid.size
        mean, covariance = self._filtered(neuron, currents)
        z = sampling.normals * sampling.signs(number)[..., None]
        z = z[..., np.random.default_rng([self.seed, 3, number]).permutation(z.shape[-1])]
        return z, causal_factor(covariance) @ z[:, None, :size] + mean[..., None]

    def currents_within(
        self, neuron: Neuron, currents: Currents, number: int, places: np.ndarray, far: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of the positions of each window of a large map together, with points of its own: parameters (scrambles,
        parameters, points), and currents (scrambles, groups, (place, step), points); see ``patches.at_places``.
        """
        groups, size = len(places) * currents.mean.shape[1] // currents.grid.positions, places.shape[1] * currents.grid.steps
        room("layers", neuron, 8 * MATRICES * groups * size**2, "second moments over the steps and positions of each window")
        mean, covariance = self._filtered(neuron, at_places(currents, places, far))
        points = points_within(IN_WINDOWS, groups * size * self.scrambles)
        rng = np.random.default_rng([self.seed, 4, number, groups])
        z = rng.standard_normal((self.scrambles, groups, size, points), np.float32)
        parameters = rng.standard_normal((self.scrambles, neuron.differing, points), np.float32)
        return parameters, causal_factor(covariance).astype(np.float32) @ z + mean[..., None].astype(np.float32)

    def _drawn(
        self, neuron: Neuron, currents: Currents, number: int, places: np.ndarray | None = None, far: bool = False
    ) -> np.ndarray:
        """Spikes at sampled currents, shape (scrambles, groups, i, points); those of different layers are independent."""
        if places is None:
            z, drawn = self.currents_at_points(neuron, currents, number)
            z = z[:, currents.grid.size :]
        else:
            z, drawn = self.currents_within(neuron, currents, number, places, far)
        steps, (replicas, groups, size, points) = currents.grid.steps, drawn.shape
        runs = drawn.reshape(replicas, groups, size // steps, steps, points)
        spikes = np.stack([stepped(Population.of(neuron, one), run)[1] for one, run in zip(z, runs, strict=True)])
        return spikes.reshape(drawn.shape).astype(np.float32)


def points_within(numbers: int, each: int) -> int:
    """The largest power of two of points, at least 2, that needs at most so many normal numbers, ``each`` per point."""
    return 2 ** int(np.log2(max(numbers // each, 2)))


def one_step(neuron: Neuron, mean: np.ndarray, covariance: np.ndarray, shared: SharedScale | None = None) -> LayerState:
    r"""One step of neurons that spike at most once, at several probes.

    .. math:: e_i = Q(h_i), \qquad M_{ij} = P(H_i > \theta, H_j > \theta) = L(h_i, h_j; \rho_{ij}), \qquad
              h_i = (\theta - \mu_i)/\sigma_i

    ``shared``: by which the currents were divided; ``h`` is then that of as many neurons.
    """
    variance, size = np.maximum(np.diagonal(covariance, axis1=-2, axis2=-1), 0.0), mean.shape[-1]
    if size == 1 and shared is None:
        rate = _rate(neuron, mean, variance)
        return LayerState(variance, mean, rate, rate[..., None])
    if neuron.heterogeneous:
        memoryless = replace(neuron, decay=0.0)
        members = memoryless.members(MEMBERS)
        state = mixed([(weight, one_step(member, mean, covariance, shared)) for weight, member in members])
        return replace(state, point_fraction=averaging_error(memoryless))
    h = standardised_threshold(neuron.threshold, mean, variance, neuron.strict)
    h, std = within(h if shared is None else shared.passed(h)), np.sqrt(variance)
    rate = ndtr(-h)
    own = np.arange(size)
    M = rate[..., :, None] * rate[..., None, :]
    M[..., own, own] = rate
    i, j = np.triu_indices(len(own), 1)
    between = covariance[..., i, j]
    if between.any():  # else independent
        both = std[..., i] * std[..., j]
        rho = np.clip(np.divide(between, both, out=np.zeros(both.shape), where=both > 0), -1, 1)
        M[..., i, j] = M[..., j, i] = orthant(h[..., i], h[..., j], rho)
    return LayerState(variance, mean, rate, M)


def _rate(neuron: Neuron, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """``P(H > θ)``, averaged over neurons."""
    if not isinstance(neuron.threshold, OverNeurons):
        return distribution("normal").sf(standardised_threshold(neuron.threshold, mean, variance, neuron.strict))
    mean, rate = np.broadcast_to(mean, variance.shape), np.zeros(variance.shape)
    for which, values, weights in neuron.threshold.rules_for(np.sqrt(variance)):
        h = standardised_threshold(values, mean[which], variance[which], neuron.strict)
        rate[which] += distribution("normal").sf(h) @ weights
    return rate
