"""Two inputs at infinite width, in mpmath: the map of their overlap, integrated from the definition, and its fixed point."""

from __future__ import annotations

from typing import Any, NamedTuple

import mpmath
from mpmath import mp, mpf

from varflow._checks import ConvergenceError, DomainError
from varflow.reference.laws import Law, deep, in_digits, law_of, number, rounded
from varflow.reference.quadrature import integral
from varflow.reference.roots import first_power, root_between

__all__ = ["CorrelationPoint", "correlation_map", "correlation_point"]


LOWEST = -5  # of z: below, 1 - p is under 3e-7 and ρ* too close to 1


class CorrelationPoint(NamedTuple):
    """The stable overlap, its multiplier ``m`` per layer, and the depth scale ``-1/ln m``."""

    overlap: Any
    multiplier: Any
    depth_scale: Any


@in_digits
def correlation_map(overlap: float, z: float, *, digits: int = 50) -> Any:
    r"""The overlap of two inputs in the next layer, both at the stationary variance.

    .. math:: \rho' = \frac{P(u > \theta, \hat u > \theta; \rho)}{Q(z)}
              = \frac{1}{Q(z)} \int_z^\infty \varphi(x)\, Q\Bigl(\frac{z - \rho x}{\sqrt{1 - \rho^2}}\Bigr) dx,
              \qquad z = \theta/\sqrt V

    Parameters
    ----------
    overlap : float
        ``ρ = E[x x̂]/p`` in [0, 1]: without bias the correlation of the next potentials.
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
    **Source**: ``poole2016`` for smooth activations; here the definition, given ``u``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.correlation_map(0.5, 0, digits=20), 20)  # an orthant: 1/2 + arcsin(ρ)/π
    '0.66666666666666666667'
    """
    rho, z = number("overlap", overlap), number("z", z)
    if not 0 <= rho <= 1:
        raise DomainError("overlap", overlap, "must lie between 0 and 1")
    with deep(z):
        return rounded(_map(law_of("normal"), rho, z, digits), digits)


def _map(law: Law, rho: Any, z: Any, digits: int) -> Any:
    if rho == 1:
        return mpf(1)
    if rho == 0:
        return law.tail(z)
    width = mp.sqrt(1 - rho**2)
    return integral(lambda x: law.density(x) * law.tail((z - rho * x) / width), _ends(rho, z, width), digits) / law.tail(z)


def _ends(rho: Any, z: Any, width: Any) -> list[Any]:
    """Ends of smooth pieces: the second factor rises at ``z/ρ`` within ``width/ρ``, the density falls within 1 or ``1/z``."""
    reach = mp.sqrt(2 * mp.ln(10) * mp.dps)  # standard deviations: the tail beyond is below rounding
    steps = [(z + k * width) / rho for k in (-reach, -reach / 3, -2, 0, 2, reach / 3, reach)]
    falls = [z + k / (1 + max(z, 0)) for k in (1, 4)] + [mpf(k) for k in (-8, -3, 0, 3, 8)]
    far = max(z, 0) + reach
    return [z, *(x for x in (*steps, *falls) if z < x < far), far, mp.inf]


@in_digits
def correlation_point(z: float, *, digits: int = 50) -> CorrelationPoint:
    r"""The stable fixed point of the overlap of two inputs, reached from any overlap below 1.

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
        For a ``z`` that is not one finite number.

    Notes
    -----
    The map is above the diagonal at ``ρ = 0``, where it is ``Q(z)``, and below it near ``ρ = 1``, where its slope is infinite.
    **Assumes** as :func:`correlation_map`. **Source**: ``schoenholz2017`` for smooth activations; ``∂P/∂ρ = φ₂`` is
    ``plackett1954``'s identity.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> point = vf.reference.correlation_point(0, digits=20)
    >>> print(mpmath.nstr(point.overlap, 5), mpmath.nstr(point.multiplier, 5))
    0.78983 0.51899
    """
    z = number("z", z)
    if z < LOWEST:
        raise DomainError("z", z, f"must be at least {LOWEST}: below, nearly all neurons fire and any two inputs become equal")
    with deep(z):
        rho = _crossing(z, digits)
        multiplier = _slope(law_of("normal"), rho, z)
        return CorrelationPoint(*(rounded(x, digits) for x in (rho, multiplier, -1 / mp.log(multiplier))))


def _crossing(z: Any, digits: int) -> Any:
    """The root: bracketed to ten digits, refined by Newton's method, confirmed by a sign change in the last digit."""
    with mpmath.workdps(mp.dps - digits + 12):
        law = law_of("normal")
        gap = first_power(lambda d: _map(law, 1 - d, z, 12) < 1 - d, mpf(1), factor=mpf(1) / 2)
        rho = root_between(lambda r: _map(law, r, z, 12) - r, law.tail(z), 1 - gap, 10)
    law = law_of("normal")
    for _ in range(2 + int(mp.log(digits / 10, 2))):
        rho += (_map(law, rho, z, digits + 2) - rho) / (1 - _slope(law, rho, z))
    last = mpf(10) ** -digits
    if not all(
        side * (_map(law, rho * (1 - side * last), z, digits + 2) / rho / (1 - side * last) - 1) > 0 for side in (1, -1)
    ):
        raise ConvergenceError("no change of sign within the requested digits: request fewer", rho)
    return rho


def _slope(law: Law, rho: Any, z: Any) -> Any:
    """``φ₂(z, z; ρ)/Q(z)``."""
    return mp.exp(-(z**2) / (1 + rho)) / (2 * mp.pi * mp.sqrt(1 - rho**2)) / law.tail(z)
