"""The built-in standardised distributions in ball arithmetic, each written out from its formula.

For all of them ``f`` and ``z f'(z)/f(z)`` decrease with ``z > 0``. Hence ``f(zu)/f(z)`` decreases with ``z`` for ``u > 1``, and
``z f(z)/Q(z) = 1/∫₁^∞ f(zu)/f(z) du`` increases. The bounds of slopes over intervals rest on this monotonicity.

Between floats and balls: a float becomes its exact ball, a ball the two doubles that enclose it.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any, NamedTuple

from varflow._checks import DomainError, require
from varflow._display import Table
from varflow.model.distributions import Distribution, distribution
from varflow.model.student import StudentT

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
        return Table("Enclosure", [("lower", repr(self.lower)), ("upper", repr(self.upper))]).html()

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


_LARGEST_DF = 1e6  # above it, arb's incomplete beta function gets slow and then loses digits


class BallPotential(NamedTuple):
    """Tail ``Q``, density ``f`` and their bounds, at the precision set when the record was made.

    ``log_slope(z)`` is ``z f'(z)/f(z)``. ``beyond(Z)`` bounds ``z² Q(z)`` for all ``z ≥ Z``, with ``Z`` one of the points
    ``far(k)``, ``k ≥ 1``, which tend to the end of the support.
    """

    tail: Callable[[Any], Any]
    density: Callable[[Any], Any]
    log_slope: Callable[[Any], Any]
    beyond: Callable[[Any], Any]
    far: Callable[[int], Any]


def distribution_named(name: Any) -> Callable[[], BallPotential]:
    """A function that makes the record at the precision set when it is called."""
    description = distribution(name)
    if isinstance(description, StudentT):
        if description.df > _LARGEST_DF:
            raise DomainError(
                "distribution", name, f"has df above {_LARGEST_DF:g}, where no tail is proven; choose its limit, 'normal'"
            )
        return lambda: _student_t(ball(description.df))
    built_in = {"normal": _normal, "uniform": _uniform, "laplace": _laplace, "logistic": _logistic}
    if type(description).__module__ != Distribution.__module__:
        rule = "has no certified tail; choose normal, uniform, laplace, logistic or vf.distributions.student_t(df)"
        raise DomainError("distribution", name, rule)
    return built_in[description.name]


def _power_of_two(k: int) -> Any:
    return ball(2) ** k


def _normal() -> BallPotential:
    root_2, root_2_pi = ball(2).sqrt(), (2 * ball(0).pi()).sqrt()

    def density(z: Any) -> Any:
        return (-z * z / 2).exp() / root_2_pi

    # Q(z) ≤ f(z)/z, and z f(z) decreases from z = 1 on
    return BallPotential(lambda z: (z / root_2).erfc() / 2, density, lambda z: -z * z, lambda z: z * density(z), _power_of_two)


def _uniform() -> BallPotential:
    edge = ball(3).sqrt()
    height = 1 / (2 * edge)

    def tail(z: Any) -> Any:
        return ((edge - z) * height).max(ball(0)).min(ball(1))

    def density(z: Any) -> Any:
        size = abs(z)
        if size < edge:
            return height
        return ball(0) if size > edge else height.union(ball(0))

    # z² < 3 on the support
    return BallPotential(tail, density, lambda z: ball(0), lambda z: 3 * tail(z), lambda k: edge * (1 - ball(2) ** -k))


def _laplace() -> BallPotential:
    root_2 = ball(2).sqrt()

    def tail(z: Any) -> Any:
        if z > 0:
            return (-root_2 * z).exp() / 2
        return 1 - (root_2 * z).exp() / 2

    def density(z: Any) -> Any:
        return (-root_2 * abs(z)).exp() / root_2

    # z² Q(z) decreases from z = √2 on
    return BallPotential(tail, density, lambda z: -root_2 * abs(z), lambda z: z * z * tail(z), _power_of_two)


def _logistic() -> BallPotential:
    c = ball(0).pi() / ball(3).sqrt()

    def tail(z: Any) -> Any:
        decay = (-c * abs(z)).exp()
        return (decay if z > 0 else 1) / (1 + decay)

    def density(z: Any) -> Any:
        decay = (-c * abs(z)).exp()
        return c * decay / (1 + decay) ** 2

    # Q(z) ≤ exp(-cz), and z² exp(-cz) decreases from z = 2/c < 2 on
    return BallPotential(tail, density, lambda z: -c * z * (c * z / 2).tanh(), lambda z: z * z * (-c * z).exp(), _power_of_two)


def _student_t(df: Any) -> BallPotential:
    excess_df, half = df - 2, ball(1) / 2
    nearby = excess_df.min(ball(1))
    constant = ((df + 1) / 2).gamma() / ((df / 2).gamma() * (ball(0).pi() * excess_df).sqrt())

    def upper(z: Any) -> Any:
        """``I_x(ν/2, 1/2)/2`` at ``x = (ν - 2)/(ν - 2 + z²)`` for ``z > 0``, from ``1 - x`` where that converges faster."""
        square = z * z
        if square < nearby:
            tail = half - (square / (excess_df + square)).beta_lower(half, df / 2, regularized=1) / 2
        else:
            tail = (excess_df / (excess_df + square)).beta_lower(df / 2, half, regularized=1) / 2
        return tail if tail > 0 else ball(0).union(bound(z))  # where arb's ball includes 0

    def bound(z: Any) -> Any:
        """``Q(z) ≤ ∫_z^∞ (t/z) f(t) dt = f(z) (ν - 2 + z²)/((ν - 1) z)``."""
        return density(z) * (excess_df + z * z) / ((df - 1) * z)

    def density(z: Any) -> Any:
        return constant * (1 + z * z / excess_df) ** (-(df + 1) / 2)

    return BallPotential(
        lambda z: upper(z) if z > 0 else 1 - upper(-z),
        density,
        lambda z: -(df + 1) * z * z / (excess_df + z * z),
        lambda z: z * z * bound(z),  # decreases from z = 1 on
        _power_of_two,
    )
