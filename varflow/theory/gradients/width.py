"""The width of a surrogate at which gradients neither grow nor shrink: one bracketing search, whatever the growth."""

from __future__ import annotations

import math
from collections.abc import Callable

from varflow._checks import ConvergenceError, DomainError
from varflow.model.surrogate import Surrogate
from varflow.theory.roots import rising_root

__all__ = ["with_unit_growth"]

SMALLEST = 1e-300  # stands for a growth that underflows


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
