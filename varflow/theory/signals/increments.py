r"""Moments of increments over time, of currents and membranes, free of cancellation.

Under a constant drive late steps are almost equal, and each layer maps a small difference to about its square root, so rounding
errors grow to order 1 within a few layers. Moments of increments are therefore propagated beside the moments themselves, and
not computed by subtracting them (:func:`differences`) but where none arrive: from the drive, and after normalisations,
products and maps. There steps that differ by less than 1e-15 of their variance count as equal, so that equal steps stay equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from varflow._checks import frozen


class Differences(NamedTuple):
    """Increments of a process ``x_t`` with ``x_0 = 0``, currents or spikes; leading axes as those of its moments.

    Attributes
    ----------
    increment : ndarray, shape (…, steps, steps)
        ``Var[x_t - x_t']`` of currents, ``E[(x_t - x_t')²]`` of spikes.
    second_change : ndarray, shape (…, steps)
        ``Var[x_t] - Var[x_{t-1}]`` of currents, ``E[x_t²] - E[x_{t-1}²]`` of spikes.
    mean_change : ndarray, shape (…, steps)
        ``E[x_t] - E[x_{t-1}]``.
    """

    increment: np.ndarray
    second_change: np.ndarray
    mean_change: np.ndarray

    def scaled(self, factor: np.ndarray) -> Differences:
        """Increments of ``factor · x_t``; the factor has the leading axes."""
        f = factor[..., None]
        return Differences(f[..., None] ** 2 * self.increment, f**2 * self.second_change, f * self.mean_change)

    def plus(self, other: Differences) -> Differences:
        """Increments of the sum with an independent process."""
        return Differences(*map(np.add, self, other))

    def centred(self) -> Differences:
        """Increments of the process about its mean: from raw moments to central ones."""
        e, step = np.cumsum(self.mean_change, axis=-1), self.mean_change
        central = self.increment - (e[..., :, None] - e[..., None, :]) ** 2
        return Differences(central, self.second_change - step * (2 * e - step), step)


def differences(mean: np.ndarray, covariance: np.ndarray) -> Differences:
    """Increments by subtracting moments: ``Var[x_t - x_t'] = Var[x_t] + Var[x_t'] - 2 Cov[x_t, x_t']``."""
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    both = variance[..., :, None] + variance[..., None, :]
    increment = both - 2 * covariance
    var_change, mean_change = (np.diff(values, axis=-1, prepend=0.0) for values in (variance, mean))
    # less is rounding: these steps are equal
    return Differences(np.where(increment > 1e-15 * both, increment, 0.0), var_change, mean_change)


@dataclass(frozen=True, slots=True, eq=False)
class Membranes:
    """Moments of a membrane (…, steps), and of its increments between steps ``s < t`` (…, s, t)."""

    variance: np.ndarray
    mean: np.ndarray
    increment_var: np.ndarray  # Var[H_t - H_s]
    var_change: np.ndarray  # Var[H_t] - Var[H_s]
    mean_change: np.ndarray | float  # E[H_t - H_s]


def membranes(kernel: np.ndarray, currents: Differences, of_changes: np.ndarray | None = None) -> Membranes:
    r"""Moments of ``H = kernel @ I`` from the increments of the currents, ``ΔI_t = I_t - I_{t-1}``.

    .. math:: \mathrm{Cov}[I_s, \Delta I_t] = \tfrac12 \big(\mathrm{Var} I_t - \mathrm{Var} I_{t-1}
              - \mathrm{Var}[I_s - I_t] + \mathrm{Var}[I_s - I_{t-1}]\big)

    ``of_changes`` is the kernel of the increments, ``ΔH = of_changes @ ΔI``: ``kernel`` itself, unless several sequences
    follow each other, or the kernel is not of lags alone (:func:`kernel_of_changes`).

    Rounding errors of this are of order ``Var[I_s - I_t]``, small where the kernel gives step ``s`` weight at time ``t``.
    """
    changes = kernel if of_changes is None else of_changes
    twice = currents.second_change[..., None, :] - currents.increment  # 2 Cov[I_s, ΔI_t]
    twice[..., 1:] += currents.increment[..., :-1]
    twice[..., 0] += np.cumsum(currents.second_change, axis=-1)
    current_step = (changes / 2 @ twice.swapaxes(-1, -2)).swapaxes(-1, -2)  # Cov[I_s, ΔH_t]
    step_step = np.array(current_step)
    step_step[..., 1:, :] -= current_step[..., :-1, :]  # Cov[ΔI_s, ΔH_t]
    step_step, membrane_step = changes @ step_step, kernel @ current_step  # Cov[ΔH_s, ΔH_t], Cov[H_s, ΔH_t]
    var_change = membrane_step.diagonal(axis1=-2, axis2=-1).copy()  # Cov[H_t + H_(t-1), ΔH_t]
    var_change[..., 1:] += np.diagonal(membrane_step, 1, -2, -1)
    mean_change = currents.mean_change @ changes.T
    variance = np.maximum(np.cumsum(var_change, axis=-1), 0.0)  # after a steep fall the sum may round to a negative number
    mean = np.cumsum(mean_change, axis=-1)
    upper = _upper(len(kernel))
    since = _sum_since(mean_change, upper) if mean.any() else 0.0
    return Membranes(variance, mean, _variance_since(step_step, upper), _sum_since(var_change, upper), since)


@lru_cache(maxsize=4)
def _upper(size: int) -> np.ndarray:
    """1 on and above the diagonal."""
    return frozen(np.triu(np.ones((size, size))))


def kernel_of_changes(kernel: np.ndarray) -> np.ndarray:
    """``D K D⁻¹`` with ``D`` the increment from the step before; it differs from ``K`` where sequences start from rest,
    or ``K`` is not of lags alone.
    """
    sums = np.cumsum(kernel[:, ::-1], axis=1)[:, ::-1]  # K D⁻¹
    return np.diff(sums, axis=0, prepend=0.0)


def _variance_since(steps: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """``Var[ΔH_{s+1} + … + ΔH_t] = Σ_r (2 Σ_{q=r}^t Cov[ΔH_r, ΔH_q] - Var[ΔH_r])``, ``s < r ≤ t``; late terms first."""
    terms = np.cumsum(upper * steps, axis=-1)
    terms *= 2
    terms -= np.diagonal(steps, axis1=-2, axis2=-1)[..., :, None]
    terms *= upper
    total = np.zeros_like(steps)
    total[..., :-1, :] = np.cumsum(terms[..., :0:-1, :], axis=-2)[..., ::-1, :]
    return total


def _sum_since(changes: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """``Σ_{r=s+1}^t changes_r``, shape (…, s, t)."""
    sums = np.zeros((*changes.shape, changes.shape[-1]))
    sums[..., :-1, :] = np.cumsum(changes[..., None, :] * upper[1:], axis=-1)
    return sums
