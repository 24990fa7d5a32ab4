"""Tail, fixed points and multiplier of a distribution in numbers, to check expansions; and roots to any precision.

Everything comes from the density by quadrature, without closed forms or expansions; roots by Newton's method from outside,
where ``ln(z² Q(z))`` is concave: found in few digits, then refined at precisions that double.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from varflow._checks import ConvergenceError
from varflow._mpmath import mp, mpf
from varflow.symbolic.laws import Law
from varflow.symbolic.numbers import value
from varflow.symbolic.standard import density_of

COARSE = 20  # digits in which a root is found first


def density(law: Law, z: Any) -> Any:
    """``f(z)``."""
    return density_of(law.whole, ())(mpf(z))


def end_of(law: Law) -> Any:
    """Upper end of the support."""
    return mp.inf if law.ends[-1].is_infinite else value(law.ends[-1], {})


def tail(law: Law, z: Any) -> Any:
    """``Q(z) = ∫_z^∞ f``."""
    return _near(law, mpf(z), mp.prec)


@lru_cache(maxsize=4096)
def _near(law: Law, z: Any, precision: int) -> Any:
    knot = mp.nint(z)
    if z < 8 and knot < end_of(law):  # Q(z) = Q(round(z)) - ∫ f, with Q cached at integers
        return _tail(law, knot, precision) - mp.quad(lambda t: density(law, t), [knot, z])
    return _tail(law, z, precision)


@lru_cache(maxsize=256)
def _tail(law: Law, z: Any, precision: int) -> Any:
    """``Q(z)`` by quadrature in units of ``f(z)`` and of the decay length of the density."""
    unit = density(law, z)
    with mp.workdps(15):
        fall = abs(mp.diff(lambda t: density(law, t), z, direction=1)) / unit
        scale = 1 / (fall + 1 / (1 + z))
    high = end_of(law)
    knots = [value(end, {}) for end in law.ends if not end.is_infinite]
    cuts = {z, high, z + 64 * scale, *knots}
    places = sorted((cut - z) / scale for cut in cuts if z <= cut <= high)
    return unit * scale * mp.quad(lambda s: density(law, z + s * scale) / unit, places)


def map_slope(law: Law, z: Any, height: Any) -> Any:
    """``dF/dV`` at a fixed point ``V = θ²/z²`` of ``F(V) = g² Q(θ/√V)``, as a difference quotient; ``height = Q(z)``."""
    with mp.extradps(mp.dps):  # which the difference loses
        h = mpf(10) ** (-mp.dps // 3)
        low, high = z / mp.sqrt(1 + h), z / mp.sqrt(1 - h)
        gained = (density(law, low) + 4 * density(law, (low + high) / 2) + density(law, high)) * (high - low) / 6
    return gained / (2 * h * height)


@lru_cache(maxsize=64)
def _turning_point(law: Law, precision: int) -> Any:
    high = min(end_of(law), mpf(3))
    gap = lambda z: z * density(law, z) - 2 * tail(law, z)  # noqa: E731
    with mp.workdps(COARSE):
        near = mp.findroot(gap, (high / 5, high * 0.99), solver="anderson")
    return refined(secant(gap), near)


def turning_point(law: Law) -> Any:
    """``z_c``, where ``z² Q(z)`` is largest."""
    return _turning_point(law, mp.prec)


def outer_roots(law: Law, inverse_gain: Any) -> tuple[Any, Any]:
    """The two roots of ``z² Q(z) = 1/γ``: the stable fixed point and the edge of the basin of silence."""
    return _outer_roots(law, mpf(inverse_gain), mp.prec)


@lru_cache(maxsize=1024)
def _outer_roots(law: Law, inverse_gain: Any, precision: int) -> tuple[Any, Any]:
    with mp.workdps(COARSE):
        outside, high = turning_point(law), end_of(law)
        while outside**2 * tail(law, outside) > 0.99 * inverse_gain:
            outside = 2 * outside if high == mp.inf else (outside + high) / 2
    return tuple(_newton(law, inverse_gain, z) for z in (mp.sqrt(inverse_gain / tail(law, mpf(0))), outside))


def _newton(law: Law, inverse_gain: Any, z: Any) -> Any:
    """Newton's method for ``ln(γ z² Q(z)) = 0``, first in few digits."""

    def step(z: Any, _: Any = None) -> Any:
        S = tail(law, z)
        return mp.log(z * z * S / inverse_gain) / (2 / z - density(law, z) / S)

    with mp.workdps(COARSE):
        for _ in range(200):
            change = step(z)
            z -= change
            if abs(change) <= z * mpf(10) ** (-0.6 * COARSE):
                break
        else:
            raise ConvergenceError(f"no root of z² Q(z) = {mp.nstr(inverse_gain, 5)} within 200 steps")
    return refined(step, z)


def refined(step: Callable[[Any, Any], Any], near: Any) -> Any:
    """A simple root at the working precision, from one in ``COARSE`` digits; ``step(z, distance)`` is ``f/f'``."""
    for digits in _precisions(mp.dps):
        with mp.workdps(digits):
            half = mpf(10) ** (-digits // 2)
            for _ in range(30):
                change = step(near, half)
                near -= change
                if abs(change) <= 30 * half * abs(near):  # its square is what is still missing
                    break
            else:
                raise ConvergenceError(f"no simple root near {mp.nstr(near, 10)}")
    return near


def _precisions(digits: int) -> list[int]:
    """Digits, each half of the next and a few more."""
    return [digits] if digits < 2 * COARSE - 4 else [*_precisions(digits // 2 + 4), digits]


def secant(function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """``f/f'``, the slope from two points at a relative distance."""

    def step(z: Any, distance: Any) -> Any:
        here = function(z)
        return z * distance * here / (function(z * (1 + distance)) - here)

    return step


def bisected(excess: Callable[[Any], Any], outside: Any, inside: Any) -> Any:
    """The root between a point with negative and one with positive excess; secant steps once it is near."""
    with mp.workdps(COARSE):
        for _ in range(12):
            middle = (outside + inside) / 2
            outside, inside = (outside, middle) if excess(middle) > 0 else (middle, inside)
        near = mp.findroot(excess, (outside, inside), tol=mpf(10) ** -26)
    return refined(secant(excess), near)
