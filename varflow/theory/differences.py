r"""What two steps differ by, with digits of its own: currents, membranes.

Late steps of a held drive are all but equal, and a layer makes of a small difference its root: what is lost of it in rounding
comes back within a few layers. So differences are carried beside the moments and never found by subtracting those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from varflow.theory.layers import Layer

if TYPE_CHECKING:
    from varflow.theory.responses import LayerState

__all__ = ["Differences", "arriving", "differences", "of_membranes"]

ROUNDING = 1e-15  # of a covariance in double precision: steps that differ by less are equal


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Of a Gaussian process over steps; leading axes as those of its covariance. Before the first step it is 0.

    Attributes
    ----------
    apart : ndarray, shape (…, steps, steps)
        ``Var[x_t - x_t']``.
    variance, mean : ndarray, shape (…, steps)
        By how much each of them has grown since the step before.
    """

    apart: np.ndarray
    variance: np.ndarray
    mean: np.ndarray


def differences(mean: np.ndarray, covariance: np.ndarray) -> Differences:
    """Of a process of which only the moments are known."""
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    both = variance[..., :, None] + variance[..., None, :]
    apart = both - 2 * covariance
    return Differences(np.where(apart > ROUNDING * both, apart, 0.0), _grown(variance), _grown(mean))


def _grown(values: np.ndarray) -> np.ndarray:
    return np.diff(values, axis=-1, prepend=0.0)


def arriving(layer: Layer, below: LayerState, delay: int) -> Differences | None:
    """Of the currents ``λ I_t`` into a layer, where the layer below knows how its steps differ."""
    if below.mismatch is None or below.grown is None:
        return None
    n, c = layer.fan_in, layer.law.in_degree
    moment = np.diagonal(below.coincidences, axis1=-2, axis2=-1)
    mismatch, grown = _late(below.mismatch, moment, delay), np.zeros_like(below.grown)
    grown[..., delay:] = below.grown[..., : max(grown.shape[-1] - delay, 0)]
    apart, variance = layer.weight_variance * n * mismatch, layer.weight_variance * n * grown
    variance[..., 0] += layer.bias_variance
    if c is not None and layer.connection_mean != 0:
        spread = layer.connection_mean**2 * c * (n - c) / max(n - 1, 1)
        rate = np.cumsum(grown, axis=-1)
        apart = apart + spread * (mismatch - (rate[..., :, None] - rate[..., None, :]) ** 2)
        variance = variance + spread * grown * (1 - 2 * rate + grown)
    return Differences(apart, variance, layer.weight_mean * n * grown)


def _late(mismatch: np.ndarray, moment: np.ndarray, delay: int) -> np.ndarray:
    """``E[(S_t - S_t')²]`` of spikes that arrive later; before, there are none."""
    if delay == 0:
        return mismatch
    shifted, come = np.zeros_like(mismatch), max(mismatch.shape[-1] - delay, 0)
    shifted[..., delay:, delay:] = mismatch[..., :come, :come]
    shifted[..., :delay, delay:] = moment[..., None, :come]
    shifted[..., delay:, :delay] = moment[..., :come, None]
    return shifted


def of_membranes(kernel: np.ndarray, currents: Differences) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""``Var[H_t - H_s]``, ``Var H_t - Var H_s`` and ``E[H_t - H_s]`` of ``H = kernel @ I``, for ``s < t``, shape (…, s, t).

    .. math:: \mathrm{Cov}[I_s, I_t - I_{t-1}] = \tfrac12 \big(\mathrm{Var} I_t - \mathrm{Var} I_{t-1}
              - \mathrm{Var}[I_s - I_t] + \mathrm{Var}[I_s - I_{t-1}]\big)

    Its rounding is a share of ``Var[I_s - I_t]``, and by the time ``t`` the kernel has forgotten as much of step ``s``.
    """
    variance = np.cumsum(currents.variance, axis=-1)
    further = np.diff(np.concatenate([variance[..., :, None], currents.apart], axis=-1), axis=-1)
    with_steps = (currents.variance[..., None, :] - further) / 2 @ kernel.T  # covariance of I_s and H_t - H_(t-1)
    of_steps = kernel @ np.diff(with_steps, axis=-2, prepend=0.0)  # of H_s - H_(s-1) and H_t - H_(t-1)
    with_steps = kernel @ with_steps  # of H_s and H_t - H_(t-1)
    grown = np.array(np.diagonal(with_steps, axis1=-2, axis2=-1))
    grown[..., 1:] += np.diagonal(with_steps, 1, -2, -1)
    return _apart(of_steps), _since(grown), _since(currents.mean @ kernel.T)


def _apart(steps: np.ndarray) -> np.ndarray:
    """Variance of sums of steps ``s + 1, …, t`` from the covariance of single ones, smallest first."""
    own = np.diagonal(steps, axis1=-2, axis2=-1)
    with_later = np.triu(own[..., :, None] + 2 * np.cumsum(np.triu(steps, 1), axis=-1))
    total = np.zeros_like(steps)
    total[..., :-1, :] = np.flip(np.cumsum(np.flip(with_later, -2), axis=-2), -2)[..., 1:, :]
    return total


def _since(grown: np.ndarray) -> np.ndarray:
    """Sums over ``s + 1, …, t``."""
    return np.cumsum(np.triu(np.broadcast_to(grown[..., None, :], (*grown.shape, grown.shape[-1])), 1), axis=-1)
