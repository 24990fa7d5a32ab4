"""The smallest error that a comparison detects, measured by drawing simulations from wrong networks."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["DRAWS", "POWER", "smallest_error"]

DRAWS = 100  # simulations drawn from the wrong network, for each sign of the error
POWER = 0.99
SCOUTS = 20  # draws during the search, all of which must be rejected
START, LARGEST, PRECISION = 1e-3, 0.5, 1.1


def smallest_error(rejected: Callable[[float, int], bool], step: Callable[[int], object] = lambda done: None) -> float:
    """The smallest ε at which at least 99 of 100 drawn simulations are rejected, for +ε and for -ε.

    ``rejected(ε, seed)`` draws one simulation of a network with an error ε and tells whether it rejects the right theory.
    Doubling brackets ε, and bisection in ln ε narrows the bracket to 10 %, with 20 draws; then ε grows in steps of 10 %
    until 100 draws confirm it. ``inf`` if no error up to one half is detected.
    """
    low, high, done = START / 2, START, 0
    while high <= LARGEST and not _caught(rejected, high, SCOUTS):
        low, high, done = high, 2 * high, done + 1
        step(done)
    while high / low > PRECISION:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if _caught(rejected, middle, SCOUTS) else (middle, high)
        step(done := done + 1)
    while high <= LARGEST and not _caught(rejected, high, DRAWS):
        high *= PRECISION
        step(done := done + 1)
    return high if high <= LARGEST else float("inf")


def _caught(rejected: Callable[[float, int], bool], error: float, draws: int) -> bool:
    """Whether both signs of an error are rejected often enough; stops as soon as that is impossible."""
    allowed = round((1 - POWER) * draws)
    for sign in (-1, 1):
        missed = 0
        for seed in range(draws):
            missed += not rejected(sign * error, seed)
            if missed > allowed:
                return False
    return True
