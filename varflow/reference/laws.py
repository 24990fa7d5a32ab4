"""Standardised distributions in mpmath, each written out from its formula, and the precision of all functions here."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import mpmath
import numpy as np
from mpmath import mp, mpf

from varflow._checks import DomainError, integer
from varflow.model.distributions import Distribution
from varflow.model.distributions import distribution as described
from varflow.model.student import StudentT

__all__ = ["Law", "at_least_zero", "deep", "in_digits", "law_of", "number", "pdf", "rounded", "sf"]

FURTHEST = 1e150  # largest |z|: beyond, exponents overflow even in mpmath
GUARD = 15  # extra digits of the working precision


class Law(NamedTuple):
    """Upper tail, density, and ``z (ln z³ f)'``, whose root is the inflection; ``edge`` is the end of the support."""

    tail: Callable[[Any], Any]
    density: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    edge: Any = None

    def _reaching(self) -> Law:
        """The same with DomainError for thresholds at which mpmath's exponents overflow."""

        def within(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
            return lambda z: function(z if abs(z) < FURTHEST or mp.isinf(z) else _too_far(z))

        return self._replace(tail=within(self.tail), density=within(self.density))


def _too_far(z: Any) -> Any:
    raise DomainError("z", mp.nstr(z, 5), f"(the threshold in standard deviations) must be below {FURTHEST:g}")


def law_of(name: Any) -> Law:
    """A built-in distribution by its name or object."""
    chosen = described(name)
    if isinstance(chosen, StudentT):
        return _student_t(mpf(chosen.df))._reaching()
    laws = {"normal": _normal, "uniform": _uniform, "laplace": _laplace, "logistic": _logistic}
    if chosen.name not in laws:
        raise DomainError("distribution", name, "has no reference; choose normal, uniform, laplace, logistic or student_t(df)")
    return laws[chosen.name]()._reaching()


def _normal() -> Law:
    return Law(
        tail=lambda z: mp.erfc(z / mp.sqrt(2)) / 2,
        density=lambda z: mp.exp(-(z**2) / 2) / mp.sqrt(2 * mp.pi),
        slope=lambda z: 3 - z**2,
    )


def _uniform() -> Law:
    edge = mp.sqrt(3)
    return Law(
        tail=lambda z: min(max((edge - z) / (2 * edge), mpf(0)), mpf(1)),
        density=lambda z: 1 / (2 * edge) if abs(z) < edge else mpf(0),
        slope=lambda z: mpf(3) if z < edge else mpf(-1),
        edge=edge,
    )


def _laplace() -> Law:
    def tail(z: Any) -> Any:
        return mp.exp(-mp.sqrt(2) * z) / 2 if z > 0 else 1 - mp.exp(mp.sqrt(2) * z) / 2

    return Law(tail, lambda z: mp.exp(-mp.sqrt(2) * abs(z)) / mp.sqrt(2), lambda z: 3 - mp.sqrt(2) * z)


def _logistic() -> Law:
    c = mp.pi / mp.sqrt(3)
    return Law(
        tail=lambda z: 1 / (1 + mp.exp(c * z)),
        density=lambda z: c * mp.exp(-c * abs(z)) / (1 + mp.exp(-c * abs(z))) ** 2,
        slope=lambda z: 3 - c * z * mp.tanh(c * z / 2),
    )


def _student_t(df: Any) -> Law:
    rest, half = df - 2, mpf(1) / 2

    def tail(z: Any) -> Any:
        x = rest / (rest + z**2)  # half the regularised incomplete beta function I_x(ν/2, 1/2)
        series = mp.hyp2f1(df / 2, half, df / 2 + 1, x, maxterms=10**7)
        upper = x ** (df / 2) * series / (df * mp.beta(df / 2, half))
        return upper if z > 0 else 1 - upper

    constant = mp.exp(mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2)) / mp.sqrt(mp.pi * rest)
    return Law(
        tail=tail,
        density=lambda z: constant * (1 + z**2 / rest) ** (-(df + 1) / 2),
        slope=lambda z: 3 - (df + 1) * z**2 / (rest + z**2),
    )


def in_digits(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run with ``digits`` plus guard digits, and restore mpmath's precision."""

    @wraps(function)
    def wrapped(*args: Any, digits: int = 50, **kwargs: Any) -> Any:
        with mpmath.workdps(integer("digits", digits, minimum=10) + GUARD):
            return function(*args, digits=digits, **kwargs)

    return wrapped


def number(name: str, value: Any) -> Any:
    """The exact value of a real number."""
    if isinstance(value, mpf):
        exact = value
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
    """An exact number that is positive, or 0 if ``zero``."""
    exact = number(name, value)
    if exact < 0 or (exact == 0 and not zero):
        raise DomainError(name, value, "must not be negative" if zero else "must be positive")
    return exact


def rounded(value: Any, digits: int) -> Any:
    """Rounded to ``digits`` digits, without the guard digits."""
    with mpmath.workdps(digits):
        return +value


def deep(z: Any) -> Any:
    """Extra digits for ``exp(-z²/2)``: a relative error in ``z`` is amplified by ``z²``."""
    return mpmath.workdps(mp.dps + max(0, 2 * int(mp.mag(z) if z else 0)) // 3)


@in_digits
def sf(distribution: str | Distribution, z: float, *, digits: int = 50) -> Any:
    """Upper tail ``P(Z > z)`` of a standardised distribution, from its definition.

    Parameters
    ----------
    distribution : str or Distribution
        A built-in name or ``student_t(df)``.
    z : float
        Taken as its exact binary value.
    digits : int
        Relative accuracy.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For a distribution without a reference, or a ``z`` that is not one finite number.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.sf("normal", 1), 40)
    '0.1586552539314570514147674543679620775221'
    """
    z = number("z", z)
    with deep(z):
        return rounded(law_of(distribution).tail(z), digits)


@in_digits
def pdf(distribution: str | Distribution, z: float, *, digits: int = 50) -> Any:
    """Density ``f(z)`` of a standardised distribution, from its definition; parameters as in :func:`sf`.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.pdf("laplace", 0), 40)
    '0.7071067811865475244008443621048490392848'
    """
    z = number("z", z)
    with deep(z):
        return rounded(law_of(distribution).density(z), digits)
