"""Numbers of a chosen precision in mpmath: exact input, guard digits while computing, rounded output; quadrature and roots.

A float means its exact binary value. The precision of mpmath itself is never changed, and answers are its numbers. Integrals
are by tanh-sinh on intervals, roots by bracketing; each is confirmed, or refused with ConvergenceError.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np

from varflow._checks import ConvergenceError, DomainError, integer, unmasked
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


def parameters(threshold: Any, gain: Any, bias_std: Any, mean_gain: Any) -> tuple[Any, Any, Any, Any]:
    """``θ``, ``g²``, ``σ_b²`` and ``m_g`` of a layer, the exact values of a user's numbers."""
    theta, gain2 = number("threshold", threshold), at_least_zero("gain", gain, zero=False) ** 2
    return theta, gain2, at_least_zero("bias_std", bias_std, zero=True) ** 2, number("mean_gain", mean_gain)


def enough_digits_for(z: Any) -> Any:
    """Add ``2 log10|z|`` digits: a relative error ``ε`` of ``z`` makes one of ``z² ε`` in ``exp(-z²/2)``."""
    return mp.workdps(mp.dps + max(0, 2 * int(mp.mag(z) if z else 0)) // 3)  # mag ≈ log2|z|, log10(2) < 1/3


def integral(function: Callable[[Any], Any], ends: Iterable[Any], digits: int) -> Any:
    """``∫ function`` of a non-negative function over the intervals between ``ends``, to ``digits`` digits.

    ``ends`` holds every kink or jump, and cuts around every narrow peak or step.
    """
    intervals = list(pairwise(sorted(set(ends))))
    with mp.workdps(15):
        size = mp.fsum(mp.quad(function, interval, maxdegree=5) for interval in intervals)
    if size == 0:
        return mpf(0)
    # Of the 15 guard digits 10 are not carried, as nodes grow with digits. mpmath's error estimates are absolute: scale to 1.
    with mp.workdps(mp.dps - 10):
        # tanh-sinh levels, each with twice the nodes: where 11 are too few the error estimate says so
        parts = [mp.quad(lambda x: function(x) / size, interval, maxdegree=11, error=True) for interval in intervals]
    if mp.fsum(error for _, error in parts) > mpf(10) ** -digits:
        raise ConvergenceError(f"an integral did not converge to {digits} digits; ask for fewer", size)
    return size * mp.fsum(value for value, _ in parts)


def roots_between(function: Callable[[Any], Any], ends: list[Any], digits: int) -> list[Any]:
    """One root for each interval whose ends differ in sign, and every end that is a root."""
    values = [function(end) for end in ends]
    at_ends = [end for end, value in zip(ends, values, strict=True) if value == 0]
    differing = [pair for pair, (a, b) in zip(pairwise(ends), pairwise(values), strict=True) if a * b < 0]
    return sorted([*at_ends, *(root_between(function, *pair, digits) for pair in differing)])


def first_power(holds: Callable[[Any], bool], start: Any, *, factor: Any = 2) -> Any:
    """The first ``start·factor^k``, ``k = 1, 2, …``, for which ``holds`` is true."""
    point = start * factor
    for _ in range(20_000):
        if holds(point):
            return point
        point *= factor
    raise ConvergenceError("found no bracket of a root: the parameters are too extreme")


def root_between(function: Callable[[Any], Any], low: Any, high: Any, digits: int) -> Any:
    """The root between ``0 < low < high``: geometric bisection, the Illinois rule, then a check that the sign changes."""
    at_low, at_high = function(low), function(high)
    if at_low == 0 or at_high == 0:
        return low if at_low == 0 else high
    if at_low * at_high > 0 or low <= 0:
        raise ConvergenceError("the function has the same sign at both ends: they bracket no root")
    ends = (low, high)
    while high > low * mpf("1.2"):
        middle = mp.sqrt(low * high)
        value = function(middle)
        if value * at_low > 0:
            low, at_low = middle, value
        else:
            high, at_high = middle, value
    root = _illinois(function, low, high, at_low, at_high)
    spread = mpf(10) ** -digits
    before, after = max(root * (1 - spread), ends[0]), min(root * (1 + spread), ends[1])
    if function(before) * function(after) > 0:
        raise ConvergenceError(
            "a root could not be confirmed to the digits asked for; ask for fewer, or for more if two roots nearly meet", root
        )
    return root


def _illinois(function: Callable[[Any], Any], low: Any, high: Any, at_low: Any, at_high: Any) -> Any:
    """The Illinois rule: false position, halving the value at an end that was kept twice; superlinear."""
    side_kept = 0
    for _ in range(500):
        if at_low == at_high:
            break
        root = (low * at_high - high * at_low) / (at_high - at_low)
        value = function(root)
        if value == 0 or abs(high - low) <= abs(root) * mpf(10) ** (4 - mp.dps):
            return root
        if value * at_low > 0:
            step, low, at_low = root - low, root, value
            at_high, side_kept = (at_high / 2 if side_kept == 1 else at_high), 1
        else:
            step, high, at_high = high - root, root, value
            at_low, side_kept = (at_low / 2 if side_kept == -1 else at_low), -1
        if step <= abs(root) * mpf(10) ** (4 - mp.dps):
            return root
    raise ConvergenceError("a root was bracketed but not found in 500 steps", (low + high) / 2)
