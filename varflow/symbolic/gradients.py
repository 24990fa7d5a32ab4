"""Gradients through a layer of spikes: the factor by which one layer multiplies the variance of the backward signal.

The definition is ``δ_l = ψ(u_l - θ) Σ_k w_kl δ_k`` with a surrogate ``ψ`` instead of the derivative of the step. ``E[ψ²]`` for
normal potentials has a closed form where ``ψ²`` is, piecewise, a polynomial times the exponential of a quadratic; elsewhere its
integral stays. Numerical checks use quadrature of ``ψ``, split at its kinks, and all patterns of two-valued weights.
Surrogates ``ψ(v)``, ``v = u - θ``, are piecewise formulas for sympy, and functions of a number for checks. Those with a name
have peak 1 and width ``a``; a user's own is an expression in ``v``, smooth except for ``|v|``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, NamedTuple

import sympy
from sympy import Eq, Integral, S, Symbol, erf, erfc, exp, oo, pi, sqrt

from varflow._checks import DomainError, choice, refuse
from varflow._mpmath import mp, mpf
from varflow.symbolic.algebra import LARGEST, integral
from varflow.symbolic.derivation import Derivation, Domain, built_once
from varflow.symbolic.layer import atom, spread
from varflow.symbolic.numbers import Values, value
from varflow.symbolic.symbols import V, above, g, n, quantity, theta

a, v = Symbol("a", positive=True), Symbol("v", real=True)
_number = Symbol("number", real=True)

Piece = tuple[Any, Any, Any]
LARGEST_THRESHOLD = 7  # in standard deviations of 0.5 to 1.7: beyond, quadrature loses the digits that a check compares

n_next = Symbol("n'", integer=True, positive=True)

delta2, delta2_next = quantity("E[delta^2]", r"\mathrm{E}[\delta_l^2]"), quantity("E[delta'^2]", r"\mathrm{E}[\delta_{l+1}^2]")
backward = quantity("E[(sum w delta')^2]", r"\mathrm{E}\bigl[\bigl(\textstyle\sum_k w_{kl}\delta_k\bigr)^2\bigr]")
psi2 = quantity("E[psi^2]", r"\mathrm{E}[\psi(u-\theta)^2]", positive=True)
W = quantity("Var[w]", r"\operatorname{Var}[w]", positive=True)
chi, rate = quantity("chi", r"\chi", positive=True), quantity("p", "p", positive=True)
weight_gradient = quantity("E[(dL/dw)^2]", r"\mathrm{E}\bigl[(\partial L/\partial w_{kl})^2\bigr]")
slack = quantity("g^2 - chi", r"g^2 - \chi")
peak_found, width_found = quantity("c", "c", positive=True), quantity("a*", "a^*", positive=True)


@built_once
def gradient_gain(
    surrogate: Any = "triangular", *, threshold: Any = theta, argument: Any = None, solve: str | None = None
) -> Derivation:
    r"""The factor by which a layer multiplies the variance of the backward signal, times ``n_{l+1}/n_l``.

    .. math:: \mathrm{E}[\delta_l^2] = \chi\, \frac{n_{l+1}}{n_l}\, \mathrm{E}[\delta_{l+1}^2], \qquad
              \chi = g^2\, \mathrm{E}[\psi(u-\theta)^2], \quad u \sim N(0, V)

    Parameters
    ----------
    surrogate : str or sympy expression
        ``ψ``: a family of ``vf.surrogates`` at peak 1 and width ``a``: "box" ``1(|v| < a)``, area ``2a``; "triangular"
        ``1 - |v|/a``, ``a``; "gaussian" ``exp(-v²/2a²)``, ``√(2π) a``; "exponential" ``exp(-|v|/a)``, ``2a``;
        "fast_sigmoid" ``1/(1+|v|/a)²``, ``2a``; "atan" ``1/(1+v²/a²)``, ``πa``; "sigmoid" ``cosh(v/2a)⁻²``, ``4a``; or an
        expression in one symbol, smooth except for ``|v|``, its other symbols declared positive. ``cψ`` has ``c²χ``.
    threshold : symbol or number
    argument : symbol, optional
        The symbol of the expression that stands for ``u - θ``; by default the only one not declared positive.
    solve : {"peak", "width"}, optional
        Solve ``χ = 1`` for the factor ``c`` by which ``ψ`` must be multiplied, or for the width of a named surrogate.

    Returns
    -------
    Derivation
        The result is ``χ``, in closed form where one is found, else with its integral; or the solution.

    Raises
    ------
    DomainError
        For an unknown surrogate, a free symbol, a number as threshold beyond 7 in size, or a width without a closed form.

    Notes
    -----
    **Assumes** backward signals independent of the forward weights and potentials, normal potentials of mean zero and variance
    ``V``. For a peak of 1, ``χ ≤ g²``: below ``g = 1`` gradients vanish for any width. The second moment of the weight gradient
    is ``p E[δ²]``: at a low rate it is small even for ``χ = 1``.
    **Source**: the recursion of ``schoenholz2017``, with a surrogate (``neftci2019``, ``zenke2021``) for the derivative, as in
    the kernel of ``eilers2024``; the closed forms and ``χ ≤ g²`` are derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.symbolic.gradient_gain("gaussian").result
    a*g**2*exp(-theta**2/(2*V + a**2))/sqrt(2*V + a**2)
    >>> vf.symbolic.gradient_gain("box", threshold=0, solve="width").result
    sqrt(2)*sqrt(V)*erfinv(g**(-2))
    """
    at = atom("threshold", threshold)
    if at.is_number and abs(at) > LARGEST_THRESHOLD:
        rule = f"must be a symbol or at most {LARGEST_THRESHOLD} in size; substitute others into the result for a symbol"
        raise DomainError("threshold", threshold, rule)
    psi_of = surrogate_of(surrogate, argument)
    if solve is not None:
        choice("solve", solve, ("peak", "width"))
    setting = Domain(partial(_draw, psi_of, at, solve), partial(_define, psi_of, at))
    start = Derivation(f"The gain of gradients, surrogate {psi_of.name}", setting)
    steps = start.then(
        Eq(delta2, psi2 * backward),
        "$\\delta_l = \\psi(u_l - \\theta) \\sum_k w_{kl} \\delta_k$",
        assumption="backward signals independent of potentials and of the forward weights",
    )
    steps = steps.then(
        lambda e: e.subs(backward, n_next * W * delta2_next), "a sum of $n'$ terms", assumption="weights independent, mean zero"
    )
    recursion = steps.steps[-1].expression
    steps = steps.then(
        Eq(weight_gradient, rate * delta2_next), "$\\partial L/\\partial w_{kl} = \\delta_k x_l$, and $x_l^2 = x_l$"
    )
    steps = steps.then(
        lambda _: Eq(chi, (recursion.rhs * n / (n_next * delta2_next)).subs(W, g**2 / n)),
        "$\\chi = \\mathrm{E}[\\delta_l^2]\\, n / (n' \\mathrm{E}[\\delta_{l+1}^2])$",
        assumption="$\\operatorname{Var}[w] = g^2/n$",
    )
    steps = steps.then(
        lambda e: e.subs(psi2, _integral(psi_of, at, lambda psi: psi**2)),
        "the mean over potentials",
        assumption="normal potentials",
    )
    with_integral = steps.steps[-1].expression
    if psi_of.peak_one:
        steps = steps.then(
            Eq(slack, g**2 * _integral(psi_of, at, lambda psi: 1 - psi**2, over_line=True)),
            "not negative, as $\\psi^2 \\le 1$: a surrogate of peak 1 has $\\chi \\le g^2$",
        )
    closed = _closed(psi_of, at)
    reason = "the integral in closed form" if closed is not None else "the integral stays"
    steps = steps.then(lambda _: with_integral if closed is None else Eq(chi, sympy.factor_terms(g**2 * closed)), reason)
    return steps if solve is None else _solved(steps, solve)


def _solved(steps: Derivation, solve: str) -> Derivation:
    """``χ = 1``, solved for the factor or the width."""
    if solve == "peak":
        steps = steps.then(lambda e: Eq(1, peak_found**2 * e.rhs), "with $c\\,\\psi$ for $\\psi$", assumption="$\\chi = 1$")
        return steps.then(lambda e: Eq(peak_found, 1 / sqrt(e.rhs / peak_found**2)), "solved for $c$")
    steps = steps.then(
        lambda e: Eq(1, e.rhs.subs(a, width_found)),
        "at the width sought",
        assumption="$\\chi = 1$, $g > 1$",
        condition=above(g, 1),
    )
    return steps.then(lambda e: Eq(width_found, _width(e)), "solved for the width")


def _width(equation: Any) -> Any:
    """The width, where it enters algebraically or through a single error function or exponential."""
    outer = {function: sympy.Dummy() for function in equation.rhs.atoms(erf, erfc, exp, Integral) if function.has(width_found)}
    alone = not outer or (len(outer) == 1 and not equation.rhs.xreplace(outer).has(width_found))
    solvable = alone and not equation.rhs.has(Integral) and equation.count_ops() <= LARGEST
    widths = sympy.solve(equation, width_found) if solvable else []
    if len(widths) != 1:
        rule = "has no closed form for this surrogate and threshold: solve for the 'peak', or take threshold=0"
        raise DomainError("solve", "width", rule)
    numerator, denominator = sympy.fraction(sympy.simplify(widths[0] ** 2))
    squared = sqrt(numerator / sympy.expand(denominator))
    return widths[0] if widths[0].count_ops() <= squared.count_ops() or squared.has(sympy.Abs) else squared


def _integral(surrogate: SymbolicSurrogate, at: Any, weight: Callable[[Any], Any], over_line: bool = False) -> Any:
    """``E[weight(ψ)]`` piece by piece; ``over_line``: also beyond the edges, where ψ vanishes."""
    pieces = [(low, high, weight(psi)) for low, high, psi in surrogate.pieces]
    if over_line:
        edge = surrogate.pieces[-1][1]
        pieces = [(-oo, -edge, weight(S.Zero)), *pieces, (edge, oo, weight(S.Zero))] if edge != oo else pieces
    density = exp(-((v + at) ** 2) / (2 * V)) / sqrt(2 * pi * V)  # of v = u - θ
    return sum(Integral(inner * density, (v, low, high)) for low, high, inner in pieces if inner != 0)


def _closed(surrogate: SymbolicSurrogate, at: Any) -> Any:
    """``E[ψ²]`` in closed form; None where a piece is not a polynomial times the exponential of a quadratic."""
    weight = exp(-((v + at) ** 2) / (2 * V))
    integrals = [integral(psi**2 * weight, v, low, high) for low, high, psi in surrogate.pieces]
    return None if None in integrals else _gathered(sum(integrals) / sqrt(2 * pi * V), short=surrogate.pieces[-1][1] != oo)


def _gathered(total: Any, short: bool) -> Any:
    """Collected by error functions and exponentials; for a surrogate without edges simplified, if that is shorter."""
    dummies = {f: sympy.Dummy(positive=True) for f in sorted(total.atoms(erf, erfc, exp), key=sympy.default_sort_key)}
    collected = sympy.collect(sympy.expand(total.xreplace(dummies)), list(dummies.values()), sympy.factor)
    collected = collected.xreplace({dummy: f for f, dummy in dummies.items()})
    # longer integrals are not simplified: that of the Gaussian surrogate has 90 operations
    if short or total.count_ops() > 100:
        return collected
    return min(sympy.powsimp(sympy.simplify(total)), collected, key=sympy.count_ops)


def _draw(surrogate: SymbolicSurrogate, at: Any, solve: str | None, rng: Random) -> Values:
    between = lambda low, high: mpf(rng.uniform(low, high))  # noqa: E731
    values = {V: between(0.3, 3), g: between(1.3, 4), n: mpf(rng.randint(1, 9)), n_next: mpf(rng.randint(1, 5))}
    symbols = {s for *_, psi in surrogate.pieces for s in psi.free_symbols} | {a}
    for symbol in sorted(symbols - {v}, key=str):
        values.setdefault(symbol, between(0.3, 2))
    sign = -1 if at.is_negative else 1 if at.is_positive else rng.choice([-1, 1])
    values |= {symbol: sign * between(0.1, 2) for symbol in at.free_symbols}
    if solve == "width":  # draw a width, and compute its gain by quadrature
        values[width_found] = between(0.3, 2)
        values[g] = 1 / mp.sqrt(_mean_square(surrogate, value(at, values), values | {a: values[width_found]}))
    return values


def _define(surrogate: SymbolicSurrogate, at: Any, values: Values) -> Values:
    level = value(at, values)
    square = _mean_square(surrogate, level, values)
    mean, second = mpf("0.3"), mpf("0.7")  # of the backward signals above
    weight = values[g] / mp.sqrt(values[n])
    signal = spread([-weight, weight], int(values[n_next]), mean, second)[0]
    fires = mp.erfc(level / mp.sqrt(2 * values[V])) / 2
    derived = {psi2: square, backward: signal, delta2: square * signal, delta2_next: second, W: weight**2, rate: fires}
    derived[chi] = square * signal * values[n] / (values[n_next] * second)
    return derived | {
        slack: values[g] ** 2 - derived[chi],
        weight_gradient: fires * second,
        peak_found: 1 / mp.sqrt(derived[chi]),
    }


def _mean_square(surrogate: SymbolicSurrogate, level: Any, values: Values) -> Any:
    """``E[ψ(u - θ)²]`` by quadrature, split at the threshold and at the edges of ψ."""
    std = mp.sqrt(values[V])
    negligible_beyond = std * (mp.sqrt(2 * mp.prec) + 8)
    reach = value(surrogate.pieces[-1][1], values) if surrogate.pieces[-1][1] != oo else negligible_beyond + abs(level)
    kernel = lambda x: surrogate.at(x, values) ** 2 * mp.npdf((x + level) / std) / std  # noqa: E731
    cuts = sorted({-reach, mpf(0), reach, *(c for c in (-level, -1, 1, -4, 4) if abs(c) < reach)})
    return mp.quad(kernel, cuts)


class SymbolicSurrogate(NamedTuple):
    """``ψ(v)`` in pieces (low, high, formula), and as a function ``at(v, values of the parameters)``."""

    name: str
    pieces: tuple[Piece, ...]
    at: Callable[[Any, Values], Any]
    peak_one: bool = True


def _even(name: str, right: Any, at: Callable[[Any], Any], edge: Any = oo) -> SymbolicSurrogate:
    """A surrogate from its formula for ``v > 0``; ``at`` takes ``|v|/a``."""
    pieces = ((-edge, S.Zero, right.subs(v, -v)), (S.Zero, edge, right))
    return SymbolicSurrogate(name, pieces, lambda number, values: at(abs(number) / values[a]))


SURROGATES = {
    "box": _even("box", S.One, lambda x: mpf(x < 1), a),
    "triangular": _even("triangular", 1 - v / a, lambda x: max(1 - x, mpf(0)), a),
    "gaussian": _even("gaussian", exp(-(v**2) / (2 * a**2)), lambda x: mp.exp(-x * x / 2)),
    "exponential": _even("exponential", exp(-v / a), lambda x: mp.exp(-x)),
    "fast_sigmoid": _even("fast_sigmoid", (1 + v / a) ** -2, lambda x: 1 / (1 + x) ** 2),
    "atan": _even("atan", 1 / (1 + (v / a) ** 2), lambda x: 1 / (1 + x * x)),
    "sigmoid": _even("sigmoid", 4 * exp(-v / a) / (1 + exp(-v / a)) ** 2, lambda x: 4 * mp.exp(-x) / (1 + mp.exp(-x)) ** 2),
}


def surrogate_of(given: Any, argument: Any = None) -> SymbolicSurrogate:
    """A surrogate by name, or from an expression."""
    if isinstance(given, str):
        refuse("applies to an expression; a named surrogate has none", argument=argument)
        return SURROGATES[choice("surrogate", given, tuple(SURROGATES))]
    return _of_expression(given, argument)


def _of_expression(expression: Any, argument: Any) -> SymbolicSurrogate:
    """A surrogate from a user's expression, in two pieces: ``v < 0`` and ``v > 0``."""
    psi: Any = sympy.sympify(expression, strict=True) if isinstance(expression, sympy.Basic | int | float) else S.NaN
    if not isinstance(psi, sympy.Expr) or psi is S.NaN:
        raise DomainError(
            "surrogate", expression, f"must be one of {', '.join(SURROGATES)} or a sympy expression in one symbol"
        )
    if argument is not None and not isinstance(argument, sympy.Symbol):
        raise DomainError("argument", argument, "must be a symbol of the expression")
    unsigned = sorted((s for s in psi.free_symbols if not s.is_positive and s != argument), key=str)
    if argument is None and len(unsigned) == 1:
        argument = unsigned.pop()
    if unsigned or argument not in psi.free_symbols:
        names = ", ".join(map(str, unsigned)) or "no symbol"
        rule = f"leaves {names} for u - θ: declare widths positive, Symbol('k', positive=True), and pass argument=x"
        raise DomainError("surrogate", expression, rule)
    psi = psi.xreplace({argument: v})
    if psi.has(sympy.Piecewise, sympy.Heaviside, sympy.Max, sympy.Min, sympy.sign, sympy.DiracDelta):
        raise DomainError("surrogate", expression, "must be smooth except for Abs(v), without case distinctions")
    t = Symbol("t", positive=True)
    sides = [psi.subs(v, sign * t).subs(t, sign * v) for sign in (-1, 1)]
    formula = psi.subs(v, _number)
    number = lambda at, values: value(formula, values | {_number: at})  # noqa: E731
    return SymbolicSurrogate(str(expression), ((-oo, S.Zero, sides[0]), (S.Zero, oo, sides[1])), number, peak_one=False)
