"""The two fixed points of a given gain near the saddle-node, where they meet, and at large gain, where they part.

``γ = g²/θ²`` and ``z = θ/√V``; at a fixed point ``z² S(z) = 1/γ``.
"""

from __future__ import annotations

from random import Random
from typing import Any

import sympy
from mpmath import mp, mpf
from sympy import Eq, LambertW, O, Rational, S, exp, log, oo, pi, sqrt

from varflow._checks import DomainError
from varflow.symbolic.derivation import Derivation, Setting
from varflow.symbolic.laws import Law
from varflow.symbolic.numbers import Values
from varflow.symbolic.symbols import ImplicitRoot, gamma, quantity, theta
from varflow.symbolic.tails import map_slope, outer_roots, tail, turning_point

__all__ = ["gain_to_infinity", "saddle_node_root"]

delta = sympy.Symbol("delta", positive=True)  # √(1 - γ_c/γ)
z_c = quantity("z_c", "z_c", positive=True)
z_s, z_e = quantity("z_s", r"z_{\mathrm{s}}", positive=True), quantity("z_e", r"z_{\mathrm{e}}", positive=True)
V_s, V_e = quantity("V_s", r"V_{\mathrm{s}}", positive=True), quantity("V_e", r"V_{\mathrm{e}}", positive=True)
m_s, m_e = quantity("m_s", r"m_{\mathrm{s}}", positive=True), quantity("m_e", r"m_{\mathrm{e}}", positive=True)
x, r = sympy.Symbol("x", real=True), sympy.Symbol("r", positive=True)


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
        m_s: map_slope(law, stable),
        m_e: map_slope(law, edge),
    }


def saddle_node_root(law: Law, order: int) -> Derivation:
    """Both fixed points in powers of ``δ``: one series, in which ``δ`` changes sign from one to the other."""

    def draw(rng: Random) -> Values:
        return {theta: mpf(rng.uniform(0.3, 2)), delta: mpf(rng.uniform(0.05, 0.4))}

    def define(values: Values) -> Values:
        turn = turning_point(law)
        return {z_c: turn} | roots(law, values, (1 - values[delta] ** 2) * turn**2 * tail(law, turn))

    half, variable = law.tail, law.z
    logs = _logarithm(law, order + 1)
    root = _reverted(logs, order)
    multiplier = _ratio(law, order).subs(x, root) * (z_c + root) / 2
    variance = theta**2 * _inverse_square(root, order)
    other = lambda e: e.subs(delta, -delta)  # noqa: E731
    closed, reason = _turn(law)
    final = lambda e: _written(e, closed, -logs[2], order)  # noqa: E731
    rest = O(delta ** (order + 1))
    at = {variable: z_s}
    steps = Derivation("Both fixed points near the saddle-node", Setting(draw, define), answers=4).then(
        Eq(1 / gamma, z_s**2 * half.subs(at)), "a fixed point", assumption=f"{law.name} potentials, no bias"
    )
    steps = steps.then(
        Eq(delta**2, 1 - (z_s / z_c) ** 2 * half.subs(at) / half.subs(variable, z_c)),
        r"against the largest value of $z^2 S(z)$, $1/\gamma_{\mathrm c}$, with $\delta^2 = 1 - \gamma_{\mathrm c}/\gamma$",
    )
    steps = steps.then(
        Eq(log(1 - delta**2), sum(c * (z_s - z_c) ** k for k, c in logs.items()) + O(delta ** (order + 2))),
        r"the logarithm of $z^2 S(z)$ as a series about $z_{\mathrm c}$, with $f/S = 2/z$ there",
        assumption=r"$\gamma \to \gamma_{\mathrm c}$",
    )
    steps = steps.then(Eq(z_c, closed), reason)
    steps = steps.then(Eq(z_s, final(z_c + root) + rest), "solved order by order, below the turning point")
    steps = steps.then(Eq(z_e, final(z_c + other(root)) + rest), r"the other root of $\delta^2$, $\delta \to -\delta$")
    steps = steps.then(Eq(m_s, z_s * law.density.subs(at) / (2 * half.subs(at))), "slope of the variance map")
    steps = steps.then(Eq(V_s, theta**2 / z_s**2), r"$z = \theta/\sqrt V$")
    steps = steps.then(lambda e: Eq(V_s, theta**2 * final(variance / theta**2) + rest), "the stable variance")
    steps = steps.then(Eq(V_e, theta**2 * final(other(variance) / theta**2) + rest), "the edge of the basin of silence")
    steps = steps.then(Eq(m_s, final(multiplier) + rest), "the multiplier at the stable point")
    return steps.then(Eq(m_e, final(other(multiplier)) + rest), "and at the edge")


def _turn(law: Law) -> tuple[Any, str]:
    """``z_c`` in closed form, or as the root it is."""
    closed = {"uniform": 2 / sqrt(3), "laplace": sqrt(2)}.get(law.name)
    if closed is not None:
        return closed, "where $z f = 2 S$"
    centre = Rational(float(turning_point(law))).limit_denominator(64)
    gap = law.z * law.density - 2 * law.tail
    return ImplicitRoot("z_c", gap, law.z, centre - Rational(1, 8), centre + Rational(1, 8)), "the root of $z f = 2 S$"


def _derivatives(law: Law, count: int) -> list[Any]:
    """``r = f/S`` and its derivatives at ``z_c``: ``r' = r (f'/f + r)`` and ``r = 2/z`` there."""
    slope = sympy.simplify(sympy.diff(law.density, law.z) / law.density)
    decay = pi / sqrt(3)
    known = {sympy.tanh(decay * law.z / 2): 4 / (decay * law.z) - 1}  # of the logistic law, 1 - 2 S, at z_c
    found = [r]
    for _ in range(count):
        last = found[-1]
        found.append(sympy.expand(sympy.diff(last, law.z) + sympy.diff(last, r) * r * (slope + r)))
    return [sympy.factor(e.subs(known).subs(r, 2 / law.z).subs(law.z, z_c)) for e in found]


def _logarithm(law: Law, highest: int) -> dict[int, Any]:
    """Coefficients of ``(z - z_c)^k`` in ``ln z² S``, whose slope is ``2/z - r``; from ``k = 2`` on."""
    slopes = _derivatives(law, highest - 1)
    return {
        k: sympy.factor(((-1) ** (k - 1) * 2 * sympy.factorial(k - 1) / z_c**k - slopes[k - 1]) / sympy.factorial(k))
        for k in range(2, highest + 1)
    }


def _ratio(law: Law, order: int) -> Any:
    """``f/S`` as a polynomial in ``x = z - z_c``."""
    return sum(d / sympy.factorial(k) * x**k for k, d in enumerate(_derivatives(law, order)))


def _reverted(logs: dict[int, Any], order: int) -> Any:
    """``x`` on the stable side as a series in ``δ/κ``, ``κ² = -c_2``, from ``ln(1 - δ²) = Σ c_k x^k``: rational in ``z_c``."""
    k2 = -logs[2]
    wanted = -sum((k2 * delta**2) ** j / j for j in range(1, order + 2))
    root = -delta
    for k in range(2, order + 1):
        missing = sympy.expand(sum(c * root**j for j, c in logs.items()) - wanted).coeff(delta, k + 1)
        root += sympy.factor(-missing / (2 * k2)) * delta**k
    return root


def _inverse_square(root: Any, order: int) -> Any:
    """``1/(z_c + x)²``."""
    return sum((-1) ** k * (k + 1) * (root / z_c) ** k for k in range(order + 1)) / z_c**2


def _written(series: Any, closed: Any, k2: Any, order: int) -> Any:
    """A series in ``δ/κ`` as one in ``δ``, with ``z_c`` put in: simplified after that only where ``z_c`` is a closed number."""
    whole, total = sympy.expand(series), S.Zero
    for k in range(order + 1):
        rational, odd = whole.coeff(delta, k) / k2 ** (k // 2), k % 2
        forms = sympy.factor(rational) / sqrt(k2) ** odd, sympy.factor(rational / k2**odd) * sqrt(k2) ** odd
        term = min(forms, key=sympy.count_ops)
        if not closed.has(ImplicitRoot):
            term = sympy.radsimp(sympy.simplify(term.subs(z_c, closed)))
        total += term * delta**k
    return total.subs(z_c, closed)


