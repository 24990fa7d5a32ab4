"""The width of a surrogate at which gradients neither grow nor shrink, or layers differ least: whatever their energies."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import numpy as np

from varflow._checks import ConvergenceError, DomainError
from varflow.model.surrogate import Surrogate
from varflow.theory.roots import rising_root

SMALLEST = 1e-300  # stands for a growth that underflows
REACH = 0.7  # of the search for the smallest range, in the logarithm of the width, on both sides of growth 1


def with_unit_growth(surrogate: Surrogate, growth: Callable[[Surrogate], float], *, accuracy: float = 1e-12) -> Surrogate:
    """The surrogate widened or narrowed until ``growth(surrogate) = 1``, to a relative accuracy of the width.

    At constant peak a growth usually rises with the width, at constant area it falls: the search follows the slope at the given
    width. DomainError where no width within a factor 1e15 of it gives 1.
    """
    logarithm = lambda width: math.log(max(growth(surrogate.widened(width)), SMALLEST))  # noqa: E731
    start = surrogate.width
    rising = logarithm(1.1 * start) > logarithm(start)
    try:
        found = rising_root(lambda width: logarithm(width) if rising else -logarithm(width), start, accuracy)
    except ConvergenceError:
        rule = "lets gradients vanish at any width: raise its peak or the gain" if rising else "reaches growth 1 at no width"
        raise DomainError("surrogate", surrogate, rule) from None
    return surrogate.widened(found)


def with_smallest_range(surrogate: Surrogate, energies: Callable[[Surrogate], np.ndarray], *, accuracy: float) -> Surrogate:
    """The surrogate with which layers differ least in energy, among widths within a factor of two of that with equal energies
    in the first and last layer, or of the given one where no width makes these equal.

    ``energies(surrogate)``: of at least two layers, in order. DomainError for surrogates whose width cannot be set.
    """
    from scipy.optimize import minimize_scalar

    energies = cache(energies)  # the searches share widths

    def growth(wider: Surrogate) -> float:
        found = energies(wider)
        return float(found[0] / found[-1]) ** (1 / (len(found) - 1)) if found[-1] else 0.0

    def log_range(log_width: float) -> float:
        found = energies(surrogate.widened(math.exp(log_width)))
        return math.log(found.max() / found.min()) if found.min() > 0 else math.inf

    middle = math.log(surrogate.widened(surrogate.width).width)
    with suppress(DomainError):
        middle = math.log(with_unit_growth(surrogate, growth, accuracy=accuracy).width)
    best = minimize_scalar(log_range, bounds=(middle - REACH, middle + REACH), method="bounded", options={"xatol": accuracy})
    return surrogate.widened(math.exp(min(middle, float(best.x), key=log_range)))  # pyright: ignore[reportAttributeAccessIssue]
