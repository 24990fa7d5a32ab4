r"""Two inputs through one layer: the correlation map of their potentials and its slope.

The definition: potentials ``(u, û)`` are jointly normal with equal variance and correlation ``ρ``, spikes ``x = 1(u > θ)``,
next potentials ``Σ_j w_j x_j``. For numerical checks ``u, û = √V (c a ± s b)`` with ``c² = (1+ρ)/2``, ``s² = (1-ρ)/2`` and
independent ``a, b``: both fire where ``c a > z + s |b|``, one smooth integral at every ``ρ``.
"""

from __future__ import annotations

from functools import cache, partial
from random import Random
from typing import Any

import sympy
from sympy import Eq, Integral, O, Symbol, erfc, exp, pi, sqrt

from varflow._checks import DomainError
from varflow._mpmath import mp, mpf
from varflow.symbolic.algebra import factored, neat
from varflow.symbolic.derivation import Derivation, DerivationError, Domain, built_once
from varflow.symbolic.layer import atom, spread
from varflow.symbolic.numbers import Values, value
from varflow.symbolic.symbols import below, g, quantity, z

FAR = 8  # beyond, quadratures that check the steps miss the tail

rho = Symbol("rho", nonnegative=True)
x, y = Symbol("x", real=True), Symbol("y", real=True)
r = Symbol("r", nonnegative=True)
epsilon = Symbol("epsilon", positive=True)

rho_next, p = quantity("rho'", r"\rho'"), quantity("p", "p", positive=True)
covariance = quantity("Cov[u', v']", r"\operatorname{Cov}[u', \hat u']")
variance = quantity("Var[u']", r"\operatorname{Var}[u']", positive=True)
both = quantity("E[x xhat]", r"\mathrm{E}[x \hat x]", positive=True)
slope = quantity("drho'/drho", r"\frac{d\rho'}{d\rho}", positive=True)
both_slope = quantity("dE[x xhat]/drho", r"\frac{d}{d\rho}\mathrm{E}[x \hat x]", positive=True)
both_near = quantity(
    "dE[x xhat]/drho at rho^2 = 1 - epsilon^2",
    r"\left.\frac{d}{d\rho}\mathrm{E}[x \hat x]\right|_{\rho^2 = 1 - \epsilon^2}",
    positive=True,
)
density_slope = quantity("dphi2/drho", r"\frac{\partial}{\partial\rho}\varphi_2(x, y; \rho)")
strip_slope = quantity("d/drho int phi2 dy", r"\frac{\partial}{\partial\rho}\int_z^\infty \varphi_2(x, y; \rho)\, dy")

density = exp(-(x**2 - 2 * rho * x * y + y**2) / (2 * (1 - rho**2))) / (2 * pi * sqrt(1 - rho**2))


@built_once
def correlation_slope(z: Any = z) -> Derivation:
    r"""The slope of the correlation map at equal stationary variance, from the definition of a layer.

    .. math:: \frac{d\rho'}{d\rho} = \frac{\varphi_2(z, z; \rho)}{Q(z)}
              = \frac{e^{-z^2/(1+\rho)}}{2\pi \sqrt{1-\rho^2}\, Q(z)}, \qquad z = \theta/\sqrt{V}

    Parameters
    ----------
    z : symbol or number
        The threshold in standard deviations of the potential, of any sign; ``vf.symbolic.z`` by default.

    Returns
    -------
    Derivation
        One step gives the limit ``ρ → 1``: the slope diverges as ``(1-ρ²)^(-1/2)``, so a hard threshold separates any two
        inputs, however close.

    Raises
    ------
    DomainError
        For a ``z`` that is neither a symbol nor a finite number.

    Notes
    -----
    **Assumes** infinite width (jointly normal potentials), weights independent of mean zero, no bias, and both inputs at the
    stationary variance ``V = g² p``; then ``ρ`` is the overlap of spikes ``E[x x̂]/p`` of the layer before.
    **Source**: the map of ``poole2016`` and ``schoenholz2017``, for a step; ``∂φ₂/∂ρ = ∂²φ₂/∂x∂y`` from ``plackett1954``. The
    infinite slope at ``ρ = 1`` is known for binary neurons, ``vreeswijk1998``, and quantised activations, ``blumenfeld2019``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.symbolic.correlation_slope().result
    exp(-z**2/(rho + 1))/(pi*sqrt(1 - rho**2)*erfc(sqrt(2)*z/2))
    >>> round(float(vf.symbolic.correlation_slope().lambdify()(z=1.0, overlap=0.27400)), 4)
    0.4758
    """
    at = _level(z)
    start = Derivation("The slope of the correlation map", Domain(partial(_draw, at), partial(_define, at)))
    steps = start.then(Eq(rho_next, covariance / variance), "the correlation of the next potentials")
    steps = steps.then(
        lambda e: e.subs({covariance: g**2 * both, variance: g**2 * p}),
        "$u' = \\sum_j w_j x_j$, and a spike is its own square",
        assumption="weights independent, mean zero, no bias, $\\operatorname{Var}[w] = g^2/n$; equal variances",
    )
    steps = steps.then(
        lambda e: Eq(slope, sympy.diff(e.rhs, both) * both_slope),
        "differentiated: the rate does not depend on $\\rho$",
        assumption="stationary variance",
    )
    in_spikes = steps.steps[-1].expression
    steps = steps.then(_heat_equation(), "the normal density obeys a heat equation", assumption="jointly normal potentials")
    steps = steps.then(
        lambda e: Eq(strip_slope, _integrated_above(e.rhs, sympy.diff(density, x), y, at)),
        "integrated over $y > z$: the density vanishes at infinity",
    )
    steps = steps.then(
        lambda e: Eq(both_slope, _integrated_above(e.rhs, -density.subs(y, at), x, at)),
        "integrated over $x > z$: $\\varphi_2(z, z; \\rho)$",
        condition=below(rho, 1),
    )
    slope_of_both = steps.steps[-1].expression.rhs
    steps = steps.then(
        lambda e: Eq(both_near, _leading(e.rhs), evaluate=False),
        "as $\\rho \\to 1$ it diverges: a hard threshold separates close inputs",
    )
    return steps.then(
        lambda e: Eq(slope, in_spikes.rhs.subs({both_slope: slope_of_both, p: erfc(at / sqrt(2)) / 2})),
        "the rate is $p = Q(z)$, in the slope at every $\\rho$",
    )


@built_once
def correlation_map(z: Any = z) -> Derivation:
    r"""The correlation map, its slope integrated from independent inputs.

    .. math:: \rho' = Q(z) + \frac{1}{Q(z)} \int_0^\rho \varphi_2(z, z; r)\, dr, \qquad
              z = 0: \quad \rho' = \frac12 + \frac{\arcsin\rho}{\pi}

    Parameters
    ----------
    z : symbol or number
        As in :func:`correlation_slope`; the integral has a closed form at 0 and stays an integral elsewhere.

    Returns
    -------
    Derivation

    Raises
    ------
    DomainError
        As in :func:`correlation_slope`.

    Notes
    -----
    **Assumes**, **Source**: as :func:`correlation_slope`; for random automata ``derrida1986``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.symbolic.correlation_map(z=0).result
    asin(rho)/pi + 1/2
    """
    steps = correlation_slope(z)
    at = _level(z)
    rate = erfc(at / sqrt(2)) / 2
    steps = steps.then(
        lambda e: Eq(rho_next, rate + Integral(e.rhs.subs(rho, r), (r, 0, rho))),
        "integrated from $\\rho = 0$, where spikes are independent and $\\rho' = p$",
    )
    return steps if at != 0 else steps.then(lambda e: e.doit(), "the integral in closed form")


def _level(given: Any) -> Any:
    """The standardised threshold, a symbol or a number at which the steps can be checked."""
    at = atom("z", given)
    if not at.free_symbols and abs(at) > FAR:
        raise DomainError("z", given, f"must be at most {FAR} in size, where its steps can be checked: keep z a symbol")
    return at


@cache
def _heat_equation() -> Any:
    """``∂φ₂/∂ρ = ∂²φ₂/∂x∂y``, checked by sympy."""
    mixed = sympy.diff(sympy.diff(density, x), y)
    if sympy.simplify((sympy.diff(density, rho) - mixed) / density) != 0:
        raise DerivationError("the normal density does not obey its heat equation")
    return Eq(density_slope, mixed)


def _integrated_above(expression: Any, antiderivative: Any, variable: Any, level: Any) -> Any:
    """The integral over ``variable > z``, from an antiderivative that vanishes at infinity."""
    if neat(sympy.diff(antiderivative, variable) - expression) != 0:
        raise DerivationError(f"{antiderivative} is no antiderivative of {expression}")
    return (-antiderivative.subs(variable, level)).replace(exp, lambda power: exp(factored(power)))


def _leading(expression: Any) -> Any:
    """The divergent term at ``ρ² = 1 - ε²`` and the order of the rest."""
    near = expression.subs(rho, sqrt(1 - epsilon**2))
    return sympy.limit(near * epsilon, epsilon, 0) / epsilon + O(epsilon)


def _draw(at: Any, rng: Random) -> Values:
    between = lambda low, high: mpf(rng.uniform(low, high))  # noqa: E731
    values = {rho: between(0.02, 0.98), g: between(0.5, 4), epsilon: between(0.1, 0.5)}
    values |= {x: between(-2, 2), y: between(-2, 2)}
    sign = -1 if at.is_negative else 1 if at.is_positive else rng.choice([-1, 1])
    return values | {symbol: sign * between(0.05, 2.5) for symbol in at.free_symbols}


def _define(at: Any, values: Values) -> Values:
    """Every quantity from the joint normal distribution: quadrature, and numerical derivatives in the correlation."""
    level = value(at, values)
    correlation, near = values[rho], {both_near: _joint_slope(level, mp.sqrt(1 - values[epsilon] ** 2))}
    if values[epsilon] < 0.1:  # a remainder, at three times the digits: the other quantities are not needed
        return near
    rate, joint = _tail(level), _joint(level, correlation)
    weights = [-values[g] / mp.sqrt(3), values[g] / mp.sqrt(3)]
    squares = {covariance: spread(weights, 3, rate, joint)[0], variance: spread(weights, 3, rate, rate)[0]}
    slopes = {
        both_slope: _joint_slope(level, correlation),
        density_slope: mp.diff(lambda c: _density(values[x], values[y], c), correlation),
        strip_slope: mp.diff(lambda c: _strip(values[x], level, c), correlation),
    }
    derived = {p: rate, both: joint, rho_next: squares[covariance] / squares[variance], slope: slopes[both_slope] / rate}
    return squares | slopes | derived | near


def _tail(level: Any) -> Any:
    return mp.quad(mp.npdf, [level, level + 4, level + _negligible_from()])


def _negligible_from() -> Any:
    """Standard deviations beyond which the normal density is negligible at the working precision."""
    return mp.sqrt(2 * mp.prec) + 8


def _joint(level: Any, correlation: Any) -> Any:
    """``P(u > θ, û > θ) = ∫ φ(b) erfc((z + s b)/(c √2)) db`` over ``b > 0``."""
    c, s = mp.sqrt((1 + correlation) / 2), mp.sqrt((1 - correlation) / 2)
    fires = lambda b: mp.npdf(b) * mp.erfc((level + s * b) / (c * mp.sqrt(2)))  # noqa: E731
    return mp.quad(fires, [0, 4, _negligible_from()])


def _joint_slope(level: Any, correlation: Any) -> Any:
    """The derivative of ``_joint`` in ``ρ``, under the integral: numerically it would need three times the digits."""
    c, s = mp.sqrt((1 + correlation) / 2), mp.sqrt((1 - correlation) / 2)

    def moved(b: Any) -> Any:
        edge = (level + s * b) / c
        return mp.exp(-(b * b + edge * edge) / 2) * (b / s + edge / c)

    return mp.quad(moved, [0, 4, _negligible_from()]) / (4 * mp.pi * c)


def _density(at_x: Any, at_y: Any, correlation: Any) -> Any:
    s = mp.sqrt(1 - correlation**2)
    return mp.npdf(at_x) * mp.npdf((at_y - correlation * at_x) / s) / s


def _strip(at_x: Any, level: Any, correlation: Any) -> Any:
    """``∫_z^∞ φ₂ dy = φ(x) P(û > θ | x)``."""
    s = mp.sqrt(1 - correlation**2)
    return mp.npdf(at_x) * mp.erfc((level - correlation * at_x) / (s * mp.sqrt(2))) / 2
