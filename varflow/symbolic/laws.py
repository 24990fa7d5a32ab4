"""The law of the standardised potential, as sympy sees it: density, upper tail, and where the two formulas are valid.

Built-in names, ``vf.distributions.student_t`` and any continuous ``sympy.stats`` variable; location and scale drop out.
The tail is the density integrated; a built-in law's is then written in its familiar form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import sympy
from mpmath import mp
from sympy import Rational, erfc, exp, gamma, pi, sqrt, stats
from sympy.stats.rv import RandomSymbol

from varflow._checks import DomainError
from varflow.model.distributions import distribution as described
from varflow.model.student import StudentT
from varflow.symbolic.numbers import as_function, value

__all__ = ["Law", "Parameters", "law_of", "pieces_above", "sign_of", "upper_moment"]

Parameters = Mapping[Any, tuple[float, float]]

_t = sympy.Symbol("t", real=True)


@dataclass(frozen=True, eq=False)
class Law:
    """A standardised law near one side of its mean.

    Attributes
    ----------
    name : str
    z : Symbol
        The standardised potential, with the sign it has here.
    density, tail : Expr
        ``f(z)`` and ``S(z)``, valid for ``low < z < high``.
    whole : Expr
        The density on the whole line, as a function of ``t``.
    ends : tuple
        Ends of the support and the kinks between them, ascending.
    low, high : Expr
        Where ``density`` and ``tail`` hold.
    parameters : mapping
        Symbols left free and the ranges declared for them.
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
        """``S`` at an expression."""
        return self.tail.subs(self.z, at)

    def pdf(self, at: Any) -> Any:
        """``f`` at an expression."""
        return self.density.subs(self.z, at)

    @property
    def validity(self) -> str:
        """Where the formulas hold, in LaTeX, if not everywhere."""
        low = "" if self.low not in self.ends or self.low.is_infinite else f"{sympy.latex(self.low)} < "
        high = "" if self.high not in self.ends or self.high.is_infinite else f" < {sympy.latex(self.high)}"
        return f"${low}z{high}$" if low or high else ""

    @property
    def symmetric(self) -> bool:
        return bool(sympy.simplify(self.whole - self.whole.subs(_t, -_t)) == 0)

    def integral(self, weight: Callable[[Any], Any], low: Any, high: Any, values: Mapping[Any, Any]) -> Any:
        """``∫ weight(z) f(z) dz`` from low to high, by mpmath's quadrature of the density: the definition, not the tail."""
        symbols = tuple(sorted(self.parameters, key=str))
        density = as_function((_t, *symbols), (_t, *symbols), self.whole, "mpmath")
        fixed = [values[symbol] for symbol in symbols]
        knots = [
            value(end, dict(values)) if not end.is_infinite else mp.mpf(str(end).replace("oo", "inf")) for end in self.ends
        ]
        low, high = max(low, knots[0]), min(high, knots[-1])
        cuts = [low, *(knot for knot in {*knots[1:-1], mp.mpf(0), mp.mpf(3), mp.mpf(-3)} if low < knot < high), high]
        return mp.quad(lambda t: weight(t) * density(t, *fixed), sorted(cuts)) if low < high else mp.mpf(0)


def sign_of(threshold: Any) -> int | None:
    """Sign of a threshold as far as its assumptions tell; None where they do not."""
    if threshold.is_positive:
        return 1
    return -1 if threshold.is_negative else 0 if threshold.is_zero else None


def law_of(distribution: Any, *, sign: int | None = 1, parameters: Parameters | None = None) -> Law:
    """The symbolic law of the standardised potential on the side of its mean where the threshold lies."""
    parameters = dict(parameters or {})
    if isinstance(distribution, str | StudentT):
        return _built_in(described(distribution), sign)
    return _standardised(distribution, sign, parameters)


@lru_cache(maxsize=64)
def _built_in(law: Any, sign: int | None) -> Law:
    makers = {
        "normal": lambda: stats.Normal("X", 0, 1),
        "uniform": lambda: stats.Uniform("X", -sqrt(3), sqrt(3)),
        "laplace": lambda: stats.Laplace("X", 0, 1 / sqrt(2)),
        "logistic": lambda: stats.Logistic("X", 0, sqrt(3) / pi),
    }
    if isinstance(law, StudentT):
        return _standardised(stats.StudentT("X", Rational(law.df)), sign, {})
    if law.name not in makers:
        raise DomainError(
            "distribution",
            law.name,
            "has no formula; name a built-in law or give a sympy.stats variable such as Normal('X', 0, 1)",
        )
    return _standardised(makers[law.name](), sign, {}, law.name)


def _standardised(variable: Any, sign: int | None, parameters: Parameters, name: str | None = None) -> Law:
    whole, ends = _on_the_line(variable, parameters)
    if sign is None and len(ends) > 2:
        rule = "must be declared positive or negative, Symbol('theta', positive=True): the law has another formula on each side"
        raise DomainError("threshold", "theta", rule)
    low, high = _side(ends, sign, parameters)
    z = sympy.Symbol("z", real=True, positive=True if sign in (0, 1) else None, negative=True if sign == -1 else None)
    density = _branch(whole, z, low, high, parameters)
    tail = _familiar(name, z, sign)
    unfinished = Law(name or str(variable.pspace.distribution), z, density, tail, whole, ends, low, high, parameters)
    return unfinished if tail is not None else replace(unfinished, tail=upper_moment(unfinished, 0))


def _familiar(name: str | None, z: Any, sign: int | None) -> Any:
    """The tail of a built-in law as it is usually written."""
    if name == "laplace":
        return 1 - exp(sqrt(2) * z) / 2 if sign == -1 else exp(-sqrt(2) * z) / 2
    forms = {
        "normal": erfc(z / sqrt(2)) / 2,
        "uniform": (sqrt(3) - z) / (2 * sqrt(3)),
        "logistic": 1 / (1 + exp(pi * z / sqrt(3))),
    }
    return forms.get(name or "")


def pieces_above(law: Law) -> list[tuple[Any, Any, Any]]:
    """The line above ``z``, cut at the knots of the density: triples (low, high, density as a function of ``t``)."""
    above = [end for end in law.ends if _number(end, law.parameters) > _number(law.low, law.parameters)]
    lows, tests = [law.z, *above[:-1]], [law.low, *above[:-1]]
    return [
        (low, high, _branch(law.whole, _t, test, high, law.parameters))
        for low, test, high in zip(lows, tests, above, strict=True)
    ]


def upper_moment(law: Law, power: int) -> Any:
    """``∫_z^∞ tᵏ f(t) dt`` in closed form where sympy finds one, else the integral itself."""
    return _tidy(sum(_integral(law, power, *piece) for piece in pieces_above(law)))


def _integral(law: Law, power: int, low: Any, high: Any, density: Any) -> Any:
    t = sympy.Symbol("t", real=True, positive=True if low.is_nonnegative else None)
    integrand = t**power * density.subs(_t, t)
    if not law.parameters:
        return sympy.integrate(integrand, (t, low, high))
    found = sympy.integrate(integrand, (t, low, high), manual=True)  # the other methods take minutes with free parameters
    return sympy.Integral(integrand, (t, low, high)) if found.has(sympy.Piecewise, sympy.hyper, sympy.polar_lift) else found


def _on_the_line(variable: Any, parameters: Parameters) -> tuple[Any, tuple[Any, ...]]:
    """Density of ``(X - E X)/√Var X`` and the ends of its pieces."""
    if not isinstance(variable, RandomSymbol) or not variable.pspace.is_Continuous:
        rule = "must be a built-in name or a continuous sympy.stats variable, such as Normal('X', 0, 1)"
        raise DomainError("distribution", variable, rule)
    law, support = variable.pspace.distribution, variable.pspace.domain.set
    density = law.pdf(_t) if hasattr(law, "pdf") else stats.density(variable)(_t)
    mean, variance = _moments(variable, density, support, parameters)
    std = sqrt(variance)
    whole = _tidy(std * _one_sided(density.subs(_t, mean + std * _t)))
    _refuse_undeclared(variable, whole, parameters)
    edges = {end if end.is_infinite else sympy.simplify((end - mean) / std) for end in (support.inf, support.sup)} | _knots(
        whole
    )
    return whole, tuple(sorted(edges, key=lambda end: _number(end, parameters)))


def _tidy(expression: Any) -> Any:
    """Simplified, with beta functions as gamma functions, which have values."""
    return sympy.simplify(expression, doit=False).replace(sympy.beta, lambda a, b: gamma(a) * gamma(b) / gamma(a + b))


def _one_sided(expression: Any) -> Any:
    """Inequalities solved for ``t``, where location and scale cancel."""
    return expression.xreplace({r: _solved(r) for r in expression.atoms(sympy.core.relational.Relational)})


def _solved(relation: Any) -> Any:
    rest = sympy.expand(relation.lhs - relation.rhs)
    slope = rest.coeff(_t)
    if slope.is_positive and not sympy.expand(rest - slope * _t).has(_t):
        return relation.func(_t, sympy.simplify(_t - rest / slope))
    return relation


def _refuse_undeclared(variable: Any, whole: Any, parameters: Parameters) -> None:
    for symbol in sorted(whole.free_symbols - {_t} - set(parameters), key=str):
        rule = f"leaves {symbol} free: give it a number, declare it positive if it is a scale, or a range, parameters={{{symbol}: (1, 5)}}"
        raise DomainError("distribution", variable.pspace.distribution, rule)


def _moments(variable: Any, density: Any, support: Any, parameters: Parameters) -> tuple[Any, Any]:
    """Mean and variance; where sympy.stats has none, the integrals of the density."""
    name, between = variable.pspace.distribution, (_t, support.inf, support.sup)
    try:
        mean, variance = stats.E(variable), stats.variance(variable)
    except NotImplementedError:
        mean = variance = sympy.Integral(density, between)
    if mean.has(sympy.Integral) or variance.has(sympy.Integral):
        mean, second = (_decided(name, sympy.integrate(_t**k * density, between), parameters) for k in (1, 2))
        variance = second - mean**2
    mean, variance = (sympy.simplify(_decided(name, moment, parameters)) for moment in (mean, variance))
    if variance.has(sympy.Integral):
        raise DomainError(
            "distribution", name, "has a variance that sympy cannot find: standardise it by hand and give the density"
        )
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
        moment = moment.xreplace({cases: cases.args[verdicts.pop()].expr})  # pyright: ignore[reportArgumentType]
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
    found = [sympy.solveset(edge, _t, sympy.S.Reals) for edge in edges if edge.has(_t)]
    return {root for roots in found if isinstance(roots, sympy.FiniteSet) for root in roots}


def _number(end: Any, parameters: Parameters) -> float:
    """An end of a piece as a number, at the middle of the declared ranges."""
    return float(end.subs({symbol: (low + high) / 2 for symbol, (low, high) in parameters.items()}))


def _side(ends: tuple[Any, ...], sign: int | None, parameters: Parameters) -> tuple[Any, Any]:
    """The piece of the line next to 0 on the side of the threshold; the whole support where its sign is open."""
    if sign is None:
        return ends[0], ends[-1]
    if sign == -1:
        return max((end for end in ends if _number(end, parameters) < 0), key=lambda e: _number(e, parameters)), sympy.S.Zero
    return sympy.S.Zero, min((end for end in ends if _number(end, parameters) > 0), key=lambda e: _number(e, parameters))


def _branch(whole: Any, variable: Any, low: Any, high: Any, parameters: Parameters) -> Any:
    """The density's formula between two neighbouring knots."""
    a, b = _number(low, parameters), _number(high, parameters)
    middle = (a + b) / 2 if math.isfinite(a + b) else a + 1 if math.isfinite(a) else b - 1 if math.isfinite(b) else 0.25
    probe = {_t: sympy.Rational(middle)} | {s: sympy.Rational(sum(ends)) / 2 for s, ends in parameters.items()}
    piece = whole.replace(sympy.Piecewise, lambda *cases: _case(sympy.Piecewise(*cases), probe))
    piece = piece.replace(sympy.Abs, lambda arg: arg * sympy.sign(arg.subs(probe)) if arg.has(_t) else sympy.Abs(arg))
    return _tidy(piece.subs(_t, variable))


def _case(cases: Any, probe: Mapping[Any, Any]) -> Any:
    if not isinstance(cases, sympy.Piecewise):
        return cases
    index = _first_true(cases, probe)
    return cases if index is None else cases.args[index].expr
