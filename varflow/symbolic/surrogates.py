"""Surrogate derivatives ``ψ(v)`` of the spike, ``v = u - θ``: piecewise formulas for sympy, functions of a number for checks.

Those with a name have peak 1 and width ``a``; a user's own is an expression in ``v``, smooth except for ``|v|``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import sympy
from sympy import S, Symbol, exp, oo

from varflow._checks import DomainError, choice
from varflow._mpmath import mp, mpf
from varflow.symbolic.numbers import Values, value

a, v = Symbol("a", positive=True), Symbol("v", real=True)
_number = Symbol("number", real=True)

Piece = tuple[Any, Any, Any]


class SymbolicSurrogate(NamedTuple):
    """``ψ(v)`` in pieces (low, high, formula), and as a function ``at(v, values of the parameters)``."""

    name: str
    pieces: tuple[Piece, ...]
    at: Callable[[Any, Values], Any]
    peak_one: bool = True


def _even(name: str, right: Any, at: Callable[[Any], Any], edge: Any = oo) -> SymbolicSurrogate:
    """A surrogate from its formula for ``v > 0``; ``at`` takes ``|v|/a``."""
    pieces = ((-edge, S.Zero, right.subs(v, -v)), (S.Zero, edge, right))
    return SymbolicSurrogate(name, pieces, lambda number, values: at(abs(number) / values[a]))


SURROGATES = {
    "box": _even("box", S.One, lambda x: mpf(x < 1), a),
    "triangular": _even("triangular", 1 - v / a, lambda x: max(1 - x, mpf(0)), a),
    "gaussian": _even("gaussian", exp(-(v**2) / (2 * a**2)), lambda x: mp.exp(-x * x / 2)),
    "exponential": _even("exponential", exp(-v / a), lambda x: mp.exp(-x)),
    "fast_sigmoid": _even("fast_sigmoid", (1 + v / a) ** -2, lambda x: 1 / (1 + x) ** 2),
    "atan": _even("atan", 1 / (1 + (v / a) ** 2), lambda x: 1 / (1 + x * x)),
    "sigmoid": _even("sigmoid", 4 * exp(-v / a) / (1 + exp(-v / a)) ** 2, lambda x: 4 * mp.exp(-x) / (1 + mp.exp(-x)) ** 2),
}


def surrogate_of(given: Any, argument: Any = None) -> SymbolicSurrogate:
    """A surrogate by name, or from an expression."""
    if isinstance(given, str):
        if argument is not None:
            raise DomainError("argument", argument, "applies to an expression; a named surrogate has none")
        return SURROGATES[choice("surrogate", given, tuple(SURROGATES))]
    return _of_expression(given, argument)


def _of_expression(expression: Any, argument: Any) -> SymbolicSurrogate:
    """A surrogate from a user's expression, in two pieces: ``v < 0`` and ``v > 0``."""
    psi: Any = sympy.sympify(expression, strict=True) if isinstance(expression, sympy.Basic | int | float) else S.NaN
    if not isinstance(psi, sympy.Expr) or psi is S.NaN:
        raise DomainError(
            "surrogate", expression, f"must be one of {', '.join(SURROGATES)} or a sympy expression in one symbol"
        )
    unsigned = sorted((s for s in psi.free_symbols if not s.is_positive and s != argument), key=str)
    if argument is None and len(unsigned) == 1:
        argument = unsigned.pop()
    if unsigned or argument not in psi.free_symbols:
        names = ", ".join(map(str, unsigned)) or "no symbol"
        rule = f"leaves {names} for u - θ: declare widths positive, Symbol('k', positive=True), and pass argument=x"
        raise DomainError("surrogate", expression, rule)
    psi = psi.xreplace({argument: v})
    if psi.has(sympy.Piecewise, sympy.Heaviside, sympy.Max, sympy.Min, sympy.sign, sympy.DiracDelta):
        raise DomainError("surrogate", expression, "must be smooth except for Abs(v), without case distinctions")
    t = Symbol("t", positive=True)
    sides = [psi.subs(v, sign * t).subs(t, sign * v) for sign in (-1, 1)]
    formula = psi.subs(v, _number)
    number = lambda at, values: value(formula, values | {_number: at})  # noqa: E731
    return SymbolicSurrogate(str(expression), ((-oo, S.Zero, sides[0]), (S.Zero, oo, sides[1])), number, peak_one=False)
