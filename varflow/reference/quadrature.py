"""Quadrature for every integral here: tanh-sinh on intervals, with ConvergenceError where the error estimate is large."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from varflow._checks import ConvergenceError
from varflow._mpmath import mp, mpf


def integral(function: Callable[[Any], Any], ends: Iterable[Any], digits: int) -> Any:
    """``∫ function`` of a non-negative function over the intervals between ``ends``, to ``digits`` digits.

    ``ends`` holds every kink or jump, and cuts around every narrow peak or step.
    """
    intervals = list(pairwise(sorted(set(ends))))
    with mp.workdps(15):
        size = mp.fsum(mp.quad(function, interval, maxdegree=5) for interval in intervals)
    if size == 0:
        return mpf(0)
    # Of the 15 guard digits 10 are not carried, as nodes grow with digits. mpmath's error estimates are absolute: scale to 1.
    with mp.workdps(mp.dps - 10):
        # tanh-sinh levels, each with twice the nodes: where 11 are too few the error estimate says so
        parts = [mp.quad(lambda x: function(x) / size, interval, maxdegree=11, error=True) for interval in intervals]
    if mp.fsum(error for _, error in parts) > mpf(10) ** -digits:
        raise ConvergenceError(f"an integral did not converge to {digits} digits; ask for fewer", size)
    return size * mp.fsum(value for value, _ in parts)
