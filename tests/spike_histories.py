r"""A layer of resetting neurons, summed over its spike histories for a few steps: an oracle without code of the package.

Given a spike history, the membrane is linear in the currents ``c = μ + L z``, so the history's probability is an orthant
probability. Histories form a tree: at step ``t`` the innovation ``z_t`` is split where ``H_t`` crosses a threshold, and

.. math:: M(s, t) = \sum_{histories} P \, S_s S_t

Within a piece everything is smooth in ``z_t``, which is integrated by Gauss–Legendre quadrature; with ``points`` it is drawn
from its truncated normal distribution instead (``genz1992``, all orthants at once).
"""

from itertools import pairwise

import numpy as np
from scipy import special, stats

NODES = 40  # Gauss–Legendre nodes in each piece
END = 8.3  # standard deviations: 1e-16 of a normal distribution lies beyond
NEGLIGIBLE = 1e-18  # branches of less weight are dropped
BLOCK = 256  # points handled at a time


def by_quadrature(neuron, mean, covariance, nodes=NODES):
    """Variance, mean, rate and second moments of spikes, for at most 4 steps with innovations that the nodes resolve."""
    return _moments(_walk(neuron, mean, _factor(covariance), np.ones(1), lambda t, root, *piece: _nodes(*piece, nodes)))


def drawn(neuron, mean, covariance, *, points, scrambles=8, seed=0):
    """Mean and standard error of the same over independently scrambled Sobol points; each has one flat row of moments."""
    factor, rows = _factor(covariance), []
    for which in range(scrambles):
        sobol = stats.qmc.Sobol(len(mean), scramble=True, bits=52, rng=np.random.default_rng([seed, which])).random(points).T
        blocks = np.split(sobol, range(BLOCK, points, BLOCK), axis=1)
        parts = [_walk(neuron, mean, factor, np.full(b.shape[1], 1 / points), _truncated(b)) for b in blocks]
        rows.append(flat(_moments(np.sum(parts, axis=0))))
    return np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / scrambles**0.5


def flat(moments):
    """All moments in one row."""
    return np.concatenate([np.ravel(part) for part in moments])


def _factor(covariance):
    """Lower triangular ``L`` with ``L Lᵀ`` the covariance, of any rank; what is left of a dependent step is 0."""
    L = np.zeros_like(covariance)
    for t, row in enumerate(covariance):
        for s in range(t):
            L[t, s] = (row[s] - L[t, :s] @ L[s, :s]) / L[s, s] if L[s, s] else 0.0
        rest = row[t] - L[t, :t] @ L[t, :t]
        L[t, t] = rest**0.5 if rest > 1e-12 * row[t] else 0.0
    return L


def _moments(sums):
    """Variance, mean, rate and second moments from the sums of a walk."""
    steps = len(sums)
    past, (potential, second, rate, square) = sums[:, :steps].T, sums[:, steps:].T
    return second - potential**2, potential, rate, past + past.T + np.diag(square)


def _walk(neuron, mean, factor, weights, split):
    """Sums over the tree, for each step ``s``: ``S_s S_t`` for all ``t > s``, then ``H``, ``H²``, ``S``, ``S²``."""
    steps, rule = len(mean), neuron.reset_rule
    sums = np.zeros((steps, steps + 4))
    z, fired, root = np.empty((0, len(weights))), np.empty((0, len(weights))), np.arange(len(weights))
    h = s = np.zeros(len(weights))
    for t in range(steps):
        removed = (1.0 if rule.delayed else neuron.decay) * rule.threshold * neuron.threshold * s
        expected = neuron.decay * (1 - rule.membrane * s) * h - removed + (1 - rule.input * s) * (mean[t] + factor[t, :t] @ z)
        std = factor[t, t] * (1 - rule.input * s)
        edges = _edges(neuron, expected, std)
        tails = special.ndtr(-edges[1:-1])  # of 1, 2, … spikes or more
        chance, square = tails.sum(axis=0), (2 * np.arange(1, len(tails) + 1) - 1) @ tails
        sums[:t, t] = fired @ (weights * chance)
        sums[t, steps:] = weights @ expected, weights @ (expected**2 + std**2), weights @ chance, weights @ square
        if t == steps - 1:
            break
        pieces = [split(t, root, lower, upper) for lower, upper in pairwise(edges)]
        masses = np.stack([mass * weights[:, None] for _, mass in pieces])
        count, branch, _ = kept = np.nonzero(masses > NEGLIGIBLE)  # piece number = spike count
        weights, s, newest = masses[kept], count.astype(float), np.stack([numbers for numbers, _ in pieces])[kept]
        h = expected[branch] + std[branch] * newest
        z, fired, root = np.vstack([z[:, branch], newest]), np.vstack([fired[:, branch], s]), root[branch]
    return sums


def _edges(neuron, expected, std):
    """Innovations that separate 0, 1, … spikes; shape (highest number + 2, branches)."""
    highest = max(int(np.max(expected + END * std) / neuron.threshold), 1) if neuron.reset_rule.counts else 1
    levels = neuron.threshold * np.arange(1, highest + 1)[:, None]
    decided = np.where(expected > levels, -np.inf, np.inf)
    meets = np.where(std > 0, (levels - expected) / np.where(std > 0, std, 1), decided)
    ends = np.full((1, len(expected)), END)
    return np.clip(np.vstack([-ends, meets, ends]), -END, END)


def _nodes(lower, upper, number):
    """Nodes of each piece and their weights (normal mass), shape (branches, nodes).

    Gauss–Legendre in ``v = tanh(z/3)``, which puts the nodes where the mass is.
    """
    nodes, weights = np.polynomial.legendre.leggauss(number)
    low, high = np.tanh(lower / 3)[:, None], np.tanh(upper / 3)[:, None]
    v = low + (high - low) * (1 + nodes) / 2
    z = 3 * np.arctanh(v)
    return z, 1.5 * (high - low) * weights / (1 - v**2) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def _truncated(points):
    """One draw from each piece's truncated normal distribution, and the piece's mass; shape (branches, 1)."""

    def split(t, root, lower, upper):
        side = np.where(lower + upper > 0, -1.0, 1.0)  # mirrored to the lower tail, where Φ has full relative accuracy
        low, high = special.ndtr(side * lower), special.ndtr(side * upper)
        z = side * special.ndtri(low + points[t, root] * (high - low))
        return np.clip(z, lower, upper)[:, None], np.abs(high - low)[:, None]

    return split
