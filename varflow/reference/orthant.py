"""Bivariate normal orthant probabilities, in mpmath, integrated from the definition."""

from __future__ import annotations

from typing import Any

from mpmath import mp, mpf

from varflow._checks import DomainError
from varflow.reference.laws import deep, in_digits, law_of, number, rounded
from varflow.reference.quadrature import integral

__all__ = ["orthant", "quadrant", "stretches"]


@in_digits
def orthant(h: float, k: float, correlation: float, *, digits: int = 50) -> Any:
    r"""``P(X > h, Y > k)`` of two standard normal variables.

    .. math:: L(h, k; \rho) = \int_h^\infty \varphi(x)\, Q\Bigl(\frac{k - \rho x}{\sqrt{1 - \rho^2}}\Bigr) dx

    Parameters
    ----------
    h, k : float
        Thresholds, taken as their exact binary values.
    correlation : float
        ``ρ`` in [-1, 1].
    digits : int
        Accuracy, relative to the smaller of ``Q(h)`` and ``Q(k)``.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For a correlation outside [-1, 1] or a threshold that is not one finite number.

    Notes
    -----
    **Source**: the definition, given ``X``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.orthant(0, 0, 0.5, digits=20), 18)  # 1/4 + arcsin(ρ)/(2π)
    '0.333333333333333333'
    """
    h, k, rho = number("h", h), number("k", k), number("correlation", correlation)
    if abs(rho) > 1:
        raise DomainError("correlation", correlation, "must lie between -1 and 1")
    with deep(max(abs(h), abs(k))):
        return rounded(quadrant(h, k, rho, digits), digits)


def quadrant(h: Any, k: Any, rho: Any, digits: int) -> Any:
    """The same in working precision, also for infinite thresholds."""
    Q = law_of("normal").tail
    h, k = max(h, k), min(h, k)  # integrate over the rarer one: a tail times a factor of order 1
    if mp.isinf(h) or mp.isinf(k):
        return mpf(0) if h == mp.inf else Q(h) if h != -mp.inf else mpf(1)
    if abs(rho) == 1:
        return Q(h) if rho > 0 else max(mpf(0), Q(h) - Q(-k))
    width = mp.sqrt((1 - rho) * (1 + rho))
    density = law_of("normal").density
    ends = stretches(h, mp.inf, [k / rho] if rho else [], width / abs(rho) if rho else mpf(1))
    return integral(lambda x: density(x) * Q((k - rho * x) / width), ends, digits)


def stretches(lo: Any, hi: Any, steps: list[Any], width: Any) -> list[Any]:
    """Points that cut a normal density times functions with steps of this ``width`` at ``steps`` into smooth pieces."""
    reach = mp.sqrt(2 * mp.ln(10) * mp.dps)  # standard deviations: the tail beyond is below rounding
    around = [step + j * width for step in steps for j in (-reach, -reach / 3, -2, 0, 2, reach / 3, reach)]
    first = max(lo, mpf(-8))
    falls = [first + j / (1 + max(first, 0)) for j in (1, 4)] + [mpf(j) for j in (-8, -3, 0, 3, 8)]
    far = [-reach, max(lo, 0) + reach] if mp.isinf(hi) else [-reach, reach]
    return [lo, *(x for x in (*around, *falls, *far) if lo < x < hi and not mp.isinf(x)), hi]
