"""Bracketed roots by repeated subdivision, to adjacent floats, without derivatives; and polynomials.

Each round evaluates the function on a grid, so a root to double precision takes a few array calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from varflow._checks import ConvergenceError

GRID = 64  # points per subdivision
FARTHEST = 1e15  # largest ratio of a root of a rising function to its start
RESOLUTION = 4e-3  # step of a scan in ln y: closer pairs of roots are found only through the extremum between them


def polynomial(coefficients: Sequence[float] | np.ndarray, x: np.ndarray) -> np.ndarray:
    """A polynomial by Horner's rule, from the highest power, without further arrays."""
    value = coefficients[0] * x
    for coefficient in coefficients[1:-1]:
        value += coefficient
        value *= x
    value += coefficients[-1]
    return value


def crossing(function: Callable[[np.ndarray], np.ndarray], lo: float, hi: float) -> float:
    """The first sign change in ``[lo, hi]`` (both positive), to adjacent floats.

    Half of the points of a grid lie around the secant's root, where a smooth function changes sign: few rounds suffice.
    """
    near = np.empty(0)
    while True:
        even = np.geomspace(lo, hi, GRID // 2) if hi > 2 * lo else np.linspace(lo, hi, GRID // 2)
        grid = np.sort(np.concatenate([[lo, hi], even[1:-1], near]))
        values = function(grid)
        change = np.flatnonzero((values >= 0) != (values[0] >= 0))
        if not len(change):
            return hi
        right = int(change[0])
        if hi - lo <= 2 * np.spacing(hi):
            return float(grid[right - 1] if abs(values[right - 1]) < abs(values[right]) else grid[right])
        (lo, hi), (value_left, value_right) = grid[right - 1 : right + 1].tolist(), values[right - 1 : right + 1].tolist()
        width, fraction = hi - lo, value_left / (value_left - value_right)
        # the secant's root, off by the curvature of the function in units of its slope and argument, here at most 2
        reach = max(2.0 * width * (width / hi), np.spacing(hi))
        near = lo + (fraction if math.isfinite(fraction) else 0.5) * width + reach * np.linspace(-1, 1, GRID // 2)
        near = np.clip(near, lo, hi)


def bisect(function: Callable[[np.ndarray], np.ndarray], lo: np.ndarray, hi: np.ndarray, *, rounds: int = 64) -> np.ndarray:
    """Elementwise root in ``[lo, hi]`` (both positive) of a function that is positive at ``lo``."""
    for _ in range(rounds):
        middle = np.where(hi > 2 * lo, np.sqrt(lo) * np.sqrt(hi), lo + 0.5 * (hi - lo))
        positive = function(middle) > 0
        lo, hi = np.where(positive, middle, lo), np.where(positive, hi, middle)
    return hi


def double_until(condition: Callable[[np.ndarray], np.ndarray], start: float, limit: float) -> float:
    """The first of ``start, 2 start, 4 start, …`` where ``condition`` holds, or ``limit``."""
    while start < limit:
        some = start * 2.0 ** np.arange(32)
        holds = np.flatnonzero(condition(some) | (some >= limit))
        if len(holds):
            return min(float(some[holds[0]]), limit)
        start = 2 * float(some[-1])
    return limit


def scan(function: Callable[[np.ndarray], np.ndarray], lo: float, hi: float, resolution: float = RESOLUTION) -> list[float]:
    """Sign changes on a grid in ``ln y``, including pairs hidden between grid points around an extremum of ``function/y``."""
    hi *= 1 + 1e-9
    nodes = np.geomspace(lo, hi, max(int((np.log(hi) - np.log(lo)) / resolution), 2) + 1)
    with np.errstate(over="ignore"):
        values = function(nodes)
        size = np.abs(values / nodes)
    sides = values >= 0
    same_side = (sides[1:-1] == sides[:-2]) & (sides[1:-1] == sides[2:])
    touching = 1 + np.flatnonzero(same_side & (size[1:-1] <= size[:-2]) & (size[1:-1] < size[2:]) & (size[1:-1] < resolution))
    if len(touching):
        between = np.array([_closest_approach(function, nodes[i - 1], nodes[i + 1]) for i in touching])
        nodes, values = np.append(nodes, between), np.append(values, function(between))
        nodes, values = (column[np.argsort(nodes, kind="stable")] for column in (nodes, values))
    positive = values >= 0
    return [crossing(function, float(nodes[i]), float(nodes[i + 1])) for i in np.flatnonzero(positive[1:] != positive[:-1])]


def _closest_approach(function: Callable[[np.ndarray], np.ndarray], lo: float, hi: float) -> float:
    """The minimum of ``|function/y|`` on ``[lo, hi]``, or a point where the sign differs from that at the ends."""
    side = np.sign(function(np.array([lo]))[0])
    return highest(lambda y: -side * function(y) / y, np.linspace(lo, hi, 33), rounds=5)


def highest(function: Callable[[np.ndarray], np.ndarray], grid: np.ndarray, *, rounds: int, points: int = 33) -> float:
    """The point of a grid at which a function is largest, refined so many times around the best one."""
    for _ in range(rounds):
        best = int(np.argmax(function(grid)))
        grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], points)
    return float(grid[np.argmax(function(grid))])


def rising_root(function: Callable[[float], float], start: float, accuracy: float) -> float:
    """Root of an expensive increasing function of a positive number, to a relative accuracy: a bracket around ``start``, then
    Brent's method in the logarithm, which for a step function takes about as long as bisection.
    """
    from scipy.optimize import brentq

    # large values, infinity included, are cut
    excess = cache(lambda x: min(function(math.exp(x)), 1e6))  # ends of brackets are evaluated twice
    lo = hi = math.log(start)
    step = math.log(1.1)
    while excess(lo) >= 0:
        lo, hi, step = lo - step, lo, 1.6 * step
        if lo < math.log(start / FARTHEST):
            raise ConvergenceError(f"not negative down to {math.exp(lo):.3g}")
    while not excess(hi) >= 0:
        lo, hi, step = hi, hi + step, 1.6 * step
        if hi > math.log(start * FARTHEST):
            raise ConvergenceError(f"negative up to {math.exp(hi):.3g}")
    return math.exp(brentq(excess, lo, hi, xtol=accuracy, rtol=1e-15))  # pyright: ignore


def root_from_above(function: Callable[[float], float], start: float, accuracy: float) -> float:
    """The smallest ``x`` at which an increasing function of a positive number is not negative, from above."""
    x, step = rising_root(function, start, accuracy), accuracy
    while function(x) < 0:
        x, step = x * (1 + step), 2 * step
    return x


def monotone_root(function: Callable[[float], float], start: float, accuracy: float) -> float:
    """Root of a function that rises or falls. Far from the start, where it may have no value, it is called only if none is near
    on which it rises.
    """
    try:
        return rising_root(function, start, accuracy)
    except ConvergenceError:
        return rising_root(lambda x: -function(x), start, accuracy)


def first_to_hold(
    holds: Callable[[np.ndarray], np.ndarray | list[bool]], lo: float, hi: float, ratio: float, *, at_once: int = 7
) -> tuple[float, float]:
    """The bracket, to a ratio, of the point from which a condition holds up to ``hi``; it tests ``at_once`` points together."""
    while hi / lo > ratio:
        grid = np.geomspace(lo, hi, at_once + 2)
        last = int(np.flatnonzero(~np.r_[False, holds(grid[1:-1]), True])[-1])
        lo, hi = float(grid[last]), float(grid[last + 1])
    return lo, hi
