"""Surrogate derivatives as snnTorch computes them (``snntorch.surrogate``), by its own names and parameters; ``v = H - θ``.

snnTorch is described in ``eshraghian2023``; it takes ``atan`` from ``fang2021a``, ``fast_sigmoid`` from ``zenke2018``.
"""

from __future__ import annotations

import math

import numpy as np

from varflow._checks import positive_number, real_number
from varflow.model.surrogate import Formula, Surrogate

__all__ = [
    "SFS",
    "atan",
    "fast_sigmoid",
    "leaky_spike_operator",
    "sigmoid",
    "snntorch_triangular",
    "spike_rate_escape",
    "straight_through_estimator",
]


def atan(alpha: float = 2.0) -> Surrogate:
    r"""``ψ = (α/2) / (1 + (π α v/2)²)``, area 1: the default of snnTorch's neurons.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.surrogates.atan(), vf.surrogates.atan().area
    (atan(alpha=2), 1.0)
    """
    a = positive_number("alpha", alpha)
    return Surrogate("atan", a / 2, 2 / (math.pi * a), formula=Formula(atan, (("alpha", a),), "alpha"))


def sigmoid(slope: float = 25.0) -> Surrogate:
    """``ψ = k e^{-kv} / (1 + e^{-kv})²`` with ``k`` the slope, area 1.

    snnTorch's own formula overflows in float32 for ``k v < -88`` and gives NaN; this one does not.
    """
    k = positive_number("slope", slope)
    return Surrogate("sigmoid", k / 4, 1 / k, formula=Formula(sigmoid, (("slope", k),), "slope"))


def fast_sigmoid(slope: float = 25.0) -> Surrogate:
    """``ψ = 1 / (1 + k|v|)²`` with ``k`` the slope, peak 1: at the default slope its area is 0.08."""
    k = positive_number("slope", slope)
    return Surrogate("fast_sigmoid", 1.0, 1 / k, formula=Formula(fast_sigmoid, (("slope", k),), "slope"))


def straight_through_estimator() -> Surrogate:
    """``ψ = 1`` everywhere; SpikingJelly's ``DeterministicPass`` is the same."""
    return Surrogate("own", function=np.ones_like, formula=Formula(straight_through_estimator))


def snntorch_triangular(threshold: float = 1.0) -> Surrogate:
    """snnTorch's ``triangular(threshold)`` as it computes: ``θ`` below the threshold and ``-θ`` above, so ``|ψ|`` is constant.

    A triangle is ``vf.surrogates.triangular(width)``.
    """
    theta = real_number("threshold", threshold)
    formula = Formula(snntorch_triangular, (("threshold", theta),))
    return Surrogate("own", function=_triangular, kinks=(0.0,), formula=formula)


def _triangular(v: np.ndarray, threshold: float) -> np.ndarray:
    return np.where(v >= 0, -threshold, threshold)


def spike_rate_escape(beta: float = 1.0, slope: float = 25.0) -> Surrogate:
    """``ψ = k e^{-β|v - 1|}`` with ``k`` the slope: its peak is 1 above the threshold."""
    arguments = (("beta", positive_number("beta", beta)), ("slope", positive_number("slope", slope)))
    return Surrogate("own", function=_escape, kinks=(1.0,), formula=Formula(spike_rate_escape, arguments))


def _escape(v: np.ndarray, beta: float, slope: float) -> np.ndarray:
    return slope * np.exp(-beta * np.abs(v - 1))


def SFS(slope: float = 25.0, B: float = 1.0) -> Surrogate:
    """``ψ = 1(v > B) / (1 + k|v|)²`` with ``k`` the slope: 0 for all ``v`` up to ``B``, the threshold included."""
    arguments = (("slope", positive_number("slope", slope)), ("B", real_number("B", B)))
    return Surrogate("own", function=_sparse, kinks=(0.0, arguments[1][1]), formula=Formula(SFS, arguments))


def _sparse(v: np.ndarray, slope: float, B: float) -> np.ndarray:
    return (v > B) / (slope * np.abs(v) + 1) ** 2


def leaky_spike_operator(slope: float = 0.1) -> Surrogate:
    """``ψ = 1`` above the threshold, ``k`` below, with ``k`` the slope: what snnTorch documents for ``LSO``, which cannot run.

    ``slope=0`` is its ``heaviside()``.
    """
    formula = Formula(leaky_spike_operator, (("slope", real_number("slope", slope)),))
    return Surrogate("own", function=_leaky, kinks=(0.0,), formula=formula)


def _leaky(v: np.ndarray, slope: float) -> np.ndarray:
    return np.where(v > 0, 1.0, slope)
