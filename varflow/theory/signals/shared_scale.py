r"""Normal numbers divided by a standard deviation that fluctuates with them.

A normalisation over a batch divides the currents ``u_i`` of a neuron by ``s``, ``s² = Σ u_j²/N``. For ``E[s²] = 1``, and with
``g = u_i/√C_ii``, it is a fraction ``a`` of ``g²``, and a rest, matched by the variance of ``m`` degrees of freedom:

.. math:: s^2 \approx a\, g^2 + (1 - a)\, \chi^2_m/m, \qquad a = \frac1N \sum_j \frac{C_{ij}^2}{C_{ii}}, \qquad
          \frac{(1 - a)^2}m = \frac1\nu - a^2, \qquad \frac1\nu = \tfrac12 \mathrm{Var}[s^2] = \frac1{N^2} \sum_{ij} C_{ij}^2

.. math:: P(g > t s) = P\Bigl(t_m > t \sqrt{\tfrac{1 - a}{1 - a t^2}}\Bigr)

with Student's ``t_m``: exact where ``ν`` directions have the same variance (a beta distribution). Source: derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAR = 1e50  # in place of infinite thresholds
MOST = 1e9  # degrees of freedom of a rest that does not fluctuate


@dataclass(frozen=True, slots=True, eq=False)
class SharedScale:
    """``fraction``: ``a`` of every entry, or one for all (shape (1,)); ``inverse_dof``: ``1/ν``, which is the mean of ``a``,
    weighted by variances.
    """

    fraction: np.ndarray
    inverse_dof: float

    def passed(self, t: np.ndarray) -> np.ndarray:
        """The threshold that a normal number passes as often as ``g/s`` passes ``t``."""
        from scipy.special import ndtri, stdtr

        t, a = np.clip(t, -FAR, FAR), np.minimum(self.fraction, 1 - 1 / MOST)
        m = (1 - a) ** 2 / np.maximum(self.inverse_dof - a**2, (1 - a) ** 2 / MOST)
        with np.errstate(divide="ignore", over="ignore"):
            reached = np.abs(t) * np.sqrt((1 - a) / np.maximum(1 - a * t**2, 0.0))
        return -np.sign(t) * ndtri(stdtr(m, -reached))
