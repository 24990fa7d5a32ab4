"""Integrals in closed form of sums of two kinds of terms, without a search.

They are a polynomial times the exponential of a polynomial of degree two at most, and a power of ``t`` times a half-integer
power of ``a + b t²``. All other integrals stay, and are evaluated by quadrature.
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import S, erf, erfc, exp, pi, sqrt


def integral(integrand: Any, x: Any, low: Any, high: Any) -> Any:
    """``∫_low^high`` in closed form; None if a term is of another kind."""
    closed = _power_of_quadratic(integrand, x, low, high)
    if closed is not None:
        return closed
    total: Any = S.Zero
    for term in sympy.Add.make_args(sympy.expand(sympy.powsimp(integrand))):
        factors: Any = sympy.Mul.make_args(term)
        polynomial = sympy.Mul(*(factor for factor in factors if not isinstance(factor, exp)))
        exponents: list[Any] = [factor.exp for factor in factors if isinstance(factor, exp)]
        exponent = sympy.Add(*exponents)
        closed = _polynomial_times_exponential(polynomial, exponent, x, low, high)
        if closed is None:
            return None
        total += closed
    return total


def _polynomial_times_exponential(polynomial: Any, exponent: Any, x: Any, low: Any, high: Any) -> Any:
    """``∫ polynomial(x) e^{exponent(x)} dx``; None for a higher degree, or an exponential that grows at infinity."""
    exponent = sympy.expand(exponent)
    if not polynomial.is_polynomial(x) or not exponent.is_polynomial(x):
        return None
    degree = sympy.degree(exponent, x) if exponent.has(x) else 0
    if degree <= 1:
        return _by_parts(sympy.Poly(polynomial, x), exponent, x, low, high)
    curvature = sympy.factor(-exponent.coeff(x, 2))
    return _gaussian(polynomial, exponent, curvature, x, low, high) if degree == 2 and curvature.is_positive else None


def _by_parts(polynomial: Any, exponent: Any, x: Any, low: Any, high: Any) -> Any:
    """``∫ p(x) e^{s x + c} dx = e^{s x + c} (p/s - p'/s² + p''/s³ …)`` between the ends."""
    slope = exponent.coeff(x, 1)
    if slope == 0:
        primitive = polynomial.integrate(x).as_expr() * exp(exponent)
        return None if low.is_infinite or high.is_infinite else primitive.subs(x, high) - primitive.subs(x, low)
    if (high.is_infinite and not slope.is_negative) or (low.is_infinite and not slope.is_positive):
        return None
    primitive, term = S.Zero, polynomial
    for k in range(polynomial.degree() + 1):
        primitive, term = primitive + (-1) ** k * term.as_expr() / slope ** (k + 1), term.diff(x)
    at = [S.Zero if end.is_infinite else (primitive * exp(exponent)).subs(x, end) for end in (low, high)]
    return at[1] - at[0]


def _gaussian(polynomial: Any, exponent: Any, curvature: Any, x: Any, low: Any, high: Any) -> Any:
    """``∫ p(x) e^{q(x)} dx`` for quadratic ``q``: the square completed, then powers by parts."""
    centre = sympy.simplify(exponent.coeff(x, 1) / (2 * curvature))
    front = exp(sympy.simplify(exponent.coeff(x, 0) + curvature * centre**2))

    def between(k: int) -> Any:
        """``tᵏ e^{exponent}`` at the upper less the lower end, ``t`` measured from the centre."""
        at = [0 if end.is_infinite else (end - centre) ** k * exp(sympy.factor(exponent.subs(x, end))) for end in (low, high)]
        return at[1] - at[0]

    ends = (sqrt(curvature) * (end - centre) for end in (low, high))
    powers: list[Any] = [front * sqrt(pi / curvature) / 2 * _between_erf(*ends)]
    powers.append(-between(0) / (2 * curvature))
    factors = sympy.Poly(polynomial.subs(x, x + centre), x).all_coeffs()[::-1]
    for k in range(2, len(factors)):
        powers.append(((k - 1) * powers[k - 2] - between(k - 1)) / (2 * curvature))
    return sum(factor * power for factor, power in zip(factors, powers, strict=False))


def _power_of_quadratic(integrand: Any, x: Any, low: Any, high: Any) -> Any:
    """``c x^k (a + b x²)^-m`` with even ``k``: ``x² = ((a + b x²) - a)/b`` leaves ``k = 0``."""
    constant, dependent = integrand.as_independent(x, as_Add=False)
    factors: Any = sympy.powdenest(dependent, force=True)
    parts: Any = sympy.Mul.make_args(factors)
    powers = [factor for factor in parts if factor.is_Pow and factor.base.has(x) and factor.base != x]
    if len(powers) != 1 or not powers[0].base.is_polynomial(x):
        return None
    base, m = sympy.Poly(powers[0].base, x), -powers[0].exp
    degree = sympy.Mul(*(factor for factor in parts if factor is not powers[0])).as_base_exp()
    k = degree[1] if degree[0] == x else S.Zero if degree[0] == 1 else S.NaN
    a, b = base.coeff_monomial(1), base.coeff_monomial(x**2)
    reducible = (2 * m).is_Integer and k.is_Integer and k % 2 == 0 and 0 <= k < 2 * m - 1
    if base.degree() != 2 or base.coeff_monomial(x) != 0 or not (reducible and a.is_positive and b.is_positive):
        return None
    total = S.Zero
    for j in range(k // 2 + 1):
        power = m - k // 2 + j
        reach = _algebraic_tail(power, low * sqrt(b / a)) - _algebraic_tail(power, high * sqrt(b / a))
        total += sympy.binomial(k // 2, j) * (-a) ** j / b ** (k // 2) * a**-power * sqrt(a / b) * reach
    collected = sympy.collect(sympy.expand(total), total.atoms(_arc), sympy.factor)
    return constant * collected.replace(_arc, lambda y: pi / 2 - sympy.atan(y))


_arc: Any = sympy.Function("arc")  # π/2 - arctan, kept together


def _algebraic_tail(m: Any, x: Any) -> Any:
    """``∫_x^∞ (1 + s²)^-m ds``, by parts down to ``m = 1`` or ``3/2``."""
    if x.is_infinite:
        return S.Zero if x.is_extended_positive else sqrt(pi) * sympy.gamma(m - S.Half) / sympy.gamma(m)
    if m == 1:
        return _arc(x)
    if m == S(3) / 2:
        return 1 - x / sqrt(1 + x**2)
    return ((2 * m - 3) * _algebraic_tail(m - 1, x) - x * (1 + x**2) ** (1 - m)) / (2 * m - 2)


def _between_erf(low: Any, high: Any) -> Any:
    """``erf(high) - erf(low)``, without cancellation in the tails."""
    if high.is_infinite:
        return erfc(low)
    return erfc(-high) if low.is_infinite else erf(high) - erf(low)
