r"""The largest stable fixed point for millions of networks at once.

Without a bias no iteration is needed. With ``s = θ/g`` and its critical value ``s_c = 1/√γ_c``, the stable root of
``z² Q(z) = s²`` is analytic in ``w = √(1 - s/s_c)`` on [0, 1], which absorbs the square root at the saddle-node:
``V = g² P(w)`` with one polynomial ``P`` per distribution. With a bias, two third-order steps from that root usually suffice;
the rest use Newton's method.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError, non_negative, positive_scale, same_shape, scale, unwrap
from varflow.model.distributions import Distribution
from varflow.model.distributions import distribution as as_distribution
from varflow.model.over_neurons import over_neurons
from varflow.theory.memoryless.fixed_points import fixed_points, saddle_node
from varflow.theory.memoryless.variance_map import as_one_threshold
from varflow.theory.roots import RESOLUTION, bisect, polynomial

CHUNK = 24576  # elements whose intermediates stay in cache
NEWTON_STEPS = 60  # then ConvergenceError


def stable_variance(*, threshold: Any, gain: Any, distribution: Any = "normal", bias_std: Any = 0.0) -> Any:
    r"""The largest stable fixed point of the variance map, elementwise.

    .. math:: V = \sigma_b^2 + g^2 Q(\theta/\sqrt V)

    Parameters
    ----------
    threshold, gain, bias_std : float or array
        ``θ`` of any sign, ``g > 0``, ``σ_b ≥ 0``; arrays broadcast. A threshold may be a frozen scipy.stats distribution over
        neurons, of positive values.
    distribution : str or object
        Of the standardised potential.

    Returns
    -------
    float or ndarray
        0.0 where only silence is stable; NaN where no fixed point is stable and layers alternate (see
        :func:`varflow.fixed_points` for the cycle).

    Raises
    ------
    DomainError
        For values outside their domain or shapes that do not broadcast.

    Notes
    -----
    **Assumes** infinite width, memoryless neurons, no weight mean.
    **Accuracy**: relative residual at most 1e-14 for γ = g²/θ² from 6.0344 to 1e12 (tested; measured values in
    ``docs/evidence.md``).
    **Speed**: one polynomial per element for a built-in distribution without bias; about ten times that with a bias; one scan
    per element for other distributions with a bias or a negative threshold, and for thresholds that differ, with a bias.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.stable_variance(threshold=[0.5, 1.0], gain=2**0.5).round(6).tolist()
    [0.461935, 0.0]
    """
    law = as_distribution(distribution)
    if over_neurons(threshold):
        law, threshold = as_one_threshold(law, threshold)
    theta, g = scale("threshold", threshold), positive_scale("gain", gain)
    sigma_b = non_negative("bias_std", scale("bias_std", bias_std))
    unbiased = theta.min(initial=0) >= 0 and not sigma_b.any()
    theta, g, sigma_b = same_shape(threshold=theta, gain=g, bias_std=sigma_b)
    if law.inflection is None:
        return unwrap(_general(law, theta, g, sigma_b))
    parameters, shape = [values.reshape(-1) for values in (theta, g, sigma_b)], theta.shape
    V = _in_chunks(_unbiased, law, *parameters[:2])
    if not unbiased:
        V = _in_chunks(_biased, law, *parameters, V)
        slow = np.flatnonzero(np.isnan(V) & (parameters[0] > 0))
        V[slow] = _in_chunks(_slow, law, *(values[slow] for values in parameters))
    return unwrap(V.reshape(shape))


def _in_chunks(function: Callable[..., np.ndarray], law: Distribution, *parameters: np.ndarray) -> np.ndarray:
    result = np.empty(parameters[0].size)
    for start in range(0, len(result), CHUNK):
        rows = slice(start, start + CHUNK)
        result[rows] = function(law, *(values[rows] for values in parameters))
    return result


@lru_cache(maxsize=64)
def _table(law: Distribution) -> tuple[float, np.ndarray]:
    """``1/s_c`` and the coefficients of ``Q(z(w))`` as a polynomial in ``w``, highest power first."""
    z_c, gamma_c = saddle_node(law)

    def tail(w: np.ndarray) -> np.ndarray:
        s = (1 - w**2) / np.sqrt(gamma_c)
        root = bisect(lambda z: s - z * np.sqrt(law.sf(z)), np.full_like(s, 1e-300), np.full_like(s, z_c))
        return law.sf(np.where(s > 0, root, 0.0))

    degree = 14 if law.name == "normal" else 20  # which reach rounding
    fit = np.polynomial.Chebyshev.interpolate(tail, degree, domain=[0, 1])
    in_powers_of_w = fit.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1])
    return float(np.sqrt(gamma_c)), in_powers_of_w.coef[::-1]


def _biased(law: Distribution, theta: np.ndarray, g: np.ndarray, sigma_b: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Any sign of threshold, any bias, from the unbiased root; NaN where ``θ > 0`` and the root needs Newton's method."""
    b, g2 = sigma_b**2, g**2
    falls = (theta < 0) | ((theta == 0) & (b > 0))
    V = np.where(b > 0, _halley(law, theta, g2, b, V), V)
    if falls.any():
        V[falls] = _falling(law, theta[falls], g2[falls], b[falls])
    return V


def _slow(law: Distribution, theta: np.ndarray, g: np.ndarray, sigma_b: np.ndarray) -> np.ndarray:
    """Roots by Newton's method, for ``θ > 0`` and a bias."""
    b, g2 = sigma_b**2, g**2
    V = _newton(law, theta, g2, b, b + g2 * law.sf(0.0), (theta / law.inflection) ** 2)
    lost = np.isnan(V)  # no root in the concave part: the only one is near V = b, where F is convex
    V[lost] = _newton(law, theta[lost], g2[lost], b[lost], b[lost], np.zeros(np.count_nonzero(lost)))
    return V


def _unbiased(law: Distribution, theta: np.ndarray, g: np.ndarray) -> np.ndarray:
    """``g² P(w)``; 0 below the critical gain. Of no meaning for ``θ < 0``."""
    inverse, coefficients = _table(law)
    with np.errstate(invalid="ignore", over="ignore"):
        w = theta / g
        w *= -inverse
        w += 1
        np.sqrt(w, out=w)
        V = polynomial(coefficients, w)
        V *= g
        V *= g
    V[np.isnan(w)] = 0.0
    return V


def _halley(law: Distribution, theta: Any, g2: Any, b: Any, V: np.ndarray) -> np.ndarray:
    """Two steps of third order (Halley) from the unbiased root ``V``, where ``F - V = b``; NaN where they do not suffice.

    ``F'' = F' (-3 - z f'/f)/(2V)`` needs no further evaluation.
    """
    with np.errstate(all="ignore"):
        z = theta / np.sqrt(V)
        rest, bend = _derivatives(law, z, g2 * law.pdf(z), V)
        V = V + 2 * b / (rest + np.sqrt(rest**2 - 2 * bend * b))
        z = theta / np.sqrt(V)
        tail, density = law.sf_and_pdf(z)
        rest, bend = _derivatives(law, z, g2 * density, V)
        excess = b + g2 * tail - V
        step = 2 * excess * rest / (2 * rest**2 - bend * excess)
        V += step
        enough = (rest > 0) & (z < law.inflection) & (np.abs(step) <= 1e-5 * rest * V)
    return np.where(enough, V, np.nan)


def _derivatives(law: Distribution, z: np.ndarray, density: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``1 - F'`` and ``F''``, with ``g²`` in the density."""
    slope = density * z / (2 * V)
    return 1 - slope, -0.5 * slope * (3 + law.elasticity(z)) / V


def _newton(law: Distribution, theta: Any, g2: Any, b: Any, V: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Root of ``b + g² Q(θ/√V) - V`` by monotone Newton steps; NaN where they fall below ``floor``."""
    V, result, todo = V.copy(), np.empty(V.shape), np.arange(len(V))
    gone = np.zeros(V.shape, dtype=bool)
    for _ in range(NEWTON_STEPS):
        with np.errstate(all="ignore"):
            z = theta / np.sqrt(V)
            tail, density = law.sf_and_pdf(z)
            slope = g2 * density * z / (2 * V)
            step = (b + g2 * tail - V) / (1 - slope)
            V += step
            gone |= (slope >= 1) & (floor > 0) | (floor > V)
            left = ~(gone | (np.abs(step) <= 1e-8 * V))  # quadratic convergence: one more step is below rounding
        remaining = np.count_nonzero(left)
        if remaining <= len(todo) / 2:
            result[todo] = np.where(gone, np.nan, V)
            todo, theta, g2, b, V, floor, gone = (array[left] for array in (todo, theta, g2, b, V, floor, gone))
        if not remaining:
            return result
    raise ConvergenceError(f"stable_variance did not converge in {NEWTON_STEPS} steps for {len(todo)} elements", result)


def _falling(law: Distribution, theta: np.ndarray, g2: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``θ ≤ 0``: F does not rise, so there is one fixed point; NaN where it is unstable."""
    V = bisect(lambda V: b + g2 * law.sf(theta / np.sqrt(V)) - V, 0.5 * (b + g2 * law.sf(0.0)), 2 * (b + g2))
    z = theta / np.sqrt(V)
    return np.where(g2 * law.pdf(z) * -z / (2 * V) < 1, b + g2 * law.sf(z), np.nan)


def _general(law: Distribution, theta: np.ndarray, g: np.ndarray, sigma_b: np.ndarray) -> np.ndarray:
    """Any distribution: the smallest root of ``z² Q(z) = 1/γ`` where that suffices, else all fixed points per element."""
    out = np.empty(theta.shape)
    direct = (theta >= 0) & (sigma_b == 0) & (law.levels is None and not law.unbounded)
    if direct.any():
        out[direct] = _first_rise(law, theta[direct], g[direct])
    for i in np.flatnonzero(~direct):
        points = fixed_points(threshold=theta.flat[i], gain=g.flat[i], distribution=law, bias_std=sigma_b.flat[i])
        out.flat[i] = max((point.variance for point in points if point.stable), default=np.nan)
    return out


def _first_rise(law: Distribution, theta: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The smallest root of ``z² Q(z) = s²``: the left side rises there, so ``m < 1``, and no variance is larger."""
    z_c, _ = saddle_node(law)
    grid = np.append(np.geomspace(1e-6 * z_c, z_c, 1 + round(2 * np.log(1e6) / RESOLUTION))[:-1], z_c)
    highest = np.maximum.accumulate(grid**2 * law.sf(grid))
    s = theta / g
    cell = np.searchsorted(highest, s**2)
    hi = grid[np.minimum(cell, len(grid) - 1)]
    lo = np.where(cell > 0, grid[np.maximum(cell, 1) - 1], np.maximum(np.minimum(s, hi), 1e-300))  # S ≤ 1, so z ≥ s
    z = bisect(lambda z: s - z * np.sqrt(law.sf(z)), lo, hi)
    return np.where(cell < len(grid), g**2 * law.sf(np.where(theta > 0, z, 0.0)), 0.0)
