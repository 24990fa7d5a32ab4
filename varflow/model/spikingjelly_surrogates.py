"""Surrogate derivatives as SpikingJelly computes them (``activation_based.surrogate``), by its own names and parameters.

``v = H - θ``. Left out: ``PoissonPass``, whose spikes are random, and ``MultiLevelSpikeCount``. ``DeterministicPass`` is
``straight_through_estimator``.
"""

from __future__ import annotations

import math

import numpy as np

from varflow._checks import DomainError, integer, positive_number, real_number
from varflow.model.surrogate import Formula, Surrogate

__all__ = [
    "spikingjelly_atan",
    "spikingjelly_erf",
    "spikingjelly_fake_numerical_gradient",
    "spikingjelly_leaky_k_relu",
    "spikingjelly_log_tailed_relu",
    "spikingjelly_nonzero_sign_log_abs",
    "spikingjelly_piecewise_exp",
    "spikingjelly_piecewise_leaky_relu",
    "spikingjelly_piecewise_quadratic",
    "spikingjelly_q_pseudo_spike",
    "spikingjelly_rect",
    "spikingjelly_s2nn",
    "spikingjelly_sigmoid",
    "spikingjelly_soft_sign",
    "spikingjelly_squarewave_fourier_series",
    "spikingjelly_super_spike",
]


def spikingjelly_sigmoid(alpha: float = 4.0) -> Surrogate:
    """``ψ = α σ(αv) (1 - σ(αv))``, area 1: the default of SpikingJelly's neurons.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.surrogates.spikingjelly_sigmoid().peak
    1.0
    """
    a = positive_number("alpha", alpha)
    return Surrogate("sigmoid", a / 4, 1 / a, formula=Formula(spikingjelly_sigmoid, (("alpha", a),), "alpha"))


def spikingjelly_atan(alpha: float = 2.0) -> Surrogate:
    """``ψ = (α/2) / (1 + (π α v/2)²)``, area 1."""
    a = positive_number("alpha", alpha)
    return Surrogate("atan", a / 2, 2 / (math.pi * a), formula=Formula(spikingjelly_atan, (("alpha", a),), "alpha"))


def spikingjelly_piecewise_quadratic(alpha: float = 1.0) -> Surrogate:
    """``ψ = α max(0, 1 - α|v|)``, area 1: a triangle, the derivative of a piecewise quadratic step."""
    a = positive_number("alpha", alpha)
    formula = Formula(spikingjelly_piecewise_quadratic, (("alpha", a),), "alpha")
    return Surrogate("triangular", a, 1 / a, formula=formula)


def spikingjelly_piecewise_exp(alpha: float = 1.0) -> Surrogate:
    """``ψ = (α/2) e^{-α|v|}``, area 1."""
    a = positive_number("alpha", alpha)
    return Surrogate("exponential", a / 2, 1 / a, formula=Formula(spikingjelly_piecewise_exp, (("alpha", a),), "alpha"))


def spikingjelly_soft_sign(alpha: float = 2.0) -> Surrogate:
    """``ψ = (α/2) / (1 + α|v|)²``, area 1."""
    a = positive_number("alpha", alpha)
    return Surrogate("fast_sigmoid", a / 2, 1 / a, formula=Formula(spikingjelly_soft_sign, (("alpha", a),), "alpha"))


def spikingjelly_super_spike(alpha: float = 1.0) -> Surrogate:
    """``ψ = α / (1 + |v|)²``: here ``alpha`` is the peak, and the width is 1."""
    a = positive_number("alpha", alpha)
    return Surrogate("fast_sigmoid", a, 1.0, formula=Formula(spikingjelly_super_spike, (("alpha", a),)))


def spikingjelly_erf(alpha: float = 2.0) -> Surrogate:
    """``ψ = (α/√π) e^{-α² v²}``, area 1."""
    a = positive_number("alpha", alpha)
    formula = Formula(spikingjelly_erf, (("alpha", a),), "alpha")
    return Surrogate("gaussian", a / math.sqrt(math.pi), 1 / (math.sqrt(2) * a), formula=formula)


def spikingjelly_rect(alpha: float = 1.0) -> Surrogate:
    """``ψ = α`` where ``|v| < 1/(2α)``, area 1."""
    a = positive_number("alpha", alpha)
    return Surrogate("box", a, 0.5 / a, formula=Formula(spikingjelly_rect, (("alpha", a),), "alpha"))


def spikingjelly_piecewise_leaky_relu(w: float = 1.0, c: float = 0.01) -> Surrogate:
    """``ψ = 1/(2w)`` where ``|v| < w``, else ``c``."""
    half, outside = positive_number("w", w), real_number("c", c)
    formula = Formula(spikingjelly_piecewise_leaky_relu, (("w", half), ("c", outside)), "w", power=1)
    if outside == 0:
        return Surrogate("box", 1 / (2 * half), half, formula=formula)
    return Surrogate("own", function=_window, kinks=(-half, half), formula=formula)


def _window(v: np.ndarray, w: float, c: float) -> np.ndarray:
    return np.where(np.abs(v) < w, 1 / (2 * w), c)


def spikingjelly_nonzero_sign_log_abs(alpha: float = 1.0) -> Surrogate:
    """``ψ = α / (1 + α|v|)``."""
    formula = Formula(spikingjelly_nonzero_sign_log_abs, (("alpha", positive_number("alpha", alpha)),))
    return Surrogate("own", function=_log_abs, kinks=(0.0,), formula=formula)


def _log_abs(v: np.ndarray, alpha: float) -> np.ndarray:
    return alpha / (1 + alpha * np.abs(v))


def spikingjelly_squarewave_fourier_series(n: int = 2, T_period: float = 8.0) -> Surrogate:
    """``ψ = (4/T) Σ_{i=1}^{n-1} cos((2i - 1) 2π v/T)``: one term less than ``n``; not 0 far from the threshold."""
    arguments = (("n", integer("n", n, minimum=1)), ("T_period", positive_number("T_period", T_period)))
    return Surrogate("own", function=_series, formula=Formula(spikingjelly_squarewave_fourier_series, arguments))


def _series(v: np.ndarray, n: int, T_period: float) -> np.ndarray:
    waves = (np.cos((2 * i - 1) * 2 * math.pi / T_period * v) for i in range(1, n))
    return 4 / T_period * sum(waves, np.zeros_like(v))


def spikingjelly_s2nn(alpha: float = 4.0, beta: float = 1.0) -> Surrogate:
    """``ψ = α σ(αv) (1 - σ(αv))`` below the threshold, ``β/(1 + v)`` above."""
    arguments = (("alpha", positive_number("alpha", alpha)), ("beta", positive_number("beta", beta)))
    return Surrogate("own", function=_s2nn, kinks=(0.0,), formula=Formula(spikingjelly_s2nn, arguments))


def _s2nn(v: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    e = np.exp(-alpha * np.abs(v))
    return np.where(v < 0, alpha * e / (1 + e) ** 2, beta / (1 + np.abs(v)))


def spikingjelly_q_pseudo_spike(alpha: float = 2.0) -> Surrogate:
    """``ψ = (1 + 2|v|/(α - 1))^{-α}``, ``α > 1``, area 1."""
    a = positive_number("alpha", alpha)
    if a <= 1:
        raise DomainError("alpha", alpha, "must be greater than 1")
    formula = Formula(spikingjelly_q_pseudo_spike, (("alpha", a),))
    if a == 2:
        return Surrogate("fast_sigmoid", 1.0, 0.5, formula=formula)
    return Surrogate("own", function=_q_pseudo, kinks=(0.0,), formula=formula)


def _q_pseudo(v: np.ndarray, alpha: float) -> np.ndarray:
    return (1 + 2 / (alpha - 1) * np.abs(v)) ** -alpha


def spikingjelly_leaky_k_relu(leak: float = 0.0, k: float = 1.0) -> Surrogate:
    """``ψ = k`` for ``v ≥ 0``, else ``leak``."""
    formula = Formula(spikingjelly_leaky_k_relu, (("leak", real_number("leak", leak)), ("k", real_number("k", k))))
    return Surrogate("own", function=_two_slopes, kinks=(0.0,), formula=formula)


def _two_slopes(v: np.ndarray, leak: float, k: float) -> np.ndarray:
    return np.where(v >= 0, k, leak)


def spikingjelly_fake_numerical_gradient(alpha: float = 0.3) -> Surrogate:
    """``ψ = min(1/|v|, α)``."""
    a = positive_number("alpha", alpha)
    formula, kinks = Formula(spikingjelly_fake_numerical_gradient, (("alpha", a),)), (-1 / a, 1 / a)
    return Surrogate("own", function=_clipped, kinks=kinks if math.isfinite(1 / a) else (), formula=formula)


def _clipped(v: np.ndarray, alpha: float) -> np.ndarray:
    return np.minimum(1 / np.abs(v), alpha)


def spikingjelly_log_tailed_relu(alpha: float = 0.0) -> Surrogate:
    """``ψ = α`` for ``v ≤ 0``, 1 up to ``v = 1``, then ``1/v``."""
    formula = Formula(spikingjelly_log_tailed_relu, (("alpha", real_number("alpha", alpha)),))
    return Surrogate("own", function=_tailed, kinks=(0.0, 1.0), formula=formula)


def _tailed(v: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(v <= 0, alpha, 1 / np.maximum(v, 1))
