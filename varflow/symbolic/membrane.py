r"""The membrane over one time step: mean and variance under leak, input and reset, for any distribution, then for a normal one.

The definition is ``H' = β R(H, S) + λ I``, where ``S`` is the spike of ``H`` and ``R`` a :class:`varflow.resets.Reset`. For
numerical checks ``H`` is a mixture of a normal distribution and two atoms, and the input takes two values about its mean given
``H``; moments of ``H'`` are sums and integrals over both, split at the thresholds.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import sympy
from mpmath.calculus.quadrature import GaussLegendre
from sympy import Eq, S, Sum, Symbol, erfc, exp, pi, sqrt

from varflow._checks import DomainError, choice
from varflow._mpmath import functions, mp, mpf
from varflow.model.resets import Reset, named, rule_of
from varflow.symbolic.derivation import Derivation, Domain, built_once
from varflow.symbolic.numbers import Values
from varflow.symbolic.symbols import above, all_of, at_most, quantity, theta

beta, lam = Symbol("beta", positive=True), Symbol("lambda", positive=True)
mu, sigma = Symbol("mu", real=True), Symbol("sigma", positive=True)
m_I, V_I, C_HI = Symbol("m_I", real=True), Symbol("V_I", positive=True), Symbol("C_HI", real=True)
atoms = Symbol("w", nonnegative=True)  # weight of the atoms in the distribution of the membrane
k = Symbol("k", integer=True, positive=True)
H, X, I, eta = (Symbol(name, real=True) for name in ("H", "S", "I", "eta"))

mean_next, square_next = quantity("E[H']", r"\mathrm{E}[H']"), quantity("E[H'^2]", r"\mathrm{E}[H'^2]", positive=True)
variance_next = quantity("Var[H']", r"\operatorname{Var}[H']", positive=True)
C_HS = quantity("Cov[H, S]", r"\operatorname{Cov}[H, S]")
m_kept = quantity("E[I]_stationary", r"\mathrm{E}[I]_{\mathrm{stationary}}")


@built_once
def membrane_moments(reset: str | Reset = "none", *, input: str = "white") -> Derivation:
    r"""Mean and variance of the membrane after one time step.

    .. math:: \mathrm{E}[H'],\ \operatorname{Var}[H'] \quad \text{of} \quad H' = \beta R(H, S) + \lambda I, \qquad
              \mathrm{E}[H S] = \mu Q(a) + \sigma \varphi(a), \quad a = (\theta - \mu)/\sigma

    Parameters
    ----------
    reset : str or Reset
        As in :class:`varflow.Neuron`.
    input : {"white", "correlated"}
        White in time: independent of the membrane. Correlated (e.g. a constant current): with covariance
        ``C_HI = Cov[H, I]``.

    Returns
    -------
    Derivation
        ``.result`` is (mean, variance) for a normal membrane, ``N(μ, σ²)``; the steps before hold for any distribution. One of
        them is the exact condition for a stationary mean.

    Raises
    ------
    DomainError
        For an unknown reset or input.

    Notes
    -----
    **Assumes** a normal membrane (a closure: exact at the first step and without reset, else approximate); for correlated
    input, ``H`` and ``I`` jointly normal. The reset enters through ``E[H S] = p E[H | H > θ]``, a mean over *all* neurons.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> mean, variance = vf.symbolic.membrane_moments("none").result
    >>> variance
    V_I*lambda**2 + beta**2*sigma**2
    >>> moments = vf.symbolic.membrane_moments("subtract").lambdify()
    >>> mean, variance = moments(threshold=1.0, decay=0.5, input_scale=1.0, V_I=1.0, m_I=0.0, mu=-0.148, sigma=1.1)
    >>> round(float(mean), 3), round(float(variance), 3)
    (-0.148, 1.207)
    """
    rule = rule_of(reset)
    if rule.lasting or rule.spacing != 1 or rule.most is not None:
        raise DomainError(
            "reset", reset, "must not last for several steps, nor count with spacing or limit, nor have an integer register"
        )
    if rule.lowest is not None:
        raise DomainError("reset", reset, "must not bound the membrane: its moments have no closed form here")
    update = _update(rule)
    correlated = choice("input", input, ("white", "correlated")) == "correlated"
    many = rule.counts
    start = Derivation(
        f"The membrane after one step, reset {named(rule)}", Domain(_draw, _define(update, many, correlated)), answers=2
    )
    shown = f"$H' = {sympy.latex(update)}$"
    means = {power: _expected(update**power, many) for power in (1, 2)}
    split = {power: _split(update**power, many, correlated) for power in (1, 2)}
    why = (
        ("the input regressed on the membrane", "$H$ and $I$ jointly normal")
        if correlated
        else ("expectations of products factorise", "input white in time: $I$ independent of $H$")
    )
    spikes = ", $S = \\lfloor H/\\theta \\rfloor_+$" if many else ", $S = 1(H > \\theta)$, $S^2 = S$" if update.has(X) else ""
    possible = [at_most(C_HI**2, sigma**2 * V_I)] * correlated + [above(theta, 0)] * many
    steps = start.then(Eq(mean_next, means[1]), f"the update {shown}{spikes}", condition=all_of(*possible))
    steps = steps.then(lambda _: Eq(mean_next, split[1]), why[0], assumption=why[1])
    exact = _in_covariances(steps.steps[-1].expression.rhs, everywhere=False)
    steps = steps.then(lambda _: _stationary(exact), "in a stationary state $\\mathrm{E}[H'] = \\mathrm{E}[H] = \\mu$, exactly")
    steps = steps.then(Eq(square_next, means[2]), "the square of the update")
    steps = steps.then(lambda _: Eq(square_next, split[2]), why[0])
    steps = steps.then(
        lambda e: Eq(variance_next, _in_covariances(e.rhs - exact**2, everywhere=not rule.membrane)),
        "$\\operatorname{Var}[H'] = \\mathrm{E}[H'^2] - \\mathrm{E}[H']^2$",
    )
    general = steps.steps[-1].expression.rhs
    normal = _normal(many)
    reason = "$\\mathrm{E}[S] = Q(a)$, $\\operatorname{Cov}[H, S] = \\sigma\\varphi(a)$, $a = (\\theta - \\mu)/\\sigma$"
    if many:
        reason = "sums over the spikes $k$ with $a_k = (k\\theta - \\mu)/\\sigma$: $\\mathrm{E}[S] = \\sum_k Q(a_k)$"
    reason = reason if update.has(X) else "nothing depends on the distribution"
    steps = steps.then(lambda _: Eq(mean_next, exact.subs(normal)), reason, assumption="normal membrane", given={atoms: S.Zero})
    return steps.then(lambda _: Eq(variance_next, general.subs(normal)), "likewise")


def _update(rule: Reset) -> Any:
    """``H'(H, S, I)``, with coefficients as exact fractions."""
    k, a, g = (sympy.Rational(str(value)) for value in (rule.membrane, rule.threshold, rule.input))
    after_reset, subtracted, passed = H * (1 - k * X), a * theta * X, lam * I * (1 - g * X)
    return beta * after_reset - subtracted + passed if rule.delayed else beta * (after_reset - subtracted) + passed


def _moment(h: int, s: int) -> Any:
    """``E[Hʰ Sˢ]``: in ``μ`` and ``σ`` for ``s = 0``, else a symbol."""
    if s == 0:
        return (S.One, mu, mu**2 + sigma**2)[h]
    name = "*".join([f"H^{h}" if h > 1 else "H"] * (h > 0) + [f"S^{s}" if s > 1 else "S"])
    return quantity(f"E[{name}]", rf"\mathrm{{E}}[{name.replace('*', ' ')}]")


def _terms(polynomial: Any, *generators: Any) -> Any:
    return sympy.Poly(sympy.expand(polynomial), *generators).terms()


def _expected(polynomial: Any, many: bool) -> Any:
    """The expectation, term by term; ``S² = S`` unless a neuron emits several spikes per step."""
    total = S.Zero
    for (h, s, i), factor in _terms(polynomial, H, X, I):
        total += factor * _mixed(h, s if many else min(s, 1), i)
    return total


def _mixed(h: int, s: int, i: int) -> Any:
    """``E[Hʰ Sˢ Iⁱ]``."""
    if i == 0:
        return _moment(h, s)
    powers = [f"{name}^{n}" if n > 1 else name for name, n in (("H", h), ("S", s), ("I", i)) if n]
    return quantity(f"E[{'*'.join(powers)}]", rf"\mathrm{{E}}[{' '.join(powers)}]")


def _split(polynomial: Any, many: bool, correlated: bool) -> Any:
    """The expectation with the input written as ``I = m_I + C_HI (H - μ)/σ² + η``, ``η`` independent of the membrane."""
    tilt = C_HI / sigma**2 if correlated else S.Zero
    expanded = polynomial.subs(I, m_I + tilt * (H - mu) + eta)
    input_moments = (S.One, S.Zero, V_I - tilt**2 * sigma**2)
    total = S.Zero
    for (h, s, i), factor in _terms(expanded, H, X, eta):
        total += factor * _moment(h, s if many else min(s, 1)) * input_moments[i]
    return sympy.collect(sympy.expand(total), [m_I, *(_moment(h, 1) for h in range(3))])


def _stationary(exact: Any) -> Any:
    """The equation of a stationary mean, ``μ (1 - β) = …``."""
    next_mean = sympy.expand(exact.subs(m_I, m_kept))
    linear = next_mean.coeff(mu, 1)
    return Eq(mu * (1 - linear), sympy.collect(next_mean - sympy.expand(linear * mu), [m_kept, beta]))


def _in_covariances(expression: Any, everywhere: bool) -> Any:
    """Substitutes ``E[H S] = Cov[H, S] + μ E[S]`` in terms with ``C_HI``, or everywhere."""
    product = _moment(1, 1)
    carried, free = sympy.expand(expression).as_independent(C_HI, as_Add=True)[::-1]
    written = {product: C_HS + mu * _moment(0, 1)}
    carried, free = carried.subs(written), free.subs(written) if everywhere else free
    return sympy.collect(sympy.expand(carried + free), [beta, theta, lam])


def _normal(many: bool) -> dict[Any, Any]:
    """``E[Hʰ Sˢ]`` for ``H ~ N(μ, σ²)``; several spikes are a sum, ``S = Σ_k 1(H > kθ)``."""
    at = lambda level: (level - mu) / sigma  # noqa: E731
    tail = lambda level: erfc(at(level) / sqrt(2)) / 2  # noqa: E731
    density = lambda level: exp(-(at(level) ** 2) / 2) / sqrt(2 * pi)  # noqa: E731
    upper_moments = {
        0: tail,
        1: lambda level: mu * tail(level) + sigma * density(level),
        2: lambda level: (mu**2 + sigma**2) * tail(level) + sigma * (level + mu) * density(level),
    }
    if not many:
        return {_moment(h, 1): upper_moments[h](theta) for h in upper_moments} | {C_HS: sigma * density(theta)}
    counted = {_moment(h, 1): Sum(upper_moments[h](k * theta), (k, 1, sympy.oo)) for h in (0, 1)}
    counted[C_HS] = sigma * Sum(density(k * theta), (k, 1, sympy.oo))
    return counted | {_moment(0, 2): Sum((2 * k - 1) * tail(k * theta), (k, 1, sympy.oo))}


def _draw(rng: Random) -> Values:
    between = lambda low, high: mpf(rng.uniform(low, high))  # noqa: E731
    values = {beta: between(0.1, 0.95), lam: between(0.2, 1.5), theta: between(0.3, 2), atoms: between(0.2, 0.8)}
    values |= {mu: between(-1, 1), sigma: between(0.5, 2), m_I: between(-1, 1), V_I: between(0.2, 2)}
    return values | {C_HI: between(-0.9, 0.9) * values[sigma] * mp.sqrt(values[V_I])}


def _define(update: Any, many: bool, correlated: bool) -> Any:
    """Every moment, computed from the update."""
    step = sympy.lambdify((H, X, I, beta, lam, theta), update, [functions(), "mpmath"])
    powers = [(h, s, i) for h in range(3) for s in range(3) for i in range(3) if s + i > 0]
    stated = [made for power in (1, 2) for made in (_expected(update**power, many), _split(update**power, many, correlated))]
    needed = {power for power in powers for made in stated if made.has(_mixed(*power))} | {(0, 1, 0), (1, 1, 0)}

    def define(values: Values) -> Values:
        constants = [values[symbol] for symbol in (beta, lam, theta)]
        tilt = values[C_HI] / values[sigma] ** 2 if correlated else mpf(0)
        spread = mp.sqrt(values[V_I] - tilt**2 * values[sigma] ** 2)
        weight, h, s = np.tile(np.array(_membrane_points(values, many), dtype=object), (2, 1)).T
        side = np.repeat([-spread, spread], len(h) // 2)  # the input: two values about its mean given the membrane
        i = values[m_I] + tilt * (h - values[mu]) + side
        mean = lambda kernel: mp.fdot(weight, kernel) / 2  # noqa: E731
        after = step(h, s, i, *constants)
        moments = mean(after), mean(after**2)
        ends = [mean(step(h, s, i + centre - values[m_I], *constants)) for centre in (0, 1)]
        derived = {mean_next: moments[0], square_next: moments[1], variance_next: moments[1] - moments[0] ** 2}
        derived[m_kept] = (values[mu] - ends[0]) / (ends[1] - ends[0])  # the mean input that keeps the mean
        derived[C_HS] = mean((h - values[mu]) * s)
        return derived | {_mixed(*power): mean(h ** power[0] * s ** power[1] * i ** power[2]) for power in needed}

    return define


def _membrane_points(values: Values, many: bool) -> list[tuple[Any, Any, Any]]:
    """(weight, H, S): Gauss–Legendre nodes of ``N(μ, σ²)`` between the thresholds, and atoms at ``μ ± σ``, of equal moments."""
    centre, scale, level = values[mu], values[sigma], values[theta]
    spikes = (lambda h: max(mp.floor(h / level), 0)) if many else (lambda h: int(h > level))
    reach = int(mp.sqrt(1.4 * mp.prec)) // 6 + 1
    cuts = [centre + 6 * j * scale for j in range(-reach, reach + 1)]
    jumps = [level * j for j in range(1, int(max(cuts[-1] / level, 1)) + 1 if many else 2)]
    cuts = sorted({*cuts, *(jump for jump in jumps if cuts[0] < jump < cuts[-1])})
    points = [(values[atoms] / 2, h, spikes(h)) for h in (centre - scale, centre + scale)]
    for low, high in pairwise(cuts):
        half, middle = (high - low) / 2, (high + low) / 2
        for node, weight in _gauss(24 if mp.dps < 40 or high - low < 2 * scale else 48, mp.prec):
            h = middle + half * node
            points.append(((1 - values[atoms]) * weight * half * mp.npdf(h, centre, scale), h, spikes(middle)))
    return points


@lru_cache(maxsize=8)
def _gauss(count: int, precision: int) -> list[tuple[Any, Any]]:
    """Gauss's rule with 24 or 48 points on (-1, 1): errors of 1e-20 and 1e-55 over six standard deviations, 1e-45 over two."""
    return GaussLegendre(mp).calc_nodes({24: 4, 48: 5}[count], precision)
