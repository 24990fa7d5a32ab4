r"""Spike trains of a layer at quasi-Monte Carlo points of its currents, averaged exactly over each newest innovation.

Currents are ``c = L e``, ``L`` lower triangular and ``e`` standard normal, so that ``e_t`` is what is new in step ``t``.
Given the steps before, ``H_t = past_t + a_t e_t`` spikes above ``h_t = (θ - past_t)/a_t``, and

.. math:: E[1(e > h)\, He_k(e)] = He_{k-1}(h)\, \varphi(h), \qquad Q(h) \text{ for } k = 0

Means over points then have the noise of the past only. The factor is causal: what is found for the first steps does not depend
on the later ones.
"""

from __future__ import annotations

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
