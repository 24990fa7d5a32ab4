"""The factor of one layer on the variance of a gradient at infinite width, in mpmath: integrals of the squared surrogate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mpmath import mp, mpf

from varflow._checks import DomainError
from varflow.model.distributions import Distribution
from varflow.reference.isolation import stable_variance
from varflow.reference.laws import at_least_zero, in_digits, law_of, number, rounded
from varflow.reference.quadrature import integral

__all__ = ["SURROGATES", "Surrogate", "gradient_gain"]


class Surrogate(NamedTuple):
    """``ψ`` with peak 1 as a function of ``|x|/a``, and the edge of its support in units of the width ``a``."""

    shape: Callable[[Any], Any]
    edge: Any = None


SURROGATES = {
    "box": Surrogate(lambda s: mpf(s < 1), 1),
    "triangular": Surrogate(lambda s: max(1 - s, mpf(0)), 1),
    "gaussian": Surrogate(lambda s: mp.exp(-(s**2) / 2)),
    "exponential": Surrogate(lambda s: mp.exp(-s)),
    "fast_sigmoid": Surrogate(lambda s: 1 / (1 + s) ** 2),
    "atan": Surrogate(lambda s: 1 / (1 + s**2)),
    "sigmoid": Surrogate(lambda s: 1 / mp.cosh(s / 2) ** 2),
}


@in_digits
def gradient_gain(
    surrogate: str | Callable[[Any], Any],
    *,
    threshold: float,
    gain: float,
    variance: float | None = None,
    distribution: str | Distribution = "normal",
    bias_std: float = 0.0,
    width: float | None = None,
    kinks: Iterable[float] = (),
    digits: int = 50,
) -> Any:
    r"""The factor by which one layer multiplies the variance of a backpropagated gradient.

    .. math:: \chi = g^2\, \mathrm{E}[\psi(u - \theta)^2] = g^2 \int \psi(\sqrt V z - \theta)^2 f(z)\, dz

    Named surrogates have peak 1 and a width ``a``, as in ``vf.symbolic.gradient_gain``; ``c ψ`` has the gain ``c² χ``.

    ================  =========================  ====================================================
    name              ``ψ(x)``                   elsewhere
    ================  =========================  ====================================================
    ``box``           ``1`` where ``|x| < a``
    ``triangular``    ``max(0, 1 - |x|/a)``
    ``gaussian``      ``e^{-x²/(2a²)}``
    ``exponential``   ``e^{-|x|/a}``
    ``fast_sigmoid``  ``1/(1 + |x|/a)²``         snnTorch's ``fast_sigmoid(slope=k)``: ``a = 1/k``
    ``atan``          ``1/(1 + (x/a)²)``         snnTorch's ``atan(alpha=k)``: ``k/2`` times it, ``a = 2/(π k)``
    ``sigmoid``       ``cosh(x/(2a))^{-2}``      snnTorch's ``sigmoid(slope=k)``: ``k/4`` times it, ``a = 1/k``
    ================  =========================  ====================================================

    Parameters
    ----------
    surrogate : str or callable
        A name from the table, or ``ψ`` itself: a function of an mpf that returns a real number.
    threshold, gain, bias_std : float
        ``θ``, ``g > 0``, ``σ_b ≥ 0``; the bias enters through the default variance only.
    variance : float, optional
        ``V > 0``; by default the largest stable fixed point.
    distribution : str or Distribution
        Of the standardised potential: a built-in name or ``student_t(df)``.
    width : float, optional
        ``a > 0`` of a named surrogate, in the units of the potential; by default 1.
    kinks : iterable of float
        Points other than ``x = 0`` where a callable is not smooth.
    digits : int
        Relative accuracy.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For an unknown name, a number outside its domain, or if there is no active stable state for the default variance.
    ConvergenceError
        If the integral is not accurate to ``digits`` digits: give the kinks of a callable.

    Notes
    -----
    **Assumes** infinite width, layers of equal width, no weight mean. **Source**: the definition.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.gradient_gain("box", threshold=0, gain=2, variance=1, digits=20), 15)
    '2.73075796854834'
    """
    law, theta = law_of(distribution), number("threshold", threshold)
    g2, psi, scale, corners = at_least_zero("gain", gain, zero=False) ** 2, *_chosen(surrogate, width, kinks)
    V = variance
    if V is None:
        V = stable_variance(threshold=theta, gain=gain, distribution=distribution, bias_std=bias_std, digits=digits)
        if not V > 0:
            raise DomainError("gain", gain, "leaves no active stable state whose variance could be used: give variance")
    s = mp.sqrt(at_least_zero("variance", V, zero=False))
    places = [(theta + x) / s for x in (*corners, *_spread(scale))]
    edge = mp.inf if law.edge is None else law.edge
    ends = [-edge, *(z for z in (*places, *_spread(mpf(1))) if -edge < z < edge), edge]
    return rounded(g2 * integral(lambda z: psi(s * z - theta) ** 2 * law.density(z), ends, digits), digits)


def _chosen(surrogate: Any, width: Any, kinks: Iterable[Any]) -> tuple[Callable[[Any], Any], Any, list[Any]]:
    """``ψ``, its width, and the points other than 0 where it is not smooth."""
    if callable(surrogate):
        if width is not None:
            raise DomainError("width", width, "applies to named surrogates only: include it in the function")
        return surrogate, mpf(1), [number("kinks", x) for x in kinks]
    if not isinstance(surrogate, str) or surrogate not in SURROGATES:
        raise DomainError("surrogate", surrogate, "is unknown; give a function, or one of " + ", ".join(SURROGATES))
    shape, edge = SURROGATES[surrogate]
    a = at_least_zero("width", 1 if width is None else width, zero=False)
    return lambda x: shape(abs(x) / a), a, [] if edge is None else [-a * edge, a * edge]


def _spread(length: Any) -> list[Any]:
    """Points that cut a peak of this width around 0 into smooth pieces."""
    steps = [length * mpf(4) ** j / 4 for j in range(6)]
    return [mpf(0), *steps, *(-x for x in steps)]
