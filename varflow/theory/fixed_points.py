r"""All fixed points of the layer map, with their stability, and the gain below which only silence is left.

Without bias and weight mean everything follows from ``z² S(z) = 1/γ``, ``γ = g²/θ²``. With a bias, for every law whose
``z³ f(z)`` has one maximum (all built-in ones), ``F'(V) = z³ f(z)/(2θ²) g²`` is unimodal: ``F - V`` is monotone on at
most three pieces, split where ``F' = 1``, and each is searched. That proves the list complete. Everything else is scanned.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from varflow._checks import DomainError, non_negative, positive_scale, scalar, scale, unwrap
from varflow.model.distributions import Distribution
from varflow.model.distributions import distribution as as_distribution
from varflow.results import FixedPoint, FixedPoints
from varflow.theory.cycles import may_cycle, two_cycles
from varflow.theory.maps import multiplier, rate, standardised
from varflow.theory.roots import RESOLUTION, crossing, double_until, scan

__all__ = ["critical_gain", "fixed_points", "saddle_node"]

LARGEST_Z = 1e130  # beyond, V = (θ/z)² leaves double precision
LARGEST_RATIO = 1e140  # of gain to threshold: (g/θ)² still has room in double precision


def critical_gain(*, threshold: Any, distribution: Any = "normal") -> Any:
    r"""The gain below which only silence is left, at infinite width.

    .. math:: g_c = \sqrt{\gamma_c}\,\theta, \qquad 1/\gamma_c = \max_z z^2 S(z)

    Parameters
    ----------
    threshold : float or array
        ``θ``; for ``θ ≤ 0`` activity never dies and the answer is 0.
    distribution : str or object
        Of the standardised potential.

    Returns
    -------
    float or ndarray

    Raises
    ------
    DomainError
        For a threshold that is not finite.

    Notes
    -----
    **Assumes** infinite width, no bias, no weight mean.
    **Accuracy**: full precision for the built-in laws (γ_c = 6.034397946968073, 9/2, e², 6.813718279415934 for normal,
    uniform, Laplace and logistic); for others the maximum is found on a scan and refined.
    **Source**: derived here; at ``γ_c`` the two non-zero fixed points meet (a saddle-node).

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.critical_gain(threshold=1.0), 6)
    2.456501
    """
    theta = scale("threshold", threshold)
    _, gamma = saddle_node(as_distribution(distribution))
    return unwrap(np.maximum(theta, 0.0) * np.sqrt(gamma))


@lru_cache(maxsize=64)
def saddle_node(law: Distribution) -> tuple[float, float]:
    """``z_c`` and ``γ_c``: the global maximum of ``z² S(z)``, where the multiplier ``z f/(2S)`` is 1."""
    if law.inflection is not None:
        # z f/S rises to 2 once; the maximum itself is flat and would give half the digits.
        ratio = lambda z: z * law.hazard(np.minimum(z, law.upper)) - 2  # noqa: E731
        hi = double_until(lambda z: ratio(z) >= 0 or z >= law.upper, 1.0, law.upper if np.isfinite(law.upper) else LARGEST_Z)
        z = crossing(ratio, 1e-3, hi)
    else:
        z = _scanned_maximum(law)
    return z, float(1 / (z**2 * law.sf(z)))


def _scanned_maximum(law: Distribution) -> float:
    """The largest of ``z² S(z)`` on a grid, refined around its best cell."""
    lo, hi = 1e-3, _last_z(law)
    grid = np.geomspace(lo, hi, max(int(2 * np.log(hi / lo) / RESOLUTION), 3))
    if law.levels is not None:
        # S is a staircase: z² S(z) is largest just below an atom.
        atoms = law.levels[law.levels > 0]
        grid = np.nextafter(atoms, 0) if len(atoms) else grid
        return float(grid[np.argmax(grid**2 * law.sf(grid))])
    for _ in range(12):
        best = int(np.argmax(grid**2 * law.sf(grid)))
        grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 65)
    return float(grid[np.argmax(grid**2 * law.sf(grid))])


def _last_z(law: Distribution) -> float:
    """A ``z`` beyond which the tail is empty in double precision."""
    return min(double_until(lambda z: law.sf(z) < 1e-300, 1.0, LARGEST_Z), law.upper)


def fixed_points(
    *,
    threshold: float,
    gain: float,
    distribution: Any = "normal",
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
) -> FixedPoints:
    r"""Every variance that a layer reproduces, ``F(V) = V``, with its stability.

    .. math:: V = \sigma_b^2 + g^2 S(z), \qquad z = \frac{\theta - m_g (V-\sigma_b^2)/g^2}{\sqrt V}, \qquad
              m = F'(V) = f(z)\left(\frac{g^2 z}{2V} + \frac{m_g}{\sqrt V}\right)

    Parameters
    ----------
    threshold, gain, bias_std, mean_gain : float
        As in :func:`varflow.variance_map`, one number each.
    distribution : str or object
        Of the standardised potential.

    Returns
    -------
    FixedPoints
        Ascending in variance, silence (``V = 0``) included where it is one. ``complete`` says whether the list is proven
        to hold all of them; where it comes from a scan, ``resolution`` is the step in ``ln V``. ``cycles`` holds the pairs of
        variances that follow each other, stable and unstable.

    Raises
    ------
    DomainError
        For values that are not finite single numbers in their domain.

    Notes
    -----
    **Assumes** infinite width and memoryless neurons.
    **Complete** for the built-in laws with any threshold and bias (see the module), for any continuous law at ``θ ≤ 0``
    without weight mean, and for discrete laws (finitely many candidates). Else scanned.
    **Cycles** need a map that falls: none without weight mean for the built-in laws (proven), and none for ``θ ≥ 0`` with
    ``m_g ≥ 0``. They come from a scan in ``ln V`` (0.004), for discrete laws from a list that is complete. One that comes so
    close to silence that its smaller variance underflows is lost where silence absorbs. A map that only falls (``θ ≤ 0``,
    ``m_g ≤ 0``) has no longer ones. Where it rises and then falls, at small ``θ > 0`` with a bias and ``m_g < 0``, longer
    cycles and chaos occur and are not listed. Of 400 000 random networks (θ uniform in ±2g, σ_b log-uniform in 0.01 … 3g,
    -m_g in 0.1 … 100g) 134 174 ended in two-cycles, 84 in cycles of 3 to 32 layers and 52 in chaos; the last two kinds
    all had ``0 < θ < 0.07 g``, ``σ_b < 0.04 g`` and ``m_g < -7 g``.
    **Accuracy**: 6e-16 relative, times ``1/|1 - m|`` near the saddle-node, against 50-digit roots over θ from 1e-8 to 30 and
    γ up to 1e12 (``docs/accuracy.md``); ``vf.certified`` proves it case by case.
    **Source**: ``poole2016`` and ``schoenholz2017`` for multiplier and depth scale with smooth activations; for a threshold
    derived here. ``micheli2024`` names the fixed point ``V = 1`` only.

    Examples
    --------
    At θ = 1.5 the paper's gain balances on an unstable fixed point:

    >>> import varflow as vf
    >>> for point in vf.fixed_points(threshold=1.5, gain=vf.gain(threshold=1.5)):
    ...     print(f"{point.variance:.5f} {point.stable}")
    0.00000 True
    1.00000 False
    2.71228 True
    """
    law = as_distribution(distribution)
    theta = scalar("threshold", scale("threshold", threshold))
    g = scalar("gain", positive_scale("gain", gain))
    sigma_b = scalar("bias_std", non_negative("bias_std", scale("bias_std", bias_std)))
    m_g = scalar("mean_gain", scale("mean_gain", mean_gain))
    if abs(theta) > 0 and g > LARGEST_RATIO * abs(theta):
        raise DomainError("gain", gain, f"must be at most {LARGEST_RATIO:g} times the threshold, or the threshold 0")
    parameters = (theta, g, sigma_b, m_g)
    variances, complete = _roots(law, *parameters)
    if sigma_b == 0 and theta >= 0:
        variances = [0.0, *variances]
    points = tuple(_described(law, V, *parameters) for V in sorted(set(variances)))
    cycles = two_cycles(law, _smallest_variance(law, *parameters), *parameters) if may_cycle(law, theta, m_g) else ()
    return FixedPoints(points, complete, None if complete else RESOLUTION, _basin_edge(law, points, *parameters), cycles)


def _roots(law: Distribution, theta: float, g: float, sigma_b: float, m_g: float) -> tuple[list[float], bool]:
    """Variances of all fixed points but silence, and whether the list is proven complete."""
    if law.levels is not None:
        return _on_the_levels(law, theta, g, sigma_b, m_g), True
    if m_g == 0 and theta == 0:
        return [sigma_b**2 + g**2 * law.sf(0.0)], True
    excess = lambda V: sigma_b**2 + g**2 * rate(law, V, theta, g, sigma_b, m_g) - V  # noqa: E731
    if m_g == 0 and theta < 0:  # F falls: one crossing
        return [crossing(excess, sigma_b**2 + g**2 * law.sf(0.0) * 0.5, (sigma_b**2 + g**2) * 2)], True
    if m_g == 0 and law.inflection is not None:
        return _piece_by_piece(law, law.inflection, theta, g, sigma_b), True
    return scan(excess, _smallest_variance(law, theta, g, sigma_b, m_g), sigma_b**2 + g**2), False


def _piece_by_piece(law: Distribution, inflection: float, theta: float, g: float, sigma_b: float) -> list[float]:
    """Roots on the monotone pieces of ``F - V``, in ``z = θ/√V``; pieces end where ``F'(V) = 1``."""
    half_gamma = 0.5 * (g / theta) ** 2
    steepness = lambda z: half_gamma * z**3 * law.pdf(z) - 1  # noqa: E731
    excess = lambda z: sigma_b**2 + g**2 * law.sf(z) - (theta / z) ** 2  # noqa: E731
    first = theta / np.hypot(g, sigma_b) / 2
    last = theta / sigma_b if sigma_b > 0 else np.inf
    ends = [first]
    if steepness(inflection) > 0:
        ends.append(crossing(steepness, min(first, inflection / 2), inflection))
        beyond = double_until(lambda z: steepness(z) < 0, 2 * inflection, LARGEST_Z)
        ends.append(crossing(steepness, inflection, beyond))
    ends = [*(z for z in ends if z < last), last]
    if sigma_b == 0:
        ends.pop()  # beyond the last end F - V rises towards silence and is negative: no root but V = 0
    above = [bool(excess(z) >= 0) for z in ends]
    if sigma_b > 0:
        above[-1] = True  # F ≥ σ_b², though the tail may be lost in rounding there
    cells = zip(pairwise(ends), pairwise(above), strict=True)
    return [(theta / crossing(excess, lo, hi)) ** 2 for (lo, hi), (left, right) in cells if left != right]


def _smallest_variance(law: Distribution, theta: float, g: float, sigma_b: float, m_g: float) -> float:
    """Where a scan begins: at the bias, or where F is certain to lie below V (θ > 0) or above it."""
    if sigma_b > 0:
        return sigma_b**2 * (1 - 1e-9)
    if theta > 0:
        empty = (theta / _last_z(law)) ** 2
        # while the mean m_g V/g² is below θ/2, twice the standard deviation still does not reach the threshold
        return empty if m_g <= 0 else min(empty / 4, 0.5 * g**2 * theta / m_g)
    lively = max(float(law.sf(1.0)), 1e-12) * g**2  # z ≤ 1 as long as the mean is above -√V
    return 0.5 * (min(lively, (g**2 / m_g) ** 2) if m_g < 0 else lively)


def _on_the_levels(law: Distribution, theta: float, g: float, sigma_b: float, m_g: float) -> list[float]:
    """A discrete law's tail takes finitely many values; each gives one variance, a root if it gives the value back."""
    assert law.levels is not None
    tails = np.unique(law.sf(np.concatenate([[-np.inf], law.levels])))
    variances = sigma_b**2 + g**2 * tails
    reproduced = rate(law, variances, theta, g, sigma_b, m_g) == tails
    return [float(V) for V in variances[reproduced] if V > 0 or sigma_b > 0]


def _described(law: Distribution, V: float, theta: float, g: float, sigma_b: float, m_g: float) -> FixedPoint:
    image = lambda V: sigma_b**2 + g**2 * float(rate(law, V, theta, g, sigma_b, m_g))  # noqa: E731
    while law.upper <= standardised(V, theta, g, sigma_b, m_g) < np.inf and image(V) < V * (1 - 1e-9):
        V = float(np.nextafter(V, np.inf))  # rounding put a root next to the edge of a bounded law upon it
    m = multiplier(law, V, theta, g, sigma_b, m_g)
    if abs(m) < 0.5 and V > 0:
        V = image(V)  # the map itself contracts what rounding is left
    with np.errstate(divide="ignore"):
        depth_scale = float(-1 / np.log(np.abs(m))) if abs(m) not in (0.0, 1.0) else (np.inf if m else 0.0)
    # where the map magnifies the rounding of V, the rate that makes V is the better known
    p = (V - sigma_b**2) / g**2 if 1 < abs(m) < np.inf else float(rate(law, V, theta, g, sigma_b, m_g))
    return FixedPoint(float(V), p, m, bool(abs(m) < 1), depth_scale + 0.0, image(V) - V)


def _basin_edge(law: Distribution, points: tuple[FixedPoint, ...], theta: float, g: float, sigma_b: float, m_g: float) -> float:
    """The smallest variance from which activity does not decay to silence, or to the quiet state a bias leaves."""
    if sigma_b > 0 or theta <= 0:
        return next((point.variance for point in points[1:] if point.multiplier >= 1), 0.0)
    if law.levels is not None and m_g == 0:
        jumps = np.sort((theta / law.levels[law.levels > 0]) ** 2)
        # F jumps just above each of these variances
        holds = g**2 * law.sf(np.nextafter(theta / np.sqrt(jumps), 0)) >= jumps
        return float(jumps[holds][0]) if holds.any() else np.inf
    return points[1].variance if len(points) > 1 else np.inf
