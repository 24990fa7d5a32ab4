r"""A layer of resetting neurons at infinite width, summed over its spike histories, for a few steps.

Given a spike history, the membrane is linear in the currents ``c = μ + L z``, so the history's probability is an orthant
probability. Histories form a tree: at step ``t`` the innovation ``z_t`` is split where ``H_t`` crosses the threshold, and

.. math:: M(s, t) = \sum_{histories} P \, S_s S_t

Within a piece everything is smooth in ``z_t``, which is integrated by Gauss–Legendre quadrature up to 4 steps. For more steps,
or if an innovation is so small that the next step is nearly a kink, ``z_t`` is drawn from its truncated normal distribution by
quasi-Monte Carlo (``genz1992``, all orthants at once), with replicas for the error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

from varflow._checks import ConvergenceError, require
from varflow.model.neurons import Neuron
from varflow.theory.responses.conditional_spikes import expected_spikes
from varflow.theory.responses.filters import exponential_filter
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.quasi_monte_carlo import causal_factor, innovations, second_moments
from varflow.theory.responses.rank_one_currents import rank_one_layer
from varflow.theory.responses.step import admitted, membrane, spikes
from varflow.theory.signals.shared_scale import SharedScale

__all__ = ["Histories", "longest", "uniform_points"]

NODES = 40  # Gauss–Legendre nodes in each piece
QUADRATURE = 4  # largest number of steps for quadrature: the work is (2 NODES)^(steps - 1)
RESOLVED = 0.15  # smallest innovation, in standard deviations of the membrane, that the nodes resolve to 1e-12
END = 8.3  # standard deviations: 1e-16 of a normal distribution lies beyond
BLOCK = 256  # points handled at a time: with all histories of 8 steps, about 50 MB

NEGLIGIBLE = 1e-18  # branches of less weight are dropped
MOST_SPIKES = 30  # in one step

Split = Callable[[int, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """The response of a layer over at most 8 steps. ``uniform`` has points of :func:`uniform_points`, one set per replica."""

    neuron: Neuron
    uniform: np.ndarray

    def __call__(self, mean: np.ndarray, covariance: np.ndarray, layer: int, shared: SharedScale | None = None) -> LayerState:
        exact = rank_one_layer(self.neuron, mean, covariance, mean.shape[-1], shared)
        if exact is not None:
            return exact
        factors = causal_factor(covariance)
        replicas = len(covariance) if self._resolved(factors) else len(self.uniform)
        means = np.broadcast_to(mean, (replicas, *mean.shape[1:]))
        factors = np.broadcast_to(factors, (replicas, *factors.shape[1:]))
        states = []
        for at in range(replicas):
            points = None if self._resolved(factors) else _flipped(self.uniform[at], np.random.default_rng([layer, at]))
            states += [_walked(self.neuron, mean, L, points) for mean, L in zip(means[at], factors[at], strict=True)]
        shape = means.shape[:2]
        return LayerState(*(np.reshape(column, (*shape, *column[0].shape)) for column in zip(*states, strict=True)))

    def _resolved(self, factors: np.ndarray) -> bool:
        """Whether quadrature is accurate: few steps, at most one spike each, and no innovation too small."""
        steps = factors.shape[-1]
        membranes = exponential_filter(self.neuron.decay, steps) @ factors  # without reset: the largest spread
        new, all_of_it = np.diagonal(factors, axis1=-2, axis2=-1), np.linalg.norm(membranes, axis=-1)
        rule = self.neuron.reset_rule
        least = new * (
            1.0 if rule.membrane == rule.input == 1 else 1 - rule.input
        )  # after a spike (after a gate the next step is certain)
        return steps <= QUADRATURE and not rule.counts and bool((least >= RESOLVED * all_of_it).all())


def longest(neuron: Neuron) -> int:
    """Largest number of steps whose histories are summed."""
    if neuron.reset_rule.lowest is not None:  # a kink in the membrane, within the pieces of the quadrature
        return 0
    return 4 if neuron.reset_rule.counts else 8


def uniform_points(steps: int, *, points: int, scrambles: int, seed: int) -> np.ndarray:
    """Independently scrambled Sobol points, shape (scrambles, steps, points)."""
    sobol = require("scipy", "scipy.stats").qmc.Sobol
    generators = (np.random.default_rng([seed, 2, which]) for which in range(scrambles))
    return np.stack([sobol(steps, scramble=True, bits=52, rng=rng).random(points).T for rng in generators])


def _flipped(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points with random coordinates reflected, ``1 - u``: different in every layer, and equally well distributed."""
    return np.where(rng.integers(0, 2, (len(points), 1)), 1 - points, points)


def _walked(neuron: Neuron, mean: np.ndarray, factor: np.ndarray, points: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Variance, mean, rate and second moments of spikes in one layer; by quadrature if ``points`` is None."""
    steps = len(mean)
    if points is None:
        total = _walk(neuron, mean, factor, np.ones(1), _quadrature)
    else:
        number = points.shape[1]
        blocks = (points[:, start : start + BLOCK] for start in range(0, number, BLOCK))
        parts = [_walk(neuron, mean, factor, np.full(b.shape[1], 1 / number), _truncated(b)) for b in blocks]
        total = np.sum(parts, axis=0)
    below, (potential, second, rate, square) = total[:, :steps].T, total[:, steps:].T
    return second - potential**2, potential, rate, second_moments(below, square, sampled=False)


def _walk(neuron: Neuron, mean: np.ndarray, factor: np.ndarray, weights: np.ndarray, split: Split) -> np.ndarray:
    """Sums over the tree, for each step ``s``: ``S_s S_t`` for all ``t > s``, then ``H``, ``H²``, ``S``, ``S²``."""
    steps, new = len(mean), innovations(factor)
    sums = np.zeros((steps, steps + 4))
    z, fired, root = np.empty((0, len(weights))), np.empty((0, len(weights))), np.arange(len(weights))
    h = s = np.zeros(len(weights))
    for t in range(steps):
        expected = membrane(neuron, h, s, mean[t] + factor[t, :t] @ z)
        std = new[t] * admitted(neuron, s) * np.ones(len(weights))
        edges = _edges(neuron, expected, std)
        chance, square = expected_spikes(neuron, expected, new[t : t + 1], s, spikes(neuron, expected))
        sums[:t, t] = fired @ (weights * chance)
        sums[t, steps:] = weights @ expected, weights @ (expected**2 + std**2), weights @ chance, weights @ square
        if t == steps - 1:
            break
        pieces = [split(t, root, lower, upper) for lower, upper in pairwise(edges)]
        weights, s, branch, newest = _branches(pieces, weights)
        h = expected[branch] + std[branch] * newest
        z = np.vstack([z[:, branch], newest])  # not in one assignment, in which pyright would infer each type from all others
        fired = np.vstack([fired[:, branch], s])
        root = root[branch]
    return sums


def _branches(pieces: list[tuple[np.ndarray, np.ndarray]], weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of all pieces that are not negligible: weight, spikes, the branch they grow from, and the innovation."""
    masses = np.stack([mass * weights[:, None] for _, mass in pieces])
    count, branch, _ = kept = np.nonzero(masses > NEGLIGIBLE)  # piece number = spike count
    return masses[kept], count.astype(float), branch, np.stack([numbers for numbers, _ in pieces])[kept]


def _edges(neuron: Neuron, expected: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Innovations that separate 0, 1, … spikes; shape (highest number + 2, branches)."""
    highest = 1
    if neuron.reset_rule.counts:
        highest = max(int(np.max(expected + END * std) / neuron.threshold), 1)
        if highest > MOST_SPIKES:
            hint = "use method='quasi_monte_carlo'"
            raise ConvergenceError(f"a neuron can spike {highest} times in one step, too many histories: {hint}")
    levels = neuron.threshold * np.arange(1, highest + 1)[:, None]
    decided = np.where(spikes(neuron, expected) >= np.arange(1, highest + 1)[:, None], -END, END)
    meets = np.where(std > 0, (levels - expected) / np.where(std > 0, std, 1), decided)
    ends = np.full((1, len(expected)), END)
    return np.clip(np.vstack([-ends, meets, ends]), -END, END)


def _quadrature(t: int, root: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of each piece and their weights (normal mass), shape (branches, nodes).

    Gauss–Legendre in ``v = tanh(z/3)``, which puts the nodes where the mass is.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    low, high = np.tanh(lower / 3)[:, None], np.tanh(upper / 3)[:, None]
    v = low + (high - low) * (1 + nodes) / 2
    z = 3 * np.arctanh(v)
    return z, 1.5 * (high - low) * weights / (1 - v**2) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def _truncated(points: np.ndarray) -> Split:
    """One draw from each piece's truncated normal distribution, and the piece's mass; shape (branches, 1)."""

    def split(t: int, root: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        side = np.where(lower + upper > 0, -1.0, 1.0)  # mirrored to the lower tail, where Φ has full relative accuracy
        low, high = special.ndtr(side * lower), special.ndtr(side * upper)
        z = side * special.ndtri(low + points[t, root] * (high - low))
        return np.clip(z, lower, upper)[:, None], np.abs(high - low)[:, None]

    return split
