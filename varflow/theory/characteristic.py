r"""Characteristic functions ``φ(t) = E[e^{itx}]`` of laws that have no closed form, to about 1e-14.

The log-normal one is an integral over a shifted line on which the integrand does not oscillate. Any other continuous law is
laid out as Legendre series on panels that are halved until they resolve its density; the Fourier integral of each panel is
then exact whatever the frequency, ``∫ P_k(z) e^{iωz} dz = 2 i^k j_k(ω)``. Cores here have mean 0 and variance 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError
from varflow.model.weights import WeightLaw

__all__ = ["characteristic", "core_density", "core_tail"]

DEGREE = 15
RESOLVED = 1e-14  # of the whole probability, in the last coefficients of a panel
DEEPEST = 60  # halvings

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(DEGREE + 1)
_TO_SERIES = np.polynomial.legendre.legvander(_NODES, DEGREE).T * _WEIGHTS * (np.arange(DEGREE + 1) + 0.5)[:, None]


def characteristic(law: WeightLaw) -> Callable[[np.ndarray], np.ndarray]:
    """``φ`` of the standardised core, for an array of ``t > 0``."""
    if law.kind == "lognormal":
        return lambda t: _lognormal(law, t)
    series, middle, half = panels(law)
    return lambda t: _fourier(series, middle, half, t)


def core_tail(law: WeightLaw, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``P(x > z)`` of the standardised core and its complement."""
    if law.kind == "lognormal":
        from scipy.special import ndtr

        raw = law.mean + law.std * z
        score = np.log(np.where(raw > 0, raw, 1.0)) / law.parameters[0]
        return np.where(raw > 0, ndtr(-score), 1.0), np.where(raw > 0, ndtr(score), 0.0)
    obj, standard, mean, std = law.source
    p = np.asarray(standard.sf(z), dtype=float)
    return p, np.asarray(obj.cdf(mean + std * z), dtype=float)


def core_density(law: WeightLaw) -> tuple[Callable[[np.ndarray], np.ndarray], float, float]:
    """Density of the standardised core, and the ends of its support."""
    if law.kind == "lognormal":
        sigma = law.parameters[0]

        def density(z: np.ndarray) -> np.ndarray:
            raw = np.maximum(law.mean + law.std * z, 1e-300)
            return law.std / (raw * sigma * np.sqrt(2 * np.pi)) * np.exp(-0.5 * (np.log(raw) / sigma) ** 2)

        return density, -law.mean / law.std, np.inf
    obj, standard, mean, std = law.source
    low, high = (float(end) for end in obj.support())
    return lambda z: np.asarray(standard.pdf(z), dtype=float), (low - mean) / std, (high - mean) / std


def _lognormal(law: WeightLaw, t: np.ndarray) -> np.ndarray:
    """``E[exp(it e^{σz})]`` with ``z`` moved to ``z + iα``: there ``exp(it e^{σz})`` decays instead of turning."""
    sigma = law.parameters[0]
    alpha = min(np.pi / 2 / sigma, 2.0)
    x = np.arange(-12.0, 12.0 + 1e-9, 1 / 16)
    weight = np.exp(-(x**2 - alpha**2) / 2 - 1j * alpha * x) / (16 * np.sqrt(2 * np.pi))
    turned = 1j * np.exp(1j * sigma * alpha) * np.exp(sigma * x)
    raw = np.empty(len(t), dtype=complex)
    for start in range(0, len(t), 4096):
        some = t[start : start + 4096] / law.std
        raw[start : start + 4096] = np.exp(np.outer(some, turned)) @ weight
    return raw * np.exp(-1j * law.mean / law.std * t)


@lru_cache(maxsize=8)
def panels(law: WeightLaw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Legendre coefficients of the density on panels, (panels, degree + 1), with their middles and half-widths."""
    density, low, high = core_density(law)
    pending = _first_panels(law, low, high)
    done: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for depth in range(DEEPEST):
        middle, half = pending.mean(axis=1), 0.5 * np.diff(pending, axis=1)[:, 0]
        values = _finite(density, middle[:, None] + half[:, None] * _NODES)
        series = values @ _TO_SERIES.T
        rough = np.abs(series[:, -3:]).sum(axis=1) * half > RESOLVED
        if depth == DEEPEST - 1:
            rough[:] = False
        done.append((series[~rough], middle[~rough], half[~rough]))
        if not rough.any():
            break
        a, b, m = pending[rough, 0], pending[rough, 1], middle[rough]
        pending = np.concatenate([np.column_stack([a, m]), np.column_stack([m, b])])
    series, middle, half = (np.concatenate(parts) for parts in zip(*done, strict=True))
    missing = abs(float(np.sum(2 * half * series[:, 0])) - 1)
    if missing > 1e-11:
        hint = "its density is too rough to be laid out; try a smoother law, or vf.weights.normal_approximation"
        raise ConvergenceError(f"the law of the weights integrates to 1 only within {missing:.1e}: {hint}", missing)
    return series, middle, half


def _finite(density: Any, x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        values = density(x)
    return np.where(np.isfinite(values), values, 0.0)


def _first_panels(law: WeightLaw, low: float, high: float) -> np.ndarray:
    """Dyadic panels out to where less than 1e-17 lies beyond, or to the ends of the support."""
    reach = 2.0 ** np.arange(-2, 51)
    right = reach[core_tail(law, reach)[0] > 1e-17]
    left = reach[core_tail(law, -reach)[1] > 1e-17]
    edges = np.concatenate([-2 * left[::-1], -reach[:1], [0.0], reach[:1], 2 * right])
    edges = np.unique(np.clip(edges, low, high))
    return np.column_stack([edges[:-1], edges[1:]])


def _fourier(series: np.ndarray, middle: np.ndarray, half: np.ndarray, t: np.ndarray) -> np.ndarray:
    kept = np.abs(series).max(axis=1) * half > 1e-18
    series, middle, half = series[kept], middle[kept], half[kept]
    coefficients = 2 * half[:, None] * series * 1j ** np.arange(DEGREE + 1)
    out = np.zeros(len(t), dtype=complex)
    size = max(1, 2**20 // (len(half) * (DEGREE + 1)))
    for start in range(0, len(t), size):
        some = t[start : start + size]
        bessel = _spherical_bessel(np.outer(some, half))
        out[start : start + size] = (np.exp(1j * np.outer(some, middle)) * np.einsum("ktp,pk->tp", bessel, coefficients)).sum(1)
    return out


def _spherical_bessel(z: np.ndarray) -> np.ndarray:
    """``j_0 … j_15``: upward recurrence where it is stable, Miller's downward one elsewhere; shape (16, *z.shape)."""
    flat = z.ravel()
    out = np.empty((DEGREE + 1, flat.size))
    large = flat > DEGREE + 1
    out[:, large], out[:, ~large] = _upward(flat[large]), _downward(flat[~large])
    return out.reshape(DEGREE + 1, *z.shape)


def _upward(z: np.ndarray) -> np.ndarray:
    out = np.empty((DEGREE + 1, z.size))
    out[0] = np.sin(z) / z
    out[1] = (out[0] - np.cos(z)) / z
    for k in range(1, DEGREE):
        out[k + 1] = (2 * k + 1) / z * out[k] - out[k - 1]
    return out


def _downward(z: np.ndarray) -> np.ndarray:
    """From a start at order 40, scaled to the closed form of ``j_0`` or ``j_1``; two terms of the series next to 0."""
    near = z < 1e-2
    safe = np.where(near, 1.0, z)
    upper, current = np.zeros(z.size), np.full(z.size, 1e-250)
    out = np.empty((DEGREE + 1, z.size))
    for k in range(40, -1, -1):
        if k <= DEGREE:
            out[k] = current
        upper, current = current, (2 * k + 1) / safe * current - upper
    first = np.sin(safe) / safe
    second = (first - np.cos(safe)) / safe
    by_first = np.abs(first) > np.abs(second)
    out *= np.where(by_first, first / out[0], second / out[1])
    leading = np.ones(np.count_nonzero(near))
    for k in range(DEGREE + 1):
        square = z[near] ** 2
        out[k, near] = leading * (1 - square / (4 * k + 6) * (1 - square / (8 * k + 20)))
        leading = leading * z[near] / (2 * k + 3)
    return out
