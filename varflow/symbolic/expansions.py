"""Expansions near limits of the theory: small and large thresholds here, gains in ``saddle_node_limit`` and ``large_gain``.

Each is derived from an exact equation, and checked against numbers computed without series (``laws``).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import sympy
from sympy import Eq, Integral, O, S, exp, oo, sqrt

from varflow._checks import DomainError, choice, integer
from varflow._mpmath import mp, mpf
from varflow.symbolic.algebra import factored, neat, reciprocal, taylor
from varflow.symbolic.derivation import Derivation, Domain, built_once
from varflow.symbolic.laws import Law, law_of, map_slope, tail
from varflow.symbolic.numbers import Values
from varflow.symbolic.symbols import above, g, quantity, theta
from varflow.symbolic.two_roots import check_name, gain_to_infinity, saddle_node_root

HIGHEST_ORDER = 4
p, m = quantity("p", "p", positive=True), quantity("m", "m", positive=True)
t = sympy.Symbol("t", positive=True)


@built_once
def expansion(limit: str, distribution: Any = "normal", *, order: int = 2) -> Derivation:
    r"""Gain, multiplier and fixed points near a limit of the theory, as series with a stated remainder.

    .. math::
        \theta \to 0: \quad g^2 = 2 + 4 f(0)\, \theta + \dots, \qquad
        \theta \to \infty: \quad g^2 \sim \sqrt{2\pi}\, \theta\, e^{\theta^2/2} (1 + \theta^{-2} - \dots), \qquad
        \gamma \to \gamma_c: \quad m = 1 \mp c \sqrt{1 - \gamma_c/\gamma} + \dots

    Parameters
    ----------
    limit : {"threshold_to_zero", "threshold_to_infinity", "saddle_node", "gain_to_infinity"}
        The first two expand the preserving gain, which keeps the variance at 1, and its multiplier. The others expand the two
        fixed points of a given gain, ``γ = g²/θ²``, without bias: the stable one (``s``) and the edge of the basin of silence
        (``e``).
    distribution : str or sympy.stats variable
        Of the standardised potential, without free parameters. ``threshold_to_infinity`` and ``gain_to_infinity`` are known
        for ``"normal"``, ``"laplace"`` and ``"logistic"``, the latter also for ``"uniform"``.
    order : int
        Highest power kept, relative to the leading term, of the small parameter: ``θ``; ``1/θ²``; ``ε = √(1 - γ_c/γ)``;
        ``η = θ/g``. From 1 to 4. Exact forms are returned where known, at any order.

    Returns
    -------
    Derivation
        ``.result`` is a tuple: ``(g², m)`` for the thresholds, ``(V_s, V_e, m_s, m_e)`` for the saddle-node,
        ``(V_s/g², m_s, V_e/θ², m_e)`` for large gain.

    Raises
    ------
    DomainError
        For another limit, a distribution without a known expansion, and the uniform distribution at large thresholds, where no
        neuron fires.

    Notes
    -----
    **Assumes** infinite width, no bias, weights of mean zero.
    **Accuracy**: ``.check()`` evaluates each remainder down to ``1e-8`` of a small parameter, up to ``10⁴`` of a large one.
    **Source**: derived here; the series at large θ is that of Mills' ratio, by repeated integration by parts.

    Examples
    --------
    >>> import varflow as vf
    >>> gain_squared, multiplier = vf.symbolic.expansion("threshold_to_infinity").result
    >>> multiplier
    theta**2/2 + 1/2 - 1/theta**2
    >>> vf.symbolic.expansion("saddle_node", "uniform", order=1).result[2:]
    (-sqrt(3)*epsilon + 1, sqrt(3)*epsilon + 1)
    """
    choice("limit", limit, LIMITS)
    order = integer("order", order, minimum=1)
    if order > HIGHEST_ORDER:
        raise DomainError("order", order, f"must be at most {HIGHEST_ORDER}")
    return LIMITS[limit](law_of(distribution), order)


def _setting(law: Law) -> Domain:
    """Thresholds of order one, and the quantities at variance 1."""
    return Domain(lambda rng: {theta: mpf(rng.uniform(0.2, 1.6))}, partial(_define, law))


def _define(law: Law, values: Values) -> Values:
    fires = tail(law, values[theta])
    return {p: fires, g: 1 / mp.sqrt(fires), m: map_slope(law, values[theta], fires)}


def _threshold_to_zero(law: Law, order: int) -> Derivation:
    """``Q(θ) = Q(0) - ∫_0^θ f``, its reciprocal, and the slope."""
    f = sympy.expand(taylor(law.pdf(theta), theta, order))
    half = neat(law.tail.subs(law.z, 0))
    steps = Derivation("Small thresholds: the preserving gain and its multiplier", _setting(law), answers=2).then(
        Eq(p, half - Integral(law.pdf(t), (t, 0, theta))),
        "the upper tail, $Q(0) - \\int_0^\\theta f$",
        assumption=f"{law.name} potentials",
        condition=law.holds(theta),
    )
    steps = steps.then(
        lambda e: Eq(p, half - sympy.integrate(f, theta) + O(theta ** (order + 1))),
        "the density as a series, term by term",
        assumption=r"$\theta \to 0$",
    )
    series = steps.steps[-1].expression.rhs.removeO()
    steps = steps.then(Eq(m, theta * law.pdf(theta) / (2 * p)), r"slope of $V \mapsto g^2 Q(\theta/\sqrt V)$ at $V = 1$")
    return _gain_and_multiplier(steps, series, f, theta, order)


def _gain_and_multiplier(steps: Derivation, p_series: Any, f_series: Any, small: Any, order: int) -> Derivation:
    """The gain, then gain and multiplier as power series."""
    steps = steps.then(Eq(g**2, 1 / p), "the variance 1 is preserved", assumption="$V = V' = 1$")
    inverse = reciprocal([p_series.coeff(small, k) for k in range(order + 1)])
    steps = steps.then(lambda e: Eq(e.lhs, _written(inverse, small) + O(small ** (order + 1))), "the reciprocal of the series")
    density = [f_series.coeff(small, k) / 2 for k in range(order + 1)]
    slope = [S.Zero, *(sum(density[i] * inverse[k - i] for i in range(k + 1)) for k in range(order + 1))]
    return steps.then(Eq(m, _written(slope, small) + O(small ** (order + 2))), "both series substituted in the slope")


def _written(coefficients: list[Any], small: Any) -> Any:
    return sum(factored(neat(c)) * small**k for k, c in enumerate(coefficients))


def _threshold_to_infinity(law: Law, order: int) -> Derivation:
    if law.name == "uniform":
        raise DomainError("distribution", law.name, "has no potentials above √3: no gain keeps a variance of 1 for θ ≥ √3")
    check_name(law, "threshold_to_infinity", ("normal", "laplace", "logistic"))
    steps = Derivation("Large thresholds: the preserving gain and its multiplier", _setting(law), answers=2).then(
        Eq(p, Integral(law.pdf(t), (t, theta, oo))),
        "the upper tail",
        assumption=f"{law.name} potentials",
        condition=above(theta, 0),
    )
    return _by_mills(steps, law, order) if law.name == "normal" else _in_closed_form(steps, law)


def _in_closed_form(steps: Derivation, law: Law) -> Derivation:
    """Exponential tails, without a series."""
    f, S_ = law.pdf(theta), law.sf(theta)
    steps = steps.then(lambda e: Eq(e.lhs, S_), "the integral in closed form")
    steps = steps.then(Eq(m, theta * f / (2 * p)), r"slope of $V \mapsto g^2 Q(\theta/\sqrt V)$ at $V = 1$")
    steps = steps.then(Eq(g**2, 1 / S_), "the variance 1 is preserved", assumption="$V = V' = 1$")
    decay = -sympy.limit(sympy.diff(law.pdf(t), t) / law.pdf(t), t, oo)
    closed = {"laplace": decay * theta / 2, "logistic": decay * theta / 2 / (1 + exp(-decay * theta))}[law.name]
    return steps.then(Eq(m, closed), "the tail substituted in the slope")


def _by_mills(steps: Derivation, law: Law, order: int) -> Derivation:
    """Integration by parts: ``∫ f t^-j = f(θ) θ^-(j+1) - (j+1) ∫ f t^-(j+2)``, because ``f' = -t f``."""
    f = law.pdf(theta)
    for j in range(0, 2 * order + 2, 2):
        again = f * theta ** (-j - 1) - (j + 1) * Integral(law.pdf(t) * t ** (-j - 2), (t, theta, oo))
        steps = steps.then(
            lambda e, again=again: Eq(e.lhs, sympy.expand(e.rhs.replace(Integral, lambda *_: again))),
            "integrated by parts, $f\\,t = -f'$" if j == 0 else "by parts again",
        )
    mills = sum(term for term in sympy.Add.make_args(sympy.expand(steps.steps[-1].expression.rhs)) if not term.has(Integral))
    steps = steps.then(
        Eq(p, f * sympy.expand(mills / f) + O(f * theta ** (-2 * order - 3), (theta, oo))),
        "the remaining integral is smaller than the last term",
        assumption=r"$\theta \to \infty$",
    )
    steps = steps.then(Eq(m, theta * f / (2 * p)), r"slope of $V \mapsto g^2 Q(\theta/\sqrt V)$ at $V = 1$")
    steps = steps.then(Eq(g**2, 1 / p), "the variance 1 is preserved", assumption="$V = V' = 1$")
    x = sympy.Symbol("x", positive=True)
    ratio = taylor(1 / sympy.expand(mills * theta / f).subs(theta, 1 / sqrt(x)), x, order).subs(x, theta**-2)
    steps = steps.then(
        lambda e: Eq(e.lhs, theta / f * ratio + O(theta ** (-2 * order - 1) / f, (theta, oo))), "the reciprocal of the series"
    )
    slope = sympy.expand(theta**2 * ratio / 2)
    return steps.then(Eq(m, slope + O(theta ** (-2 * order), (theta, oo))), "the series substituted in the slope")


LIMITS = {
    "threshold_to_zero": _threshold_to_zero,
    "threshold_to_infinity": _threshold_to_infinity,
    "saddle_node": saddle_node_root,
    "gain_to_infinity": gain_to_infinity,
}
