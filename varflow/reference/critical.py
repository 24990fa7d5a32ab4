"""Bifurcations of the infinite-width map, in mpmath: its saddle-node without bias and its cusp with bias."""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow._mpmath import mp, mpf
from varflow.model.distributions import Distribution
from varflow.model.over_neurons import OverNeurons, over_neurons
from varflow.reference.digits import first_power, in_digits, number, root_between
from varflow.reference.distributions import ExactPotential, averaged_over, distribution_named


class SaddleNode(NamedTuple):
    """The point where the two non-zero fixed points merge: ``z_c = θ/√V`` and ``γ_c = g²/θ²``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> point = vf.reference.saddle_node("normal", digits=15)
    >>> point._fields, mpmath.nstr(point.gamma, 6)
    (('z', 'gamma'), '6.0344')
    """

    z: Any
    gamma: Any


class BiasCusp(NamedTuple):
    """The point where all three fixed points merge: ``γ = g²/θ²``, and ``σ_b²`` and ``V`` in units of ``θ²``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.bias_cusp("normal", digits=15).gamma, 6)
    '4.32394'
    """

    gamma: Any
    bias_variance: Any
    variance: Any


@in_digits
def saddle_node(distribution: str | Distribution = "normal", *, digits: int = 50) -> SaddleNode:
    r"""The point where the two non-zero fixed points merge and vanish, without bias.

    .. math:: z_c f(z_c) = 2 Q(z_c), \qquad \gamma_c = \frac{1}{z_c^2 Q(z_c)}

    Parameters
    ----------
    distribution : str or Distribution
        A built-in name or ``student_t(df)``; for each, ``z f/Q`` increases and ``z_c`` is the only maximum of ``z² Q``.
    digits : int
        Relative accuracy of both numbers.

    Returns
    -------
    SaddleNode
        ``.z`` and ``.gamma``.

    Raises
    ------
    DomainError
        For a distribution that is not built in.

    Notes
    -----
    **Source**: derived here: a fixed point solves ``z² Q(z) = 1/γ``, which has no root once ``1/γ`` exceeds the maximum of
    ``z² Q``.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.saddle_node("normal").gamma, 25)
    '6.034397946968073356301841'
    """
    return _saddle_node(distribution_named(distribution), digits)


@in_digits
def critical_gain(*, threshold: Any, distribution: str | Distribution = "normal", digits: int = 50) -> Any:
    r"""The gain below which silence is the only fixed point, at infinite width and without bias.

    .. math:: g_c = \theta \sqrt{\gamma_c}

    Parameters
    ----------
    threshold : float or frozen scipy.stats distribution
        ``θ``; for ``θ ≤ 0`` activity never dies and the result is 0. A uniform or gamma distribution of positive values is one
        over neurons.
    distribution : str or Distribution
        As in :func:`saddle_node`; normal for a distribution of thresholds.
    digits : int
        Relative accuracy.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For a distribution that is not built in or a threshold that is not one finite number.

    Examples
    --------
    >>> import varflow as vf
    >>> print(vf.reference.critical_gain(threshold=1, distribution="uniform", digits=20) ** 2)
    4.5
    """
    potential = distribution_named(distribution)
    if over_neurons(threshold):
        averaged, mean = averaged_over(OverNeurons.of("threshold", threshold), potential, digits)
        return mean * mp.sqrt(_saddle_node(averaged, digits).gamma)
    threshold = number("threshold", threshold)
    if threshold <= 0:
        return mpf(0)
    return threshold * mp.sqrt(_saddle_node(potential, digits).gamma)


def _saddle_node(potential: ExactPotential, digits: int) -> SaddleNode:
    def excess(z: Any) -> Any:
        return z * potential.density(z) - 2 * potential.tail(z)

    end = potential.edge or first_power(lambda z: excess(z) > 0, mpf(1))
    z = root_between(excess, mpf(1) / 2, end * (1 - mpf(2) ** -40), digits)
    return SaddleNode(z, 1 / (z**2 * potential.tail(z)))


@in_digits
def bias_cusp(distribution: str | Distribution = "normal", *, digits: int = 50) -> BiasCusp:
    r"""The bias beyond which there is only one fixed point, at any gain.

    .. math:: F(V) = V, \quad F'(V) = 1, \quad F''(V) = 0: \qquad
              \gamma = \frac{2}{z_i^3 f(z_i)}, \quad \frac{V}{\theta^2} = \frac{1}{z_i^2}, \quad
              \frac{\sigma_b^2}{\theta^2} = \frac{1}{z_i^2} - \gamma Q(z_i)

    Parameters
    ----------
    distribution : str or Distribution
        A built-in name or ``student_t(df)``.
    digits : int
        Relative accuracy of the answer.

    Returns
    -------
    BiasCusp
        ``.gamma .bias_variance .variance``, the latter two in units of ``θ²``.

    Raises
    ------
    DomainError
        For a distribution that is not built in.

    Notes
    -----
    ``F'(V) = γ z³ f(z)/2``, so ``F'' = 0`` at the maximum ``z_i`` of ``z³ f``. For the uniform distribution ``z_i`` is the edge
    of the support and ``f(z_i)`` the density inside it.
    **Source**: derived here.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> cusp = vf.reference.bias_cusp("normal")
    >>> print(mpmath.nstr(cusp.gamma, 7), mpmath.nstr(cusp.bias_variance, 6), mpmath.nstr(3 * cusp.variance, 6))
    4.323941 0.153318 1.0
    """
    potential = distribution_named(distribution)
    z = inflection(potential, digits)
    inside = potential.density(z) if potential.edge is None else potential.density(mpf(0))
    gamma = 2 / (z**3 * inside)
    return BiasCusp(gamma, 1 / z**2 - gamma * potential.tail(z), 1 / z**2)


def inflection(potential: ExactPotential, digits: int) -> Any:
    """The only maximum ``z_i`` of ``z³ f(z)``, where ``F`` has its inflection."""
    if potential.edge is not None:
        return potential.edge
    return root_between(potential.slope, mpf(1), first_power(lambda y: potential.slope(y) < 0, mpf(1)), digits)
