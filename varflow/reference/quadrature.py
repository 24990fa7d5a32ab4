"""One integral for every definition here that is one: tanh-sinh on stretches, refused where its error estimate is large."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import mpmath
from mpmath import mp, mpf

from varflow._checks import ConvergenceError

__all__ = ["integral"]

DEGREE = 11  # nodes double with each
SPARE = 10  # digits of the guard that the integral leaves to others: each costs nodes


def integral(function: Callable[[Any], Any], ends: Iterable[Any], digits: int) -> Any:
    """``∫ function``, not negative, over the stretches between ``ends``, to ``digits`` digits.

    ``ends`` holds every place where the function is not smooth, and enough others that it is tame in between.
    """
    stretches = list(pairwise(sorted(set(ends))))
    with mpmath.workdps(15):
        size = mp.fsum(mp.quad(function, stretch, maxdegree=5) for stretch in stretches)
    if size == 0:
        return mpf(0)
    with mpmath.workdps(mp.dps - SPARE):  # mpmath's error estimates are absolute: the integrand is brought to size 1
        parts = [mp.quad(lambda x: function(x) / size, stretch, maxdegree=DEGREE, error=True) for stretch in stretches]
    if mp.fsum(error for _, error in parts) > mpf(10) ** -digits:
        raise ConvergenceError(f"an integral is not known to {digits} digits; ask for fewer", size)
    return size * mp.fsum(value for value, _ in parts)
