r"""Layers of neurons under Gaussian currents: moments of spikes from those of currents, by the method that fits the neuron.

One step without spike counts, or several without reset: bivariate orthants of all pairs of sequences and steps (``orthants``).
A reset: quasi-Monte Carlo. Recurrent weights: one sweep over time.

The sweep over time of a layer with recurrent weights:

.. math:: \mathrm{Cov}[I_t, I_{t'}] = C_{tt'} + g_r^2 M_{t-1, t'-1}, \qquad E[I_t] = \mu_t + m_r e_{t-1}

Row ``t`` of the Cholesky factor of these currents, before the synapse, needs spikes before ``t`` only, so that the moments
``M`` of the layer itself are known in time. The newest innovation is averaged exactly, as by ``quasi_monte_carlo``.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from varflow._checks import DomainError, choice, integer
from varflow._shared import one_thread
from varflow.model.layers import Spike
from varflow.model.neurons import Neuron
from varflow.theory.responses.filters import filtered, synapse
from varflow.theory.responses.layer_state import LayerState, mixed
from varflow.theory.responses.orthants import Orthants, of_decays, one_step
from varflow.theory.responses.quasi_monte_carlo import FLAT, QuasiMonteCarlo, causal_factor, normal_points, over_innovation
from varflow.theory.responses.step import NeuronState, Population, averaging_error, gate, step, stepped
from varflow.theory.signals.moments import Currents
from varflow.theory.signals.places import Grid, aligned, replicated


def recurrent_layer(
    layer: Spike, mean: np.ndarray, covariance: np.ndarray, steps: int, sampling: QuasiMonteCarlo, number: int
) -> LayerState:
    """The state of layer ``number`` under currents from below with these moments; several sequences follow each other."""
    normals, lead = sampling.normals * sampling.signs(number)[..., None], (len(sampling.normals), mean.shape[1])
    means, covariances = aligned(mean, covariance, least=lead[0])
    found = [_swept(layer, means[at], covariances[at], steps, normals[at[0]]) for at in np.ndindex(lead)]
    moments = (np.reshape(column, (*lead, *column[0].shape)) for column in zip(*found, strict=True))
    return LayerState(*moments, point_fraction=1 / sampling.normals.shape[-1])


def _swept(layer: Spike, mean: np.ndarray, covariance: np.ndarray, steps: int, normals: np.ndarray) -> tuple[np.ndarray, ...]:
    """Variance, mean, rate and second moments of spikes over one set of points (i, points)."""
    size, points, decay = len(mean), normals.shape[-1], layer.neuron.synaptic_decay
    neuron = Population.of(layer.neuron, normals[size:])
    back, forth = layer.neuron.input_scale * layer.recurrent_gain, layer.neuron.input_scale * layer.recurrent_mean_gain
    order = np.arange(size).reshape(-1, steps).T.ravel()  # step by step, all sequences at each
    total, M, sums = covariance.copy(), np.zeros((size, size)), np.zeros((size, 4))
    L, fired = np.zeros((size, size)), np.zeros((size, points))
    rest = np.zeros(points)
    states = dict.fromkeys(
        range(size // steps), (NeuronState(rest, rest), rest)
    )  # of each sequence, with currents past the synapse
    for number, i in enumerate(order.tolist()):
        known, first = order[:number], i % steps == 0
        if not first:
            later = order[: number + 1]
            later = later[later % steps > 0]
            total[i, later] += back**2 * M[i - 1, later - 1]
            total[later, i] = total[i, later]
        before, current = states[i // steps]
        row, std = _next_row(L[np.ix_(known, known)], total[i, known], total[i, i])
        L[i, known], L[i, i] = row, std[0]
        newest = std * normals[i]
        mean_input = mean[i] + (0.0 if first else forth * sums[i - 1, 2] / points)
        current = decay * current + mean_input + row @ normals[known] + newest
        state = step(neuron, before, current)
        fired[i] = state.s
        chance, sums[i] = over_innovation(neuron, state.h, newest, std, gate(neuron, before), state.s)
        states[i // steps] = state, current
        M[i, known] = M[known, i] = fired[known] @ chance / points
        M[i, i] = sums[i, 3] / points
    potential, second, rate, _ = sums.T / points
    return second - potential**2, potential, rate, M


def _next_row(L: np.ndarray, covariances: np.ndarray, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """The next row of a Cholesky factor, from its covariances with the rows so far; innovations of 0 stay 0."""
    own = L.diagonal()
    row = (own > 0) * solve_triangular(L + np.diag(own == 0), covariances, lower=True, check_finite=False)
    rest = variance - row @ row
    return row, np.sqrt([rest if rest > FLAT**2 * variance else 0.0])


METHODS = ("auto", "orthants", "quasi_monte_carlo")
NUMBERS = 2**26  # normal numbers of all points of several sequences: 256 MB
LONG = 100  # sequences × steps beyond which threads pay for products of matrices


@dataclass(slots=True)
class Responses:
    """Responses of every layer of one walk, with the points that they share.

    Parameters
    ----------
    points, scrambles, seed : int
        Of quasi-Monte Carlo; for several sequences fewer points, if they would not fit into ``NUMBERS``.
    method : str
        One of ``METHODS``; see :func:`varflow.mean_field`.
    made : dict
        Points and matrices that all layers share.
    """

    points: int
    scrambles: int
    seed: int
    method: str = "auto"
    made: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        choice("method", self.method, METHODS)
        for name, minimum in (("points", 1), ("scrambles", 2), ("seed", 0)):
            setattr(self, name, integer(name, getattr(self, name), minimum=minimum))
        if self.points & (self.points - 1):
            raise DomainError("points", self.points, "must be a power of two, for which Sobol points are balanced")

    def at_most(self, points: int) -> Responses:
        """These responses with so many points at most."""
        return replace(self, points=min(self.points, points))

    def samples(self, neuron: Neuron, steps: int) -> bool:
        """True if the response to currents over these steps has noise; DomainError if the method does not fit the neuron."""
        rule = neuron.reset_rule
        normal = rule.absent or (steps == 1 and not rule.counts and rule.register is None)
        if self.method == "orthants" and not normal:
            words = "needs normal potentials, so reset='none'; with a reset use method='quasi_monte_carlo'"
            raise DomainError("method", self.method, words)
        if steps == 1 and self.method not in ("auto", "orthants"):
            raise DomainError("method", self.method, "needs several steps; a single one is exact with method='auto'")
        return not normal or self.method == "quasi_monte_carlo"

    def replicas(self, neuron: Neuron, steps: int) -> int:
        """Numerical copies of the network whose scatter is the error; 1 if the response is exact."""
        return self.scrambles if self.samples(neuron, steps) else 1 if steps == 1 else Orthants.replicas

    def state(self, neuron: Neuron, currents: Currents, number: int) -> LayerState:
        """Layer ``number`` under currents times the input scale, whose positions are in one index."""
        grid = currents.grid
        with one_thread() if grid.size <= LONG else nullcontext():
            if self.samples(neuron, grid.steps):
                return self.sampling(neuron, grid)(*self.past_synapse(neuron, currents), number, currents.shared)
            if grid.steps == 1:
                first = synapse(neuron, 1).item() if neuron.longer_filter else 1.0
                return one_step(neuron, first * currents.mean, first**2 * currents.covariance, currents.shared)
            members = self._once(of_decays, neuron, grid.steps, grid.sequences)
            state = mixed([(weight, respond(currents.increments)) for weight, respond in members])
            return replace(state, point_fraction=averaging_error(neuron, Orthants.replicas))

    def recurrent_state(self, layer: Spike, currents: Currents, number: int) -> LayerState:
        """Layer ``number`` with recurrent weights."""
        moments, grid = (currents.mean, currents.covariance), currents.grid
        return recurrent_layer(layer, *moments, grid.steps, self.sampling(layer.neuron, grid), number)

    def past_synapse(self, neuron: Neuron, currents: Currents) -> tuple[np.ndarray, np.ndarray]:
        """Moments past the synapse, which starts from rest in every sequence, of every replica."""
        mean, covariance, grid = currents.mean, currents.covariance, currents.grid
        if neuron.filters:
            mean, covariance = filtered(synapse(neuron, grid.steps, grid.sequences), mean, covariance)
        return replicated(mean, self.scrambles), replicated(covariance, self.scrambles)

    def _once(self, make: Any, *parts: Any, **more: Any) -> Any:
        """``make(…)``, kept for the layers to come."""
        key = (make, parts, *more.values())
        if key not in self.made:
            self.made[key] = make(*parts, **more)
        return self.made[key]

    def sampling(self, neuron: Neuron, grid: Grid) -> QuasiMonteCarlo:
        """Quasi-Monte Carlo of a layer over this index, with its points."""
        points, sizes = self.points, {"scrambles": self.scrambles, "seed": self.seed}
        if grid.size > grid.steps:
            points = min(points, points_within(NUMBERS, grid.size * self.scrambles))
        normals = self._once(normal_points, grid.size + neuron.differing, points=points, **sizes)
        return QuasiMonteCarlo(neuron, normals, self.seed, steps=grid.steps)

    def currents_at_points(self, neuron: Neuron, currents: Currents, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Normal numbers of every point (scrambles, i + parameters, points), and its currents (scrambles, groups, i, points).

        Currents are those past the synapse, times the input scale; points of different layers are independent.
        """
        sampling, size = self.sampling(neuron, currents.grid), currents.grid.size
        mean, covariance = self.past_synapse(neuron, currents)
        z = sampling.normals * sampling.signs(number)[..., None]
        z = z[..., np.random.default_rng([self.seed, 3, number]).permutation(z.shape[-1])]
        return z, causal_factor(covariance) @ z[:, None, :size] + mean[..., None]

    def drawn(self, neuron: Neuron, currents: Currents, number: int, channels: int = 0) -> np.ndarray:
        """Spikes at sampled currents, shape (scrambles, groups, i, points); those of different layers are independent.

        ``channels``: points stand for at least so many channels, each with the scale by which a normalisation divided its own.
        """
        enough = replace(self, points=max(self.points, 2 ** (channels - 1).bit_length())) if channels else self
        z, drawn = enough.currents_at_points(neuron, currents, number)
        if channels and currents.shared is not None:
            rng = np.random.default_rng([self.seed, 8, number])
            drawn = currents.shared.divided(drawn, *self.past_synapse(neuron, currents), rng)
        return spikes_at(neuron, z[:, currents.grid.size :], drawn, currents.grid.steps)


def spikes_at(neuron: Neuron, parameters: np.ndarray, currents: np.ndarray, steps: int) -> np.ndarray:
    """Spikes of neurons under currents (scrambles, groups, i, points), which start from rest every so many steps."""
    replicas, groups, size, points = currents.shape
    runs = currents.reshape(replicas, groups, size // steps, steps, points)
    spikes = np.stack([stepped(Population.of(neuron, one), run)[1] for one, run in zip(parameters, runs, strict=True)])
    return spikes.reshape(currents.shape).astype(np.float32)


def points_within(numbers: int, each: int) -> int:
    """The largest power of two of points, at least 2, that needs at most so many normal numbers, ``each`` per point."""
    return 2 ** int(np.log2(max(numbers // each, 2)))
