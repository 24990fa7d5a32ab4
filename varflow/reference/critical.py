"""Bifurcations of the infinite-width map, in mpmath: the saddle-node without bias, the cusp with one."""

from __future__ import annotations

from typing import Any, NamedTuple

from mpmath import mp, mpf

from varflow.model.distributions import Distribution
from varflow.reference.laws import Law, in_digits, law_of, number, rounded
from varflow.reference.roots import first_power, root_between

__all__ = ["BiasCusp", "SaddleNode", "bias_cusp", "critical_gain", "inflection", "saddle_node"]


class SaddleNode(NamedTuple):
    """The saddle-node of the two non-zero fixed points: ``z_c = θ/√V`` and ``γ_c = g²/θ²``."""

    z: Any
    gamma: Any


class BiasCusp(NamedTuple):
    """The cusp where all three fixed points meet: ``γ = g²/θ²``, and ``σ_b²`` and ``V`` in units of ``θ²``."""

    gamma: Any
    bias_variance: Any
    variance: Any


@in_digits
def saddle_node(distribution: str | Distribution = "normal", *, digits: int = 50) -> SaddleNode:
    r"""The saddle-node where the two non-zero fixed points meet and vanish, without bias.

    .. math:: z_c f(z_c) = 2 S(z_c), \qquad \gamma_c = \frac{1}{z_c^2 S(z_c)}

    Parameters
    ----------
    distribution : str or Distribution
        A built-in name or ``student_t(df)``; for each, ``z f/S`` increases and ``z_c`` is the only maximum of ``z² S``.
    digits : int
        Relative accuracy of both numbers.

    Returns
    -------
    SaddleNode
        ``.z`` and ``.gamma``.

    Raises
    ------
    DomainError
        For a distribution without a reference.

    Notes
    -----
    **Source**: derived here: ``z² S(z) = 1/γ`` has no root below the maximum of its left side.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.saddle_node("normal").gamma, 25)
    '6.034397946968073356301841'
    """
    return SaddleNode(*(rounded(value, digits) for value in _saddle_node(law_of(distribution), digits)))


@in_digits
def critical_gain(*, threshold: float, distribution: str | Distribution = "normal", digits: int = 50) -> Any:
    r"""The gain below which only silence is stable, at infinite width and without bias.

    .. math:: g_c = \theta \sqrt{\gamma_c}

    Parameters
    ----------
    threshold : float
        ``θ``; for ``θ ≤ 0`` activity never dies and the result is 0.
    distribution : str or Distribution
        As in :func:`saddle_node`.
    digits : int
        Relative accuracy.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For a distribution without a reference or a threshold that is not one finite number.

    Examples
    --------
    >>> import varflow as vf
    >>> print(vf.reference.critical_gain(threshold=1, distribution="uniform", digits=20) ** 2)
    4.5
    """
    law, threshold = law_of(distribution), number("threshold", threshold)
    if threshold <= 0:
        return mpf(0)
    return rounded(threshold * mp.sqrt(_saddle_node(law, digits).gamma), digits)


def _saddle_node(law: Law, digits: int) -> SaddleNode:
    end = law.edge if law.edge is not None else first_power(lambda z: z * law.density(z) > 2 * law.tail(z), mpf(1))
    z = root_between(lambda z: z * law.density(z) - 2 * law.tail(z), mpf(1) / 2, end * (1 - mpf(2) ** -40), digits)
    return SaddleNode(z, 1 / (z**2 * law.tail(z)))


@in_digits
def bias_cusp(distribution: str | Distribution = "normal", *, digits: int = 50) -> BiasCusp:
    r"""The bias above which there is a single fixed point at any gain.

    .. math:: F(V) = V, \quad F'(V) = 1, \quad F''(V) = 0: \qquad
              \gamma = \frac{2}{z_i^3 f(z_i)}, \quad \frac{V}{\theta^2} = \frac{1}{z_i^2}, \quad
              \frac{\sigma_b^2}{\theta^2} = \frac{1}{z_i^2} - \gamma S(z_i)

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
        For a distribution without a reference.

    Notes
    -----
    ``F'(V) = γ z³ f(z)/2``, so ``F'' = 0`` at the maximum ``z_i`` of ``z³ f``. For the uniform distribution that is the edge of
    the support, with ``f`` the density inside.
    **Source**: derived here.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> cusp = vf.reference.bias_cusp("normal")
    >>> print(mpmath.nstr(cusp.gamma, 7), mpmath.nstr(cusp.bias_variance, 6), mpmath.nstr(3 * cusp.variance, 6))
    4.323941 0.153318 1.0
    """
    law = law_of(distribution)
    z = inflection(law, digits)
    inside = law.density(z) if law.edge is None else law.density(mpf(0))
    gamma = 2 / (z**3 * inside)
    return BiasCusp(*(rounded(value, digits) for value in (gamma, 1 / z**2 - gamma * law.tail(z), 1 / z**2)))


def inflection(law: Law, digits: int) -> Any:
    """The only maximum ``z_i`` of ``z³ f(z)``."""
    if law.edge is not None:
        return law.edge
    return root_between(law.slope, mpf(1), first_power(lambda y: law.slope(y) < 0, mpf(1)), digits)
