"""The critical gain, enclosed: interval Newton for the ``z`` at which ``z f = 2 S``."""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow._checks import ConvergenceError, scale
from varflow.certified.enclosure import Enclosure, ball, exact, outward, precision
from varflow.certified.laws import Law, law_of
from varflow.certified.newton import narrow, sign
from varflow.model.distributions import Distribution

__all__ = ["critical_gain"]

_BITS = 128  # enough for neighbouring doubles


class _Ratio(NamedTuple):
    """``z f/S`` at ``z = e^x``, its ``value`` above 2, and ``z f'/f``."""

    at: Any
    ratio: Any
    log_slope: Any
    value: Any


def critical_gain(*, threshold: float, distribution: str | Distribution = "normal") -> Enclosure:
    r"""Proven bounds of the gain below which only silence is stable.

    .. math:: g_c = \theta / \max_z \sqrt{z^2 S(z)}

    Parameters
    ----------
    threshold : float
        ``θ``, taken as its exact binary value; for ``θ ≤ 0`` activity never dies and the gain is 0.
    distribution : str or Distribution
        A built-in name or ``student_t(df)`` with ``df ≤ 1e6``.

    Returns
    -------
    Enclosure
        ``(lower, upper)``, two doubles.

    Raises
    ------
    DomainError
        For a distribution without certified tails or a threshold outside its domain.
    MissingExtraError
        Without python-flint.

    Notes
    -----
    **Assumes** infinite width, no bias, no weight mean.
    **Accuracy**: neighbouring doubles for the built-in distributions (tested). ``z f/S`` increases for all of them (see
    ``certified.laws``), so ``z² S`` has one maximum, where ``z f = 2 S``.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.certified.critical_gain(threshold=1.0, distribution="laplace")  # e
    Enclosure(lower=2.718281828459045, upper=2.7182818284590455)
    """
    with precision(_BITS):
        theta = exact("threshold", threshold, scale)
        law = law_of(distribution)()
        if theta <= 0:
            return Enclosure(0.0, 0.0)
        z = _critical(law).exp()
        return outward(theta / (z * law.tail(z).sqrt()))


def _critical(law: Law) -> Any:
    """``ln z_c``."""

    def place(x: Any) -> _Ratio:
        z = x.exp()
        ratio = z * law.density(z) / law.tail(z)
        return _Ratio(x, ratio, law.log_slope(z), ratio - 2)

    def slope(left: _Ratio, right: _Ratio) -> tuple[Any, Any]:
        """Bounds of ``dη/d ln z = η (1 + z f'/f + η)``, ``η = z f/S``: η rises and ``z f'/f`` falls."""
        least, most = 1 + right.log_slope + left.ratio, 1 + left.log_slope + right.ratio
        return (left.ratio * least).lower(), (right.ratio * most).upper()  # used only if the least is positive

    left = place(ball(-1))
    right = next((end for end in (place(law.far(k).log().mid()) for k in (1, 2, 4, 8, 16, 32, 64)) if end.value > 0), left)
    while sign(left.value) * sign(right.value) < 0:
        if slope(left, right)[0] > 0:
            return narrow(place, slope, left, right)
        middle = place(((left.at + right.at) / 2).mid())
        left, right = (middle, right) if middle.value < 0 else (left, middle)
    raise ConvergenceError("the maximum of z² S(z) could not be enclosed: the variance is nearly infinite", None)
