r"""Normal numbers divided by a standard deviation that fluctuates with them.

A normalisation over a batch divides the currents ``u_i`` of a neuron by ``s``, ``s² = Σ u_j²/N``. For ``E[s²] = 1``, and with
``g = u_i/√C_ii``, it is a fraction ``a`` of ``g²``, and a rest, matched by the variance of ``m`` degrees of freedom:

.. math:: s^2 \approx a\, g^2 + (1 - a)\, \chi^2_m/m, \qquad a = \frac1N \sum_j \frac{C_{ij}^2}{C_{ii}}, \qquad
          \frac{(1 - a)^2}m = \frac1\nu - a^2, \qquad \frac1\nu = \tfrac12 \mathrm{Var}[s^2] = \frac1{N^2} \sum_{ij} C_{ij}^2

.. math:: P(g > t s) = P\Bigl(t_m > t \sqrt{\tfrac{1 - a}{1 - a t^2}}\Bigr)

with Student's ``t_m``: exact where ``ν`` directions have the same variance (a beta distribution). Of a sequence of ``n``
numbers that is drawn, ``s²`` is a share ``b`` of its own mean square ``q``, and a rest with the variance that is missing,

.. math:: s^2 \approx 1 + b\, (q - 1) + r, \qquad b = \frac{\nu'}\nu, \qquad \mathrm{Var}[r] = 2 b (1 - b)/\nu', \qquad
          \frac1{\nu'} = \frac1{n^2} \sum_{ij} C_{ij}^2

Source: derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAR = 1e50  # in place of infinite thresholds
LEAST = 0.05  # squared scale of a sequence that is drawn
MOST = 1e9  # degrees of freedom of a rest that does not fluctuate


@dataclass(frozen=True, slots=True, eq=False)
class SharedScale:
    """``fraction``: ``a`` of every entry, or one for all (shape (1,)); ``inverse_dof``: ``1/ν``, which is the mean of ``a``,
    weighted by variances.
    """

    fraction: np.ndarray
    inverse_dof: float

    def divided(self, drawn: np.ndarray, mean: np.ndarray, covariance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Normal sequences (…, i, points), of this mean and covariance, each divided by a scale of its own."""
        about, variance = drawn - mean[..., None], np.diagonal(covariance, axis1=-2, axis2=-1).mean(axis=-1)[..., None]
        unit = np.where(variance > 0, variance, 1.0)
        own = np.maximum((covariance**2).mean(axis=(-2, -1))[..., None] / unit**2, 1 / MOST)
        share = np.minimum(self.inverse_dof / own, 1.0)
        variance = np.maximum(2 * share * (1 - share) * own, 1 / MOST)
        rest = rng.gamma(1 / variance, variance, about.shape[:-2] + about.shape[-1:]) - 1
        square = 1 + share * ((about**2).mean(axis=-2) / unit - 1) + rest
        return mean[..., None] + about / np.sqrt(np.maximum(square, LEAST))[..., None, :]

    def passed(self, t: np.ndarray) -> np.ndarray:
        """The threshold that a normal number passes as often as ``g/s`` passes ``t``."""
        from scipy.special import ndtri, stdtr

        t, a = np.clip(t, -FAR, FAR), np.minimum(self.fraction, 1 - 1 / MOST)
        m = (1 - a) ** 2 / np.maximum(self.inverse_dof - a**2, (1 - a) ** 2 / MOST)
        with np.errstate(divide="ignore", over="ignore"):
            reached = np.abs(t) * np.sqrt((1 - a) / np.maximum(1 - a * t**2, 0.0))
        return -np.sign(t) * ndtri(stdtr(m, -reached))
