"""The probability that two normal variables both exceed a threshold, in mpmath, integrated from its definition."""

from __future__ import annotations

from typing import Any

from varflow._checks import DomainError
from varflow._mpmath import mp, mpf
from varflow.reference.digits import enough_digits_for, in_digits, number, rounded
from varflow.reference.distributions import distribution_named
from varflow.reference.quadrature import integral


@in_digits
def orthant(h: float, k: float, correlation: float, *, digits: int = 50) -> Any:
    r"""``P(X > h, Y > k)`` of two correlated standard normal variables.

    .. math:: L(h, k; \rho) = \int_h^\infty \varphi(x)\, Q\Bigl(\frac{k - \rho x}{\sqrt{1 - \rho^2}}\Bigr) dx

    Parameters
    ----------
    h, k : float
        Thresholds, meant as their exact binary values.
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
    **Source**: the definition, conditioned on ``X``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.orthant(0, 0, 0.5, digits=20), 18)  # 1/4 + arcsin(ρ)/(2π)
    '0.333333333333333333'
    """
    h, k, rho = number("h", h), number("k", k), number("correlation", correlation)
    if abs(rho) > 1:
        raise DomainError("correlation", correlation, "must lie between -1 and 1")
    with enough_digits_for(max(abs(h), abs(k))):
        return rounded(quadrant(h, k, rho, digits), digits)


def quadrant(h: Any, k: Any, rho: Any, digits: int) -> Any:
    """``P(X > h, Y > k)`` in working precision; ``h`` and ``k`` may be infinite."""
    normal = distribution_named("normal")
    Q = normal.tail
    h, k = max(h, k), min(h, k)  # integrate over the rarer one: a tail times a factor of order 1
    if mp.isinf(h) or mp.isinf(k):
        return mpf(0) if h == mp.inf else Q(h) if h != -mp.inf else mpf(1)
    if abs(rho) == 1:
        return Q(h) if rho > 0 else max(mpf(0), Q(h) - Q(-k))
    width = mp.sqrt((1 - rho) * (1 + rho))
    ends = intervals(h, mp.inf, [k / rho] if rho else [], width / abs(rho) if rho else mpf(1))
    return integral(lambda x: normal.density(x) * Q((k - rho * x) / width), ends, digits)


def intervals(lo: Any, hi: Any, steps: list[Any], width: Any) -> list[Any]:
    """Points that split an integral of a normal density times functions that step from 0 to 1 at ``steps`` within ``width``."""
    reach = mp.sqrt(2 * mp.ln(10) * mp.dps)  # exp(-reach²/2) = 10^-dps
    around = [step + j * width for step in steps for j in (-reach, -reach / 3, -2, 0, 2, reach / 3, reach)]
    first = max(lo, mpf(-8))
    falls = [first + j / (1 + max(first, 0)) for j in (1, 4)] + [mpf(j) for j in (-8, -3, 0, 3, 8)]
    ends = [-reach, max(lo, 0) + reach] if mp.isinf(hi) else [-reach, reach]
    return [lo, *(x for x in (*around, *falls, *ends) if lo < x < hi and not mp.isinf(x)), hi]
