"""The two fixed points at large gain: ``z → 0`` for the stable one, ``z`` far in the tail for the edge of silence.

``z² Q(z) = η²`` at a fixed point, with ``z = θ/√V`` and small ``η = θ/g = 1/√γ``.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

import sympy
from sympy import Eq, LambertW, O, S, exp, log, oo, pi, sqrt

from varflow._checks import DomainError
from varflow._mpmath import mp, mpf
from varflow.symbolic.derivation import Derivation, Domain
from varflow.symbolic.laws import Law
from varflow.symbolic.numbers import Values
from varflow.symbolic.saddle_node_limit import V_e, V_s, m_e, m_s, roots, z_e, z_s
from varflow.symbolic.simplify import composed, factored, neat, product, short, taylor
from varflow.symbolic.symbols import at_most, g, quantity, theta
from varflow.symbolic.tails import tail, turning_point

eta = sympy.Symbol("eta", positive=True)
start = sympy.Symbol("eta_0", positive=True)
y = quantity("y", "y", positive=True)  # z_e, or its square, to leading order
q = quantity("q", "q", positive=True)  # the logistic tail at z_e
x = sympy.Symbol("x", positive=True)
decay = pi / sqrt(3)  # of the logistic tail


def gain_to_infinity(law: Law, order: int) -> Derivation:
    """The stable point as a power series; the edge by Lambert's function and corrections."""
    if law.name not in EDGES:
        rule = f"has no known expansion for 'gain_to_infinity'; choose one of {', '.join(EDGES)}"
        raise DomainError("distribution", law.name, rule)
    f, tail_ = law.density, law.tail
    root = _stable_root(law, order + 1)
    error = O(eta ** (order + 1))
    put = lambda e: _powers(e.subs(law.z, x), root, order)  # noqa: E731
    steps = Derivation("Both fixed points at large gain", Domain(_draw, partial(_define, law)), answers=4).then(
        Eq(eta**2, z_s**2 * tail_.subs(law.z, z_s)),
        "a fixed point, $\\eta = \\theta/g$",
        assumption=f"{law.name} potentials, no bias",
    )
    steps = steps.then(
        Eq(z_s, root + O(eta ** (order + 2))),
        "its root solved for order by order",
        assumption="$\\eta \\to 0$",
        condition=_two(law),
    )
    steps = steps.then(Eq(V_s / g**2, tail_.subs(law.z, z_s)), "$V = g^2 Q(z)$")
    steps = steps.then(Eq(m_s, z_s * f.subs(law.z, z_s) / (2 * tail_.subs(law.z, z_s))), "slope of the variance map")
    steps = steps.then(Eq(eta**2, z_e**2 * tail_.subs(law.z, z_e)), "the other fixed point")
    *before, edge_variance, edge_slope = EDGES[law.name](law, order)
    for equation, reason, *limit in before:
        steps = steps.then(equation, reason, assumption="".join(limit))
    steps = steps.then(Eq(V_s / g**2, put(tail_) + error), "the stable variance")
    steps = steps.then(Eq(m_s, put(law.z * f / (2 * tail_)) + error), "the multiplier there")
    return steps.then(*edge_variance).then(*edge_slope)


def _two(law: Law) -> Any:
    """``γ > γ_c``: there are two fixed points."""
    with mp.workdps(20):
        turn = turning_point(law)
        highest = mp.sqrt(turn**2 * tail(law, turn))
        return at_most(eta, sympy.Float(mp.nstr(highest, 15)))


def _draw(rng: Random) -> Values:
    return {theta: mpf(rng.uniform(0.3, 2)), start: mpf(rng.uniform(0.05, 0.3))}


def _define(law: Law, values: Values) -> Values:
    """A small ``η``, or the large or small parameter at the edge, from which ``η`` follows; and both roots."""
    small = _small(law, values)
    return small | roots(law, values, small[eta] ** 2) | {g: values[theta] / small[eta]}


def _small(law: Law, values: Values) -> Values:
    """``η``, and ``y`` from ``η² = z² S̃(z)`` with the leading form ``S̃`` of the tail."""
    if law.name == "normal":
        if y in values:
            return {eta: (values[y] / (2 * mp.pi)) ** (mpf(1) / 4) * mp.exp(-values[y] / 4), y: values[y]}
        at = values.get(eta, values[start])
        return {
            eta: at,
            y: mp.findroot(lambda s: s - mp.log(s) + mp.log(2 * mp.pi) + 4 * mp.log(at), _guess(at), tol=mp.eps**1.8),
        }
    if law.name == "logistic":
        unit = 2 * mp.sqrt(3) / mp.pi
        if q in values:
            at = -mp.log(values[q]) / 2
            return {eta: unit * at * mp.sqrt(values[q]), y: at}
        at = values.get(eta, values[start])
        root = mp.findroot(lambda s: mp.log(s) - s - mp.log(at / unit), 3 - 2 * mp.log(at), tol=mp.eps**1.8)
        return {eta: at, y: root, q: mp.exp(-2 * root)}
    return {eta: values.get(eta, values[start])}


def _guess(at: Any) -> Any:
    """A value beyond the larger root of ``y - ln y = -ln 2π - 4 ln η``."""
    return 2 * (3 - 4 * mp.log(at))


def _stable_root(law: Law, order: int) -> Any:
    """``z(η)`` from ``z = η/√Q(z)``: each iteration gives one more power."""
    inverse = taylor(1 / sqrt(law.tail.subs(law.z, x)), x, order)
    root = S.Zero
    for k in range(1, order + 1):
        root = _cut(eta * inverse.subs(x, root), k)
    return root


def _cut(expression: Any, order: int) -> Any:
    expanded = sympy.expand(expression)
    return sum(factored(neat(expanded.coeff(eta, k))) * eta**k for k in range(order + 1))


def _powers(expression: Any, root: Any, order: int) -> Any:
    return _cut(taylor(expression, x, order).subs(x, root), order)


def _normal_edge(law: Law, order: int) -> list[tuple[Any, ...]]:
    """``Y = z²`` from ``Y - ln Y - 2 ln M(Y) = y - ln y`` with Mills' series ``M = 1 - 1/Y + 3/Y² …``, in powers of ``1/y``."""
    w = -LambertW(-2 * pi * eta**4, -1)
    u = sympy.Symbol("u", positive=True)  # 1/y
    mills: Any = sum((-1) ** k * sympy.factorial2(2 * k - 1) * x**k for k in range(order + 1))
    shift = S.Zero
    for k in range(1, order + 1):
        inverse = u / (1 + u * shift)
        shift = _in(u, log(1 + u * shift) + 2 * log(mills).subs(x, inverse), k)
    Y = lambda at: at + shift.subs(u, 1 / at)  # noqa: E731
    variance = _in(u, u / (1 + u * shift), order + 1)
    slope = _in(u, 1 / mills.subs(x, u / (1 + u * shift)) * (1 + u * shift), order) / (2 * u)
    return [
        (Eq(eta**4, y * exp(-y) / (2 * pi)), "from the leading form $Q(z) \\sim f(z)/z$, $y \\approx z^2$"),
        (Eq(y, w, evaluate=False), "solved by Lambert's function, on its lower branch"),
        (
            Eq(z_e**2, Y(y) + O(y ** (-order - 1), (y, oo))),
            "with Mills' series, $z^2 - \\ln z^2 - 2 \\ln(1 - z^{-2} + \\dots) = y - \\ln y$",
            "$y \\to \\infty$",
        ),
        (
            Eq(V_e / theta**2, variance.subs(u, 1 / w) + O(y ** (-order - 2), (y, oo)), evaluate=False),
            "the edge of the basin of silence",
        ),
        (Eq(m_e, sympy.expand(slope).subs(u, 1 / w) + O(y**-order, (y, oo)), evaluate=False), "the multiplier there"),
    ]


def _in(variable: Any, expression: Any, order: int) -> Any:
    return sympy.series(expression, variable, 0, order + 1).removeO()


def _laplace_edge(law: Law, order: int) -> list[tuple[Any, ...]]:
    w = -LambertW(-eta, -1)
    return [
        (Eq(z_e, sqrt(2) * w, evaluate=False), "solved by Lambert's function, on its lower branch"),
        (Eq(V_e / theta**2, 1 / (2 * w**2), evaluate=False), "the edge of the basin of silence"),
        (Eq(m_e, w, evaluate=False), "the multiplier there, $z/\\sqrt 2$"),
    ]


def _uniform_edge(law: Law, order: int) -> list[tuple[Any, ...]]:
    """``z = √3 - 2√3 η²/z²``, iterated."""
    root = sqrt(3)
    for k in range(1, order + 1):
        root = _cut(_in(eta, sqrt(3) - 2 * sqrt(3) * eta**2 / root**2, 2 * k), 2 * k)
    error = O(eta ** (2 * order + 2))
    slope = _cut(_in(eta, root**3 / (4 * sqrt(3)), 2 * order), 2 * order) / eta**2
    return [
        (Eq(z_e, root + error), "near the end of the support, $z = \\sqrt 3 - 2\\sqrt 3\\, \\eta^2/z^2$ iterated"),
        (Eq(V_e / theta**2, _cut(_in(eta, root**-2, 2 * order), 2 * order) + error), "the edge of the basin of silence"),
        (
            Eq(m_e, sympy.expand(slope) + O(eta ** (2 * order))),
            "the multiplier there, $z f/2S = z^3/(4\\sqrt 3\\, \\eta^2)$",
        ),
    ]


def _logistic_edge(law: Law, order: int) -> list[tuple[Any, ...]]:
    """``π z/(2√3) = y + d``: ``d = ln(1 + d/y) - ln(1 + q e^(-2 d))/2``, in powers of ``q = e^(-2 y)``."""
    a, w, error, k_s = decay, -LambertW(-decay * eta / 2, -1), O(q ** (order + 1)), range(1, order + 1)
    logs, exps = [S.Zero, *((-S.One) ** (k + 1) / k for k in k_s)], [(-S(2)) ** k / sympy.factorial(k) for k in (0, *k_s)]
    d = [S.Zero] * (order + 1)
    for k in k_s:
        ratio, odds = [c / y for c in d], [S.Zero, *composed(exps, d, order)]
        right = composed(logs, ratio, order)[k] - ratio[k] - composed(logs, odds[: order + 1], order)[k] / 2
        d[k] = short(right * y / (y - 1))
    odds = [S.Zero, *composed(exps, d, order)][: order + 1]
    square = composed([(-S.One) ** k * (k + 1) / y ** (k + 2) for k in (0, *k_s)], d, order)
    slope = product([y, *d[1:]], composed([(-S.One) ** k for k in (0, *k_s)], odds, order), order)
    final = lambda c: sum(e.subs(y, w) * exp(-2 * k * w) for k, e in enumerate(c))  # noqa: E731
    return [
        (
            Eq(eta, 2 / a * y * exp(-y)),
            "from the leading form $Q(z) \\sim e^{-\\pi z/\\sqrt 3}$, $y \\approx \\pi z/2\\sqrt 3$",
        ),
        (Eq(y, w, evaluate=False), "solved by Lambert's function, on its lower branch"),
        (Eq(z_e, 2 / a * (y + sum(c * q**k for k, c in enumerate(d))) + error), "in powers of $q = e^{-2 y}$", "$q \\to 0$"),
        (Eq(V_e / theta**2, a**2 / 4 * final(square) + error, evaluate=False), "the edge of the basin of silence"),
        (Eq(m_e, final(slope) + error, evaluate=False), "the multiplier there"),
    ]


EDGES = {"normal": _normal_edge, "uniform": _uniform_edge, "laplace": _laplace_edge, "logistic": _logistic_edge}
