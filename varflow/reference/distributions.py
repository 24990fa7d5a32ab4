"""The built-in standardised distributions in mpmath, each written out from its formula, and their mean over thresholds.

Thresholds that differ between neurons are averaged by quadrature over their density: ``Q̄(z) = E[Q(z θ)]`` for ``E[θ] = 1``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from varflow._checks import DomainError
from varflow._mpmath import mp, mpf
from varflow.model.distributions import Distribution
from varflow.model.distributions import distribution as described
from varflow.model.over_neurons import OverNeurons
from varflow.model.student import StudentT
from varflow.reference.digits import enough_digits_for, in_digits, integral, number

FURTHEST = 1e150  # standard deviations; beyond, mpmath cannot hold exp(-z²/2)


class ExactPotential(NamedTuple):
    """Upper tail ``Q``, density ``f``, ``slope = z d(ln z³ f)/dz = 3 + z f'/f``, and the ``edge`` of a bounded support."""

    tail: Callable[[Any], Any]
    density: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    edge: Any = None

    def above(self, gap: Any, variance: Any) -> Any:
        """``P(√V X > gap)``; of a constant 1 if it exceeds the gap, else 0."""
        return self.tail(gap / mp.sqrt(variance)) if variance else mpf(gap < 0)

    def _within_reach(self) -> ExactPotential:
        """The distribution itself; raises DomainError for ``|z| ≥ FURTHEST``."""

        def within(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
            return lambda z: function(z if abs(z) < FURTHEST or mp.isinf(z) else _too_far(z))

        return self._replace(tail=within(self.tail), density=within(self.density))


def _too_far(z: Any) -> Any:
    raise DomainError("z", mp.nstr(z, 5), f"is the threshold in standard deviations here, and must be below {FURTHEST:g}")


def distribution_named(name: Any) -> ExactPotential:
    """A built-in distribution, by its name or its description."""
    description = described(name)
    if isinstance(description, StudentT):
        return _student_t(mpf(description.df))._within_reach()
    built_in = {"normal": _normal, "uniform": _uniform, "laplace": _laplace, "logistic": _logistic}
    if description.name not in built_in:
        raise DomainError("distribution", name, "is not built in; choose normal, uniform, laplace, logistic or student_t(df)")
    return built_in[description.name]()._within_reach()


def _normal() -> ExactPotential:
    return ExactPotential(
        tail=lambda z: mp.erfc(z / mp.sqrt(2)) / 2,
        density=lambda z: mp.exp(-(z**2) / 2) / mp.sqrt(2 * mp.pi),
        slope=lambda z: 3 - z**2,
    )


def _uniform() -> ExactPotential:
    edge = mp.sqrt(3)
    return ExactPotential(
        tail=lambda z: min(max((edge - z) / (2 * edge), mpf(0)), mpf(1)),
        density=lambda z: 1 / (2 * edge) if abs(z) < edge else mpf(0),
        slope=lambda z: mpf(3) if z < edge else mpf(-1),
        edge=edge,
    )


def _laplace() -> ExactPotential:
    def tail(z: Any) -> Any:
        return mp.exp(-mp.sqrt(2) * z) / 2 if z > 0 else 1 - mp.exp(mp.sqrt(2) * z) / 2

    return ExactPotential(tail, lambda z: mp.exp(-mp.sqrt(2) * abs(z)) / mp.sqrt(2), lambda z: 3 - mp.sqrt(2) * z)


def _logistic() -> ExactPotential:
    c = mp.pi / mp.sqrt(3)
    return ExactPotential(
        tail=lambda z: 1 / (1 + mp.exp(c * z)),
        density=lambda z: c * mp.exp(-c * abs(z)) / (1 + mp.exp(-c * abs(z))) ** 2,
        slope=lambda z: 3 - c * z * mp.tanh(c * z / 2),
    )


def _student_t(df: Any) -> ExactPotential:
    excess_df, half = df - 2, mpf(1) / 2

    def tail(z: Any) -> Any:
        x = excess_df / (excess_df + z**2)  # Q(|z|) = I_x(ν/2, 1/2)/2, the regularised incomplete beta function
        series = mp.hyp2f1(df / 2, half, df / 2 + 1, x, maxterms=10**7)
        upper = x ** (df / 2) * series / (df * mp.beta(df / 2, half))
        return upper if z > 0 else 1 - upper

    constant = mp.exp(mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2)) / mp.sqrt(mp.pi * excess_df)
    return ExactPotential(
        tail=tail,
        density=lambda z: constant * (1 + z**2 / excess_df) ** (-(df + 1) / 2),
        slope=lambda z: 3 - (df + 1) * z**2 / (excess_df + z**2),
    )


@in_digits
def sf(distribution: str | Distribution, z: float, *, digits: int = 50) -> Any:
    """Upper tail ``P(Z > z)`` of a standardised distribution, from its formula.

    Parameters
    ----------
    distribution : str or Distribution
        A built-in name or ``student_t(df)``.
    z : float
        In standard deviations; meant as its exact binary value.
    digits : int
        Relative accuracy.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For a distribution that is not built in, or a ``z`` that is not one number below 1e150.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.sf("normal", 1), 40)
    '0.1586552539314570514147674543679620775221'
    """
    z = number("z", z)
    with enough_digits_for(z):
        return distribution_named(distribution).tail(z)


@in_digits
def pdf(distribution: str | Distribution, z: float, *, digits: int = 50) -> Any:
    """Density ``f(z)`` of a standardised distribution, from its formula; parameters and errors as in :func:`sf`.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.pdf("laplace", 0), 40)
    '0.7071067811865475244008443621048490392848'
    """
    z = number("z", z)
    with enough_digits_for(z):
        return distribution_named(distribution).density(z)


def averaged_over(law: OverNeurons, potential: ExactPotential, digits: int) -> tuple[ExactPotential, Any]:
    """The averaged tail and density as functions of ``E[θ]/√V``, and ``E[θ]``."""
    density, ends, mean = _of_thresholds(law, digits)

    def average(function: Callable[[Any], Any]) -> Any:
        return integral(lambda theta: density(theta) * function(theta / mean), ends, digits)

    return ExactPotential(
        tail=lambda z: average(lambda r: potential.tail(z * r)),
        density=lambda z: average(lambda r: r * potential.density(z * r)),
        slope=potential.slope,
    ), mean


def _of_thresholds(law: OverNeurons, digits: int) -> tuple[Callable[[Any], Any], list[Any], Any]:
    """Density, ends of the integrals and mean."""
    low, scale = mpf(law.location), mpf(law.scale)
    if law.name == "uniform" and low >= 0:
        return lambda theta: 1 / scale, [low, low + scale], low + scale / 2
    if law.name == "gamma" and low >= 0:
        shape = mpf(law.shapes[0])
        norm = mp.gamma(shape) * scale**shape
        # 3 digits' worth of scale lengths beyond its mode a gamma density is negligible
        ends = [low, low + shape * scale, low + (shape + 3 * (digits + mp.sqrt(digits * shape))) * scale]
        return lambda theta: (theta - low) ** (shape - 1) * mp.exp(-(theta - low) / scale) / norm, ends, low + shape * scale
    raise DomainError("threshold", law, "must be a number, or a uniform or gamma distribution of positive values")
