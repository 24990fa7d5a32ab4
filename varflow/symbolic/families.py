"""Mean and variance of the families of sympy.stats, and some of their upper tails: sympy's own integration may not end.

For other distributions moments and tail are integrals of the density (``integrals``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sympy
from sympy import EulerGamma, Piecewise, S, erf, erfc, exp, log, oo, pi, sqrt
from sympy import gamma as G
from sympy.stats import crv_types as types


def _if(finite: Any, value: Any) -> Any:
    return Piecewise((value, finite), (oo, True))


def _power_of_gamma(scale: Any, k: Any, power: Any) -> tuple[Any, Any]:
    """Distribution of ``scale G^(1/power)``, with ``G`` of a gamma law of shape ``k``."""
    first, second = (G(k + j / power) / G(k) for j in (S(1), S(2)))
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
    types.ChiDistribution: lambda x, k: sympy.uppergamma(k / 2, x**2 / 2) / G(k / 2),
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
    upper = upper.replace(sympy.lowergamma, lambda s, y: G(s) - sympy.uppergamma(s, y))
    return sympy.expand(sympy.piecewise_fold(upper), power_base=False, power_exp=False)
