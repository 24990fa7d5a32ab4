r"""Derivatives of the layer map ``F(M) = E[s sᵀ | c ~ N(0, Σ(M))]`` by scores, and the fourth moments of its trains ``s``.

With Hermite polynomials of the innovations ``e = L⁻¹ c`` and a change ``D`` of ``M``, which reaches the currents as
``K D Kᵀ`` in units of the innovations,

.. math:: J[D] = \frac12 \sum_{ij} (K D K^T)_{ij} E[s s^T He_{ij}(e)], \qquad
          \frac12 H{:}V = \frac18 \sum_{ijkl} \tilde V_{ijkl} E[s s^T He_{ijkl}(e)], \qquad
          \tilde V_{ij,kl} = \mathrm{Cov}[(K δ K^T)_{ij}, (K δ K^T)_{kl}]

for ``δ`` of covariance ``V``; only the symmetric part of ``Ṽ`` counts. Entries (s, t), s ≤ t, of symmetric matrices are a
vector in the order of the later step, 11, 12, 22, 13, …, so that ``J`` is block triangular in time. In row (s, t) terms of
``He`` with an index beyond ``t`` vanish, and the newest innovation is averaged exactly. Source: derived here.

Spike trains of a layer are taken at quasi-Monte Carlo points of its currents, averaged exactly over each newest innovation.

Currents are ``c = L e``, ``L`` lower triangular and ``e`` standard normal, so that ``e_t`` is what is new in step ``t``.
Given the steps before, ``H_t = past_t + a_t e_t`` spikes above ``h_t = (θ - past_t)/a_t``, and

.. math:: E[1(e > h)\, He_k(e)] = He_{k-1}(h)\, \varphi(h), \qquad Q(h) \text{ for } k = 0

Means over points then have the noise of the past only. The factor is causal: what is found for the first steps does not depend
on the later ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from varflow.model.neurons import Neuron
from varflow.theory.layer import LAST_Z
from varflow.theory.responses.orthants import density
from varflow.theory.responses.quasi_monte_carlo import QuasiMonteCarlo, innovations, second_moments
from varflow.theory.responses.step import Population, admitted, membrane, spikes


@dataclass(frozen=True, slots=True, eq=False)
class Trains:
    """Spike trains, each array of shape (size, points).

    Attributes
    ----------
    innovations : ndarray
        ``e``.
    spikes : ndarray
        ``S``, 0 or 1.
    newest : tuple of ndarray
        ``E[S_t He_k(e_t)]`` over the newest innovation, ``k = 0 … 4``: ``Q, φ, hφ, (h² - 1)φ, (h³ - 3h)φ`` at ``h_t``.
    """

    innovations: np.ndarray
    spikes: np.ndarray
    newest: tuple[np.ndarray, ...]

    @classmethod
    def at(cls, sampling: QuasiMonteCarlo, factor: np.ndarray, scramble: int, layer: int = 0) -> Trains:
        """Trains at the points of a scramble; those of different layers are independent."""
        normals = sampling.signs(layer)[scramble][:, None] * sampling.normals[scramble]
        return cls.of(sampling.neuron, factor, normals, sampling.steps or len(factor))

    @classmethod
    def of(cls, neuron: Neuron, factor: np.ndarray, normals: np.ndarray, steps: int) -> Trains:
        """Trains of neurons that start from rest every so many ``steps``; rows of ``normals`` past the factor's size are
        parameters that differ between neurons.
        """
        e, population = normals[: len(factor)], Population.of(neuron, normals[len(factor) :])
        earlier, std = np.tril(factor, -1) @ e, innovations(factor)
        fired, levels, rest = np.empty_like(e), np.empty_like(e), np.zeros(e.shape[1])
        h = s = rest
        for t in range(len(factor)):
            h, s = (h, s) if t % steps else (rest, rest)
            spread = admitted(population, s) * std[t]
            past = membrane(population, h, s, earlier[t])
            levels[t] = _level(population, past, spread)
            h = past + spread * e[t]
            fired[t] = s = spikes(population, h)
        phi = density(levels)
        newest = ndtr(-levels), phi, levels * phi, (levels**2 - 1) * phi, (levels**3 - 3 * levels) * phi
        return cls(e, fired, newest)

    @property
    def second_moments(self) -> np.ndarray:
        """``F = E[s sᵀ]``, shape (size, size)."""
        chance, points = self.newest[0], self.spikes.shape[1]
        return second_moments(chance @ self.spikes.T / points, chance.mean(axis=1), sampled=False)


def _level(population: Population, past: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """``h = (θ - past)/a``; where nothing is new, far below or above 0 by whether the past spikes."""
    decided = np.where(spikes(population, past) > 0, -LAST_Z, LAST_Z)
    level = np.divide(population.threshold - past, spread, out=decided, where=spread > 0)
    return np.clip(level, -LAST_Z, LAST_Z)


def vector(matrix: np.ndarray) -> np.ndarray:
    """Entries (…, size, size) of symmetric matrices in causal order, (…, entries)."""
    later, earlier = np.tril_indices(matrix.shape[-1])
    return matrix[..., later, earlier]


def matrix(entries: np.ndarray) -> np.ndarray:
    """Symmetric matrices (…, size, size) from their entries in causal order."""
    size = int((2 * entries.shape[-1]) ** 0.5)
    earlier, later = np.sort(np.indices((size, size)), axis=0)
    return entries[..., later * (later + 1) // 2 + earlier]


def changes(K: np.ndarray) -> np.ndarray:
    """``K D Kᵀ`` for the unit change ``D`` of every entry, of both places off the diagonal; (size, size, entries)."""
    later, earlier = np.tril_indices(K.shape[1])
    both = K[:, None, later] * K[None, :, earlier]
    return np.where(later == earlier, both, both + both.swapaxes(0, 1))


def fourth_moments(trains: Trains) -> np.ndarray:
    """``E[s_a s_b s_c s_d]`` of all pairs of entries; (entries, entries)."""
    later, earlier = np.tril_indices(len(trains.spikes))
    pairs = trains.spikes[later] * trains.spikes[earlier]
    fourth = np.empty((len(pairs), len(pairs)))
    for t, of, before in _steps(trains):
        rows = _with_each(trains, t)
        means = np.concatenate([pairs[before], rows]) @ (rows * trains.newest[0][t]).T / pairs.shape[1]
        fourth[: of.stop, of], fourth[of, : of.stop] = means, means.T
    return fourth


def jacobian(trains: Trains, unit_changes: np.ndarray) -> np.ndarray:
    """``J``, (entries, entries): how each entry of ``F`` changes with each of ``M``."""
    e, points = trains.innovations, trains.spikes.shape[1]
    later, earlier = np.tril_indices(len(e))
    squares = _second_hermite(e)
    squares[later == earlier] /= 2  # each pair stands for both its places
    scores = np.zeros((len(later), len(later)))
    for t, of, before in _steps(trains):
        rows, (Q, phi, first, *_) = _with_each(trains, t), (values[t] for values in trains.newest)
        scores[of, before] = rows * Q @ squares[before].T
        scores[of, of.start : of.stop - 1] = rows * phi @ e[:t].T
        scores[of, of.stop - 1] = rows @ first / 2
    return scores / points @ unit_changes[later, earlier]


def curvature(trains: Trains, unit_changes: np.ndarray, V: np.ndarray) -> np.ndarray:
    """``½ H:V``, one number for each entry, of deviations of covariance ``V`` (entries, entries)."""
    e, points = trains.innovations, trains.spikes.shape[1]
    later, earlier = np.tril_indices(len(e))
    spread = np.einsum("ija,klb,ab->ijkl", unit_changes, unit_changes, V, optimize=True)
    spread = (spread + spread.transpose(0, 2, 1, 3) + spread.transpose(0, 3, 2, 1)) / 3
    pairs = spread[:, :, later, earlier] * np.where(later == earlier, 1, 2)  # sums over both orders
    squares, mean, Z = _second_hermite(e), np.empty(len(later)), np.zeros(points)
    for t, of, before in _steps(trains):
        one, three, four = e[t], spread[t, t, t, :t] @ e[:t], spread[t, t, t, t]
        two = pairs[t, t, before] @ squares[before]
        cubes = np.einsum("jp,jp->p", e[:t], pairs[t, :t, before] @ squares[before])
        cubes -= 2 * np.einsum("jjl->l", spread[t, :t, :t, :t]) @ e[:t]  # He_jkl = e_j He_kl - δ_jk e_l - δ_jl e_k
        Q, first, second, third, fourth = (values[t] for values in trains.newest)
        newest = Z * Q + 4 * cubes * first + 6 * two * second + 4 * three * third + four * fourth
        mean[of] = _with_each(trains, t) @ newest / (8 * points)
        Z = Z + 4 * cubes * one + 6 * two * (one**2 - 1) + 4 * three * (one**3 - 3 * one)
        Z += four * (one**4 - 6 * one**2 + 3)
    return mean


def _steps(trains: Trains) -> Iterator[tuple[int, slice, slice]]:
    """Steps, with the entries (s, t) of each, and those before it."""
    for t in range(len(trains.spikes)):
        start = t * (t + 1) // 2
        yield t, slice(start, start + t + 1), slice(start)


def _with_each(trains: Trains, t: int) -> np.ndarray:
    """``S_s`` for every s < t, and 1 for s = t, as ``S_t² = S_t``; (t + 1, points)."""
    return np.concatenate([trains.spikes[:t], np.ones((1, trains.spikes.shape[1]))])


def _second_hermite(e: np.ndarray) -> np.ndarray:
    """``e_i e_j - δ_ij`` of all entries, (entries, points)."""
    later, earlier = np.tril_indices(len(e))
    products = e[later] * e[earlier]
    products[later == earlier] -= 1
    return products
