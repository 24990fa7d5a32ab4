"""Numbers from expressions: at mpmath's working precision for checks, in double precision for arrays; results as functions.

These give NaN outside their conditions, and more digits where doubles would lose accuracy: every result has a bound on its
rounding error, built recursively from the expression, as the error of each operation plus the propagated errors of its
arguments. Where the bound exceeds ``1e-13`` of the result, mpmath evaluates it with more digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, wraps
from typing import Any

import mpmath
import numpy as np
import sympy
from sympy.printing.numpy import SciPyPrinter
from sympy.printing.pycode import MpmathPrinter

from varflow._checks import ConvergenceError, DomainError, VarflowError, unmasked, unwrap
from varflow._mpmath import as_own, functions, mp, mpf, one_call
from varflow.symbolic.symbols import exact

Values = dict[sympy.Symbol, Any]


class DerivationError(VarflowError):
    """A step does not hold, or cannot be evaluated, at an admissible point.

    Examples
    --------
    >>> import varflow as vf
    >>> issubclass(vf.symbolic.DerivationError, Exception)
    True
    """


def value(expression: Any, point: Values) -> Any:
    """Value of an expression at a point, at mpmath's working precision."""
    if expression.has(sympy.I, sympy.nan, sympy.zoo):
        raise DerivationError(f"{expression} is not a real number")
    for symbol in sorted(expression.free_symbols, key=str):
        if symbol not in point:
            raise DerivationError(f"{symbol} has no value: it is neither a parameter nor a quantity of the derivation")
    integrals_in = _largest(expression, lambda e: isinstance(e, sympy.Integral))
    outer = (term for term in integrals_in if term.free_symbols <= point.keys())  # others are within a sum
    places = {term: sympy.Symbol(f"integral_{i}") for i, term in enumerate(dict.fromkeys(outer))}
    given = lambda term: tuple((symbol, point[symbol]) for symbol in term.free_symbols)  # noqa: E731
    integrals = {place: _integrated(term, given(term), mp.prec) for term, place in places.items()}
    number = _evaluated(expression.xreplace(places), point | integrals)
    return number.real if isinstance(number, mp.mpc) else mpf(number)


def _largest(expression: Any, holds: Callable[[Any], bool]) -> Iterator[Any]:
    """The subexpressions for which this holds, without those inside another."""
    if holds(expression):
        yield expression
    else:
        for argument in expression.args:
            yield from _largest(argument, holds)


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
    constants = {
        number: sympy.Symbol(f"constant_{i}") for i, number in enumerate(dict.fromkeys(_largest(expression, _constant)))
    }
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


def _constant(expression: Any) -> bool:
    """True for what has no symbols and is more than a plain number."""
    return isinstance(expression, sympy.Expr) and not expression.free_symbols and not expression.is_Number


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


@lru_cache(maxsize=128)
def in_doubles(
    names: tuple[str, ...], symbols: tuple[Any, ...], results: tuple[Any, ...], conditions: Any
) -> Callable[..., Any]:
    """A function of floats and arrays that broadcast; returns one value per result."""
    pool = tuple(sympy.Dummy() for _ in symbols)
    put = dict(zip(symbols, pool, strict=True))
    formulas = tuple(result.xreplace(put) for result in results)
    plain = not any(formula.has(sympy.Integral) for formula in formulas)
    holds = _predicate(pool, conditions.xreplace(put))
    fast = as_function(pool, sympy.Tuple(*formulas, *map(rounding, formulas)), "numpy") if plain else None
    slow = [as_function(pool, formula, "mpmath") for formula in formulas]

    def called(*args: Any, **kwargs: Any) -> Any:
        numbers = np.broadcast_arrays(*(_double(*pair) for pair in _bound(names, args, kwargs)))
        shape = numbers[0].shape if numbers else ()
        with np.errstate(all="ignore"):
            inside = np.broadcast_to(holds(*numbers), shape) & np.all([~np.isnan(x) for x in numbers], axis=0)
            computed = [np.array(np.broadcast_to(x, shape), dtype=float) for x in fast(*numbers)] if fast else []
            values = computed[: len(results)] or [np.full(shape, np.nan) for _ in results]
            bounds = computed[len(results) :] or [np.full(shape, np.inf) for _ in results]
            for value, bound, formula in zip(values, bounds, slow, strict=True):
                error = np.finfo(float).eps / 2 * bound
                doubtful = inside & ~((error <= 1e-13 * np.abs(value)) & np.isfinite(value))  # the accuracy stated
                value[~inside] = np.nan
                for index in zip(*np.nonzero(np.atleast_1d(doubtful)), strict=True):
                    place = index if shape else ()
                    value[place] = _in_enough_digits(formula, [float(x[place]) for x in numbers])
        return tuple(map(unwrap, values)) if len(values) > 1 else unwrap(values[0])

    called.__doc__ = f"Takes {', '.join(names) or 'nothing'}; NaN unless {conditions}."
    return called


def in_digits(
    names: tuple[str, ...], symbols: tuple[Any, ...], results: tuple[Any, ...], conditions: Any
) -> Callable[..., Any]:
    """A function of single numbers, at mpmath's working precision; returns one mpf per result."""
    pool = tuple(sympy.Dummy() for _ in symbols)  # without assumptions, by which sympy would decide the conditions
    holds = as_function(pool, conditions.xreplace(dict(zip(symbols, pool, strict=True))), "mpmath")
    formulas = [as_function(symbols, result, "mpmath") for result in results]

    def called(*args: Any, **kwargs: Any) -> Any:
        with one_call, mp.workprec(mpmath.mp.prec):
            numbers = [_mpf(*pair) for pair in _bound(names, args, kwargs)]
            inside = not any(map(mp.isnan, numbers)) and bool(holds(*numbers))
            values = [_real(formula(*numbers)) if inside else mp.nan for formula in formulas]
        values = [mpmath.mp.make_mpf(value._mpf_) for value in values]
        return tuple(values) if len(values) > 1 else values[0]

    called.__doc__ = f"Takes {', '.join(names) or 'nothing'}; nan unless {conditions}."
    return called


def first_answer(within: Callable[..., Any], beyond: Callable[..., Any]) -> Callable[..., Any]:
    """``within``, and ``beyond`` where that is NaN."""

    def called(*args: Any, **kwargs: Any) -> Any:
        answer, otherwise = within(*args, **kwargs), beyond(*args, **kwargs)
        if isinstance(answer, mpmath.mpf):
            return otherwise if mp.isnan(answer) else answer
        return unwrap(np.where(np.isnan(answer), otherwise, answer))

    called.__doc__ = within.__doc__
    return called


def _predicate(symbols: tuple[Any, ...], conditions: Any) -> Callable[..., Any]:
    """A function that is true where all conditions hold."""
    tests = [as_function(symbols, condition, "numpy") for condition in sympy.And.make_args(conditions)]
    return lambda *numbers: np.all(np.broadcast_arrays(*(np.asarray(test(*numbers), dtype=bool) for test in tests)), axis=0)


def _bound(names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    given = dict(zip(names, args, strict=False))
    twice, unknown = given.keys() & kwargs.keys(), kwargs.keys() - set(names)
    given |= kwargs
    if len(args) > len(names) or twice or unknown or len(given) < len(names):
        raise TypeError(f"takes {', '.join(names) or 'no arguments'}, each once, by place or by name")
    return [(name, given[name]) for name in names]


def _double(name: str, value: Any) -> np.ndarray:
    """Numbers of any library as float64; NaN passes."""
    unmasked(name, value)
    try:
        array = np.asarray(value)
        if array.dtype.kind in "iuf":
            return array.astype(np.float64)
        if array.dtype.kind != "O" or any(isinstance(x, bool | str | complex) for x in array.flat):
            raise TypeError
        return np.array([float(exact(name, x)) for x in array.flat], dtype=np.float64).reshape(array.shape)
    except (TypeError, ValueError, RuntimeError):
        raise DomainError(name, value, "must be a real number or an array of them") from None


def _mpf(name: str, value: Any) -> Any:
    if isinstance(value, float | np.floating) and np.isnan(value):
        return mp.nan
    return as_own(value) if isinstance(value, mpmath.mpf) else as_function((), exact(name, value), "mpmath")()


def _real(number: Any) -> Any:
    """A real number; nan for a complex one."""
    if not isinstance(number, mp.mpc):
        return mp.mpf(number)
    return number.real if abs(number.imag) <= abs(number.real) * mp.mpf(10) ** (-mp.dps // 2) else mp.nan


def _in_enough_digits(formula: Callable[..., Any], numbers: list[float]) -> float:
    """The double on which two successive precisions agree; NaN if none do."""
    before = np.nan
    for digits in (30 * 2**k for k in range(5)):  # until two agree
        with one_call, mp.workdps(digits):
            try:
                value = float(_real(formula(*map(mp.mpf, numbers))))
            except (ValueError, ZeroDivisionError, OverflowError, ArithmeticError, TypeError):
                return np.nan
        if value == before or abs(value - before) < 1e-15 * abs(value):
            return value
        before = value
    return before


@lru_cache(maxsize=256)
def rounding(expression: Any) -> Any:
    """A bound on the rounding error of an expression evaluated in doubles, to first order and in units of ``2⁻⁵³``."""
    bounds: dict[Any, Any] = {}

    def bound(e: Any) -> Any:
        if e not in bounds:
            bounds[e] = _of_operation(e, bound)
        return bounds[e]

    return bound(expression)


def _of_operation(e: Any, bound: Callable[[Any], Any]) -> Any:
    size = sympy.Abs(e, evaluate=False)
    if e.is_Symbol or e.is_Integer:
        return sympy.S.Zero
    if not e.free_symbols:
        return sympy.S.Zero if e.is_Rational and sympy.Rational(float(e)) == e else size
    if e.is_Add:
        return sum((bound(a) + sympy.Abs(a, evaluate=False) for a in e.args), sympy.S.Zero)
    if e.is_Mul:  # without a division, for factors that are 0
        others = lambda a: sympy.Mul(*(sympy.Abs(b, evaluate=False) for b in e.args if b is not a))  # noqa: E731
        return size * (len(e.args) - 1) + sum((bound(a) * others(a) for a in e.args if bound(a) != 0), sympy.S.Zero)
    if e.is_Pow or isinstance(e, sympy.exp):
        base, power = (sympy.E, e.args[0]) if isinstance(e, sympy.exp) else e.args
        off = bound(power) * sympy.Abs(sympy.log(base), evaluate=False) if bound(power) != 0 else sympy.S.Zero
        off += bound(base) * sympy.Abs(power / base, evaluate=False) if base.free_symbols and bound(base) != 0 else 0
        return size * (1 + off)
    if isinstance(e, sympy.Piecewise):
        return sympy.Piecewise(*((bound(branch.args[0]), branch.args[1]) for branch in e.args))
    if isinstance(e, sympy.Sum):
        return sympy.Sum(bound(e.function) + sympy.Abs(e.function, evaluate=False), *e.limits)
    if isinstance(e, sympy.Function):
        try:
            slopes = {a: e.fdiff(i) for i, a in enumerate(e.args, 1) if bound(a) != 0}
        except sympy.core.function.ArgumentIndexError:  # of a shape parameter
            return sympy.oo
        if any(slope.has(sympy.meijerg, sympy.hyper, sympy.Derivative, sympy.Subs) for slope in slopes.values()):
            return sympy.oo
        return sum((sympy.Abs(slope, evaluate=False) * bound(a) for a, slope in slopes.items()), 8 * size)
    return sympy.oo
