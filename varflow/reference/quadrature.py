"""Numerical integration: tanh-sinh on smooth pieces, with ConvergenceError if the error estimate is large."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import mpmath
from mpmath import mp, mpf

from varflow._checks import ConvergenceError

__all__ = ["integral"]

DEGREE = 11  # largest degree of the rule; each doubles the nodes
SPARE = 10  # guard digits that the integral does not use, since each costs nodes


def integral(function: Callable[[Any], Any], ends: Iterable[Any], digits: int) -> Any:
    """``∫ function``, of a non-negative function over the pieces between ``ends``, to ``digits`` digits.

    ``ends`` contains every point where the function is not smooth, and enough others that it varies slowly in between.
    """
    stretches = list(pairwise(sorted(set(ends))))
    with mpmath.workdps(15):
        size = mp.fsum(mp.quad(function, stretch, maxdegree=5) for stretch in stretches)
    if size == 0:
        return mpf(0)
    with mpmath.workdps(mp.dps - SPARE):  # mpmath's error estimates are absolute, so the integrand is scaled to 1
        parts = [mp.quad(lambda x: function(x) / size, stretch, maxdegree=DEGREE, error=True) for stretch in stretches]
    if mp.fsum(error for _, error in parts) > mpf(10) ** -digits:
        raise ConvergenceError(f"an integral did not reach {digits} digits; request fewer", size)
    return size * mp.fsum(value for value, _ in parts)
