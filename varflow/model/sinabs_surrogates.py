"""Surrogate derivatives as sinabs computes them (``sinabs.activation``), by its own names and parameters; ``v = H - θ``.

Some depend on the threshold, which sinabs passes to them as ``spike_threshold``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from varflow._checks import positive_number, real_number
from varflow.model.surrogate import Formula, Surrogate

__all__ = [
    "sinabs_gaussian",
    "sinabs_heaviside",
    "sinabs_multi_gaussian",
    "sinabs_periodic_exponential",
    "sinabs_single_exponential",
]


def sinabs_single_exponential(grad_width: float = 0.5, grad_scale: float = 1.0, spike_threshold: float = 1.0) -> Surrogate:
    """``ψ = (s/a) e^{-|v|/a}`` with ``a = grad_width · spike_threshold`` and ``s = grad_scale``: the default of sinabs' LIF.

    The exponential of ``shrestha2018``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.surrogates.sinabs_single_exponential(spike_threshold=0.5).width
    0.25
    """
    arguments = _positive(grad_width=grad_width, grad_scale=grad_scale, spike_threshold=spike_threshold)
    w, s, theta = (value for _, value in arguments)
    formula = Formula(sinabs_single_exponential, arguments, "grad_width", power=1)
    return Surrogate("exponential", s / (theta * w), theta * w, formula=formula)


def _positive(**values: float) -> tuple[tuple[str, float], ...]:
    """Arguments, each a positive number."""
    return tuple((name, positive_number(name, value)) for name, value in values.items())


def sinabs_gaussian(mu: float = 0.0, sigma: float = 0.5, grad_scale: float = 1.0) -> Surrogate:
    """``grad_scale`` times the normal density of mean ``mu`` and standard deviation ``sigma``."""
    m, sd, s = real_number("mu", mu), positive_number("sigma", sigma), positive_number("grad_scale", grad_scale)
    formula = Formula(sinabs_gaussian, (("mu", m), ("sigma", sd), ("grad_scale", s)), "sigma", power=1)
    if m == 0:
        return Surrogate("gaussian", float(s * _density(0.0, sd)), sd, formula=formula)
    return Surrogate("own", function=_shifted, formula=formula)


def _density(x: Any, sigma: float) -> Any:
    return np.exp(-((x / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))


def _shifted(v: np.ndarray, mu: float, sigma: float, grad_scale: float) -> np.ndarray:
    return grad_scale * _density(v - mu, sigma)


def sinabs_multi_gaussian(
    mu: float = 0.0, sigma: float = 0.5, h: float = 0.15, s: float = 6.0, grad_scale: float = 1.0
) -> Surrogate:
    """``(1 + h) N(v; mu, σ) - h N(v; σ, sσ) - h N(v; -σ, sσ)`` times ``grad_scale``: negative far from the threshold."""
    means, widths = (("mu", real_number("mu", mu)), *_positive(sigma=sigma)), _positive(s=s, grad_scale=grad_scale)
    arguments = (*means, ("h", real_number("h", h)), *widths)
    return Surrogate("own", function=_multi, formula=Formula(sinabs_multi_gaussian, arguments))


def _multi(v: np.ndarray, mu: float, sigma: float, h: float, s: float, grad_scale: float) -> np.ndarray:
    sides = _density(v - sigma, s * sigma) + _density(v + sigma, s * sigma)
    return grad_scale * ((1 + h) * _density(v - mu, sigma) - h * sides)


def sinabs_periodic_exponential(grad_width: float = 0.5, grad_scale: float = 1.0, spike_threshold: float = 1.0) -> Surrogate:
    """``grad_scale · e^{-d/grad_width}``: ``d = |v|`` below the threshold, above it twice the distance from ``v`` to the
    nearest multiple of the threshold.
    """
    arguments = _positive(grad_width=grad_width, grad_scale=grad_scale, spike_threshold=spike_threshold)
    kinks = tuple(arguments[-1][1] * n / 2 for n in range(17))  # of the first 8 periods
    return Surrogate("own", function=_periodic, kinks=kinks, formula=Formula(sinabs_periodic_exponential, arguments))


def _periodic(v: np.ndarray, grad_width: float, grad_scale: float, spike_threshold: float) -> np.ndarray:
    distance = 2 * np.abs(v - spike_threshold * np.round(v / spike_threshold))
    return grad_scale * np.exp(-np.where(v < 0, -v, distance) / grad_width)


def sinabs_heaviside(window: float = 1.0, spike_threshold: float = 1.0) -> Surrogate:
    """``ψ = 1/θ`` for ``v ≥ -window``, else 0."""
    arguments = (("window", real_number("window", window)), *_positive(spike_threshold=spike_threshold))
    return Surrogate("own", function=_step, kinks=(-arguments[0][1],), formula=Formula(sinabs_heaviside, arguments))


def _step(v: np.ndarray, window: float, spike_threshold: float) -> np.ndarray:
    return (v >= -window) / spike_threshold
