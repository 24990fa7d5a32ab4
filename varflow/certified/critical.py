"""Proven bounds of the critical gain: interval Newton for the ``z`` at which ``z f(z) = 2 Q(z)``."""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow._checks import ConvergenceError, scale
from varflow.certified.distributions import BallPotential, distribution_named
from varflow.certified.enclosure import Enclosure, ball, exact, outward, precision
from varflow.certified.newton import narrow, sign
from varflow.model.distributions import Distribution


class _Ratio(NamedTuple):
    """Values at ``z = e^x``: ``ratio = z f/Q``, ``value = ratio - 2`` and ``log_slope = z f'/f``."""

    at: Any
    ratio: Any
    log_slope: Any
    value: Any


def critical_gain(*, threshold: float, distribution: str | Distribution = "normal") -> Enclosure:
    r"""Proven bounds of the gain below which silence is the only fixed point.

    .. math:: g_c = \theta / \max_z \sqrt{z^2 Q(z)}

    Parameters
    ----------
    threshold : float
        ``θ``, meant as its exact binary value; for ``θ ≤ 0`` activity never dies and the bounds are 0.
    distribution : str or Distribution
        A built-in name or ``student_t(df)`` with ``df ≤ 1e6``.

    Returns
    -------
    Enclosure
        ``(lower, upper)``, two doubles.

    Raises
    ------
    DomainError
        For a distribution that is not built in or a threshold outside its domain.
    MissingExtraError
        Without python-flint.

    Notes
    -----
    **Assumes** infinite width, no bias, no weight mean.
    **Accuracy**: neighbouring doubles for the built-in distributions (tested). For each of them ``z f/Q`` increases (see
    ``certified.distributions``), so ``z² Q`` has a single maximum, at ``z f = 2 Q``.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.certified.critical_gain(threshold=1.0, distribution="laplace")  # e
    Enclosure(lower=2.718281828459045, upper=2.7182818284590455)
    """
    with precision(128):  # bits that make the bounds neighbouring doubles for every built-in distribution
        theta = exact("threshold", threshold, scale)
        potential = distribution_named(distribution)()
        if theta <= 0:
            return Enclosure(0.0, 0.0)
        z = _critical(potential).exp()
        return outward(theta / (z * potential.tail(z).sqrt()))


def _critical(potential: BallPotential) -> Any:
    """``ln z_c``."""

    def place(x: Any) -> _Ratio:
        z = x.exp()
        ratio = z * potential.density(z) / potential.tail(z)
        return _Ratio(x, ratio, potential.log_slope(z), ratio - 2)

    def slope(left: _Ratio, right: _Ratio) -> tuple[Any, Any]:
        """Bounds of ``dη/d ln z = η (1 + z f'/f + η)``, ``η = z f/Q``: η increases and ``z f'/f`` decreases with z."""
        lowest, highest = 1 + right.log_slope + left.ratio, 1 + left.log_slope + right.ratio
        return (left.ratio * lowest).lower(), (right.ratio * highest).upper()  # used only where the lower one is positive

    left = place(ball(-1))
    right = next(
        (end for end in (place(potential.far(k).log().mid()) for k in (1, 2, 4, 8, 16, 32, 64)) if end.value > 0), left
    )
    while sign(left.value) * sign(right.value) < 0:
        if slope(left, right)[0] > 0:
            return narrow(place, slope, left, right)
        middle = place(((left.at + right.at) / 2).mid())
        left, right = (middle, right) if middle.value < 0 else (left, middle)
    raise ConvergenceError(
        "the maximum of z² Q(z) could not be enclosed: the variance of the distribution is nearly infinite", None
    )
