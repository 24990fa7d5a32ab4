r"""Variance over networks of one linear observable of long runs, without matrices over pairs of entries.

With the response ``J`` of a layer transposed, ``A_{k+1} = Jᵀ A_k``,

.. math:: n \operatorname{Var}\langle A, M \rangle = \sum_{k \ge 0} \operatorname{Var}[s^T A_k s], \qquad
          J^T A = K^T \tfrac12 E[(s^T A s)(e e^T - 1)] K

The noise of ``A_k`` would add to its variance, so each term is the covariance of two estimates from independent points.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from varflow.theory.finite_width.in_time.flow import LayerWeights
from varflow.theory.finite_width.in_time.trains import Trains
from varflow.theory.responses.quasi_monte_carlo import QuasiMonteCarlo
from varflow.theory.threads import in_threads

NEGLIGIBLE = 1e-3  # of the sum: later layers add no more than a few times this
MOST = 60  # layers


def variance_over_networks(weights: LayerWeights, M: np.ndarray, sampling: QuasiMonteCarlo, A: np.ndarray) -> np.ndarray:
    """``n Var⟨A, M⟩`` of deep layers, by replica; ``A`` symmetric."""
    L = weights.factor(M)
    K, number = weights.in_innovations(L), len(sampling.normals)
    observables = [A] * number
    total = np.zeros(number)

    def one(scramble: int, layer: int) -> tuple[float, np.ndarray]:
        trains = Trains.at(sampling, L, scramble, layer)
        others = (observables[(scramble + shift) % number] for shift in (1, 2))
        one, other = (np.einsum("tp,tp->p", trains.spikes, _weights(trains, A)) for A in others)
        return float(np.mean(one * other) - one.mean() * other.mean()), K.T @ _response(trains, observables[scramble]) @ K

    for layer in range(MOST):
        terms, observables = zip(*in_threads(partial(one, layer=layer), number), strict=True)
        total += terms
        if abs(np.mean(terms)) < NEGLIGIBLE * total.mean():
            break
    return total


def _weights(trains: Trains, A: np.ndarray) -> np.ndarray:
    """``w_t = 2 Σ_{s<t} A_ts S_s + A_tt``, with which ``sᵀ A s = Σ_t S_t w_t``."""
    return 2 * np.tril(A, -1) @ trains.spikes + np.diagonal(A)[:, None]


def _response(trains: Trains, A: np.ndarray) -> np.ndarray:
    """``½ E[(sᵀ A s)(e eᵀ - 1)]``, each newest innovation averaged exactly."""
    e, w, (Q, phi, first, *_) = trains.innovations, _weights(trains, A), trains.newest
    spiking = w * Q
    later = np.cumsum(spiking[::-1], axis=0)[::-1] - spiking
    above = np.triu(e @ (later * e + w * phi).T, 1)
    own = np.einsum("tp,tp->t", later, e**2 - 1) + np.einsum("tp,tp->t", w, first)
    return (above + above.T + np.diag(own)) / (2 * e.shape[1])
