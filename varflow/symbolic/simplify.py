"""Simplifying, factoring and solving, of small expressions only: every machine finds the same formulas in bounded time.

The time of these routines of sympy grows steeply with the size of an expression, so one of more than ``LARGEST`` operations is
left as it is. Slow parts are replaced by symbols meanwhile: unevaluated integrals, logarithms, roots without closed form, and
long numbers such as the exponent 2.3, which is exactly 5179139571476070/2251799813685248. Truncated power series are lists of
coefficients, each simplified at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sympy
from sympy import S

from varflow.symbolic.symbols import ImplicitRoot

LARGEST = 60  # operations of an expression that is simplified
LARGEST_FACTORED = 1000  # operations of one that is factored, which is faster


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
