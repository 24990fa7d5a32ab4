"""The variance of gradients from layer to layer at infinite width, in mpmath: integrals of the squared surrogate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mpmath import mp, mpf

from varflow._checks import DomainError
from varflow.model.distributions import Distribution
from varflow.reference.digits import at_least_zero, in_digits, number, rounded
from varflow.reference.distributions import distribution_named
from varflow.reference.fixed_points import stable_variance
from varflow.reference.quadrature import integral

__all__ = ["SURROGATES", "Surrogate", "gradient_gain"]


class Surrogate(NamedTuple):
    """``ψ`` with peak 1 as a function of ``|x|/a``; ``edge`` of its support, in units of the width ``a``."""

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
    r"""The factor by which the backward pass through one layer multiplies the variance of a gradient.

    .. math:: \chi = g^2\, \mathrm{E}[\psi(u - \theta)^2] = g^2 \int \psi(\sqrt V z - \theta)^2 f(z)\, dz

    Named surrogates have peak 1 and width ``a``, as in ``vf.symbolic.gradient_gain``; ``c ψ`` multiplies by ``c² χ``.

    ================  =========================  ====================================================
    name              ``ψ(x)``                   in other libraries
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
        ``θ``, ``g > 0``, ``σ_b ≥ 0``; the bias only enters the default variance.
    variance : float, optional
        ``V > 0``; by default the largest stable fixed point.
    distribution : str or Distribution
        Of the standardised potential: a built-in name or ``student_t(df)``.
    width : float, optional
        ``a > 0`` of a named surrogate, in the units of the potential; by default 1.
    kinks : iterable of float
        Places besides ``x = 0`` where a callable is not smooth.
    digits : int
        Relative accuracy.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For an unknown name, a number outside its domain, or where ``variance`` is missing and no active fixed point is stable.
    ConvergenceError
        Where the integral does not converge to ``digits`` digits: give the ``kinks`` of a callable.

    Notes
    -----
    **Assumes** infinite width, layers of equal width, no weight mean. **Source**: the definition.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.gradient_gain("box", threshold=0, gain=2, variance=1, digits=20), 15)
    '2.73075796854834'
    """
    potential, theta = distribution_named(distribution), number("threshold", threshold)
    g2, psi, scale, corners = at_least_zero("gain", gain, zero=False) ** 2, *_chosen(surrogate, width, kinks)
    V = variance
    if V is None:
        V = stable_variance(threshold=theta, gain=gain, distribution=distribution, bias_std=bias_std, digits=digits)
        if not V > 0:
            raise DomainError("gain", gain, "has no stable active fixed point whose variance could be taken: give variance")
    s = mp.sqrt(at_least_zero("variance", V, zero=False))
    places = [(theta + x) / s for x in (*corners, *_spread(scale))]
    edge = mp.inf if potential.edge is None else potential.edge
    ends = [-edge, *(z for z in (*places, *_spread(mpf(1))) if -edge < z < edge), edge]
    return rounded(g2 * integral(lambda z: psi(s * z - theta) ** 2 * potential.density(z), ends, digits), digits)


def _chosen(surrogate: Any, width: Any, kinks: Iterable[Any]) -> tuple[Callable[[Any], Any], Any, list[Any]]:
    """``ψ``, its width, and where it is not smooth besides ``x = 0``."""
    if callable(surrogate):
        if width is not None:
            raise DomainError("width", width, "applies to named surrogates only: build it into the function")
        return surrogate, mpf(1), [number("kinks", x) for x in kinks]
    if not isinstance(surrogate, str) or surrogate not in SURROGATES:
        raise DomainError("surrogate", surrogate, "is unknown; give a function, or one of " + ", ".join(SURROGATES))
    shape, edge = SURROGATES[surrogate]
    a = at_least_zero("width", 1 if width is None else width, zero=False)
    return lambda x: shape(abs(x) / a), a, [] if edge is None else [-a * edge, a * edge]


def _spread(length: Any) -> list[Any]:
    """Where to split the integral around a peak at 0 of width ``length``: 0 and ``±length·4^j/4``, ``j = 0 … 5``."""
    steps = [length * mpf(4) ** j / 4 for j in range(6)]
    return [mpf(0), *steps, *(-x for x in steps)]
