"""Conversions between floats and balls: a float to its exact ball, a ball to the two doubles that enclose it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any, NamedTuple

from varflow._checks import DomainError, require
from varflow._display import Table

_one_proof = RLock()  # python-flint has one precision for all threads


class Enclosure(NamedTuple):
    """Proven bounds of a number: it is at least ``lower`` and at most ``upper``, both included.

    ``value in enclosure`` compares exactly, for floats, integers, fractions and mpf numbers alike.

    Examples
    --------
    >>> import varflow as vf
    >>> gain = vf.certified.critical_gain(threshold=1.0)
    >>> vf.critical_gain(threshold=1.0) in gain, 2.4565 in gain
    (True, False)
    """

    lower: float
    upper: float

    def __contains__(self, key: Any) -> bool:
        return bool(self.lower <= key <= self.upper)

    def _repr_html_(self) -> str:
        return Table("Enclosure", "{:<6} {}", [("lower", repr(self.lower)), ("upper", repr(self.upper))]).html()

    @property
    def relative_width(self) -> float:
        """``(upper - lower)/|upper|``; 0 where both are equal."""
        return 0.0 if self.lower == self.upper else (self.upper - self.lower) / max(abs(self.lower), abs(self.upper))


def ball(value: Any) -> Any:
    """The exact value of an integer or a double."""
    return require("certified", "flint").arb(value)


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """A context in which balls carry ``bits`` bits, for one thread at a time; python-flint's precision is then restored."""
    with _one_proof, require("certified", "flint").ctx.workprec(bits):
        yield


def exact(name: str, value: Any, check: Any) -> Any:
    """The exact ball of a checked scalar; raises DomainError for numbers that are neither doubles nor integers."""
    number = check(name, value)
    if isinstance(value, numbers.Integral):
        return ball(int(value))
    if number != value:
        raise DomainError(name, value, "must be a double or an integer: a proof for its rounded value would not hold for it")
    return ball(number)


def outward(number: Any) -> Enclosure:
    """The tightest doubles around a ball."""
    lower, upper = float(number.lower()), float(number.upper())
    if ball(lower) > number.lower():
        lower = math.nextafter(lower, -math.inf)
    if ball(upper) < number.upper():
        upper = math.nextafter(upper, math.inf)
    return Enclosure(lower, upper)
