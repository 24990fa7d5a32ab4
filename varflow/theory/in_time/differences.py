r"""What two steps differ by, with digits of its own: currents, membranes.

Late steps of a held drive are all but equal, and a layer makes of a small difference its root: what is lost of it in rounding
comes back within a few layers. So differences are carried beside the moments and never found by subtracting those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Differences", "Membranes", "differences", "membranes", "product"]

SLICE = 2**17  # products of numbers
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


@dataclass(frozen=True, slots=True, eq=False)
class Membranes:
    """A membrane's moments (…, steps), and how two steps ``s < t`` differ (…, s, t)."""

    variance: np.ndarray
    mean: np.ndarray
    apart: np.ndarray  # Var[H_t - H_s]
    wider: np.ndarray  # Var H_t - Var H_s
    moved: np.ndarray | float  # E[H_t - H_s]


def membranes(kernel: np.ndarray, currents: Differences) -> Membranes:
    r"""Of ``H = kernel @ I``.

    .. math:: \mathrm{Cov}[I_s, I_t - I_{t-1}] = \tfrac12 \big(\mathrm{Var} I_t - \mathrm{Var} I_{t-1}
              - \mathrm{Var}[I_s - I_t] + \mathrm{Var}[I_s - I_{t-1}]\big)

    Its rounding is a share of ``Var[I_s - I_t]``, and by the time ``t`` the kernel has forgotten as much of step ``s``.
    """
    doubled = np.array(np.broadcast_to(currents.variance[..., None, :], currents.apart.shape))  # of I_s and I_t - I_(t-1)
    doubled -= currents.apart
    doubled[..., 1:] += currents.apart[..., :-1]
    doubled[..., 0] += np.cumsum(currents.variance, axis=-1)
    with_step = product(kernel / 2, doubled.swapaxes(-1, -2)).swapaxes(-1, -2)  # covariance of I_s and H_t - H_(t-1)
    of_steps = np.array(with_step)
    of_steps[..., 1:, :] -= with_step[..., :-1, :]
    of_steps, with_step = product(kernel, of_steps), product(kernel, with_step)  # of H_s - H_(s-1), and of H_s
    grown = np.array(np.diagonal(with_step, axis1=-2, axis2=-1))
    grown[..., 1:] += np.diagonal(with_step, 1, -2, -1)
    moved = currents.mean @ kernel.T
    variance, mean = np.cumsum(grown, axis=-1), np.cumsum(moved, axis=-1)
    upper = np.triu(np.ones(kernel.shape))
    return Membranes(variance, mean, _apart(of_steps, upper), _since(grown, upper), _since(moved, upper) if mean.any() else 0.0)


def _apart(steps: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Variance of sums of steps ``s + 1, …, t`` from the covariance of single ones, smallest first."""
    with_later = np.cumsum(upper * steps, axis=-1)
    with_later *= 2
    with_later -= np.diagonal(steps, axis1=-2, axis2=-1)[..., :, None]
    with_later *= upper
    total = np.zeros_like(steps)
    total[..., :-1, :] = np.cumsum(with_later[..., :0:-1, :], axis=-2)[..., ::-1, :]
    return total


def _since(grown: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Sums over ``s + 1, …, t``."""
    sums = np.zeros((*grown.shape, grown.shape[-1]))
    sums[..., :-1, :] = np.cumsum(grown[..., None, :] * upper[1:], axis=-1)
    return sums


def product(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``matrix @ values``, in slices too small for BLAS to put threads of its own on."""
    columns = SLICE // matrix.size + 1
    if columns >= values.shape[-1]:
        return matrix @ values
    slices = (values[..., first : first + columns] for first in range(0, values.shape[-1], columns))
    return np.concatenate([matrix @ part for part in slices], axis=-1)
