r"""Fixed points of the uniform distribution: a cubic in ``s = √V``, in trigonometric form.

``s³ = a s - b`` with ``a = σ_b² + g²/2``, ``b = g² θ/(2√3)``. Put ``s = 2 √(a/3) cos φ``; then ``cos 3φ = q``,
``q = -(3b/2a) √(3/a)``, with three real roots for ``|q| ≤ 1``.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import sympy
from sympy import Eq, acos, acosh, cos, cosh, pi, sqrt

from varflow._mpmath import mp, mpf
from varflow.symbolic.conditions import above, all_of, at_least, at_most, below
from varflow.symbolic.derivation import Derivation, Domain
from varflow.symbolic.layer import SymbolicLayer
from varflow.symbolic.numbers import Values, value
from varflow.symbolic.roots import bisected
from varflow.symbolic.symbols import V, g, quantity

V_0 = quantity("V_0", "V_0")
V_low, V_high = quantity("V_-", "V_-", positive=True), quantity("V_+", "V_+", positive=True)
c = quantity("c", "c")
s = quantity("s", "s", positive=True)

SILENCE = "no variance, no spikes: silence is a fixed point"  # a reason, in every derivation without a bias


def three_roots(layer: SymbolicLayer) -> Derivation:
    """Threshold in the upper half of the support: the state without spikes and two roots of the cubic."""
    a, b, q = _cubic(layer)
    angle, quiet = acos(q) / 3, layer.bias**2
    steps = _up_to_the_angle(Derivation("The fixed points", _two_fixed_points(layer)), layer, a, b, q)
    at = layer.threshold
    real = at_least(g, 3 * at / sqrt(2)) if quiet == 0 else at_most(9 * g**4 * at**2, 2 * (g**2 + 2 * quiet) ** 3)
    two = all_of(above(at, 0), real)  # q ≥ -1, that is 27 b² ≤ 4 a³; else the cubic has one root, a negative one
    if quiet == 0:
        steps = steps.then(Eq(V_0, quiet), SILENCE, condition=two)
    else:
        two = all_of(*two.args, at_most(3 * quiet, at**2), at_most(at**2, a))
        why = "no neuron reaches the threshold: only the bias is left"
        steps = steps.then(Eq(V_0, quiet), why, assumption=r"$\sqrt{3}\,\sigma_b \leq \theta$", condition=two)
    steps = steps.then(Eq(V_low, 4 * a / 3 * cos(angle - 2 * pi / 3) ** 2), "the second root: the edge of the basin")
    steps = steps.then(Eq(V_high, 4 * a / 3 * cos(angle) ** 2), "the largest root: the stable one")
    return replace(steps, answers=3)


def one_root(layer: SymbolicLayer, setting: Domain) -> Derivation:
    """Threshold below 0: the only fixed point, drawn by ``setting``."""
    a, b, q = _cubic(layer)

    def define(values: Values) -> Values:
        return _scaled(layer, values, values[V]) | {V_high: values[V]}

    steps = _up_to_the_angle(Derivation("The fixed point", Domain(setting.draw, define)), layer, a, b, q)
    full = layer.bias**2 + g**2
    inside = sympy.Piecewise((cos(acos(q) / 3) ** 2, q <= 1), (cosh(acosh(q) / 3) ** 2, True))
    return steps.then(
        Eq(V_high, sympy.Piecewise((full, layer.threshold**2 >= 3 * full), (4 * a / 3 * inside, True))),
        r"the only positive root; every neuron spikes where $\theta \leq -\sqrt{3 V}$",
        condition=below(layer.threshold, 0),
    )


def _cubic(layer: SymbolicLayer) -> tuple[Any, Any, Any]:
    """``s³ = a s - b`` for ``s = √V``, and ``cos 3φ = q`` for ``s = 2 √(a/3) cos φ``."""
    a, b = layer.bias**2 + g**2 / 2, g**2 * layer.threshold / (2 * sqrt(3))
    return a, b, -3 * b / (2 * a) * sqrt(3 / a)


def _up_to_the_angle(start: Derivation, layer: SymbolicLayer, a: Any, b: Any, q: Any) -> Derivation:
    steps = start.then(
        Eq(s**2, layer.bias**2 + g**2 * layer.law.sf(layer.threshold / s)),
        r"a fixed point, $s = \sqrt{V}$",
        assumption=r"the threshold lies in the support, $|\theta| < \sqrt{3}\, s$",
    )
    steps = steps.then(lambda e: Eq(s**3, a * s - b), "times $s$")
    return steps.then(
        lambda e: Eq(q, 4 * c**3 - 3 * c),
        r"$s = 2\sqrt{a/3}\,c$, $a$ the coefficient of $s$; this is $\cos 3\varphi$ if $c = \cos\varphi$",
    )


def _two_fixed_points(layer: SymbolicLayer) -> Domain:
    """Gain and bias for which two chosen ``z = θ/√V``, and the state without spikes, are fixed points."""

    symbols = layer.bias.free_symbols

    def draw(rng: Random) -> Values:
        while True:
            values = layer.draw(rng)
            at = value(layer.threshold, values)
            places = _two_places(layer, rng)
            tails = [layer.law.integral(lambda z: 1, z, mp.inf, values) for z in places]
            variances = [(at / z) ** 2 for z in places]
            gain2 = (variances[0] - variances[1]) / (tails[0] - tails[1])
            silent = variances[0] - gain2 * tails[0]
            if layer.bias == 0 or 0 < silent <= at**2 / 3:
                parameters = {g: mp.sqrt(gain2), V_high: variances[0], V_low: variances[1]}
                return values | parameters | dict.fromkeys(symbols, mp.sqrt(silent))

    def define(values: Values) -> Values:
        return _scaled(layer, values, values[V_high]) | {V_0: value(layer.bias, values) ** 2}

    return Domain(draw, define)


def _two_places(layer: SymbolicLayer, rng: Random) -> tuple[Any, Any]:
    """Two values of ``z``; without a bias the second follows from ``z₂² Q(z₂) = z₁² Q(z₁)``."""
    if layer.bias != 0:
        first, second = sorted(mpf(rng.uniform(0.2, 1.7)) for _ in range(2))
        return first, second
    first, height = mpf(rng.uniform(0.2, 1.1)), lambda z: z**2 * layer.law.integral(lambda t: 1, z, mp.inf, {})
    return first, bisected(lambda z: height(z) - height(first), mp.sqrt(3), 2 / mp.sqrt(3))


def _scaled(layer: SymbolicLayer, values: Values, variance: Any) -> Values:
    """``s = √V`` and ``c = s/(2 √(a/3))``."""
    a = value(layer.bias, values) ** 2 + values[g] ** 2 / 2
    return {s: mp.sqrt(variance), c: mp.sqrt(variance) / (2 * mp.sqrt(a / 3))}
