"""Algebra in bounded time: simplifying, factoring and solving, power series, and integrals in closed form.

The time of sympy's routines grows steeply with the size of an expression, so one of more than ``LARGEST`` operations is left as
it is: every machine finds the same formulas. Slow parts are replaced by symbols meanwhile: unevaluated integrals, logarithms,
roots without closed form, and long numbers such as the exponent 2.3, which is exactly 5179139571476070/2251799813685248.
Truncated power series are lists of coefficients, each simplified at once. Integrals are found without a search if they are sums
of two kinds of terms: a polynomial times the exponential of a polynomial of degree two at most, and a power of ``t`` times a
half-integer power of ``a + b t²``. All other integrals stay, and are evaluated by quadrature.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sympy
from sympy import S, erf, erfc, exp, pi, sqrt

from varflow.symbolic.symbols import ImplicitRoot

LARGEST = 60  # operations of an expression that is simplified
LARGEST_FACTORED = 1000  # operations of one that is factored, which is faster


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


def symbols_for_long_numbers(expression: Any) -> tuple[Any, dict[Any, Any]]:
    """The expression with symbols for long rationals and decimals, and their values."""
    long_numbers = sorted((x for x in expression.atoms(sympy.Rational, sympy.Float) if _is_long(x)), key=sympy.default_sort_key)
    places = {x: sympy.Dummy("x", positive=True) for x in {abs(sympy.Rational(x)) for x in long_numbers}}
    signed = {x: places[abs(sympy.Rational(x))] * sympy.sign(x) for x in long_numbers}
    return expression.xreplace(signed), {symbol: number for number, symbol in places.items()}


def _is_long(number: Any) -> bool:
    return number.is_Float or number.q > 1000 or abs(number.p) > 1000**3


def _short(expression: Any) -> tuple[Any, dict[Any, Any]]:
    """The expression with symbols for the parts that make sympy slow, and their values."""
    slows = sorted(expression.atoms(sympy.Integral, sympy.log, ImplicitRoot), key=sympy.default_sort_key)
    places = {slow: sympy.Dummy(getattr(slow, "name", "w"), real=True, positive=slow.is_positive) for slow in slows}
    short, numbers = symbols_for_long_numbers(expression.xreplace(places))
    return short, {symbol: slow for slow, symbol in places.items()} | numbers


@lru_cache(maxsize=512)
def neat(expression: Any) -> Any:
    """Simplified, if it is small."""
    short, back = _short(expression)
    simple = sympy.simplify(short, doit=False) if short.count_ops() <= LARGEST else short
    return simple.replace(sympy.catalan, lambda n: sympy.catalan(n).rewrite(sympy.gamma)).xreplace(back)  # sympy's habit at 1/2


def factored(expression: Any) -> Any:
    """Factored, if it is small."""
    short, back = _short(expression)
    return (sympy.factor(short) if short.count_ops() <= LARGEST_FACTORED else short).xreplace(back)


def solutions(equation: Any, unknown: Any) -> list[Any]:
    """The zeros of a polynomial up to degree two, or of ``p + q x + r e^{a x}``; empty for others."""
    short, back = _short(equation)
    w: Any = sympy.Dummy("w", positive=True)  # the exponential
    if short.count_ops() > LARGEST or any(hidden.has(unknown) for hidden in back.values()):
        return []
    fraction, rate = _in_one_exponential(short.rewrite((sympy.cosh, sympy.tanh), sympy.exp), unknown, w)
    if not fraction.has(unknown) or not fraction.is_rational_function(unknown, w):
        return []
    zero: Any = sympy.Poly(sympy.numer(sympy.cancel(fraction)), unknown, w)
    power = zero.degree(w)
    if power == 0:
        roots = sympy.roots(zero.as_expr(), unknown) if zero.degree(unknown) <= 2 else ()
        return [root.xreplace(back) for root in roots]
    p, q, r, s = (zero.coeff_monomial(unknown**i * w**j) for i, j in ((0, 0), (1, 0), (0, power), (1, power)))
    if not all(i <= 1 and j in (0, power) for i, j in zero.monoms()) or (q == 0) == (s == 0):
        return []
    p, q, r, rate = (p, q, r, rate * power) if s == 0 else (r, s, p, -rate * power)
    inside = rate * r / q * sympy.exp(-rate * p / q)
    return [factored(-p / q - sympy.LambertW(inside, branch) / rate).xreplace(back) for branch in (0, -1)]


def _in_one_exponential(expression: Any, x: Any, w: Any) -> tuple[Any, Any]:
    """The expression in ``w = e^{a x}``, if all its exponentials are powers of it, and ``a``."""
    slopes = {power: sympy.diff(power.exp, x) for power in expression.atoms(sympy.exp) if power.has(x)}
    if not slopes:
        return expression, sympy.S.Zero
    first = min(slopes.values(), key=sympy.default_sort_key)
    ratios = {power: sympy.cancel(slope / first) for power, slope in slopes.items()}
    if first.has(x) or not all(ratio.is_Rational for ratio in ratios.values()):
        return w, sympy.S.Zero
    unit = sympy.gcd(list(ratios.values()))
    in_w = {power: w ** (ratio / unit) * sympy.exp(power.exp.subs(x, 0)) for power, ratio in ratios.items()}
    return expression.xreplace(in_w), first * unit


def short(coefficient: Any) -> Any:
    """A number as ``a + b√c``, a rational function as a factored fraction."""
    return factored(coefficient) if coefficient.free_symbols else sympy.radsimp(sympy.expand(coefficient))


def product(left: list[Any], right: list[Any], order: int) -> list[Any]:
    """Coefficients of the product, up to the power ``order``."""
    pad = lambda c: [*c, *[S.Zero] * (order + 1 - len(c))]  # noqa: E731
    left, right = pad(left), pad(right)
    return [short(sum((left[i] * right[k - i] for i in range(k + 1)), S.Zero)) for k in range(order + 1)]


def composed(outer: list[Any], inner: list[Any], order: int) -> list[Any]:
    """Coefficients of ``outer(inner)``, where ``inner`` has no constant term, by Horner's rule."""
    total = [S.Zero]
    for coefficient in reversed(outer):
        total = product(total, inner, order)
        total[0] += coefficient
    return total


def taylor(expression: Any, x: Any, order: int) -> Any:
    """Taylor polynomial about 0, its coefficients simplified."""
    total, factorial = S.Zero, 1
    for k in range(order + 1):
        factorial *= max(k, 1)
        total += factored(neat(expression.subs(x, 0)) / factorial) * x**k
        expression = sympy.diff(expression, x)
    return total


def reciprocal(series: list[Any]) -> list[Any]:
    """Reciprocal of a series with a constant term."""
    coefficients = [1 / series[0]]
    for k in range(1, len(series)):
        coefficients.append(-sum(series[i] * coefficients[k - i] for i in range(1, k + 1)) / series[0])
    return coefficients
