r"""Deep layers at width n: shift and variance of second moments of spikes about their fixed point, to first order in ``1/n``.

With ``δ`` the deviation of ``M`` from its fixed point, and ``ξ`` the noise of ``n`` neurons, of covariance ``C``,

.. math:: δ' = J δ + \tfrac12 H[δ, δ] + ξ/\sqrt n, \qquad V = J V J^T + C, \qquad c = (1 - J)^{-1} \tfrac12 (H{:}V)

The currents of non-normal weights have a fourth cumulant ``κ g⁴ E[ssss]/n``, which adds ``(κ/3) E[ssss]`` to ``V`` in ``H:V``.
Scrambles are replicas that enter linearly, so that the mean over them has a bias of second order only.
"""

from __future__ import annotations

import numpy as np

from varflow._checks import DomainError
from varflow.theory.finite_width.in_time.flow import LayerWeights
from varflow.theory.finite_width.in_time.kernels import changes, curvature, fourth_moments, jacobian, matrix, vector
from varflow.theory.finite_width.in_time.trains import Trains
from varflow.theory.responses.quasi_monte_carlo import QuasiMonteCarlo
from varflow.theory.threads import in_threads


def stationary(
    weights: LayerWeights, before: np.ndarray, after: np.ndarray, sampling: QuasiMonteCarlo
) -> tuple[np.ndarray, ...]:
    """Fixed point, ``c`` and ``V`` of deep layers by replica, and the multiplier of each step.

    ``before``, ``after``: second moments near the fixed point, and those of the layer above, (replicas, size, size).
    """
    L = weights.factor(before.mean(axis=0))
    unit_changes, replicas = changes(weights.in_innovations(L)), len(before)

    def derivatives(scramble: int) -> tuple[np.ndarray, ...]:
        trains = Trains.at(sampling, L, scramble)
        return jacobian(trains, unit_changes), *noise_and_fourth(trains)

    def bend(scramble: int) -> np.ndarray:
        return curvature(Trains.at(sampling, L, scramble), unit_changes, spread[scramble])

    Js, noise, fourth = map(np.array, zip(*in_threads(derivatives, replicas), strict=True))
    J = Js.mean(axis=0)
    largest = multipliers(J, len(L))
    if largest.max() >= 1:
        raise DomainError("network", weights.neuron, f"has no stable fixed point: a multiplier is {largest.max():.3g}")
    resolvent = np.linalg.inv(np.eye(len(J)) - J)
    other = (Js - J) @ stein(J, noise.mean(axis=0)) @ J.T
    V = stein(J, noise + other + other.swapaxes(-1, -2))
    spread = V + weights.kurtosis / 3 * fourth
    # means over the other replicas: at the same points the noise of V and that of H are correlated
    spread = (spread.sum(axis=0) - spread) / (replicas - 1)
    bends = np.array(in_threads(bend, replicas))
    c = (bends + (Js - J) @ (resolvent @ bends.mean(axis=0))) @ resolvent.T
    return before + matrix(vector(after - before) @ resolvent.T), c, V, largest


def along_layers(
    sampling: QuasiMonteCarlo, factors: list[np.ndarray], weights: list[LayerWeights], widths: list[int]
) -> list[tuple[np.ndarray, ...]]:
    """``c`` and ``V`` of every layer, (replicas, entries[, entries]), from the factors of the currents into each."""
    entries = len(vector(factors[0]))

    def one(scramble: int) -> list[tuple[np.ndarray, ...]]:
        shift, (spread, below), found = np.zeros(entries), np.zeros((2, entries, entries)), []
        for layer, (L, n) in enumerate(zip(factors, widths, strict=True)):
            # other points in each layer, whose noise is independent of that of the covariance so far
            trains = Trains.at(sampling, L, (scramble + layer) % len(sampling.normals), layer)
            if layer:
                into = weights[layer - 1]
                unit_changes = changes(into.in_innovations(L))
                J = jacobian(trains, unit_changes)
                shift = J @ shift + curvature(trains, unit_changes, spread + into.kurtosis / 3 * below)
                spread = J @ spread @ J.T
            noise, below = (each / n for each in noise_and_fourth(trains))
            spread = spread + noise
            found.append((n * shift, n * spread))
        return found

    by_layer = zip(*in_threads(one, len(sampling.normals)), strict=True)
    return [tuple(map(np.array, zip(*layer, strict=True))) for layer in by_layer]


def noise_and_fourth(trains: Trains) -> tuple[np.ndarray, np.ndarray]:
    """``C = Cov[s sᵀ]`` and ``E[ssss]`` over entries."""
    F, fourth = vector(trains.second_moments), fourth_moments(trains)
    return fourth - np.outer(F, F), fourth


def stein(J: np.ndarray, C: np.ndarray) -> np.ndarray:
    """``V = J V Jᵀ + C``, by doubling; C of shape (…, entries, entries)."""
    V, step = C, C
    while np.abs(step).max() > 1e-15 * np.abs(V).max():
        step = J @ V @ J.T
        V, J = V + step, J @ J
    return V


def multipliers(J: np.ndarray, size: int) -> np.ndarray:
    """Largest modulus of the eigenvalues of each step's block."""
    ends = np.cumsum(np.arange(size + 1))
    blocks = (slice(*pair) for pair in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
    return np.array([np.abs(np.linalg.eigvals(J[of, of])).max() for of in blocks])
