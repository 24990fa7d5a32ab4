"""What a layer does to the variance of a gradient at infinite width, in mpmath: integrals of the surrogate's square."""

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
    """``ψ(x; k)``, its usual slope ``k``, and where it is not smooth, in units of ``1/k``."""

    shape: Callable[[Any, Any], Any]
    slope: Any
    kinks: tuple[Any, ...] = ()


def _triangle(x: Any, k: Any) -> Any:
    return max(1 - k * abs(x), mpf(0))


def _box(x: Any, k: Any) -> Any:
    return mpf(1) if 2 * k * abs(x) < 1 else mpf(0)


SURROGATES = {
    "atan": Surrogate(lambda x, k: k / 2 / (1 + (mp.pi * k * x / 2) ** 2), 2),
    "fast_sigmoid": Surrogate(lambda x, k: 1 / (1 + k * abs(x)) ** 2, 25),
    "sigmoid": Surrogate(lambda x, k: k * mp.exp(-k * abs(x)) / (1 + mp.exp(-k * abs(x))) ** 2, 25),
    "triangle": Surrogate(_triangle, 1, (-1, 1)),
    "box": Surrogate(_box, 1, (-mpf(1) / 2, mpf(1) / 2)),
    "gaussian": Surrogate(lambda x, k: mp.exp(-((k * x) ** 2) / 2), 1),
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
    slope: float | None = None,
    kinks: Iterable[float] = (),
    digits: int = 50,
) -> Any:
    r"""The factor by which one layer multiplies the variance of a gradient on its way back.

    .. math:: \chi = g^2\, \mathrm{E}[\psi(u - \theta)^2] = g^2 \int \psi(\sqrt V z - \theta)^2 f(z)\, dz

    ====================  =======================================  =========  ============
    name                  ``ψ(x)``                                 peak       usual ``k``
    ====================  =======================================  =========  ============
    ``atan``              ``(k/2)/(1 + (π k x/2)²)``               ``k/2``    2
    ``fast_sigmoid``      ``1/(1 + k|x|)²``                        1          25
    ``sigmoid``           ``k e^{-kx}/(1 + e^{-kx})²``             ``k/4``    25
    ``triangle``          ``max(0, 1 - k|x|)``                     1          1
    ``box``               ``1`` where ``|x| < 1/(2k)``             1          1
    ``gaussian``          ``e^{-(kx)²/2}``                         1          1
    ====================  =======================================  =========  ============

    The first three, with their slopes, are snnTorch's ``atan``, ``fast_sigmoid`` and ``sigmoid``.

    Parameters
    ----------
    surrogate : str or callable
        A name from the table, or ``ψ`` itself: an mpf in, a real number out.
    threshold, gain, bias_std : float
        ``θ``, ``g > 0``, ``σ_b ≥ 0``; the bias enters through the default variance only.
    variance : float, optional
        ``V > 0``; by default the largest stable fixed point.
    distribution : str or Distribution
        Of the standardised potential: a built-in name or ``student_t(df)``.
    slope : float, optional
        ``k > 0`` of a named surrogate; by default the usual one.
    kinks : iterable of float
        Where a callable is not smooth, besides ``x = 0``.
    digits : int
        Relative accuracy of the answer.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For an unknown name, a number outside its domain, or where only silence is left to take the variance from.
    ConvergenceError
        Where the integral is not known to ``digits`` digits: name the kinks of a callable.

    Notes
    -----
    **Assumes** infinite width, layers of equal width, no weight mean. **Source**: the definition.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.gradient_gain("box", threshold=0, gain=2, variance=1, slope=0.5, digits=20), 15)
    '2.73075796854834'
    """
    law, theta = law_of(distribution), number("threshold", threshold)
    g2, psi, scale, corners = at_least_zero("gain", gain, zero=False) ** 2, *_chosen(surrogate, slope, kinks)
    V = variance
    if V is None:
        V = stable_variance(threshold=theta, gain=gain, distribution=distribution, bias_std=bias_std, digits=digits)
        if not V > 0:
            raise DomainError("gain", gain, "leaves no active stable state to take the variance from: name variance")
    s = mp.sqrt(at_least_zero("variance", V, zero=False))
    places = [(theta + x) / s for x in (*corners, *_spread(scale))]
    edge = mp.inf if law.edge is None else law.edge
    ends = [-edge, *(z for z in (*places, *_spread(mpf(1))) if -edge < z < edge), edge]
    return rounded(g2 * integral(lambda z: psi(s * z - theta) ** 2 * law.density(z), ends, digits), digits)


def _chosen(surrogate: Any, slope: Any, kinks: Iterable[Any]) -> tuple[Callable[[Any], Any], Any, list[Any]]:
    """``ψ``, the length on which it falls, and where it is not smooth."""
    if callable(surrogate):
        if slope is not None:
            raise DomainError("slope", slope, "belongs to named surrogates: build it into the function")
        return surrogate, mpf(1), [number("kinks", x) for x in kinks]
    if not isinstance(surrogate, str) or surrogate not in SURROGATES:
        raise DomainError("surrogate", surrogate, "is unknown; give a function, or one of " + ", ".join(SURROGATES))
    shape, usual, corners = SURROGATES[surrogate]
    k = at_least_zero("slope", usual if slope is None else slope, zero=False)
    return lambda x: shape(x, k), 1 / k, [x / k for x in corners]


def _spread(length: Any) -> list[Any]:
    """Places at which a peak of this width around 0 is cut, so that it is tame in between."""
    steps = [length * mpf(4) ** j / 4 for j in range(6)]
    return [mpf(0), *steps, *(-x for x in steps)]
