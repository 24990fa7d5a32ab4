r"""Characteristic functions ``φ(t) = E[e^{itx}]`` of single weights, to about 1e-14. Cores here have mean 0 and variance 1.

If a distribution does not define its own, its density is expanded in Legendre series on panels, halved until resolved; each
panel's Fourier integral is then exact at any frequency, ``∫ P_k(z) e^{iωz} dz = 2 i^k j_k(ω)``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError
from varflow.model.weight_distribution import WeightDistribution

DEGREE = 15
DEEPEST = 60  # halvings: a panel is then narrower than the rounding of its position

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(DEGREE + 1)
_TO_SERIES = np.polynomial.legendre.legvander(_NODES, DEGREE).T * _WEIGHTS * (np.arange(DEGREE + 1) + 0.5)[:, None]


def characteristic(core: WeightDistribution) -> Callable[[np.ndarray], np.ndarray]:
    """``φ`` of the standardised core, for an array of ``t > 0``."""
    if core.gives("characteristic"):
        return lambda t: core.characteristic(t / core.std) * np.exp(-1j * core.mean / core.std * t)
    series, middle, half = panels(core)
    return lambda t: _fourier(series, middle, half, t)


def density_of(core: WeightDistribution) -> Callable[[np.ndarray], np.ndarray]:
    """Density of the standardised core."""
    mean, std = core.mean, core.std
    return lambda z: std * core.pdf(mean + std * z)


@lru_cache(maxsize=8)
def panels(core: WeightDistribution) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Legendre coefficients of the density on panels, (panels, degree + 1), with their middles and half-widths."""
    density, pending = density_of(core), _first_panels(core)
    done: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for depth in range(DEEPEST):
        middle, half = pending.mean(axis=1), 0.5 * np.diff(pending, axis=1)[:, 0]
        values = _finite(density, middle[:, None] + half[:, None] * _NODES)
        series = values @ _TO_SERIES.T
        # the last three coefficients of a resolved panel are that small
        rough = np.abs(series[:, -3:]).sum(axis=1) * half > 1e-14
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
        hint = "its density is too rough to resolve; try a smoother one, or vf.weights.normal_approximation"
        raise ConvergenceError(f"the distribution of the weights integrates to 1 only within {missing:.1e}: {hint}", missing)
    return series, middle, half


def _finite(density: Any, x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        values = density(x)
    return np.where(np.isfinite(values), values, 0.0)


def _first_panels(core: WeightDistribution) -> np.ndarray:
    """Dyadic panels up to the ends of the support, or up to where less than 1e-17 of the probability lies beyond."""
    mean, std = core.mean, core.std
    low, high = ((end - mean) / std for end in core.support)
    reach = 2.0 ** np.arange(-2, 51)
    right = reach[core.tails(mean + std * reach)[0] > 1e-17]
    left = reach[core.tails(mean - std * reach)[1] > 1e-17]
    edges = np.concatenate([-2 * left[::-1], -reach[:1], [0.0], reach[:1], 2 * right])
    edges = np.unique(np.clip(edges, low, high))
    return np.column_stack([edges[:-1], edges[1:]])


def _fourier(series: np.ndarray, middle: np.ndarray, half: np.ndarray, t: np.ndarray) -> np.ndarray:
    significant = np.abs(series).max(axis=1) * half > 1e-18
    series, middle, half = series[significant], middle[significant], half[significant]
    coefficients = 2 * half[:, None] * series * 1j ** np.arange(DEGREE + 1)
    out = np.zeros(len(t), dtype=complex)
    size = max(1, 2**20 // (len(half) * (DEGREE + 1)))
    for start in range(0, len(t), size):
        some = t[start : start + size]
        bessel = _spherical_bessel(np.outer(some, half))
        out[start : start + size] = (np.exp(1j * np.outer(some, middle)) * np.einsum("ktp,pk->tp", bessel, coefficients)).sum(1)
    return out


def _spherical_bessel(z: np.ndarray) -> np.ndarray:
    """``j_0 … j_15``, shape (16, *z.shape): the recurrence downwards from the last two, scaled to the first two."""
    from scipy.special import spherical_jn

    z = np.maximum(z, 1e-15)  # j_15 of a smaller one underflows
    bessel = [spherical_jn(DEGREE, z), spherical_jn(DEGREE - 1, z)]
    for k in range(DEGREE - 1, 0, -1):
        bessel.append((2 * k + 1) / z * bessel[-1] - bessel[-2])
    scale = np.hypot(spherical_jn(0, z), spherical_jn(1, z)) / np.hypot(bessel[-1], bessel[-2])
    return scale * np.array(bessel[::-1])
