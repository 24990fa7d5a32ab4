"""A sympy.stats variable standardised to mean 0 and variance 1: its density, and the pieces between its knots.

Mean and variance of the families of sympy.stats, and some of their upper tails, are listed: sympy's own integration may not
end. For other distributions moments and tail are integrals of the density (``integrals``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import sympy
from sympy import EulerGamma, Piecewise, S, erf, erfc, exp, gamma, log, oo, pi, sqrt, stats
from sympy.stats import crv_types as types
from sympy.stats.crv import SingleContinuousPSpace

from varflow._checks import DomainError
from varflow._mpmath import mp
from varflow.symbolic.algebra import integral, neat, solutions, symbols_for_long_numbers
from varflow.symbolic.numbers import as_function

Parameters = Mapping[Any, tuple[float, float]]
t = sympy.Symbol("t", real=True)


class Line(NamedTuple):
    """A distribution of mean 0 and variance 1 in ``t``: density, upper tail (None without a simple form), ends of pieces."""

    density: Any
    tail: Any
    ends: tuple[Any, ...]


@lru_cache(maxsize=64)
def on_the_line(variable: Any, ranges: tuple[Any, ...]) -> Line:
    """The distribution of ``(X - E X)/√Var X``; ``ranges`` are pairs of a free symbol and its range."""
    given = variable.pspace.distribution
    law, numbers = symbols_for_long_numbers(given)
    parameters = {**dict(ranges), **{symbol: (number, number) for symbol, number in numbers.items()}}
    variable = SingleContinuousPSpace(variable.symbol, law).value
    support = variable.pspace.domain.set
    formula: Any = law.pdf if hasattr(law, "pdf") else stats.density(variable)
    density = formula(t)
    mean, variance = _moments(law, given, density, support, parameters)
    std = sqrt(variance)
    put = lambda e: _one_sided(e.subs(t, mean + std * t))  # noqa: E731
    standardised = tidy(std * put(density))
    _refuse_undeclared(given, standardised, parameters)
    tail = upper_tail(law, t)
    ends = {end if end.is_infinite else neat((end - mean) / std) for end in (support.inf, support.sup)}
    ends = {end.xreplace(numbers) for end in ends | knots(standardised)}
    standardised = standardised.xreplace(numbers)
    tail = None if tail is None else put(tail).xreplace(numbers)
    line = Line(standardised, tail, tuple(sorted(ends, key=lambda end: number(end, parameters))))
    _refuse_unnormalised(given, line, parameters)
    return line


def _refuse_unnormalised(law: Any, line: Line, parameters: Parameters) -> None:
    """Raise for a density that is not normalised: a user's own, or a faulty one of sympy."""
    middle = {symbol: sum(map(mp.mpf, map(str, ends))) / 2 for symbol, ends in parameters.items()}
    density = density_of(line.density, tuple(middle))
    with mp.workdps(15):
        cuts = sorted({*(mp.mpf(number(end, parameters)) for end in line.ends), mp.mpf(0)})
        try:
            total: Any = mp.quad(lambda x: density(x, *middle.values()), cuts)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            total = mp.nan
    if not abs(total - 1) < 1e-3:
        raise DomainError("distribution", law, f"has a density that integrates to {mp.nstr(total, 5)}, not to 1")


@lru_cache(maxsize=64)
def density_of(formula: Any, symbols: tuple[Any, ...]) -> Callable[..., Any]:
    """A density as a real function of numbers; 0 where a nested exponential underflows in doubles.

    Values are remembered: quadratures of one layer share most of their nodes.
    """
    exact = as_function((t, *symbols), formula, "mpmath")
    nested = any(power.args[0].has(sympy.exp) for power in formula.atoms(sympy.exp))
    rough = as_function((t, *symbols), formula, "numpy") if nested else None

    @lru_cache(maxsize=8192)  # the nodes of a few quadratures
    def density(precision: int, *numbers: Any) -> Any:
        if rough is not None and rough(*map(float, numbers)) == 0:
            return mp.mpf(0)
        result = exact(*numbers)
        return result.real if isinstance(result, mp.mpc) else result

    return lambda *numbers: density(mp.prec, *numbers)


def _one_sided(expression: Any) -> Any:
    """Inequalities solved for ``t``, where location and scale cancel."""
    return expression.xreplace({r: _solved(r) for r in expression.atoms(sympy.core.relational.Relational)})


def _solved(relation: Any) -> Any:
    difference = sympy.expand(relation.lhs - relation.rhs)
    slope: Any = difference.coeff(t)
    if slope.is_zero is not False or sympy.expand(difference - slope * t).has(t) or slope.is_positive is None:
        return relation
    return (relation if slope.is_positive else relation.reversed).func(t, neat(t - difference / slope))


def _refuse_undeclared(law: Any, density: Any, parameters: Parameters) -> None:
    for symbol in sorted(density.free_symbols - {t} - set(parameters), key=str):
        hint = f"declare it positive if it is a scale, or give it a number or a range, parameters={{{symbol}: (1, 5)}}"
        raise DomainError("distribution", law, f"leaves {symbol} free: {hint}")


def _moments(law: Any, name: Any, density: Any, support: Any, parameters: Parameters) -> tuple[Any, Any]:
    """Mean and variance: of the family, else by integrals of the density."""
    closed = moments(law) or _integrated(density, support, parameters)
    if closed is None:
        raise DomainError("distribution", name, "has a mean or variance without a known closed form; choose another one")
    mean, variance = (neat(_decided(name, moment, parameters)) for moment in closed)
    if variance.is_finite is False or variance is sympy.nan or mean is sympy.nan:
        raise DomainError("distribution", name, "has no finite variance: it cannot be scaled to variance 1")
    return mean, variance


def _integrated(density: Any, support: Any, parameters: Parameters) -> tuple[Any, Any] | None:
    """Mean and variance of a density, piece by piece; None where a piece has no closed integral."""
    cuts = sorted({support.inf, support.sup, *knots(density)}, key=lambda end: number(end, parameters))
    inside = pairwise(cuts[cuts.index(support.inf) : cuts.index(support.sup) + 1])
    pieces = [(low, high, branch(density, t, low, high, parameters)) for low, high in inside]
    integrals = [[integral(t**k * piece, t, low, high) for low, high, piece in pieces] for k in (1, 2)]
    if any(None in parts for parts in integrals):
        return None
    mean, second = map(sum, integrals)
    return mean, second - mean**2


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


def knots(formula: Any) -> set[Any]:
    """Points at which an absolute value or a case distinction switches."""
    edges: list[Any] = [atom.args[0] for atom in formula.atoms(sympy.Abs, sympy.sign, sympy.Heaviside)]
    edges += [atom.lhs - atom.rhs for atom in formula.atoms(sympy.core.relational.Relational)]
    return {root for edge in edges for root in solutions(edge, t) if root.is_real}


def number(end: Any, parameters: Parameters) -> float:
    """An end of a piece as a number, at the middle of the declared ranges."""
    return float(end.subs({symbol: (low + high) / 2 for symbol, (low, high) in parameters.items()}))


def side(ends: tuple[Any, ...], sign: int | None, parameters: Parameters) -> tuple[Any, Any]:
    """The piece next to 0 on the side of the threshold; the whole support if its sign is open."""
    if sign is None:
        return ends[0], ends[-1]
    if sign == -1:
        return max((end for end in ends if number(end, parameters) < 0), key=lambda e: number(e, parameters)), sympy.S.Zero
    return sympy.S.Zero, min((end for end in ends if number(end, parameters) > 0), key=lambda e: number(e, parameters))


def branch(formula: Any, variable: Any, low: Any, high: Any, parameters: Parameters, tidied: bool = True) -> Any:
    """The formula between two neighbouring knots."""
    a, b = number(low, parameters), number(high, parameters)
    middle = (a + b) / 2 if math.isfinite(a + b) else a + 1 if math.isfinite(a) else b - 1 if math.isfinite(b) else 0.25
    probe = {t: sympy.Rational(middle)} | {s: sympy.Rational(sum(ends)) / 2 for s, ends in parameters.items()}
    piece = formula.replace(sympy.Piecewise, lambda *cases: _case(sympy.Piecewise(*cases), probe))
    piece = piece.replace(sympy.Abs, lambda arg: arg * sympy.sign(arg.subs(probe)) if arg.has(t) else sympy.Abs(arg))
    substituted = piece.subs(t, variable)
    return tidy(substituted) if tidied else substituted


def _case(cases: Any, probe: Mapping[Any, Any]) -> Any:
    if not isinstance(cases, sympy.Piecewise):
        return cases
    index = _first_true(cases, probe)
    return cases if index is None else cases.args[index].args[0]


def tidy(expression: Any) -> Any:
    """Simplified, with beta functions as gamma functions, which evaluate."""
    return neat(expression).replace(sympy.beta, lambda a, b: gamma(a) * gamma(b) / gamma(a + b))


def _if(finite: Any, value: Any) -> Any:
    return Piecewise((value, finite), (oo, True))


def _power_of_gamma(scale: Any, k: Any, power: Any) -> tuple[Any, Any]:
    """Distribution of ``scale G^(1/power)``, with ``G`` of a gamma law of shape ``k``."""
    first, second = (gamma(k + j / power) / gamma(k) for j in (S(1), S(2)))
    return scale * first, scale**2 * (second - first**2)


def _f(d1: Any, d2: Any) -> tuple[Any, Any]:
    return _if(d2 > 2, d2 / (d2 - 2)), _if(d2 > 4, 2 * d2**2 * (d1 + d2 - 2) / (d1 * (d2 - 2) ** 2 * (d2 - 4)))


def _gumbel(scale: Any, place: Any, minimum: Any) -> tuple[Any, Any]:
    return place + (-1 if minimum == sympy.true else 1) * EulerGamma * scale, pi**2 * scale**2 / 6


_MOMENTS: Mapping[Any, Callable[..., tuple[Any, Any]]] = {
    types.ArcsinDistribution: lambda a, b: ((a + b) / 2, (b - a) ** 2 / 8),
    types.BetaDistribution: lambda a, b: (a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))),
    types.CauchyDistribution: lambda x0, scale: (sympy.nan, oo),
    types.ChiDistribution: lambda k: _power_of_gamma(sqrt(2), k / 2, 2),
    types.ChiSquaredDistribution: lambda k: (k, 2 * k),
    types.ExGaussianDistribution: lambda mean, std, rate: (mean + 1 / rate, std**2 + 1 / rate**2),
    types.ExponentialDistribution: lambda rate: (1 / rate, 1 / rate**2),
    types.FDistributionDistribution: _f,
    types.GammaDistribution: lambda k, scale: (k * scale, k * scale**2),
    types.GammaInverseDistribution: lambda a, b: (_if(a > 1, b / (a - 1)), _if(a > 2, b**2 / ((a - 1) ** 2 * (a - 2)))),
    types.GaussianInverseDistribution: lambda mean, shape: (mean, mean**3 / shape),
    types.GumbelDistribution: _gumbel,
    types.LaplaceDistribution: lambda mu, b: (mu, 2 * b**2),
    types.LogisticDistribution: lambda mu, s: (mu, pi**2 * s**2 / 3),
    types.LogNormalDistribution: lambda mean, std: (exp(mean + std**2 / 2), (exp(std**2) - 1) * exp(2 * mean + std**2)),
    types.MaxwellDistribution: lambda a: _power_of_gamma(sqrt(2) * a, S(3) / 2, 2),
    types.MoyalDistribution: lambda mu, s: (mu + s * (EulerGamma + log(2)), pi**2 * s**2 / 2),
    types.NakagamiDistribution: lambda m, omega: _power_of_gamma(sqrt(omega / m), m, 2),
    types.NormalDistribution: lambda mean, std: (mean, std**2),
    types.ParetoDistribution: lambda x, a: (_if(a > 1, a * x / (a - 1)), _if(a > 2, a * x**2 / ((a - 1) ** 2 * (a - 2)))),
    types.RayleighDistribution: lambda s: _power_of_gamma(sqrt(2) * s, S.One, 2),
    types.StudentTDistribution: lambda nu: (S.Zero, _if(nu > 2, nu / (nu - 2))),
    types.UniformDistribution: lambda a, b: ((a + b) / 2, (b - a) ** 2 / 12),
    types.WeibullDistribution: lambda scale, shape: _power_of_gamma(scale, S.One, shape),
    types.WignerSemicircleDistribution: lambda R: (S.Zero, R**2 / 4),
}


def moments(law: Any) -> tuple[Any, Any] | None:
    """Mean and variance of a distribution of sympy.stats; None if its family is not listed here."""
    formulas = _MOMENTS.get(type(law))
    return None if formulas is None else formulas(*law.args)


class betainc_regularized(sympy.betainc_regularized):
    """sympy's function, with the missing code for mpmath."""

    def _mpmathcode(self, printer: Any) -> str:
        arguments = ", ".join(map(printer._print, self.args))
        return f"{printer._module_format('mpmath.betainc')}({arguments}, regularized=True)"


def _beta_tail(a: Any, b: Any, x: Any) -> Any:
    """``P(B > x)`` of a beta distribution, without cancellation in the tail."""
    return betainc_regularized(b, a, 0, 1 - x)


def _student_tail(nu: Any, x: Any) -> Any:
    """``P(T > x)`` of Student's t for ``ν`` other than an integer, whose tail is elementary."""
    half = betainc_regularized(nu / 2, S.Half, 0, nu / (nu + x**2)) / 2
    return None if nu.is_Integer or (nu.is_Symbol and not nu.is_Dummy) else Piecewise((half, x > 0), (1 - half, True))


_TAILS: Mapping[Any, Callable[..., Any]] = {
    types.NormalDistribution: lambda x, mu, std: erfc((x - mu) / (sqrt(2) * std)) / 2,
    types.UniformDistribution: lambda x, a, b: (b - x) / (b - a),
    types.LogisticDistribution: lambda x, mu, s: 1 / (1 + exp((x - mu) / s)),
    types.BetaDistribution: lambda x, a, b: None if a.is_Integer and b.is_Integer else _beta_tail(a, b, x),
    types.FDistributionDistribution: lambda x, d1, d2: _beta_tail(d1 / 2, d2 / 2, d1 * x / (d1 * x + d2)),
    types.ChiDistribution: lambda x, k: sympy.uppergamma(k / 2, x**2 / 2) / gamma(k / 2),
    types.WeibullDistribution: lambda x, scale, shape: exp(-((x / scale) ** shape)),
    types.MoyalDistribution: lambda x, mu, s: erf(exp((mu - x) / (2 * s)) / sqrt(2)),
    types.StudentTDistribution: lambda x, nu: _student_tail(nu, x),
    types.WignerSemicircleDistribution: lambda x, R: (sympy.acos(x / R) - x * sqrt(R**2 - x**2) / R**2) / pi,
}


def upper_tail(law: Any, x: Any) -> Any:
    """``P(X > x)`` where there is a simple formula, else None."""
    if type(law) in _TAILS:
        return _TAILS[type(law)](x, *law.args)
    lower = law._cdf(x) if hasattr(law, "_cdf") else None
    if lower is None:
        return None
    upper = 1 - lower.replace(sympy.erf, lambda y: 1 - erfc(y))  # erfc does not cancel in the tail
    upper = upper.replace(sympy.lowergamma, lambda s, y: gamma(s) - sympy.uppergamma(s, y))
    return sympy.expand(sympy.piecewise_fold(upper), power_base=False, power_exp=False)
