r"""Tails of sums of weights by inverting their characteristic function, with a measured error.

.. math::
    P(S_J > x) = \frac12 + \frac1\pi \int_0^\infty \operatorname{Im}\bigl[e^{-itx} φ(t)^J e^{-b^2 t^2/2}\bigr] \frac{dt}{t}

(Gil-Pelaez 1951), by the trapezoidal rule in ``w`` with ``t = r ln(1 + e^w)``: nodes are exponentially dense towards 0, where
``φ`` of heavy tails is not analytic, and equidistant for large ``t``. The rule on every other node measures the error. Sums of
two weights are a convolution of density and tail, because ``φ²`` may decay too slowly.

Characteristic functions ``φ(t) = E[e^{itx}]`` of single weights (cores of mean 0 and variance 1) are known to about 1e-14. If a
distribution does not define its own, its density is expanded in Legendre series on panels, halved until resolved; each panel's
Fourier integral is then exact at any frequency, ``∫ P_k(z) e^{iωz} dz = 2 i^k j_k(ω)``.
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
        with np.errstate(all="ignore"):
            values = density(middle[:, None] + half[:, None] * _NODES)
        series = np.where(np.isfinite(values), values, 0.0) @ _TO_SERIES.T
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


ACCURACY = 1e-10  # absolute; a larger error raises
NEGLIGIBLE = 1e-13  # integrand below which the integral is cut off
LARGEST_T = 2000.0  # largest cut-off, for weights of standard deviation 1
FIRST, LAST = -37.0, 30.0  # range of w: e^-37 is below rounding
TURN = 0.6  # largest phase between nodes of the fine rule
MOST_NODES = 2**17  # a threshold so far out that it needs more is bounded by moments instead


def tails(core: WeightDistribution, number: np.ndarray, x: np.ndarray, bias: float) -> tuple[np.ndarray, np.ndarray]:
    """``P(S_J + b N > x)`` and its complement for ``J`` in ``number``, not necessarily integers.

    Raises
    ------
    ConvergenceError
        If the error exceeds 1e-10; ``.partial`` is the pair of arrays.
    """
    z, bias = (x - number * core.mean) / core.std, bias / core.std
    p, q, error = np.empty((3, len(z)))
    two = (number == 2) & (bias == 0)
    if two.any():
        p[two], q[two], error[two] = np.minimum(np.transpose([_sum_of_two(core, at) for at in z[two].tolist()]), 1.0)
    if not two.all():
        inverted, error[~two] = _inverted(core, number[~two], z[~two], bias)
        p[~two] = np.clip(inverted, 0.0, 1.0)
        q[~two] = 1 - p[~two]
    if error.max(initial=0.0) > ACCURACY:
        worst = int(np.argmax(error))
        raise ConvergenceError(
            f"the tail of a sum of {number[worst]:g} weights has an error of {error[worst]:.1e}, above {ACCURACY:g}: "
            "try a distribution whose density has no jumps or poles, a bias, or vf.weights.normal_approximation",
            (p, q),
        )
    return p, q


def _chance_beyond(core: WeightDistribution, number: np.ndarray, x: np.ndarray, bias: float) -> np.ndarray:
    """An upper bound on ``P(|S_J + b N| > |x|)``, from the second moment (Chebyshev) and the fourth."""
    variance = number + bias**2
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        by_second = variance / x**2
        by_fourth = (3 * variance**2 + number * core.excess_kurtosis) / x**4
    return np.fmin(by_second, by_fourth)


@lru_cache(maxsize=8)
def _scanned(core: WeightDistribution) -> tuple[np.ndarray, np.ndarray]:
    """``t`` and ``ln max |φ|`` over all larger ``t``."""
    t = np.geomspace(1e-3, LARGEST_T, 1200)
    size = np.maximum(np.abs(characteristic(core)(t)), 1e-300)
    return t, np.log(np.maximum.accumulate(size[::-1])[::-1])


def _last_t(core: WeightDistribution, number: np.ndarray, bias: float) -> np.ndarray:
    """The cut-off at which the integrand is negligible, for each count."""
    t, envelope = _scanned(core)
    level = np.outer(number, envelope) - bias**2 * t**2 / 2
    first_negligible = np.argmax(level < np.log(NEGLIGIBLE), axis=1)
    return np.where((level < np.log(NEGLIGIBLE)).any(axis=1), t[first_negligible], LARGEST_T)


def _inverted(core: WeightDistribution, number: np.ndarray, x: np.ndarray, bias: float) -> tuple[np.ndarray, np.ndarray]:
    last, phi = _last_t(core, number, bias), characteristic(core)
    p, error = (x < 0).astype(float), _chance_beyond(core, number, x, bias)
    nodes = np.abs(x) * last * (LAST - FIRST) / (LAST * TURN)
    settled = (error < ACCURACY / 100) | (nodes > MOST_NODES)
    group = np.floor(3 * np.log2(last)).astype(int)  # three groups of counts per factor 2; a group shares its nodes
    for name in np.unique(group[~settled]):
        rows = np.flatnonzero((group == name) & ~settled)
        for step in (0.5, 0.25, 0.125):  # in w
            p[rows], error[rows] = _rule(phi, float(last[rows].max()), number[rows], x[rows], bias, float(step))
            rows = rows[error[rows] > ACCURACY / 4]
            if not len(rows):
                break
    return p, error


def _rule(
    phi: Callable[[np.ndarray], np.ndarray], last: float, number: np.ndarray, x: np.ndarray, bias: float, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """The integral up to ``last``, and its error: the change on halving the nodes plus a bound on the remainder."""
    t, jacobian, log_phi = _nodes(phi, last, number, x, step)
    total, left = np.zeros((2, len(x))), np.zeros(len(x))
    size = max(1, 2**19 // len(t))
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        exponent = np.outer(number[rows], log_phi) - bias**2 * t**2 / 2
        values = np.exp(exponent.real) * np.sin(exponent.imag - np.outer(x[rows], t)) * jacobian
        total[0, rows], total[1, rows] = values.sum(axis=1), 2 * values[:, ::2].sum(axis=1)
        left[rows] = np.exp(exponent.real[:, -8:].max(axis=1)) / (np.pi * last * np.maximum(np.abs(x[rows]), 1.0))
    return 0.5 + total[0], np.abs(total[0] - total[1]) + left


def _nodes(
    phi: Callable[[np.ndarray], np.ndarray], last: float, number: np.ndarray, x: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray, Any]:
    """``t``, ``dt/(π t)`` and ``ln φ``, dense enough that the phase changes by at most ``TURN`` between nodes."""
    r = last / LAST
    h = min(step / 2, TURN / (r * max(np.abs(x).max(), 1.0)))
    while True:
        w = np.arange(FIRST, LAST + h, h)
        t = r * np.logaddexp(0.0, w)
        values = phi(t)
        log_phi: Any = np.log(np.maximum(np.abs(values), 1e-300)) + 1j * np.unwrap(np.angle(values))
        turns = np.diff(log_phi.imag)
        turns -= np.pi * np.rint(turns / np.pi)  # φ passes through 0, where its powers are smooth
        extremes = (number.min() * turns, number.max() * turns)
        turn = max(np.abs(turned - z * np.diff(t)).max() for turned in extremes for z in (x.min(), x.max()))
        if turn <= 1.5 * TURN or len(w) > MOST_NODES:
            return t, h * r / (1 + np.exp(-w)) / t / np.pi, log_phi
        h *= max(TURN / turn, 0.1)


def _sum_of_two(core: WeightDistribution, x: float) -> tuple[float, float, float]:
    """``P(x₁ + x₂ > x) = ∫ f(y) Q(x - y) dy``, its complement and the error, by Gauss-Legendre rules on dyadic panels."""
    density, mean, std = density_of(core), core.mean, core.std
    _, middles, halves = panels(core)
    edges = np.unique(np.concatenate([middles - halves, middles + halves]))
    grid = np.unique(np.concatenate([edges, x - edges]))
    grid = grid[(grid >= edges[0]) & (grid <= edges[-1])]
    results = []
    for order in (12, 16):
        nodes, weights = np.polynomial.legendre.leggauss(order)
        half, middle = 0.5 * np.diff(grid)[:, None], 0.5 * (grid[1:] + grid[:-1])[:, None]
        y = (middle + half * nodes).ravel()
        with np.errstate(all="ignore"):
            mass = np.nan_to_num((half * weights).ravel() * density(y), posinf=0.0)
        upper, lower = core.tails(mean + std * (x - y))
        results.append((float(np.sum(mass * upper)), float(np.sum(mass * lower)), float(mass.sum())))
    (p0, q0, _), (p, q, total) = results
    return p, q, abs(p - p0) + abs(q - q0) + abs(total - 1)
