"""Stability and bifurcations of fixed points: the multiplier, the saddle-node, and the cusp with a bias."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from random import Random
from typing import Any

import numpy as np
import sympy
from sympy import Eq, S, sqrt

from varflow._checks import ConvergenceError, DomainError
from varflow._mpmath import mp, mpf
from varflow.symbolic.algebra import neat, solutions
from varflow.symbolic.derivation import Derivation, Domain, built_once
from varflow.symbolic.laws import Law, Parameters, law_of, refined, secant
from varflow.symbolic.layer import SymbolicLayer, V_next, layer_of
from varflow.symbolic.numbers import Values, as_function, value
from varflow.symbolic.standard import t
from varflow.symbolic.symbols import ImplicitRoot, V, g, gamma, quantity, theta

g_star = quantity("g_*", "g_*", positive=True)
m = quantity("m", "m")
F2 = quantity("F''", "F''(V)")
z_c, gamma_c = quantity("z_c", "z_c", positive=True), quantity("gamma_c", r"\gamma_c", positive=True)
z_i, gamma_i = quantity("z_i", "z_i", positive=True), quantity("gamma_i", r"\gamma_i", positive=True)
cusp = quantity("sigma_b^2/theta^2", r"\sigma_b^2/\theta^2", positive=True)


def on_fixed_points(layer: SymbolicLayer) -> Domain:
    """A layer, and the gain ``g_*`` at which its variance is a fixed point."""

    def draw(rng: Random) -> Values:
        values = layer.draw(rng)
        values |= {symbol: mpf(rng.uniform(0.1, 0.9)) * mp.sqrt(values[V]) for symbol in layer.bias.free_symbols}
        silent = value(layer.bias, values) ** 2
        return values | {g_star: mp.sqrt((values[V] - silent) / layer.moments(values)[1])}

    def define(values: Values) -> Values:
        at = value(layer.threshold, values)
        derived = layer.define(values) | {gamma: values[g] ** 2 / at**2 if at else mp.inf, layer.law.z: at / mp.sqrt(values[V])}
        return derived | {m: values[g] ** 2 * slope_of_tail(layer.law, at, values[V], values)}

    return Domain(draw, define)


def slope_of_tail(law: Law, at: Any, variance: Any, values: Values) -> Any:
    """``d/dV P(√V Z > θ)`` by a symmetric difference, ``P(z_1 < Z < z_2)`` by quadrature."""
    step = variance * mpf(10) ** (-mp.dps // 2)
    with mp.workdps(2 * mp.dps):
        low, high = sorted([at / mp.sqrt(variance + step), at / mp.sqrt(variance - step)])
        return mp.sign(at) * law.integral(lambda z: 1, low, high, values) / (2 * step)


@built_once
def multiplier(
    distribution: Any = "normal", *, threshold: Any = theta, bias_std: Any = 0, parameters: Parameters | None = None
) -> Derivation:
    r"""The slope of the variance map at a fixed point, by which a small deviation is multiplied in every layer.

    .. math:: m = F'(V) = \frac{g^2 z f(z)}{2V}, \qquad \sigma_b = 0: \quad m = \frac{z f(z)}{2 Q(z)}, \quad z = \theta/\sqrt V

    Parameters
    ----------
    distribution, threshold, bias_std, parameters
        As in :func:`variance_map`.

    Returns
    -------
    Derivation
        Its result depends on ``z``; with a bias also on ``g`` and ``V``.

    Raises
    ------
    DomainError
        As in :func:`variance_map`.

    Notes
    -----
    **Assumes** infinite width, no weight mean.
    **Source**: ``poole2016`` and ``schoenholz2017`` for smooth activations; for a step derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.symbolic.multiplier("laplace").result
    sqrt(2)*z/2
    """
    layer = layer_of(distribution, threshold=threshold, bias_std=bias_std, parameters=parameters)
    if layer.threshold.is_zero:
        raise DomainError("threshold", threshold, "must not be 0 here: the map is constant there and the multiplier is 0")
    z, law = layer.law.z, layer.law
    image = layer.bias**2 + g**2 * law.sf(layer.threshold / sqrt(V))
    steps = Derivation("The multiplier", on_fixed_points(layer)).then(
        Eq(V_next, image), "the variance map", condition=law.holds(z)
    )
    steps = steps.then(lambda e: Eq(m, sympy.diff(e.rhs, V)), "its slope, $m = F'(V)$")
    unit = 2 * layer.threshold**2 / (g**2 * z**3)
    in_z = lambda slope: slope.subs(sqrt(V), layer.threshold / z) * unit  # noqa: E731
    steps = steps.then(
        lambda e: Eq(m, g**2 * z * neat(in_z(e.rhs).subs(theta, 1)) / (2 * V)), r"$z = \theta/\sqrt{V}$ and $Q' = -f$"
    )
    if layer.bias != 0:
        return steps
    return steps.then(
        lambda e: Eq(m, neat((z * law.density / (2 * law.tail)).subs(sympy.tanh(0), 0))),
        "a fixed point has $g^2/V = 1/Q(z)$",
        assumption="$V = F(V)$",
        given={g: g_star},
    )


@built_once
def saddle_node(distribution: Any = "normal", *, parameters: Parameters | None = None) -> Derivation:
    r"""The smallest ``γ = g²/θ²`` with activity, where the two active fixed points meet.

    .. math:: \frac1\gamma = z^2 Q(z), \qquad z_c f(z_c) = 2 Q(z_c), \qquad \gamma_c = \frac{1}{z_c^2 Q(z_c)}

    Parameters
    ----------
    distribution, parameters
        As in :func:`variance_map`; the threshold is positive.

    Returns
    -------
    Derivation
        Its result is ``γ_c``: in closed form where ``z_c`` has one, else in terms of the root ``z_c``;
        ``.result.evalf(50)`` evaluates it to any precision.

    Raises
    ------
    DomainError
        As in :func:`variance_map`.

    Notes
    -----
    **Assumes** infinite width, no bias. Of several maxima of ``z² Q(z)`` it takes the highest, found on a grid.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.symbolic.saddle_node("uniform").result, vf.symbolic.saddle_node("laplace").result
    (9/2, exp(2))
    >>> vf.symbolic.saddle_node("normal").result.evalf(30)
    6.03439794696807335630184050485
    """
    law = law_of(distribution, parameters=parameters)
    z = law.z
    top = _root_near_the_peak(
        law,
        lambda z, law_there: z**2 * law_there[1],
        lambda z, values: 2 * law.integral(lambda t: 1, z, mp.inf, values) - z * law.at(values)(z),
    )
    steps = Derivation("The saddle-node", Domain(partial(_draw_z, law), partial(_define_saddle, law, top))).then(
        Eq(1 / gamma, z**2 * law.tail),
        r"a fixed point has $z^2 Q(z) = 1/\gamma$, $z = \theta/\sqrt{V}$",
        condition=law.holds(z),
    )
    steps = steps.then(lambda e: Eq(m, neat(z * law.density / (2 * law.tail))), "its multiplier, $m = F'(V)$")
    steps = steps.then(
        lambda e: Eq(1, e.rhs.subs(z, z_c)), r"$z^2 Q(z)$ is largest where $m = 1$", assumption="the highest of several maxima"
    )
    steps = steps.then(lambda e: Eq(z_c, _solved(e.rhs - 1, law, top)), "solved for $z_c$")
    return steps.then(lambda e: Eq(gamma_c, neat(1 / (e.rhs**2 * law.sf(e.rhs)))), r"the smallest $\gamma$ with a fixed point")


def _draw_z(law: Law, rng: Random) -> Values:
    values: Values = {symbol: mpf(rng.uniform(*ends)) for symbol, ends in law.parameters.items()}
    high = min(float(law.high.subs(values)), 3.0)
    return values | {law.z: mpf(rng.uniform(0.1, 0.9 * high))}


def _define_saddle(law: Law, top: Callable[[Values], Any], values: Values) -> Values:
    z, peak = values[law.z], top(values)
    tail = lambda at: law.integral(lambda t: 1, at, mp.inf, values)  # noqa: E731
    slope = slope_of_tail(law, mpf(1), 1 / z**2, values) / (z**2 * tail(z))  # of F at θ = 1, g² = 1/(z² Q(z))
    return {gamma: 1 / (z**2 * tail(z)), m: slope, z_c: peak, gamma_c: 1 / (peak**2 * tail(peak))}


def _root_near_the_peak(
    law: Law, height: Callable[[Any, Any], Any], slope: Callable[[Any, Values], Any]
) -> Callable[[Values], Any]:
    """The root of ``slope`` near the highest point of ``height(z, (f, S))`` on a grid, first in few digits."""

    @lru_cache(maxsize=64)
    def found(shape: tuple[Any, ...], digits: int) -> Any:
        values = dict(shape)
        z, width = _scan(law, height, values)
        try:
            with mp.workdps(15):
                near = mp.findroot(lambda z: slope(z, values), (z - width, z + width), solver="anderson")
            return refined(secant(lambda z: slope(z, values)), near)
        except (ConvergenceError, ValueError, ZeroDivisionError, TypeError):
            rule = f"has no smooth maximum here (highest near z = {mp.nstr(z, 4)}); vf.critical_gain gives the number"
            raise DomainError("distribution", law.name, rule) from None

    return lambda values: found(tuple((symbol, values[symbol]) for symbol in law.parameters), mp.dps)


def _scan(law: Law, height: Callable[[Any, Any], Any], values: Values, points: int = 4000) -> tuple[Any, Any]:
    """The highest point on a fine grid, in doubles, and the uncertainty of its place."""
    end = float(law.ends[-1].subs(values))
    last = min(end, 8.0)
    with mp.workdps(15):
        remaining = float(law.integral(lambda t: 1, mpf(last), mp.inf, values)) if end > last else 0.0
    step = last / points
    z = step * (np.arange(points) + 0.5)
    symbols = tuple(law.parameters)
    density = as_function((t, *symbols), law.whole, "numpy")
    f = np.nan_to_num(density(z, *(float(values[s]) for s in symbols)) * np.ones(points), posinf=0.0)
    tail = remaining + step * np.cumsum(f[::-1])[::-1] - step * f / 2
    best = int(np.argmax(height(z, (f, tail))))
    return mpf(float(z[best])), mpf(4 * step)


def _solved(equation: Any, law: Law, numeric: Callable[[Values], Any]) -> Any:
    """The root ``z_c`` or ``z_i`` of an equation: in closed form if there is one, else implicit."""
    unknown = next(symbol for symbol in (z_c, z_i) if equation.has(symbol))
    middle = {symbol: mpf(sum(ends)) / 2 for symbol, ends in law.parameters.items()}
    with mp.workdps(20):
        near = numeric(middle)
    candidates = solutions(equation, unknown)
    for candidate in candidates:
        if not candidate.has(sympy.I) and abs(sympy.N(candidate.subs(middle)) - near) < 1e-9:
            return candidate
    if law.parameters:
        raise DomainError("distribution", law.name, f"has no closed form of {unknown}: give its parameters numbers")
    low, high = (sympy.Rational(str(mp.nstr(near * mpf(factor), 3))) for factor in ("0.9", "1.1"))
    edge = law.high if law.high.is_infinite else law.high * S(999) / 1000
    return ImplicitRoot(unknown, equation, unknown, low, sympy.Min(high, edge))


@built_once
def bias_cusp(distribution: Any = "normal") -> Derivation:
    r"""The cusp, where three fixed points meet: for a larger bias there is one fixed point at every gain.

    .. math:: F(V) = V, \quad F'(V) = 1, \quad F''(V) = 0: \qquad
              (z^3 f)' = 0, \quad \gamma = \frac{2}{z^3 f(z)}, \quad \frac{\sigma_b^2}{\theta^2} = \frac1{z^2} - \gamma Q(z)

    Parameters
    ----------
    distribution : str or sympy.stats variable
        Of the standardised potential; the threshold is positive.

    Returns
    -------
    Derivation
        Its result is the pair ``(γ, σ_b²/θ²)``; the variance there is ``θ²/z²``.

    Raises
    ------
    DomainError
        As in :func:`variance_map`.

    Notes
    -----
    **Assumes** infinite width. **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> gamma, bias = vf.symbolic.bias_cusp().result
    >>> gamma.evalf(10), bias.evalf(10)
    (4.323941112, 0.1533179000)
    """
    law = law_of(distribution)
    z, at = law.z, lambda e: e.subs(V, 1 / law.z**2)
    setting = Domain(
        lambda rng: _draw_z(law, rng) | {gamma: mpf(rng.uniform(1, 9))}, partial(_define_cusp, law, _steepest(law))
    )
    image = gamma * law.sf(1 / sqrt(V))  # at θ = 1 without the bias, which adds a constant
    steps = Derivation("The cusp", setting).then(
        Eq(m, at(sympy.diff(image, V))), r"slope of $F = \sigma_b^2 + \gamma Q(1/\sqrt{V})$ at $\theta = 1$"
    )
    steps = steps.then(lambda e: Eq(F2, at(sympy.diff(image, V, 2))), "its curvature")
    if _rises_to_the_edge(law):
        steps = steps.then(Eq(z_i, law.high), "$z^3 f(z)$ rises to the edge of the support, where the curvature changes sign")
    else:
        steps = steps.then(
            lambda e: Eq(3, neat(-z * sympy.diff(law.density, z) / law.density).subs(z, z_i)),
            "no curvature: $z^3 f(z)$ is at its maximum",
            assumption="$F''(V) = 0$",
        )
        steps = steps.then(lambda e: Eq(z_i, _solved(e.rhs - 3, law, _steepest(law))), "solved for $z_i$")
    root = steps.steps[-1].expression.rhs
    steps = steps.then(lambda e: Eq(gamma_i, neat(2 / (root**3 * law.pdf(root)))), "slope one", assumption="$F'(V) = 1$")
    steps = steps.then(
        lambda e: Eq(cusp, neat(1 / root**2 - e.rhs * law.sf(root))),
        r"a fixed point, $V = \theta^2/z_i^2$",
        assumption="$F(V) = V$",
    )
    return replace(steps, answers=2)


def _rises_to_the_edge(law: Law) -> bool:
    bounded = law.high in law.ends and not law.high.is_infinite
    return bool(bounded and sympy.diff(law.z**3 * law.density, law.z).is_positive)


def _steepest(law: Law) -> Callable[[Values], Any]:
    """The ``z`` at which ``z³ f(z)``, the slope of the map, is largest."""
    if _rises_to_the_edge(law):
        return lambda values: value(law.high, {})
    steep = lambda z, values: z**3 * law.at(values)(z)  # noqa: E731
    return _root_near_the_peak(
        law, lambda z, law_there: z**3 * law_there[0], lambda z, values: mp.diff(lambda y: steep(y, values), z)
    )


def _define_cusp(law: Law, steepest: Callable[[Values], Any], values: Values) -> Values:
    slope = lambda v: law.at({})(1 / mp.sqrt(v)) / (2 * v ** mpf("1.5"))  # noqa: E731
    z, here = steepest(values), 1 / values[law.z] ** 2
    gain = 2 / (z**3 * law.at(values)(z * (1 - 8 * mp.eps)))  # inside, where z is an edge of the support
    slopes = {m: values[gamma] * slope_of_tail(law, mpf(1), here, values), F2: values[gamma] * mp.diff(slope, here)}
    return slopes | {z_i: z, gamma_i: gain, cusp: 1 / z**2 - gain * law.integral(lambda t: 1, z, mp.inf, values)}
