"""What sympy may spend on a law: seconds, and no numbers of many digits inside its polynomials.

Simplifying, integrating and solving have no bound of their own. Each is given a few seconds here, and a caller says what
counts when they are over; an exponent such as 2.3, exactly 5179139571476070/2251799813685248, stands as a symbol meanwhile.
"""

from __future__ import annotations

import _thread
import ctypes
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import sympy
from sympy.stats.rv import RandomSymbol

from varflow._checks import DomainError

__all__ = ["factored", "in_time", "integrated", "neat", "solutions", "symbols_for_long_numbers", "within"]

SECONDS = 2.0  # for one operation
PATIENCE = 15.0  # for a whole derivation
_LONG = 1000  # a denominator from which on a number is long


def within(work: Callable[[], Any], otherwise: Any = None, seconds: float = SECONDS) -> Any:
    """``work()``, or ``otherwise`` once it has taken too long: interrupted as by a key, in any thread; may be nested.

    An exception may arrive between any two operations here too. So nothing is held that is not let go of by itself: locks
    of C, taken by ``with`` or not at all, in place of events of Python, which have another lock inside.
    """
    late = type("Late", (BaseException,), {})  # its own class: nobody else catches it
    me, over, gate, bell = threading.get_ident(), [], threading.Lock(), threading.Lock()
    spent = _clock(me)
    end = spent() + seconds
    bell.acquire()

    def watch() -> None:
        due, wait = end, seconds
        while not bell.acquire(timeout=max(wait, 0.05)):
            with gate:
                if over:
                    return
                if spent() >= due:
                    _raise_in(me, late)
                    due = spent() + min(seconds, 1.0)  # then once more, should the first have been swallowed
                wait = due - spent()

    def close() -> None:
        over.append(True)
        with gate:
            _raise_in(me, None)  # what is still on its way
        if len(over) == 1:
            bell.release()

    _thread.start_new_thread(watch, ())
    try:
        try:
            return work()
        finally:
            close()
    except late:
        close()
        return otherwise


def in_time(derive: Callable[..., Any], distribution: Any, *arguments: Any, **named: Any) -> Any:
    """``derive(distribution, …)``; for a variable of sympy.stats refused in words once it has taken too long."""
    if not isinstance(distribution, RandomSymbol):
        return derive(distribution, *arguments, **named)
    found = within(lambda: derive(distribution, *arguments, **named), seconds=PATIENCE)
    if found is None:
        rule = f"takes sympy more than {PATIENCE:g} s here; vf.fixed_points, vf.critical_gain and the like give its numbers"
        raise DomainError("distribution", getattr(distribution.pspace, "distribution", distribution), rule)
    return found


def _clock(thread: int) -> Callable[[], float]:
    """Seconds of processor time of a thread, so that a busy machine changes no result; else of the wall."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.monotonic
    number = time.pthread_getcpuclockid(thread)
    return lambda: time.clock_gettime(number)


def _raise_in(thread: int, kind: Any) -> None:
    """An exception in another thread; None takes back one that has not arrived."""
    set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
    set_exception(ctypes.c_ulong(thread), None if kind is None else ctypes.py_object(kind))


def symbols_for_long_numbers(expression: Any) -> tuple[Any, dict[Any, Any]]:
    """The expression with symbols in place of long rationals and decimals, and what they stand for."""
    found = sorted((x for x in expression.atoms(sympy.Rational, sympy.Float) if _is_long(x)), key=sympy.default_sort_key)
    places = {x: sympy.Dummy("x", positive=True) for x in {abs(sympy.Rational(x)) for x in found}}
    signed = {x: places[abs(sympy.Rational(x))] * sympy.sign(x) for x in found}
    return expression.xreplace(signed), {symbol: number for number, symbol in places.items()}


def _is_long(number: Any) -> bool:
    return number.is_Float or number.q > _LONG or abs(number.p) > _LONG**3


@lru_cache(maxsize=512)
def neat(expression: Any) -> Any:
    """Simplified, where that takes little time."""
    short, back = symbols_for_long_numbers(expression)
    found = within(lambda: sympy.simplify(short, doit=False), short)
    return found.replace(sympy.catalan, lambda n: sympy.catalan(n).rewrite(sympy.gamma)).xreplace(back)  # sympy's habit at 1/2


def factored(expression: Any) -> Any:
    """Factored, where that takes little time."""
    short, back = symbols_for_long_numbers(expression)
    return within(lambda: sympy.factor(short), short).xreplace(back)


def integrated(integrand: Any, variable: Any, low: Any, high: Any, *, thorough: bool) -> Any:
    """The integral in closed form; as it stands where none is found in time."""
    whole = sympy.Integral(integrand, (variable, low, high))
    short, back = symbols_for_long_numbers(whole)
    inner, between = short.function, short.limits[0]
    plain = thorough and not back
    work = (lambda: sympy.integrate(inner, between)) if plain else (lambda: sympy.integrate(inner, between, manual=True))
    found = within(work, short).xreplace(back)
    return whole if found.has(sympy.Integral, *_NO_NUMBERS) or (not plain and found.has(sympy.Piecewise)) else found


_NO_NUMBERS = (sympy.hyper, sympy.meijerg, sympy.polar_lift, sympy.exp_polar, sympy.I, sympy.nan, sympy.zoo, sympy.oo)


def solutions(equation: Any, unknown: Any) -> list[Any]:
    """The solutions sympy finds in time; none for an equation of many parts."""
    short, back = symbols_for_long_numbers(equation)
    if short.has(sympy.atan, sympy.erf, sympy.erfc, sympy.Integral, sympy.uppergamma) or back or short.count_ops() > 150:
        return []

    def solve() -> list[Any]:
        try:
            return sympy.solve(sympy.numer(sympy.together(short)), unknown)
        except NotImplementedError:
            return []

    return within(solve, [])
