"""The distribution of the standardised potential in sympy: density, upper tail, and where the two formulas are valid.

Built-in names, ``vf.distributions.student_t`` and any continuous ``sympy.stats`` variable; location and scale drop out.
The tail is that of the family, else the integral of the density.

Tail, fixed points and multiplier of a distribution in numbers, to check expansions; and roots to any precision.

Everything comes from the density by quadrature, without closed forms or expansions; roots by Newton's method from outside,
where ``ln(z² Q(z))`` is concave: found in few digits, then refined at precisions that double.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import sympy
from sympy import Rational, pi, sqrt, stats
from sympy.stats.rv import RandomSymbol

from varflow._checks import ConvergenceError, DomainError
from varflow._mpmath import mp, mpf
from varflow.model.distributions import distribution as described
from varflow.model.student import StudentT
from varflow.symbolic.algebra import integral, neat, symbols_for_long_numbers
from varflow.symbolic.numbers import value
from varflow.symbolic.standard import Parameters, branch, density_of, knots, number, on_the_line, side, t, tidy
from varflow.symbolic.symbols import all_of, at_least, at_most, exact


@dataclass(frozen=True, eq=False)
class Law:
    """A standardised distribution near one side of its mean.

    Attributes
    ----------
    name : str
    z : Symbol
        The standardised potential, with the sign of this side.
    density, tail : Expr
        ``f(z)`` and ``Q(z)``, valid for ``low < z < high``.
    whole : Expr
        The density on the whole line, as a function of ``t``.
    ends : tuple
        Ends of the support and the kinks between them, ascending.
    low, high : Expr
        Ends of the range in which ``density`` and ``tail`` hold.
    parameters : mapping
        Free symbols and their declared ranges.
    """

    name: str
    z: Any
    density: Any
    tail: Any
    whole: Any
    ends: tuple[Any, ...]
    low: Any
    high: Any
    parameters: Parameters

    def sf(self, at: Any) -> Any:
        """``Q`` at an expression."""
        return self.tail.subs(self.z, at)

    def pdf(self, at: Any) -> Any:
        """``f`` at an expression."""
        return self.density.subs(self.z, at)

    @property
    def validity(self) -> str:
        """The range of the formulas in LaTeX; empty if they hold everywhere."""
        low = "" if self.low not in self.ends or self.low.is_infinite else f"{sympy.latex(self.low)} < "
        high = "" if self.high not in self.ends or self.high.is_infinite else f" < {sympy.latex(self.high)}"
        return f"${low}z{high}$" if low or high else ""

    def holds(self, at: Any) -> Any:
        """Conditions under which the formulas hold: relations for ``z`` as an expression, and for free parameters."""
        low, high = number(self.low, self.parameters), number(self.high, self.parameters)
        start = [end for end in self.ends if number(end, self.parameters) <= low][-1]  # the formulas hold between two knots
        stop = next(end for end in self.ends if number(end, self.parameters) >= high)
        sides = [make(at, end) for make, end in ((at_least, start), (at_most, stop)) if not end.is_infinite]
        for symbol, (low, high) in self.parameters.items():
            sides += [at_least(symbol, low), at_most(symbol, high)]
        return all_of(*sides)

    @property
    def symmetric(self) -> bool:
        return neat(self.whole - self.whole.subs(t, -t)) == 0

    @property
    def heavy_tailed(self) -> bool:
        """True if the density decays as a power of ``z``: by the same factor per doubling at 30 and at 1000."""
        values = {symbol: (mp.mpf(low) + mp.mpf(high)) / 2 for symbol, (low, high) in self.parameters.items()}
        densities = list(map(self.at(values), map(mp.mpf, (30, 60, 1000, 2000))))
        if 0 in densities:
            return False
        near_decay, far_decay = mp.log(densities[1] / densities[0]), mp.log(densities[3] / densities[2])
        return bool(abs(far_decay - near_decay) < abs(near_decay) / 10)

    def at(self, values: Mapping[Any, Any]) -> Callable[[Any], Any]:
        """The density as a function of numbers, at these values of the parameters."""
        symbols = tuple(sorted(self.parameters, key=str))
        density, numbers = density_of(self.whole, symbols), [values[symbol] for symbol in symbols]
        return lambda z: density(z, *numbers)

    def integral(self, weight: Callable[[Any], Any], low: Any, high: Any, values: Mapping[Any, Any]) -> Any:
        """``∫_low^high weight(z) f(z) dz`` by mpmath's quadrature of the density, independent of the formula of the tail."""
        knots = [mp.mpf(float(end)) if end.is_infinite else value(end, dict(values)) for end in self.ends]
        low, high = max(low, knots[0]), min(high, knots[-1])
        cuts = [low, *(knot for knot in {*knots[1:-1], mp.mpf(0), mp.mpf(3), mp.mpf(-3)} if low < knot < high), high]
        density = self.at(values)
        weighted = lambda z: w * density(z) if (w := weight(z)) else mp.mpf(0)  # noqa: E731
        return mp.quad(weighted, sorted(cuts)) if low < high else mp.mpf(0)


def sign_of(threshold: Any) -> int | None:
    """Sign of a threshold by its assumptions; None if they leave it open."""
    if threshold.is_positive:
        return 1
    return -1 if threshold.is_negative else 0 if threshold.is_zero else None


def law_of(distribution: Any, *, sign: int | None = 1, parameters: Parameters | None = None) -> Law:
    """The distribution of the standardised potential, on the side of its mean where the threshold lies."""
    parameters = _ranges(distribution, parameters)
    if isinstance(distribution, str | StudentT):
        return _built_in(described(distribution), sign)
    if not isinstance(distribution, RandomSymbol) or not distribution.pspace.is_Continuous:
        rule = "must be a built-in name or a continuous sympy.stats variable, such as Normal('X', 0, 1)"
        shown = getattr(getattr(distribution, "pspace", None), "distribution", distribution)  # a variable shows only its name
        raise DomainError("distribution", shown, rule)
    return _standardised(distribution, sign, tuple(parameters.items()))


def _ranges(distribution: Any, given: Any) -> Parameters:
    """The declared ranges of the free symbols of the distribution."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise DomainError("parameters", given, "must be a dict: symbol → (low, high)")
    law = getattr(getattr(distribution, "pspace", None), "distribution", None)
    free = law.free_symbols if law is not None else set()
    for symbol in given:
        if symbol not in free:
            rule = f"gives a range for {symbol}, which the distribution does not have; keys are the symbols themselves"
            raise DomainError("parameters", given, rule)
    return {symbol: _range(symbol, ends) for symbol, ends in given.items()}


def _range(symbol: Any, ends: Any) -> tuple[float, float]:
    """A declared range, of numbers of any library."""
    try:
        low, high = ends
    except (TypeError, ValueError):
        raise DomainError("parameters", {symbol: ends}, "must give each symbol its range (low, high)") from None
    low, high = (exact("parameters", end) for end in (low, high))
    if low.free_symbols or high.free_symbols or low > high:
        raise DomainError("parameters", {symbol: ends}, "must give each symbol its range (low, high), low first, in numbers")
    return tuple(int(end) if end.is_Integer else float(end) for end in (low, high))  # pyright: ignore[reportReturnType]


@lru_cache(maxsize=64)
def _built_in(law: Any, sign: int | None) -> Law:
    makers = {
        "normal": lambda: stats.Normal("X", 0, 1),
        "uniform": lambda: stats.Uniform("X", -sqrt(3), sqrt(3)),
        "laplace": lambda: stats.Laplace("X", 0, 1 / sqrt(2)),
        "logistic": lambda: stats.Logistic("X", 0, sqrt(3) / pi),
    }
    if isinstance(law, StudentT):
        return _standardised(stats.StudentT("X", Rational(law.df)), sign, ())
    if law.name not in makers:
        rule = "has no formula; name a built-in distribution or give a sympy.stats variable such as Normal('X', 0, 1)"
        raise DomainError("distribution", law.name, rule)
    return _standardised(makers[law.name](), sign, (), law.name)


@lru_cache(maxsize=64)
def _standardised(variable: Any, sign: int | None, ranges: tuple[Any, ...], name: str | None = None) -> Law:
    line, parameters = on_the_line(variable, ranges), dict(ranges)
    piecewise, ends = line.density, line.ends
    if sign is None and len(ends) > 2:
        rule = "must be declared positive or negative, Symbol('theta', positive=True): the formulas differ on the two sides"
        raise DomainError("threshold", "theta", rule)
    low, high = side(ends, sign, parameters)
    z = sympy.Symbol("z", real=True, positive=True if sign in (0, 1) else None, negative=True if sign == -1 else None)
    pieces = piecewise.has(sympy.Piecewise, sympy.Abs, sympy.sign)
    long = symbols_for_long_numbers(variable.pspace.distribution)[1]  # they were symbols when the density was simplified
    density = branch(piecewise, z, low, high, parameters, tidied=bool(pieces or long))
    one_formula = line.tail is not None and not any(low < knot < high for knot in knots(line.tail))
    tail: Any = branch(line.tail, z, low, high, parameters, tidied=name is None) if one_formula else None
    law = Law(name or str(variable.pspace.distribution), z, density, tail, piecewise, ends, low, high, parameters)
    return law if one_formula and not tail.has(sympy.Piecewise) else replace(law, tail=upper_moment(law, 0))


def pieces_above(law: Law) -> list[tuple[Any, Any, Any]]:
    """The line above ``z``, cut at the knots of the density: triples (low, high, density as a function of ``t``)."""
    ends = [end for end in law.ends if number(end, law.parameters) > number(law.low, law.parameters)]
    lows, tests = [law.z, *ends[:-1]], [law.low, *ends[:-1]]
    return [
        (low, high, branch(law.whole, t, test, high, law.parameters)) for low, test, high in zip(lows, tests, ends, strict=True)
    ]


def upper_moment(law: Law, power: int) -> Any:
    """``∫_z^∞ tᵏ f(t) dt``, in closed form where there is a simple one."""
    return tidy(sum((_integral(law, power, *piece) for piece in pieces_above(law)), sympy.S.Zero))


def _integral(law: Law, power: int, low: Any, high: Any, density: Any) -> Any:
    at = sympy.Symbol("t", real=True, positive=True if low.is_nonnegative else None)
    integrand = at**power * density.subs(t, at)
    closed = integral(integrand, at, low, high)
    constant, dependent = integrand.as_independent(at, as_Add=False)
    return constant * sympy.Integral(dependent, (at, low, high)) if closed is None else closed


COARSE = 20  # digits in which a root is found first


def density(law: Law, z: Any) -> Any:
    """``f(z)``."""
    return density_of(law.whole, ())(mpf(z))


def end_of(law: Law) -> Any:
    """Upper end of the support."""
    return mp.inf if law.ends[-1].is_infinite else value(law.ends[-1], {})


def tail(law: Law, z: Any) -> Any:
    """``Q(z) = ∫_z^∞ f``."""
    return _near(law, mpf(z), mp.prec)


@lru_cache(maxsize=4096)
def _near(law: Law, z: Any, precision: int) -> Any:
    knot = mp.nint(z)
    if z < 8 and knot < end_of(law):  # Q(z) = Q(round(z)) - ∫ f, with Q cached at integers
        return _tail(law, knot, precision) - mp.quad(lambda t: density(law, t), [knot, z])
    return _tail(law, z, precision)


@lru_cache(maxsize=256)
def _tail(law: Law, z: Any, precision: int) -> Any:
    """``Q(z)`` by quadrature in units of ``f(z)`` and of the decay length of the density."""
    unit = density(law, z)
    with mp.workdps(15):
        fall = abs(mp.diff(lambda t: density(law, t), z, direction=1)) / unit
        scale = 1 / (fall + 1 / (1 + z))
    high = end_of(law)
    knots = [value(end, {}) for end in law.ends if not end.is_infinite]
    cuts = {z, high, z + 64 * scale, *knots}
    places = sorted((cut - z) / scale for cut in cuts if z <= cut <= high)
    return unit * scale * mp.quad(lambda s: density(law, z + s * scale) / unit, places)


def map_slope(law: Law, z: Any, height: Any) -> Any:
    """``dF/dV`` at a fixed point ``V = θ²/z²`` of ``F(V) = g² Q(θ/√V)``, as a difference quotient; ``height = Q(z)``."""
    with mp.extradps(mp.dps):  # which the difference loses
        h = mpf(10) ** (-mp.dps // 3)
        low, high = z / mp.sqrt(1 + h), z / mp.sqrt(1 - h)
        gained = (density(law, low) + 4 * density(law, (low + high) / 2) + density(law, high)) * (high - low) / 6
    return gained / (2 * h * height)


@lru_cache(maxsize=64)
def _turning_point(law: Law, precision: int) -> Any:
    high = min(end_of(law), mpf(3))
    gap = lambda z: z * density(law, z) - 2 * tail(law, z)  # noqa: E731
    with mp.workdps(COARSE):
        near = mp.findroot(gap, (high / 5, high * 0.99), solver="anderson")
    return refined(secant(gap), near)


def turning_point(law: Law) -> Any:
    """``z_c``, where ``z² Q(z)`` is largest."""
    return _turning_point(law, mp.prec)


def outer_roots(law: Law, inverse_gain: Any) -> tuple[Any, Any]:
    """The two roots of ``z² Q(z) = 1/γ``: the stable fixed point and the edge of the basin of silence."""
    return _outer_roots(law, mpf(inverse_gain), mp.prec)


@lru_cache(maxsize=1024)
def _outer_roots(law: Law, inverse_gain: Any, precision: int) -> tuple[Any, Any]:
    with mp.workdps(COARSE):
        outside, high = turning_point(law), end_of(law)
        while outside**2 * tail(law, outside) > 0.99 * inverse_gain:
            outside = 2 * outside if high == mp.inf else (outside + high) / 2
    return tuple(_newton(law, inverse_gain, z) for z in (mp.sqrt(inverse_gain / tail(law, mpf(0))), outside))


def _newton(law: Law, inverse_gain: Any, z: Any) -> Any:
    """Newton's method for ``ln(γ z² Q(z)) = 0``, first in few digits."""

    def step(z: Any, _: Any = None) -> Any:
        S = tail(law, z)
        return mp.log(z * z * S / inverse_gain) / (2 / z - density(law, z) / S)

    with mp.workdps(COARSE):
        for _ in range(200):
            change = step(z)
            z -= change
            if abs(change) <= z * mpf(10) ** (-0.6 * COARSE):
                break
        else:
            raise ConvergenceError(f"no root of z² Q(z) = {mp.nstr(inverse_gain, 5)} within 200 steps")
    return refined(step, z)


def refined(step: Callable[[Any, Any], Any], near: Any) -> Any:
    """A simple root at the working precision, from one in ``COARSE`` digits; ``step(z, distance)`` is ``f/f'``."""
    for digits in _precisions(mp.dps):
        with mp.workdps(digits):
            half = mpf(10) ** (-digits // 2)
            for _ in range(30):
                change = step(near, half)
                near -= change
                if abs(change) <= 30 * half * abs(near):  # its square is what is still missing
                    break
            else:
                raise ConvergenceError(f"no simple root near {mp.nstr(near, 10)}")
    return near


def _precisions(digits: int) -> list[int]:
    """Digits, each half of the next and a few more."""
    return [digits] if digits < 2 * COARSE - 4 else [*_precisions(digits // 2 + 4), digits]


def secant(function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """``f/f'``, the slope from two points at a relative distance."""

    def step(z: Any, distance: Any) -> Any:
        here = function(z)
        return z * distance * here / (function(z * (1 + distance)) - here)

    return step


def bisected(excess: Callable[[Any], Any], outside: Any, inside: Any) -> Any:
    """The root between a point with negative and one with positive excess; secant steps once it is near."""
    with mp.workdps(COARSE):
        for _ in range(12):
            middle = (outside + inside) / 2
            outside, inside = (outside, middle) if excess(middle) > 0 else (middle, inside)
        near = mp.findroot(excess, (outside, inside), tol=mpf(10) ** -26)
    return refined(secant(excess), near)
