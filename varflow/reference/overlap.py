"""Two inputs at infinite width, in mpmath: the map of their overlap from layer to layer, and its stable fixed point."""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow._checks import ConvergenceError, DomainError
from varflow._mpmath import mp, mpf
from varflow.reference.digits import enough_digits_for, in_digits, number, rounded
from varflow.reference.distributions import distribution_named
from varflow.reference.orthant import quadrant
from varflow.reference.roots import first_power

LOWEST = -5  # of z, where Q(z) = 1 - 3e-7 and 1 - ρ* is smaller still


class CorrelationPoint(NamedTuple):
    """The stable overlap, the factor ``m`` by which deviations from it shrink per layer, and ``-1/ln m`` in layers."""

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
        return rounded(_map(rho, z, digits), digits)


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
        return CorrelationPoint(*(rounded(x, digits) for x in (rho, multiplier, -1 / mp.log(multiplier))))


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
