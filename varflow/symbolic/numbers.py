"""Numbers from expressions: at mpmath's working precision for checks, in double precision for arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, wraps
from typing import Any

import numpy as np
import sympy
from sympy.printing.numpy import SciPyPrinter
from sympy.printing.pycode import MpmathPrinter

from varflow._checks import ConvergenceError, VarflowError, unwrap
from varflow._mpmath import functions, mp, mpf

Values = dict[sympy.Symbol, Any]


class DerivationError(VarflowError):
    """A step does not hold, or cannot be evaluated, at an admissible point."""


def value(expression: Any, point: Values) -> Any:
    """Value of an expression at a point, at mpmath's working precision."""
    if expression.has(sympy.I, sympy.nan, sympy.zoo):
        raise DerivationError(f"{expression} is not a real number")
    for symbol in sorted(expression.free_symbols, key=str):
        if symbol not in point:
            raise DerivationError(f"{symbol} has no value: it is neither a parameter nor a quantity of the derivation")
    outer = (term for term in _integrals(expression) if term.free_symbols <= point.keys())  # others are within a sum
    places = {term: sympy.Symbol(f"integral_{i}") for i, term in enumerate(dict.fromkeys(outer))}
    given = lambda term: tuple((symbol, point[symbol]) for symbol in term.free_symbols)  # noqa: E731
    integrals = {place: _integrated(term, given(term), mp.prec) for term, place in places.items()}
    number = _evaluated(expression.xreplace(places), point | integrals)
    return number.real if isinstance(number, mp.mpc) else mpf(number)


def _integrals(expression: Any) -> Iterator[Any]:
    """The integrals of an expression, without those inside another."""
    if isinstance(expression, sympy.Integral):
        yield expression
    else:
        for argument in expression.args:
            yield from _integrals(argument)


@lru_cache(maxsize=256)
def _integrated(integral: Any, given: tuple[tuple[Any, Any], ...], precision: int) -> Any:
    """The value of an integral; cached, since the steps of a derivation share it."""
    return _evaluated(integral, dict(given))


def _evaluated(expression: Any, point: Values) -> Any:
    symbols = tuple(sorted(expression.free_symbols, key=str))
    return as_function(symbols, expression, "mpmath")(*(point[symbol] for symbol in symbols))


_SETTINGS = {"fully_qualified_modules": False, "inline": True, "allow_unknown_functions": True}


@lru_cache(maxsize=2048)
def as_function(symbols: tuple[Any, ...], expression: Any, modules: str) -> Callable[..., Any]:
    """A Python function of the values of ``symbols``, in this order."""
    # a symbol may have the name of a function; Symbol and not Dummy, which lambdify would replace again, one by one
    places = {symbol: sympy.Symbol(f"argument_{i}", **symbol.assumptions0) for i, symbol in enumerate(symbols)}
    if modules == "mpmath":
        return _in_digits(places, expression)
    functions_here: dict[str, Any] = {"endless_sum": endless_sum, "real_lambertw": _lambertw}
    folded = _constants_in_double(expression.xreplace(places))
    shared = not folded.has(sympy.Sum)  # common subexpressions would take the summation index out of its sum
    return _in_double(_compiled(places.values(), folded, [functions_here, "scipy", "numpy"], _Numpy(_SETTINGS), cse=shared))


def _in_digits(places: dict[Any, Any], expression: Any) -> Callable[..., Any]:
    """A function at mpmath's working precision; its constants are computed once per precision, not at every occurrence."""
    constants = {number: sympy.Symbol(f"constant_{i}") for i, number in enumerate(dict.fromkeys(_constants(expression)))}
    make = lambda given, e: _compiled(given, e, [functions() | {"endless_sum": endless_sum}], _Mpmath(_SETTINGS))  # noqa: E731
    inner = make((*places.values(), *constants.values()), expression.xreplace(places | constants))
    if not constants:
        return inner
    numbers = make((), tuple(constants))
    constants_in = lru_cache(maxsize=32)(lambda precision: numbers())
    return lambda *given: inner(*given, *constants_in(mp.prec))


def _compiled(arguments: Iterable[Any], expression: Any, modules: list[Any], printer: Any, cse: bool = False) -> Any:
    """``lambdify`` without a docstring, whose printing takes as long as the rest."""
    return sympy.lambdify(tuple(arguments), expression, modules, printer=printer, cse=cse, docstring_limit=0)


def _constants(expression: Any) -> Iterator[Any]:
    """The largest subexpressions without symbols, except plain numbers."""
    if isinstance(expression, sympy.Expr) and not expression.free_symbols:
        if not expression.is_Number:
            yield expression
    else:
        for argument in expression.args:
            yield from _constants(argument)


def _constants_in_double(expression: Any) -> Any:
    """Constants of an expression each rounded once, as a whole; small fractions stay exact."""
    if isinstance(expression, sympy.Expr) and expression.is_number and not expression.free_symbols:
        plain = isinstance(expression, sympy.Rational) and expression.q <= 4 and abs(expression.p) <= 1000
        evaluated = expression if plain or expression.has(sympy.oo) else expression.evalf(25)
        return sympy.Float(evaluated, 17) if evaluated.is_Float else expression
    if isinstance(expression, sympy.Sum):
        return expression.func(_constants_in_double(expression.function), *expression.limits)
    if not expression.args or isinstance(expression, sympy.Integral):
        return expression
    return expression.func(*map(_constants_in_double, expression.args))


def _in_double(function: Callable[..., Any]) -> Callable[..., Any]:
    """Scalars give floats; NaN without a warning where a closed form does not apply."""

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            values = function(*args, **kwargs)
        return tuple(map(unwrap, values)) if isinstance(values, tuple) else unwrap(values)

    return called


def endless_sum(term: Callable[[int], Any], first: int) -> Any:
    """``Σ_{k ≥ first} term(k)``, until three terms in a row are negligible; for terms that decay at least geometrically."""
    total, quiet, k = term(first), 0, first
    while quiet < 3:
        k += 1
        if k > 100_000:
            raise ConvergenceError("a series did not converge within 100000 terms")
        new = term(k)
        small = mp.eps * abs(total) if isinstance(new, mpf) else 1e-17 * np.abs(total)
        quiet = quiet + 1 if np.all(abs(new) <= small) else 0
        total = total + new
    return total


def _lambertw(argument: Any, branch: int = 0) -> Any:
    from scipy.special import lambertw

    root = lambertw(argument, branch)
    return np.where(root.imag == 0, root.real, np.nan)[()]


class _Sums:
    """Prints an infinite series as ``endless_sum``."""

    def _print_Sum(self, expr: Any) -> str:
        index, first, last = expr.limits[0]
        if len(expr.limits) > 1 or last != sympy.oo:
            return super()._print_Sum(expr)  # pyright: ignore[reportAttributeAccessIssue]
        show = self._print  # pyright: ignore[reportAttributeAccessIssue]
        return f"endless_sum(lambda {show(index)}: {show(expr.function)}, {int(first)})"


class _Mpmath(_Sums, MpmathPrinter):
    pass


class _Numpy(_Sums, SciPyPrinter):
    def _print_LambertW(self, expression: Any) -> str:
        return f"real_lambertw({', '.join(self._print(argument) for argument in expression.args)})"
