"""Roots of numerical functions to any precision: found in few digits, then refined at precisions that double."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from varflow._checks import ConvergenceError
from varflow._mpmath import mp, mpf

COARSE = 20  # digits in which a root is found first


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
