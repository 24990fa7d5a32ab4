"""The two fixed points of a given gain in two limits: near the saddle-node, where they meet, and at large gain.

``z² Q(z) = 1/γ`` at a fixed point, with ``γ = g²/θ²`` and ``z = θ/√V``. At large gain, small ``η = θ/g = 1/√γ``, ``z → 0`` for
the stable one, and ``z`` is far in the tail for the edge of silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import sympy
from sympy import Eq, LambertW, O, Rational, S, exp, log, oo, pi, sqrt

from varflow._checks import DomainError
from varflow._mpmath import mp, mpf
from varflow.symbolic.algebra import composed, factored, neat, product, short, taylor
from varflow.symbolic.derivation import Derivation, Domain
from varflow.symbolic.laws import Law, map_slope, outer_roots, tail, turning_point
from varflow.symbolic.numbers import Values
from varflow.symbolic.symbols import ImplicitRoot, above, all_of, at_most, below, g, gamma, quantity, theta

epsilon = sympy.Symbol("epsilon", positive=True)  # √(1 - γ_c/γ)
z_c = quantity("z_c", "z_c", positive=True)
z_s, z_e = quantity("z_s", r"z_{\mathrm{s}}", positive=True), quantity("z_e", r"z_{\mathrm{e}}", positive=True)
V_s, V_e = quantity("V_s", r"V_{\mathrm{s}}", positive=True), quantity("V_e", r"V_{\mathrm{e}}", positive=True)
m_s, m_e = quantity("m_s", r"m_{\mathrm{s}}", positive=True), quantity("m_e", r"m_{\mathrm{e}}", positive=True)
r = sympy.Symbol("r", positive=True)  # f/Q
eta = sympy.Symbol("eta", positive=True)
start = sympy.Symbol("eta_0", positive=True)
y = quantity("y", "y", positive=True)  # z_e, or its square, to leading order
q = quantity("q", "q", positive=True)  # the logistic tail at z_e
x = sympy.Symbol("x", positive=True)
decay = pi / sqrt(3)  # of the logistic tail


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


def check_name(law: Law, limit: str, names: Iterable[str]) -> None:
    """DomainError for a distribution whose expansion is not known."""
    if law.name not in names:
        rule = f"has no known expansion for {limit!r}; choose one of {', '.join(names)}"
        raise DomainError("distribution", law.name, rule)


def saddle_node_root(law: Law, order: int) -> Derivation:
    """Both fixed points in powers of ``ε``: one series, with ``ε → -ε`` for the other."""
    closed, reason = _turn(law)
    logs = _logarithm(law, order + 1, z_c)
    z, variance, multiplier = _series_in_epsilon(law, closed, order)
    error, at, tail_ = O(epsilon ** (order + 1)), {law.z: z_s}, law.tail
    other = lambda e: e.subs(epsilon, -epsilon) + error  # noqa: E731
    steps = Derivation("Both fixed points near the saddle-node", _setting(law, epsilon, 0.4, _define_epsilon), answers=4).then(
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


def _setting(law: Law, small: Any, largest: float, define: Callable[[Law, Values], Values]) -> Domain:
    """Thresholds, and a small parameter from 0.05 on."""
    return Domain(lambda rng: {theta: mpf(rng.uniform(0.3, 2)), small: mpf(rng.uniform(0.05, largest))}, partial(define, law))


def _define_epsilon(law: Law, values: Values) -> Values:
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


def _series_in_epsilon(law: Law, closed: Any, order: int) -> tuple[Any, Any, Any]:
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


def gain_to_infinity(law: Law, order: int) -> Derivation:
    """The stable point as a power series; the edge by Lambert's function and corrections."""
    check_name(law, "gain_to_infinity", EDGES)
    f, tail_ = law.density, law.tail
    root = _stable_root(law, order + 1)
    error = O(eta ** (order + 1))
    put = lambda e: _cut(taylor(e.subs(law.z, x), x, order).subs(x, root), order)  # noqa: E731
    steps = Derivation("Both fixed points at large gain", _setting(law, start, 0.3, _define_eta), answers=4).then(
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


def _define_eta(law: Law, values: Values) -> Values:
    """A small ``η``, or the large or small parameter at the edge, from which ``η`` follows; and both roots."""
    small = _small(law, values)
    return small | roots(law, values, small[eta] ** 2) | {g: values[theta] / small[eta]}


def _small(law: Law, values: Values) -> Values:
    """``η``, and ``y`` from ``η² = z² S̃(z)`` with the leading form ``S̃`` of the tail."""
    if law.name == "normal":
        if y in values:
            return {eta: (values[y] / (2 * mp.pi)) ** (mpf(1) / 4) * mp.exp(-values[y] / 4), y: values[y]}
        at = values.get(eta, values[start])
        level = mp.log(2 * mp.pi) + 4 * mp.log(at)
        return {eta: at, y: mp.findroot(lambda s: s - mp.log(s) + level, 2 * (3 - 4 * mp.log(at)), tol=mp.eps**1.8)}
    if law.name == "logistic":
        unit = 2 * mp.sqrt(3) / mp.pi
        if q in values:
            at = -mp.log(values[q]) / 2
            return {eta: unit * at * mp.sqrt(values[q]), y: at}
        at = values.get(eta, values[start])
        root = mp.findroot(lambda s: mp.log(s) - s - mp.log(at / unit), 3 - 2 * mp.log(at), tol=mp.eps**1.8)
        return {eta: at, y: root, q: mp.exp(-2 * root)}
    return {eta: values.get(eta, values[start])}


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
