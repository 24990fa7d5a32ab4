"""The two fixed points of a given gain near the saddle-node, where they meet.

``z² Q(z) = 1/γ`` at a fixed point, with ``γ = g²/θ²`` and ``z = θ/√V``.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

import sympy
from sympy import Eq, O, Rational, S, log, pi, sqrt

from varflow._mpmath import mpf
from varflow.symbolic.derivation import Derivation, Domain
from varflow.symbolic.laws import Law
from varflow.symbolic.numbers import Values
from varflow.symbolic.simplify import composed, neat, product, short
from varflow.symbolic.symbols import ImplicitRoot, above, all_of, below, gamma, quantity, theta
from varflow.symbolic.tails import map_slope, outer_roots, tail, turning_point

epsilon = sympy.Symbol("epsilon", positive=True)  # √(1 - γ_c/γ)
z_c = quantity("z_c", "z_c", positive=True)
z_s, z_e = quantity("z_s", r"z_{\mathrm{s}}", positive=True), quantity("z_e", r"z_{\mathrm{e}}", positive=True)
V_s, V_e = quantity("V_s", r"V_{\mathrm{s}}", positive=True), quantity("V_e", r"V_{\mathrm{e}}", positive=True)
m_s, m_e = quantity("m_s", r"m_{\mathrm{s}}", positive=True), quantity("m_e", r"m_{\mathrm{e}}", positive=True)
r = sympy.Symbol("r", positive=True)  # f/Q


def roots(law: Law, values: Values, inverse_gain: Any) -> Values:
    """Both fixed points of a gain, from the definition."""
    stable, edge = outer_roots(law, inverse_gain)
    at = values[theta]
    return {
        gamma: 1 / inverse_gain,
        z_s: stable,
        z_e: edge,
        V_s: (at / stable) ** 2,
        V_e: (at / edge) ** 2,
        m_s: map_slope(law, stable, inverse_gain / stable**2),
        m_e: map_slope(law, edge, inverse_gain / edge**2),
    }


def saddle_node_root(law: Law, order: int) -> Derivation:
    """Both fixed points in powers of ``ε``: one series, with ``ε → -ε`` for the other."""
    closed, reason = _turn(law)
    logs = _logarithm(law, order + 1, z_c)
    z, variance, multiplier = _series(law, closed, order)
    error, at, tail_ = O(epsilon ** (order + 1)), {law.z: z_s}, law.tail
    other = lambda e: e.subs(epsilon, -epsilon) + error  # noqa: E731
    steps = Derivation("Both fixed points near the saddle-node", Domain(_draw, partial(_define, law)), answers=4).then(
        Eq(1 / gamma, z_s**2 * tail_.subs(at)), "a fixed point", assumption=f"{law.name} potentials, no bias"
    )
    steps = steps.then(
        Eq(epsilon**2, 1 - (z_s / z_c) ** 2 * tail_.subs(at) / tail_.subs(law.z, z_c)),
        r"divided by the maximum of $z^2 Q(z)$, $1/\gamma_{\mathrm c}$, with $\epsilon^2 = 1 - \gamma_{\mathrm c}/\gamma$",
    )
    steps = steps.then(
        Eq(log(1 - epsilon**2), sum(c * (z_s - z_c) ** k for k, c in logs.items()) + O(epsilon ** (order + 2))),
        r"the logarithm of $z^2 Q(z)$ as a series about $z_{\mathrm c}$, with $f/Q = 2/z$ there",
        condition=all_of(above(theta, 0), below(epsilon, 1)),
        assumption=r"$\gamma \to \gamma_{\mathrm c}$",
    )
    steps = steps.then(Eq(z_c, closed), reason)
    steps = steps.then(Eq(z_s, z + error), "solved order by order, below the turning point")
    steps = steps.then(Eq(z_e, other(z)), r"the other root of $\epsilon^2$, $\epsilon \to -\epsilon$")
    steps = steps.then(Eq(m_s, z_s * law.density.subs(at) / (2 * tail_.subs(at))), "slope of the variance map")
    steps = steps.then(Eq(V_s, theta**2 / z_s**2), r"$z = \theta/\sqrt V$")
    steps = steps.then(Eq(V_s, theta**2 * variance + error), "the stable variance")
    steps = steps.then(Eq(V_e, other(theta**2 * variance)), "the edge of the basin of silence")
    steps = steps.then(Eq(m_s, multiplier + error), "the multiplier at the stable point")
    return steps.then(Eq(m_e, other(multiplier)), "and at the edge")


def _draw(rng: Random) -> Values:
    return {theta: mpf(rng.uniform(0.3, 2)), epsilon: mpf(rng.uniform(0.05, 0.4))}


def _define(law: Law, values: Values) -> Values:
    turn = turning_point(law)
    return {z_c: turn} | roots(law, values, (1 - values[epsilon] ** 2) * turn**2 * tail(law, turn))


def _turn(law: Law) -> tuple[Any, str]:
    """``z_c`` in closed form, or as an implicit root."""
    closed = {"uniform": 2 / sqrt(3), "laplace": sqrt(2)}.get(law.name)
    if closed is not None:
        return closed, "where $z f = 2 S$"
    centre = Rational(str(round(float(turning_point(law)), 2)))
    gap = law.z * law.density - 2 * law.tail
    return ImplicitRoot("z_c", gap, law.z, centre - Rational(1, 8), centre + Rational(1, 8)), "the root of $z f = 2 S$"


def _derivatives(law: Law, count: int, turn: Any) -> list[Any]:
    """``r = f/Q`` and its derivatives at ``z_c``: ``r' = r (f'/f + r)`` and ``r = 2/z`` there."""
    slope = neat(sympy.diff(law.density, law.z) / law.density)
    decay = pi / sqrt(3)
    at_turn: Any = {sympy.tanh(decay * law.z / 2): 4 / (decay * law.z) - 1}  # of the logistic distribution, 1 - 2 S, at z_c
    derivatives: list[Any] = [r]
    for _ in range(count):
        last = derivatives[-1]
        derivatives.append(sympy.expand(sympy.diff(last, law.z) + sympy.diff(last, r) * r * (slope + r)))
    return [short(e.subs(at_turn).subs(r, 2 / law.z).subs(law.z, turn)) for e in derivatives]


def _logarithm(law: Law, highest: int, turn: Any) -> dict[int, Any]:
    """Coefficients of ``(z - z_c)^k`` in ``ln z² Q``, whose slope is ``2/z - r``; from ``k = 2`` on."""
    slopes = _derivatives(law, highest - 1, turn)
    factorial = sympy.factorial
    return {
        k: short(((-1) ** (k - 1) * 2 * factorial(k - 1) / turn**k - slopes[k - 1]) / factorial(k))
        for k in range(2, highest + 1)
    }


def _series(law: Law, closed: Any, order: int) -> tuple[Any, Any, Any]:
    """``z``, ``V/θ²`` and ``m`` at the stable point as series in ``ε``."""
    turn = z_c if closed.has(ImplicitRoot) else closed
    logs = _logarithm(law, order + 1, turn)
    root = _reverted(logs, order)
    ratio = [d / sympy.factorial(k) for k, d in enumerate(_derivatives(law, order, turn))]
    z = [turn, *root[1:]]
    inverse_square = [(-1) ** k * (k + 1) / turn ** (k + 2) for k in range(order + 1)]
    multiplier = [short(c / 2) for c in product(composed(ratio, root, order), z, order)]
    series = z, composed(inverse_square, root, order), multiplier
    return tuple(_written(c, -logs[2], closed) for c in series)  # pyright: ignore[reportReturnType]


def _reverted(logs: dict[int, Any], order: int) -> list[Any]:
    """``x`` on the stable side as a series in ``ε/κ``, ``κ² = -c_2``, from ``ln(1 - ε²) = Σ c_k x^k``: rational in ``z_c``."""
    k2, root = -logs[2], [S.Zero, -S.One]
    outer = [S.Zero, S.Zero, *logs.values()]
    for k in range(2, order + 1):
        wanted = -(k2 ** ((k + 1) // 2)) / ((k + 1) // 2) if k % 2 else S.Zero
        missing = composed(outer[: k + 2], [*root, S.Zero], k + 1)[k + 1] - wanted
        root.append(short(-missing / (2 * k2)))
    return root


def _written(coefficients: list[Any], k2: Any, closed: Any) -> Any:
    """A series in ``ε/κ`` as one in ``ε``, each coefficient in its shorter form, ``z_c`` substituted last."""
    total = S.Zero
    for k, coefficient in enumerate(coefficients):
        half, odd = k2 ** (k // 2), k % 2
        forms = short(coefficient / half) / sqrt(k2) ** odd, short(coefficient / half / k2**odd) * sqrt(k2) ** odd
        total += min(forms, key=sympy.count_ops) * epsilon**k
    return total.subs(z_c, closed)
