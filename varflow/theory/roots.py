"""Bracketed roots by repeated subdivision, to adjacent floats, without derivatives.

Each round evaluates the function on a grid, so a root to double precision takes about ten array calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from varflow._checks import ConvergenceError

__all__ = ["RESOLUTION", "bisect", "crossing", "double_until", "rising_root", "scan"]

GRID = 65  # points per subdivision: 6 bits a round
FARTHEST = 1e6  # largest ratio of a root of a rising function to its start
RESOLUTION = 4e-3  # step of a scan in ln y: closer pairs of roots are found only through the extremum between them


def crossing(function: Callable[[np.ndarray], np.ndarray], lo: float, hi: float) -> float:
    """The first sign change in ``[lo, hi]`` (both positive), to adjacent floats."""
    while True:
        grid = np.geomspace(lo, hi, GRID) if hi > 2 * lo else np.linspace(lo, hi, GRID)
        grid[0], grid[-1] = lo, hi
        values = function(grid)
        change = np.flatnonzero((values >= 0) != (values[0] >= 0))
        if not len(change):
            return hi
        right = int(change[0])
        if hi - lo <= 2 * np.spacing(hi):
            return float(grid[right - 1] if abs(values[right - 1]) < abs(values[right]) else grid[right])
        lo, hi = float(grid[right - 1]), float(grid[right])


def bisect(function: Callable[[np.ndarray], np.ndarray], lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Elementwise root in ``[lo, hi]`` (both positive) of a function that is positive at ``lo``."""
    for _ in range(64):
        middle = np.where(hi > 2 * lo, np.sqrt(lo) * np.sqrt(hi), lo + 0.5 * (hi - lo))
        above = function(middle) > 0
        lo, hi = np.where(above, middle, lo), np.where(above, hi, middle)
    return hi


def double_until(condition: Callable[[float], bool], start: float, limit: float) -> float:
    """The first of ``start, 2 start, 4 start, …`` where ``condition`` holds, or ``limit``."""
    while start < limit and not condition(start):
        start *= 2
    return min(start, limit)


def scan(function: Callable[[np.ndarray], np.ndarray], lo: float, hi: float) -> list[float]:
    """Sign changes on a grid in ``ln y``, including pairs hidden between grid points around an extremum of ``function/y``."""
    hi *= 1 + 1e-9
    grid = np.geomspace(lo, hi, max(int((np.log(hi) - np.log(lo)) / RESOLUTION), 2) + 1)
    with np.errstate(over="ignore"):
        size = np.abs(function(grid) / grid)
    touching = 1 + np.flatnonzero((size[1:-1] <= size[:-2]) & (size[1:-1] < size[2:]) & (size[1:-1] < RESOLUTION))
    cuts = {*grid.tolist(), *(_closest_approach(function, grid[i - 1], grid[i + 1]) for i in touching)}
    nodes = np.array(sorted(cuts))
    above = function(nodes) >= 0
    return [crossing(function, float(nodes[i]), float(nodes[i + 1])) for i in np.flatnonzero(above[1:] != above[:-1])]


def _closest_approach(function: Callable[[np.ndarray], np.ndarray], lo: float, hi: float) -> float:
    """The minimum of ``|function/y|`` on ``[lo, hi]``, or a point where the sign differs from that at the ends."""
    side, nearest = np.sign(function(np.array([lo]))[0]), lo
    for _ in range(6):
        grid = np.linspace(lo, hi, 33)
        best = int(np.argmin(side * function(grid) / grid))
        nearest, lo, hi = grid[best], grid[max(best - 1, 0)], grid[min(best + 1, 32)]
    return float(nearest)


def rising_root(function: Callable[[float], float], start: float, accuracy: float) -> float:
    """Root of an expensive rising function of a positive number, to a relative accuracy: a bracket that widens from
    ``start``, then regula falsi (Illinois) in the logarithm.
    """
    lo = hi = start
    at_lo = at_hi = function(start)
    factor = 1.1
    while at_lo > 0:
        hi, at_hi, lo = lo, at_lo, lo / factor
        if lo < start / FARTHEST:
            raise ConvergenceError(f"positive down to {lo:.3g}")
        at_lo, factor = function(lo), factor**1.6
    while not at_hi > 0:
        lo, at_lo, hi = hi, at_hi, hi * factor
        if hi > start * FARTHEST:
            raise ConvergenceError(f"not positive up to {hi:.3g}")
        at_hi, factor = function(hi), factor**1.6
    while hi / lo > 1 + accuracy:
        fraction = min(max(at_lo / (at_lo - at_hi), 0.02), 0.98) if math.isfinite(at_hi) else 0.5
        middle = lo * (hi / lo) ** fraction
        value = function(middle)
        if value <= 0:
            lo, at_lo, at_hi = middle, value, at_hi / 2
        else:
            hi, at_hi, at_lo = middle, value, at_lo / 2
    return math.sqrt(lo * hi)
