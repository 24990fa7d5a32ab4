"""Two inputs at infinite width, in mpmath: the map of their overlap from layer to layer, and its stable fixed point.

The probability that two normal variables both exceed a threshold is integrated from its definition.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow._checks import ConvergenceError, DomainError
from varflow._mpmath import mp, mpf
from varflow.reference.digits import enough_digits_for, first_power, in_digits, integral, number
from varflow.reference.distributions import distribution_named

LOWEST = -5  # of z, where Q(z) = 1 - 3e-7 and 1 - ρ* is smaller still


@in_digits
def orthant(h: float, k: float, correlation: float, *, digits: int = 50) -> Any:
    r"""``P(X > h, Y > k)`` of two correlated standard normal variables.

    .. math:: L(h, k; \rho) = \int_h^\infty \varphi(x)\, Q\Bigl(\frac{k - \rho x}{\sqrt{1 - \rho^2}}\Bigr) dx

    Parameters
    ----------
    h, k : float
        Thresholds, meant as their exact binary values.
    correlation : float
        ``ρ`` in [-1, 1].
    digits : int
        Accuracy, relative to the smaller of ``Q(h)`` and ``Q(k)``.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For a correlation outside [-1, 1] or a threshold that is not one finite number.

    Notes
    -----
    **Source**: the definition, conditioned on ``X``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.orthant(0, 0, 0.5, digits=20), 18)  # 1/4 + arcsin(ρ)/(2π)
    '0.333333333333333333'
    """
    h, k, rho = number("h", h), number("k", k), number("correlation", correlation)
    if abs(rho) > 1:
        raise DomainError("correlation", correlation, "must lie between -1 and 1")
    with enough_digits_for(max(abs(h), abs(k))):
        return quadrant(h, k, rho, digits)


def quadrant(h: Any, k: Any, rho: Any, digits: int) -> Any:
    """``P(X > h, Y > k)`` in working precision; ``h`` and ``k`` may be infinite."""
    normal = distribution_named("normal")
    Q = normal.tail
    h, k = max(h, k), min(h, k)  # integrate over the rarer one: a tail times a factor of order 1
    if mp.isinf(h) or mp.isinf(k):
        return mpf(0) if h == mp.inf else Q(h) if h != -mp.inf else mpf(1)
    if abs(rho) == 1:
        return Q(h) if rho > 0 else max(mpf(0), Q(h) - Q(-k))
    width = mp.sqrt((1 - rho) * (1 + rho))
    ends = intervals(h, mp.inf, [k / rho] if rho else [], width / abs(rho) if rho else mpf(1))
    return integral(lambda x: normal.density(x) * Q((k - rho * x) / width), ends, digits)


def intervals(lo: Any, hi: Any, steps: list[Any], width: Any) -> list[Any]:
    """Points that split an integral of a normal density times functions that step from 0 to 1 at ``steps`` within ``width``."""
    reach = mp.sqrt(2 * mp.ln(10) * mp.dps)  # exp(-reach²/2) = 10^-dps
    around = [step + j * width for step in steps for j in (-reach, -reach / 3, -2, 0, 2, reach / 3, reach)]
    first = max(lo, mpf(-8))
    falls = [first + j / (1 + max(first, 0)) for j in (1, 4)] + [mpf(j) for j in (-8, -3, 0, 3, 8)]
    ends = [-reach, max(lo, 0) + reach] if mp.isinf(hi) else [-reach, reach]
    return [lo, *(x for x in (*around, *falls, *ends) if lo < x < hi and not mp.isinf(x)), hi]


class CorrelationPoint(NamedTuple):
    """The stable overlap, the factor ``m`` by which deviations from it shrink per layer, and ``-1/ln m`` in layers.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.correlation_point(0, digits=10).overlap, 5)
    '0.78983'
    """

    overlap: Any
    multiplier: Any
    depth_scale: Any


@in_digits
def correlation_map(overlap: float, z: float, *, digits: int = 50) -> Any:
    r"""The overlap in the next layer of the spikes of two inputs, both at the stationary variance.

    .. math:: \rho' = \frac{P(u > \theta, \hat u > \theta; \rho)}{Q(z)}
              = \frac{1}{Q(z)} \int_z^\infty \varphi(x)\, Q\Bigl(\frac{z - \rho x}{\sqrt{1 - \rho^2}}\Bigr) dx,
              \qquad z = \theta/\sqrt V

    Parameters
    ----------
    overlap : float
        ``ρ = E[x x̂]/p`` in [0, 1]; without bias, also the correlation of the next layer's potentials.
    z : float
        Threshold in standard deviations of the potential, of either sign.
    digits : int
        Relative accuracy of the answer.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For an overlap outside [0, 1] or a ``z`` that is not one finite number.

    Notes
    -----
    **Assumes** infinite width, normal potentials, no bias, no weight mean.
    **Source**: ``poole2016`` for smooth activations; here the definition, as in :func:`orthant`.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.correlation_map(0.5, 0, digits=20), 20)  # 1/2 + arcsin(ρ)/π
    '0.66666666666666666667'
    """
    rho, z = number("overlap", overlap), number("z", z)
    if not 0 <= rho <= 1:
        raise DomainError("overlap", overlap, "must lie between 0 and 1")
    with enough_digits_for(z):
        return _map(rho, z, digits)


def _map(rho: Any, z: Any, digits: int) -> Any:
    return quadrant(z, z, rho, digits) / distribution_named("normal").tail(z)


@in_digits
def correlation_point(z: float, *, digits: int = 50) -> CorrelationPoint:
    r"""The overlap that two different inputs approach with depth, whatever their first one.

    .. math:: \rho^* = \rho'(\rho^*), \qquad m = \frac{\varphi_2(z, z; \rho^*)}{Q(z)}

    Parameters
    ----------
    z : float
        The threshold in standard deviations of the potential.
    digits : int
        Relative accuracy of the overlap.

    Returns
    -------
    CorrelationPoint
        ``.overlap .multiplier .depth_scale``.

    Raises
    ------
    DomainError
        For a ``z`` below -5 or not finite.

    Notes
    -----
    ``ρ'(0) = Q(z) > 0``, and ``ρ'(1) = 1`` with infinite slope: the map crosses the diagonal at a ``ρ* < 1``.
    **Assumes** as :func:`correlation_map`. **Source**: ``schoenholz2017`` for smooth activations; ``∂P/∂ρ = φ₂`` is
    ``plackett1954``'s identity.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> point = vf.reference.correlation_point(0, digits=10)
    >>> print(mpmath.nstr(point.overlap, 5), mpmath.nstr(point.multiplier, 5))
    0.78983 0.51899
    """
    z = number("z", z)
    if z < LOWEST:
        raise DomainError(
            "z", z, f"must be at least {LOWEST}: below it nearly every neuron fires and any two inputs become alike"
        )
    with enough_digits_for(z):
        rho = _crossing(z, digits)
        multiplier = _slope(rho, z)
        return CorrelationPoint(rho, multiplier, -1 / mp.log(multiplier))


def _crossing(z: Any, digits: int) -> Any:
    """``ρ'(ρ*) = ρ*`` by Newton's method from below, confirmed by a change of sign in the last digit.

    ``ρ'`` is convex, so the steps never pass ``ρ*``: the first are made with 12 digits, those that double them with all.
    """
    with mp.workdps(mp.dps - digits + 12):
        gap = first_power(lambda d: _map(1 - d, z, 12) < 1 - d, mpf(1), factor=mpf(1) / 2)
        rho = max(1 - 2 * gap, distribution_named("normal").tail(z))
        for _ in range(4):  # from twice the distance to 1: after 4 steps ρ* has ten digits
            rho += _newton_step(rho, z, 12)
    for _ in range(2 + int(mp.log(digits / 10, 2))):  # every step doubles the digits
        rho += _newton_step(rho, z, digits + 2)
    lower, upper = (rho * (1 + side * mpf(10) ** -digits) for side in (-1, 1))
    if not (_map(lower, z, digits + 2) > lower and _map(upper, z, digits + 2) < upper):
        raise ConvergenceError("the overlap could not be confirmed to the digits asked for; ask for fewer", rho)
    return rho


def _newton_step(rho: Any, z: Any, digits: int) -> Any:
    return (_map(rho, z, digits) - rho) / (1 - _slope(rho, z))


def _slope(rho: Any, z: Any) -> Any:
    """``dρ'/dρ = φ₂(z, z; ρ)/Q(z)``."""
    density = mp.exp(-(z**2) / (1 + rho)) / (2 * mp.pi * mp.sqrt(1 - rho**2))
    return density / distribution_named("normal").tail(z)
