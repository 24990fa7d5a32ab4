"""A sympy.stats variable brought to mean 0 and variance 1: its density on the line, and the pieces between its knots."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import mpmath
import sympy
from sympy import gamma, sqrt, stats
from sympy.stats.crv import SingleContinuousPSpace
from sympy.stats.rv import RandomSymbol

from varflow._checks import DomainError
from varflow.symbolic.effort import neat, symbols_for_long_numbers, within
from varflow.symbolic.numbers import as_function

__all__ = ["Line", "Parameters", "branch", "density_of", "number", "on_the_line", "side", "t", "tidy"]

Parameters = Mapping[Any, tuple[float, float]]
t = sympy.Symbol("t", real=True)


class Line(NamedTuple):
    """A law of mean 0 and variance 1 on the whole line, in ``t``: its density, its distribution function where sympy.stats
    has one, and the ends of its pieces."""

    density: Any
    cumulative: Any
    ends: tuple[Any, ...]


def on_the_line(variable: Any, parameters: Parameters) -> Line:
    """The law of ``(X - E X)/√Var X``."""
    if not isinstance(variable, RandomSymbol) or not variable.pspace.is_Continuous:
        rule = "must be a built-in name or a continuous sympy.stats variable, such as Normal('X', 0, 1)"
        law = getattr(getattr(variable, "pspace", None), "distribution", variable)  # a variable shows its own name only
        raise DomainError("distribution", law, rule)
    given = variable.pspace.distribution
    law, numbers = symbols_for_long_numbers(given)
    parameters = {**parameters, **{symbol: (number, number) for symbol, number in numbers.items()}}
    variable = SingleContinuousPSpace(variable.symbol, law).value
    support = variable.pspace.domain.set
    formula: Any = law.pdf if hasattr(law, "pdf") else stats.density(variable)
    density = formula(t)
    mean, variance = _moments(variable, given, density, support, parameters)
    std = sqrt(variance)
    put = lambda e: _one_sided(e.subs(t, mean + std * t))  # noqa: E731
    whole = tidy(std * put(density))
    _refuse_undeclared(given, whole, parameters)
    cumulative = law._cdf(t) if hasattr(law, "_cdf") else None
    ends = {end if end.is_infinite else neat((end - mean) / std) for end in (support.inf, support.sup)}
    ends = {end.xreplace(numbers) for end in ends | _knots(whole)}
    whole = whole.xreplace(numbers)
    cumulative = None if cumulative is None else put(cumulative).xreplace(numbers)
    line = Line(whole, cumulative, tuple(sorted(ends, key=lambda end: number(end, parameters))))
    _refuse_wrong_moments(given, line, parameters)
    return line


def _refuse_wrong_moments(law: Any, line: Line, parameters: Parameters) -> None:
    """Integral, mean and variance once more as numbers: sympy's own are wrong for some laws."""
    middle = {symbol: sum(map(mpmath.mpf, map(str, ends))) / 2 for symbol, ends in parameters.items()}
    symbols = tuple(middle)
    density = density_of(line.density, symbols)
    with mpmath.workdps(15):
        cuts = sorted({*(mpmath.mpf(number(end, parameters)) for end in line.ends), mpmath.mpf(0)})
        try:
            found: list[Any] = [mpmath.quad(lambda x, k=k: x**k * density(x, *middle.values()), cuts) for k in range(3)]
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            found = [mpmath.nan]
    if not abs(found[0] - 1) < 1e-3 and mpmath.isfinite(found[0]):
        raise DomainError("distribution", law, f"has a density that integrates to {mpmath.nstr(found[0], 5)}, not to 1")
    if not all(abs(x - want) < 1e-3 for x, want in zip(found, (1, 0, 1), strict=False)):
        raise DomainError("distribution", law, "has a mean or variance that sympy does not find correctly; choose another law")


@lru_cache(maxsize=64)
def density_of(whole: Any, symbols: tuple[Any, ...]) -> Callable[..., Any]:
    """A density as a real function of numbers; 0 where an exponential inside another underflows in doubles already."""
    exact = as_function((t, *symbols), whole, "mpmath")
    nested = any(power.args[0].has(sympy.exp) for power in whole.atoms(sympy.exp))
    rough = as_function((t, *symbols), whole, "numpy") if nested else None

    def density(*numbers: Any) -> Any:
        if rough is not None and rough(*map(float, numbers)) == 0:
            return mpmath.mpf(0)
        found = exact(*numbers)
        return found.real if isinstance(found, mpmath.mpc) else found

    return density


def _one_sided(expression: Any) -> Any:
    """Inequalities solved for ``t``, where location and scale cancel."""
    return expression.xreplace({r: _solved(r) for r in expression.atoms(sympy.core.relational.Relational)})


def _solved(relation: Any) -> Any:
    rest = sympy.expand(relation.lhs - relation.rhs)
    slope = rest.coeff(t)
    if slope.is_zero is not False or sympy.expand(rest - slope * t).has(t) or slope.is_positive is None:
        return relation
    return (relation if slope.is_positive else relation.reversed).func(t, neat(t - rest / slope))


def _refuse_undeclared(law: Any, whole: Any, parameters: Parameters) -> None:
    for symbol in sorted(whole.free_symbols - {t} - set(parameters), key=str):
        hint = f"declare it positive if it is a scale, or give it a number or a range, parameters={{{symbol}: (1, 5)}}"
        raise DomainError("distribution", law, f"leaves {symbol} free: {hint}")


def _moments(variable: Any, name: Any, density: Any, support: Any, parameters: Parameters) -> tuple[Any, Any]:
    """Mean and variance; where sympy.stats has none, the integrals of the density."""
    between = (t, support.inf, support.sup)
    mean, variance = within(lambda: _known_moments(variable), (sympy.Integral(density, between),) * 2)
    if mean.has(sympy.Integral) or variance.has(sympy.Integral):
        powers = [within(lambda k=k: _power(k, density, support), sympy.Integral(density, between)) for k in (1, 2)]
        mean, second = (_decided(name, moment, parameters) for moment in powers)
        variance = second - mean**2
    mean, variance = (neat(_decided(name, moment, parameters)) for moment in (mean, variance))
    if mean.has(sympy.Integral) or variance.has(sympy.Integral):
        raise DomainError("distribution", name, "has a mean or variance that sympy does not find; choose another law")
    if variance.is_finite is False or variance is sympy.nan or mean is sympy.nan:
        raise DomainError("distribution", name, "has no finite variance: it cannot be scaled to variance 1")
    return mean, variance


def _known_moments(variable: Any) -> tuple[Any, Any]:
    try:
        return stats.E(variable), stats.variance(variable)
    except NotImplementedError:
        unknown = sympy.Integral(t, (t, 0, 1))
        return unknown, unknown


def _power(k: int, density: Any, support: Any) -> Any:
    """``∫ tᵏ f(t) dt``; where ``ln t`` is normal, by completing the square in it."""
    if density.has(sympy.log) and support.inf == 0 and support.sup == sympy.oo:
        over_log = sympy.log((t ** (k + 1) * density).subs(t, sympy.exp(t)))
        exponent: Any = sympy.expand(sympy.expand_log(over_log, force=True))
        powers: Any = sympy.Poly(exponent, t).all_coeffs() if exponent.is_polynomial(t) else []
        if len(powers) == 3 and powers[0].is_negative:
            a, b, c = powers
            return sympy.simplify(sqrt(-sympy.pi / a) * sympy.exp(sympy.expand(c - b**2 / (4 * a))))
    return sympy.integrate(t**k * density, (t, support.inf, support.sup))


def _decided(law: Any, moment: Any, parameters: Parameters) -> Any:
    """The branch of a case distinction that holds throughout the declared ranges."""
    for cases in moment.atoms(sympy.Piecewise):
        verdicts = {_first_true(cases, corner) for corner in _corners(parameters)}
        if len(verdicts) != 1 or None in verdicts:
            symbol = min(cases.free_symbols, key=str)
            rule = f"has a variance that depends on {symbol}, and whether it is finite cannot be decided: " + (
                f"give {symbol} a number or a range, parameters={{{symbol}: (low, high)}}"
            )
            raise DomainError("distribution", law, rule)
        moment = moment.xreplace({cases: cases.args[verdicts.pop()].args[0]})  # pyright: ignore[reportArgumentType]
    return moment


def _first_true(cases: Any, values: Mapping[Any, Any]) -> int | None:
    """Index of the branch that holds; None where a condition cannot be decided."""
    for index, (_, condition) in enumerate(cases.args):
        verdict = condition.subs(values)
        if verdict == sympy.true:
            return index
        if verdict != sympy.false:
            return None
    return None


def _corners(parameters: Parameters) -> list[dict[Any, Any]]:
    corners: list[dict[Any, Any]] = [{}]
    for symbol, ends in parameters.items():
        corners = [corner | {symbol: sympy.Rational(end)} for corner in corners for end in ends]
    return corners


def _knots(whole: Any) -> set[Any]:
    """Where an absolute value or a case distinction of the density switches."""
    edges: list[Any] = [part.args[0] for part in whole.atoms(sympy.Abs, sympy.sign, sympy.Heaviside)]
    edges += [part.lhs - part.rhs for part in whole.atoms(sympy.core.relational.Relational)]
    found = [sympy.solveset(edge, t, sympy.S.Reals) for edge in edges if edge.has(t)]
    return {root for roots in found if isinstance(roots, sympy.FiniteSet) for root in roots}


def number(end: Any, parameters: Parameters) -> float:
    """An end of a piece as a number, at the middle of the declared ranges."""
    return float(end.subs({symbol: (low + high) / 2 for symbol, (low, high) in parameters.items()}))


def side(ends: tuple[Any, ...], sign: int | None, parameters: Parameters) -> tuple[Any, Any]:
    """The piece of the line next to 0 on the side of the threshold; the whole support where its sign is open."""
    if sign is None:
        return ends[0], ends[-1]
    if sign == -1:
        return max((end for end in ends if number(end, parameters) < 0), key=lambda e: number(e, parameters)), sympy.S.Zero
    return sympy.S.Zero, min((end for end in ends if number(end, parameters) > 0), key=lambda e: number(e, parameters))


def branch(whole: Any, variable: Any, low: Any, high: Any, parameters: Parameters) -> Any:
    """The density's formula between two neighbouring knots."""
    a, b = number(low, parameters), number(high, parameters)
    middle = (a + b) / 2 if math.isfinite(a + b) else a + 1 if math.isfinite(a) else b - 1 if math.isfinite(b) else 0.25
    probe = {t: sympy.Rational(middle)} | {s: sympy.Rational(sum(ends)) / 2 for s, ends in parameters.items()}
    piece = whole.replace(sympy.Piecewise, lambda *cases: _case(sympy.Piecewise(*cases), probe))
    piece = piece.replace(sympy.Abs, lambda arg: arg * sympy.sign(arg.subs(probe)) if arg.has(t) else sympy.Abs(arg))
    return tidy(piece.subs(t, variable))


def _case(cases: Any, probe: Mapping[Any, Any]) -> Any:
    if not isinstance(cases, sympy.Piecewise):
        return cases
    index = _first_true(cases, probe)
    return cases if index is None else cases.args[index].args[0]


def tidy(expression: Any) -> Any:
    """Simplified, with beta functions as gamma functions, which have values."""
    return neat(expression).replace(sympy.beta, lambda a, b: gamma(a) * gamma(b) / gamma(a + b))
