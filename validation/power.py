"""The smallest error that a comparison detects, measured by drawing simulations from wrong networks."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from validation.claim import Claim, Error

__all__ = ["DRAWS", "POWER", "SCOUTS", "named", "rejections", "smallest", "smallest_error"]

DRAWS = 100  # simulations drawn from the wrong network, for each sign of the error
POWER = 0.99
SCOUTS = 20  # draws during the search, all of which must be rejected
START, SMALLEST, LARGEST, PRECISION = 0.032, 5e-4, 0.5, 1.1


def smallest(claim: Claim | str, settings: Any, error: int, right: Any) -> float:
    """The smallest size detected of one of the claim's errors, by its index; a claim may be named by its module."""
    found = named(claim)
    return smallest_error(rejections(found, found.errors(settings)[error], settings, right))


def named(claim: Claim | str) -> Claim:
    """The claim itself, or that of a module."""
    return import_module(claim).CLAIM if isinstance(claim, str) else claim


def rejections(claim: Claim, error: Error, settings: Any, right: Any) -> Callable[[float, int], bool]:
    """``(ε, seed) -> bool``: whether a simulation drawn from the network with an error ε rejects the right theory."""
    if error.rejected:
        return error.rejected(settings)
    distributions: dict[float, Any] = {}

    def rejected(size: float, seed: int) -> bool:
        if size not in distributions:
            distributions.clear()
            distributions[size] = claim.theory(error.wrong(settings, size))
        return claim.judge(settings, right, claim.draw(settings, distributions[size], seed)).p_value <= settings.false_alarm

    return rejected


def smallest_error(rejected: Callable[[float, int], bool]) -> float:
    """The smallest ε at which at least 99 of 100 drawn simulations are rejected, for +ε and for -ε.

    ``rejected(ε, seed)`` draws one simulation of a network with an error ε and tells whether it rejects the right theory.
    Doubling or halving brackets ε, and bisection in ln ε narrows the bracket to 10 %, with 20 draws; then ε grows in steps of
    10 % until 100 draws confirm it. ``inf`` if no error up to one half is detected.
    """
    high = START
    while high <= LARGEST and not _caught(rejected, high, SCOUTS):
        high *= 2
    low = high / 2
    while high <= START and low > SMALLEST and _caught(rejected, low, SCOUTS):
        low, high = low / 2, low
    while high / low > PRECISION:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if _caught(rejected, middle, SCOUTS) else (middle, high)
    while high <= LARGEST and not _caught(rejected, high, DRAWS):
        high *= PRECISION
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
