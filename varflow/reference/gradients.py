"""The variance of gradients from layer to layer at infinite width, in mpmath: integrals of the squared surrogate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import mpmath

from varflow._checks import DomainError, called, choice
from varflow._mpmath import mp, mpf
from varflow.model.distributions import Distribution
from varflow.model.surrogates import Surrogate, surrogate_of
from varflow.reference.digits import at_least_zero, in_digits, integral, number
from varflow.reference.distributions import distribution_named
from varflow.reference.fixed_points import stable_variance


class Shape(NamedTuple):
    """``ψ`` with peak 1 as a function of ``|x|/a``; ``edge`` of its support, in units of the width ``a``."""

    of: Callable[[Any], Any]
    edge: Any = None


SHAPES = {  # by the families of vf.surrogates
    "box": Shape(lambda s: mpf(s < 1), 1),
    "triangular": Shape(lambda s: max(1 - s, mpf(0)), 1),
    "gaussian": Shape(lambda s: mp.exp(-(s**2) / 2)),
    "exponential": Shape(lambda s: mp.exp(-s)),
    "fast_sigmoid": Shape(lambda s: 1 / (1 + s) ** 2),
    "atan": Shape(lambda s: 1 / (1 + s**2)),
    "sigmoid": Shape(lambda s: 1 / mp.cosh(s / 2) ** 2),
}


@in_digits
def gradient_gain(
    surrogate: str | Surrogate | Callable[[Any], Any],
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

    A name or an object of ``vf.surrogates`` is the surrogate it is there; with ``width`` a name is that of a family, of peak 1
    and this width. ``c ψ`` multiplies by ``c² χ``.

    Parameters
    ----------
    surrogate : str, Surrogate or callable
        One of ``vf.surrogates``, or ``ψ`` itself: a function of an mpf that returns a real number. While it runs,
        and only then, mpmath's own precision is the one needed.
    threshold, gain, bias_std : float
        ``θ``, ``g > 0``, ``σ_b ≥ 0``; the bias only enters the default variance.
    variance : float, optional
        ``V > 0``; by default the largest stable fixed point.
    distribution : str or Distribution
        Of the standardised potential: a built-in name or ``student_t(df)``.
    width : float, optional
        ``a > 0`` of a family: box, triangular, gaussian, exponential, fast_sigmoid, atan or sigmoid.
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
    >>> mpmath.nstr(vf.reference.gradient_gain("box", width=1, threshold=0, gain=2, variance=1, digits=20), 15)
    '2.73075796854834'
    """
    potential, theta = distribution_named(distribution), number("threshold", threshold)
    g2, psi, scale, corners = at_least_zero("gain", gain, zero=False) ** 2, *_formula_of(surrogate, width, kinks)
    V = variance
    if V is None:
        V = stable_variance(threshold=theta, gain=gain, distribution=distribution, bias_std=bias_std, digits=digits)
        if not V > 0:
            raise DomainError("gain", gain, "has no stable active fixed point whose variance could be taken: give variance")
    s = mp.sqrt(at_least_zero("variance", V, zero=False))
    places = [(theta + x) / s for x in (*corners, *_spread(scale))]
    edge = mp.inf if potential.edge is None else potential.edge
    ends = [-edge, *(z for z in (*places, *_spread(mpf(1))) if -edge < z < edge), edge]
    return g2 * integral(lambda z: psi(s * z - theta) ** 2 * potential.density(z), ends, digits)


def _formula_of(surrogate: Any, width: Any, kinks: Iterable[Any]) -> tuple[Callable[[Any], Any], Any, list[Any]]:
    """``ψ``, its width, and where it is not smooth besides ``x = 0``."""
    if isinstance(surrogate, str) and width is not None:
        family, c, a = choice("surrogate", surrogate, SHAPES), mpf(1), at_least_zero("width", width, zero=False)
    elif width is not None:
        raise DomainError("width", width, "applies to the name of a family only")
    elif isinstance(surrogate, str | Surrogate):
        description = surrogate_of(surrogate)
        if description.family not in SHAPES:
            raise DomainError("surrogate", surrogate, "has no formula here: give ψ as a function of an mpf")
        family, c, a = description.family, mpf(description.peak), mpf(description.width)
    else:
        return _of_user(called("surrogate", surrogate)), mpf(1), [number("kinks", x) for x in kinks]
    shape, edge = SHAPES[family]
    return lambda x: c * shape(abs(x) / a), a, [] if edge is None else [-a * edge, a * edge]


def _of_user(psi: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``ψ`` with mpmath itself at the present precision, for functions that use it."""

    def at(x: Any) -> Any:
        with mpmath.workdps(mp.dps):
            return mp.convert(psi(mpmath.mp.make_mpf(x._mpf_)))

    return at


def _spread(length: Any) -> list[Any]:
    """Points at which to split the integral around a peak at 0 of width ``length``: 0 and ``±length·4^j/4``, ``j = 0 … 5``."""
    steps = [length * mpf(4) ** j / 4 for j in range(6)]
    return [mpf(0), *steps, *(-x for x in steps)]
