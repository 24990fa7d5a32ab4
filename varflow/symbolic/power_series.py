"""Truncated power series as lists of coefficients, each simplified at once."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import S

from varflow.symbolic.simplify import factored, neat


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
