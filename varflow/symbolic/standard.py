"""A sympy.stats variable brought to mean 0 and variance 1: its density on the line, and the pieces between its knots."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import sympy
from sympy import gamma, sqrt, stats
from sympy.stats.rv import RandomSymbol

from varflow._checks import DomainError

__all__ = ["Parameters", "branch", "number", "on_the_line", "side", "t", "tidy"]

Parameters = Mapping[Any, tuple[float, float]]
t = sympy.Symbol("t", real=True)


def on_the_line(variable: Any, parameters: Parameters) -> tuple[Any, tuple[Any, ...]]:
    """Density of ``(X - E X)/√Var X`` and the ends of its pieces."""
    if not isinstance(variable, RandomSymbol) or not variable.pspace.is_Continuous:
        rule = "must be a built-in name or a continuous sympy.stats variable, such as Normal('X', 0, 1)"
        raise DomainError("distribution", variable, rule)
    law, support = variable.pspace.distribution, variable.pspace.domain.set
    formula: Any = law.pdf if hasattr(law, "pdf") else stats.density(variable)
    density = formula(t)
    mean, variance = _moments(variable, density, support, parameters)
    std = sqrt(variance)
    whole = tidy(std * _one_sided(density.subs(t, mean + std * t)))
    _refuse_undeclared(variable, whole, parameters)
    ends = {end if end.is_infinite else sympy.simplify((end - mean) / std) for end in (support.inf, support.sup)}
    return whole, tuple(sorted(ends | _knots(whole), key=lambda end: number(end, parameters)))


def _one_sided(expression: Any) -> Any:
    """Inequalities solved for ``t``, where location and scale cancel."""
    return expression.xreplace({r: _solved(r) for r in expression.atoms(sympy.core.relational.Relational)})


def _solved(relation: Any) -> Any:
    rest = sympy.expand(relation.lhs - relation.rhs)
    slope = rest.coeff(t)
    if slope.is_zero is not False or sympy.expand(rest - slope * t).has(t) or slope.is_positive is None:
        return relation
    return (relation if slope.is_positive else relation.reversed).func(t, sympy.simplify(t - rest / slope))


def _refuse_undeclared(variable: Any, whole: Any, parameters: Parameters) -> None:
    for symbol in sorted(whole.free_symbols - {t} - set(parameters), key=str):
        hint = f"declare it positive if it is a scale, or give it a number or a range, parameters={{{symbol}: (1, 5)}}"
        raise DomainError("distribution", variable.pspace.distribution, f"leaves {symbol} free: {hint}")


def _moments(variable: Any, density: Any, support: Any, parameters: Parameters) -> tuple[Any, Any]:
    """Mean and variance; where sympy.stats has none, the integrals of the density."""
    name, between = variable.pspace.distribution, (t, support.inf, support.sup)
    try:
        mean, variance = sympy.sympify(stats.E(variable)), sympy.sympify(stats.variance(variable))
    except NotImplementedError:
        mean = variance = sympy.Integral(density, between)
    if mean.has(sympy.Integral) or variance.has(sympy.Integral):
        mean, second = (_decided(name, sympy.integrate(t**k * density, between), parameters) for k in (1, 2))
        variance = second - mean**2
    mean, variance = (sympy.simplify(_decided(name, moment, parameters)) for moment in (mean, variance))
    if variance.has(sympy.Integral):
        raise DomainError("distribution", name, "has a variance that sympy cannot find; choose another law")
    if variance.is_finite is False or variance is sympy.nan or mean is sympy.nan:
        raise DomainError("distribution", name, "has no finite variance: it cannot be scaled to variance 1")
    return mean, variance


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
    return sympy.simplify(expression, doit=False).replace(sympy.beta, lambda a, b: gamma(a) * gamma(b) / gamma(a + b))
