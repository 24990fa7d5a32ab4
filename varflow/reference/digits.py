"""Numbers of a chosen precision in mpmath: exact input, guard digits while computing, rounded output.

A float means its exact binary value. The precision of mpmath itself is never changed, and answers are its numbers.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from typing import Any

import mpmath
import numpy as np

from varflow._checks import DomainError, integer, unmasked
from varflow._mpmath import as_own, mp, mpf, one_call

GUARD = 15  # digits carried beyond those asked for: rounding errors may grow by a factor up to 1e15


def in_digits(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run the function with ``digits + GUARD`` digits; its numbers are rounded, and handed out as those of mpmath itself."""

    @wraps(function)
    def wrapped(*args: Any, digits: int = 50, **kwargs: Any) -> Any:
        with one_call, mp.workdps(integer("digits", digits, minimum=10) + GUARD):
            answer = function(*args, digits=digits, **kwargs)
            with mp.workdps(mp.dps if is_dataclass(answer) else digits):  # fixed points keep guard digits, for residuals
                return _handed_out(answer)

    return wrapped


def _handed_out(answer: Any) -> Any:
    """The numbers in an answer as mpmath's own, rounded to the present precision; lists as tuples."""
    if isinstance(answer, mp.mpf):
        return mpmath.mp.make_mpf((+answer)._mpf_)
    if isinstance(answer, mp.mpc):
        return mpmath.mp.make_mpc((+answer)._mpc_)
    if is_dataclass(answer) and not isinstance(answer, type):
        return replace(answer, **{field.name: _handed_out(getattr(answer, field.name)) for field in fields(answer)})
    if isinstance(answer, (tuple, list)):
        return type(answer)(*map(_handed_out, answer)) if hasattr(answer, "_fields") else tuple(map(_handed_out, answer))
    return answer


def number(name: str, value: Any) -> Any:
    """The exact value of one finite real number."""
    unmasked(name, value)
    if isinstance(value, (mpf, mpmath.mpf)):
        exact = as_own(value)
    elif isinstance(value, numbers.Integral):
        exact = mpf(int(value))
    elif isinstance(value, numbers.Real) or (isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iuf"):
        exact = mpf(float(value))
    else:
        raise DomainError(name, value, "must be one real number")
    if not mp.isfinite(exact):
        raise DomainError(name, value, "must be finite")
    return exact


def at_least_zero(name: str, value: Any, *, zero: bool) -> Any:
    """The exact value of a positive number, or of 0 if ``zero`` is allowed."""
    exact = number(name, value)
    if exact < 0 or (exact == 0 and not zero):
        raise DomainError(name, value, "must not be negative" if zero else "must be positive")
    return exact


def enough_digits_for(z: Any) -> Any:
    """Add ``2 log10|z|`` digits: a relative error ``ε`` of ``z`` makes one of ``z² ε`` in ``exp(-z²/2)``."""
    return mp.workdps(mp.dps + max(0, 2 * int(mp.mag(z) if z else 0)) // 3)  # mag ≈ log2|z|, log10(2) < 1/3
