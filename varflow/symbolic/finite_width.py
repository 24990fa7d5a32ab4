"""The first corrections of finite width to variance and mean, from the binomial chain of spike counts.

``C = g² K/n + σ_b²`` is the variance of a potential given the ``K`` spikes of the layer before; ``X = C - V*``. Numbers to
compare with come from the chain itself (``stationary``) and from sums over the binomial law.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
import sympy
from mpmath import mp, mpf
from sympy import Eq, O, Rational, S, exp, oo, sqrt

from varflow._checks import DomainError, integer
from varflow.symbolic.derivation import Derivation, Setting
from varflow.symbolic.laws import Law, law_of
from varflow.symbolic.numbers import Values, as_function
from varflow.symbolic.stationary import stationary_moments
from varflow.symbolic.symbols import V, g, n, quantity, z
from varflow.symbolic.tails import density, map_slope, tail

__all__ = ["finite_width_corrections"]

HIGHEST_ORDER = 2
_FEW = 12  # neurons at which sums over the binomial law are compared; the chain is solved for many
p, f = quantity("p", "p", positive=True), quantity("f", "f", positive=True)
F = [S.Zero, *(quantity(f"F{k}", "F" + "'" * k if k < 4 else "F''''") for k in range(1, 5))]
X, u, t = quantity("X", "X"), quantity("u", "u"), sympy.Symbol("t", real=True)
G = quantity("E[exp(t X')|X]", r"\mathrm{E}[e^{t X'} \mid X]", positive=True)
M = [S.One, *(quantity(f"E[X'^{k}|X]", rf"\mathrm{{E}}[X'^{{{k}}} \mid X]") for k in range(1, 5))]
e = [S.One, *(quantity(f"E[X^{k}]", rf"\mathrm{{E}}[X^{{{k}}}]") for k in range(1, 5))]
shift = quantity("E[C] - V*", r"\mathrm{E}[C] - V^*")
spread = quantity("Var[C]", r"\operatorname{Var}[C]", positive=True)
small = sympy.Symbol("epsilon", positive=True)  # 1/n
a = [sympy.Symbol(f"a_{k}", real=True) for k in range(6)]  # Taylor coefficients of π at p


def finite_width_corrections(order: int = 1, *, distribution: Any = None) -> Derivation:
    r"""Mean shift and variance of ``C = g² K/n + σ_b²`` in a wide network at its stable fixed point.

    .. math::
        \mathrm{E}[C] - V^* \sim \frac{F'' s^2}{2 n (1 - F'^2)(1 - F')}, \qquad
        \operatorname{Var}[C] \sim \frac{s^2}{n (1 - F'^2)}, \qquad s^2 = g^4 p (1 - p)

    Parameters
    ----------
    order : {1, 2}
        Powers of ``1/n`` kept.
    distribution : str or sympy.stats variable, optional
        Writes the derivatives of the variance map ``F`` out for this law of the standardised potential, without bias or weight
        mean: the results are then in ``z = θ/√V*``, ``V`` (for ``V*``) and ``n``. Without it they are in ``F1 … F4``, the
        derivatives of any smooth map at ``V*``.

    Returns
    -------
    Derivation
        ``.result`` is ``(E[C] - V*, Var[C])``.

    Raises
    ------
    DomainError
        For another order, or a law that cannot be used.

    Notes
    -----
    **Assumes** independent rows of weights, so that spike counts are a binomial chain; that the network is alive and deep.
    With the law of the potentials given, ``F`` does not depend on the spike pattern: exact for normal weights.
    **Accuracy**: ``.check()`` compares with the stationary law of the exact chain at n = 100, 1000 and 10000 and asks that
    what is left falls as ``n^-(order + 1)``.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> mean_shift, variance = vf.symbolic.finite_width_corrections().result
    >>> variance
    g**4*p*(1 - p)/(n*(1 - F1)*(F1 + 1))
    """
    order = integer("order", order, minimum=1)
    if order > HIGHEST_ORDER:
        raise DomainError(
            "order", order, f"must be at most {HIGHEST_ORDER}; vf.expansion(network, order=...) has more as numbers"
        )
    law = None if distribution is None else law_of(distribution)
    steps = _stationarity(_given_x(Derivation("Finite width", _setting(law), answers=2), order), order)
    first, second = _solution(steps, order)
    for k in range(2 * order, 0, -1):
        steps = steps.then(
            Eq(e[k], _series(_solved(order)[k]) + O(n ** (-order - 1), (n, oo))), "solved, the highest moment first"
        )
    if law is not None:
        steps, derivatives = _derivatives(steps, law)
        closed = {f: law.pdf(z), p: law.sf(z)}
        first, second = (
            _in_law(series.subs(derivatives).subs(g, sqrt(V / p)), order).subs(closed) for series in (first, second)
        )
    rest = O(n ** (-order - 1), (n, oo))
    steps = steps.then(Eq(shift, first + rest), r"$\mathrm{E}[C] - V^* = \mathrm{E}[X]$")
    return steps.then(Eq(spread, second + rest), r"$\mathrm{E}[X^2] - \mathrm{E}[X]^2$")


def _given_x(start: Derivation, order: int) -> Derivation:
    """Moments of the next ``X`` given this one, from the binomial law."""
    steps = start.then(
        Eq(u, sum(F[k] * X**k / sympy.factorial(k) for k in range(1, 2 * order + 1)) + O(X ** (2 * order + 1))),
        "$u = F(V^* + X) - V^*$, the mean of $X'$ given $X$, about the fixed point",
        assumption="$F(V^*) = V^*$, $F$ smooth there",
    )
    rate = p + u / g**2
    steps = steps.then(
        Eq(G, exp(-(g**2) * p * t) * (1 - rate + rate * exp(g**2 * t / n)) ** n),
        r"$K' \sim \mathrm{Binomial}(n, p + u/g^2)$",
        assumption="rows of weights independent",
    )
    generating = steps.steps[-1].expression.rhs
    for k in range(1, 2 * order + 1):
        generating = sympy.diff(generating, t)
        steps = steps.then(Eq(M[k], _moment(generating)), "its derivative at $t = 0$" if k == 1 else "and the next")
    return steps


def _moment(derivative: Any) -> Any:
    at_zero = sympy.expand(sympy.powsimp(derivative.subs(t, 0)))
    return sympy.collect(sympy.expand(sympy.simplify(at_zero)), n, sympy.factor)


def _stationarity(steps: Derivation, order: int) -> Derivation:
    """``E[X^k] = E[E[X'^k | X]]``, kept as far as ``E[X^a] = O(n^-⌈a/2⌉)`` says that it counts."""
    for k in range(2 * order, 0, -1):
        right = sum(c * e[power] / n**b for (power, b), c in _transfer(order)[k].items())
        steps = steps.then(
            Eq(e[k], right + O(n ** (-order - 1), (n, oo))),
            r"stationary: $\mathrm{E}[X'^k] = \mathrm{E}[X^k]$, with $\mathrm{E}[X^a] = O(n^{-\lceil a/2 \rceil})$",
            assumption=r"$n \to \infty$, the network alive and deep" if k == 2 * order else "",
        )
    return steps


@lru_cache(maxsize=2)
def _transfer(order: int) -> list[dict[Any, Any]]:
    """Coefficients of ``X^a n^-b`` in ``E[X'^k | X]`` that count."""
    series = sum(F[k] * X**k / sympy.factorial(k) for k in range(1, 2 * order + 1))
    rate, found = p + u / g**2, [{(0, 0): S.One}]
    generating = exp(-(g**2) * p * t) * (1 - rate + rate * exp(g**2 * t / n)) ** n
    for _ in range(2 * order):
        generating = sympy.diff(generating, t)
        moment = sympy.Poly(sympy.expand(_moment(generating).subs(n, 1 / small).subs(u, series)), X, small)
        found.append({ab: sympy.factor(c) for ab, c in moment.terms() if (ab[0] + 1) // 2 + ab[1] <= order})
    return found


@lru_cache(maxsize=2)
def _solved(order: int) -> list[list[Any]]:
    """Coefficients of ``n^-j`` in ``E[X^k]``: what is known of it from lower orders and higher moments, over ``1 - F'^k``."""
    found = [[S.One] + [S.Zero] * order] + [[S.Zero] * (order + 1) for _ in range(2 * order)]
    for j in range(1, order + 1):
        for k in range(2 * j, 0, -1):
            known = sum(c * found[power][j - b] for (power, b), c in _transfer(order)[k].items() if b <= j)
            found[k][j] = _neat(known / (1 - F[1] ** k))
    return found


def _solution(steps: Derivation, order: int) -> tuple[Any, Any]:
    first, second = _solved(order)[1:3]
    square = [sum(first[i] * first[j - i] for i in range(j + 1)) for j in range(order + 1)]
    return _series(first), _series([_neat(x - y) for x, y in zip(second, square, strict=True)])


def _neat(expression: Any) -> Any:
    """Factored, ``1 - F'`` and ``1 - p`` the right way round, what is left ordered by the derivatives of ``F``."""
    total, sign = S.One, S.One
    for factor in sympy.Mul.make_args(sympy.factor(expression)):
        base, exponent = factor.as_base_exp()
        if base in (F[1] - 1, p - 1, f * z - 2 * p):
            total, sign = total * (-base) ** exponent, sign * (-1) ** exponent
        else:
            total *= sympy.collect(sympy.expand(base), F[2:], sympy.factor) ** exponent
    return sign * total


def _series(coefficients: list[Any]) -> Any:
    return sum(c / n**j for j, c in enumerate(coefficients))


def _in_law(series: Any, order: int) -> Any:
    """Each coefficient of ``1/n`` factored, in ``p``, ``f`` and ``z``."""
    whole = sympy.expand(series.subs(n, 1 / small), small)
    return _series([_neat(sympy.together(whole.coeff(small, j))) for j in range(order + 1)])


def _derivatives(steps: Derivation, law: Law) -> tuple[Derivation, dict[Any, Any]]:
    """``F', F'', …`` of ``F(V) = g² S(θ/√V)`` at its fixed point, where ``θ = z √V`` and ``g² = V/p``."""
    theta, found = sympy.Symbol("theta", positive=True), {}
    used = set().union(*(step.expression.free_symbols for step in steps.steps))
    steps = steps.then(Eq(p, law.sf(z)), "the firing rate", assumption=f"{law.name} potentials, no bias")
    steps = steps.then(Eq(f, law.pdf(z)), "the density at the threshold")
    steps = steps.then(Eq(g**2, V / p), "the fixed point, $V = g^2 p$")
    mapped = law.pdf(theta / sqrt(V)) * theta / (2 * V ** Rational(3, 2))  # of S(θ/√V), once
    for k in range(1, 5):
        if F[k] in used:
            ratio = sympy.factor(sympy.simplify(mapped.subs(theta, z * sqrt(V)) * V**k / law.pdf(z)))
            found[F[k]] = ratio * f / p * V ** (1 - k)
            steps = steps.then(Eq(F[k], found[F[k]]), r"derivative of $F(V) = g^2 S(\theta/\sqrt V)$")
        mapped = sympy.diff(mapped, V)
    return steps, found


def _setting(law: Law | None) -> Setting:
    """A chain: of a smooth firing probability drawn at random, or of a law at a drawn ``z``."""
    draw, chain = (_any_chain, _polynomial) if law is None else (_drawn_law, lambda values: _of_law(law, values))

    def define(values: Values) -> Values:
        known, above, slope, key = chain(values)
        every = values | known
        if every[n] <= _FEW:
            return known | _binomial(every)
        moments = _moments(int(every[n]), float(every[p]), slope, key, above)
        scaled = {e[k]: every[g] ** (2 * k) * mpf(moments[k - 1]) for k in range(1, 5)}
        return known | scaled | {shift: scaled[e[1]], spread: scaled[e[2]] - scaled[e[1]] ** 2}

    return Setting(draw, define)


_CHAINS: dict[Any, tuple[float, ...]] = {}


def _moments(n: int, p: float, slope: float, key: tuple[Any, ...], above: Callable[..., Any]) -> tuple[float, ...]:
    """The stationary moments, each chain solved once."""
    if (n, p, *key) not in _CHAINS:
        _CHAINS[(n, p, *key)] = stationary_moments(n, p, slope, above, 4)
    return _CHAINS[(n, p, *key)]


def _common(rng: Random) -> Values:
    return {n: mpf(rng.randint(6, _FEW)), X: mpf(rng.uniform(-0.1, 0.1)), t: mpf(rng.uniform(-1, 1))}


def _any_chain(rng: Random) -> Values:
    """A firing probability of degree five that stays between 0 and 1."""
    values = _common(rng) | {g: mpf(rng.uniform(0.8, 2))}
    grid = np.linspace(0, 1, 41)
    while True:
        c = [rng.uniform(0.3, 0.45), *(rng.uniform(0.2, 0.5) for _ in range(5))]
        rates = sum(coefficient * (grid - c[0]) ** k for k, coefficient in enumerate(c))
        if np.min(rates) > 0.03 and np.max(rates) < 0.97:
            return values | dict(zip(a, map(mpf, c), strict=True)) | {p: mpf(c[0])}


def _polynomial(values: Values) -> tuple[Values, Callable[..., Any], float, tuple[Any, ...]]:
    c = [values[symbol] for symbol in a]
    above = lambda xi: sum(float(c[k]) * xi**k for k in range(1, 6))  # noqa: E731
    xi = values[X] / values[g] ** 2
    known = {F[k]: mp.factorial(k) * c[k] / values[g] ** (2 * k - 2) for k in range(1, 5)}
    known[u] = values[g] ** 2 * sum(c[k] * xi**k for k in range(1, 6))
    return known, above, float(c[1]), tuple(map(float, c))


def _drawn_law(rng: Random) -> Values:
    return _common(rng) | {z: mpf(rng.uniform(0.25, 0.38)), V: mpf(rng.uniform(0.7, 1.4))}


@lru_cache(maxsize=256)
def _at_fixed_point(law: Law, at: Any, variance: Any, precision: int) -> Values:
    """Firing rate, gain and the derivatives of the map, the first from spikes gained, the others by differentiating it."""
    rate, theta = tail(law, at), at * mp.sqrt(variance)
    gain2 = variance / rate
    slope = lambda v: gain2 * density(law, theta / mp.sqrt(v)) * theta / (2 * v * mp.sqrt(v))  # noqa: E731
    known = {p: rate, f: density(law, at), g: mp.sqrt(gain2), F[1]: map_slope(law, at)}
    return known | {F[k]: mp.diff(slope, variance, k - 1) for k in range(2, 5)}


def _of_law(law: Law, values: Values) -> tuple[Values, Callable[..., Any], float, tuple[Any, ...]]:
    at, variance = values[z], values[V]
    known = dict(_at_fixed_point(law, at, variance, mp.prec))
    rate, gain2, theta = known[p], known[g] ** 2, at * mp.sqrt(variance)
    known[u] = gain2 * mp.quad(lambda s: density(law, s), [theta / mp.sqrt(variance + values[X]), at])
    spot, chance = float(at), float(rate)

    def above(xi: np.ndarray) -> np.ndarray:
        """Integrals of the density from ``z`` on, piece by piece with Gauss's rule."""
        ends = spot * np.sqrt(chance / (chance + xi))
        return _integrals(law, ends, spot)

    return known, above, float(known[F[1]]), (law.name, spot)


def _integrals(law: Law, ends: np.ndarray, start: float) -> np.ndarray:
    """``∫_end^start f`` for descending ends."""
    argument = sympy.Symbol("t", real=True)
    height = as_function((argument,), (argument,), law.whole, "numpy")
    nodes, weights = np.polynomial.legendre.leggauss(12)
    split = int(np.sum(ends > start))
    places = np.concatenate([ends[:split], [start], ends[split:]])
    half, middle = (places[:-1] - places[1:]) / 2, (places[:-1] + places[1:]) / 2
    pieces = half * (np.broadcast_to(height(middle[:, None] + half[:, None] * nodes), (len(half), 12)) @ weights)
    below = -np.cumsum(pieces[:split][::-1])[::-1]
    return np.concatenate([below, np.cumsum(pieces[split:])])


def _binomial(values: Values) -> Values:
    """Moments of the next ``X`` and ``E[exp(t X')]`` by summing over the binomial law."""
    size, gain2 = int(values[n]), values[g] ** 2
    q = values[p] + values[u] / gain2
    mass = [mp.binomial(size, K) * q**K * (1 - q) ** (size - K) for K in range(size + 1)]
    place = [gain2 * (mpf(K) / size - values[p]) for K in range(size + 1)]
    average = lambda r: mp.fsum(w * r(s) for w, s in zip(mass, place, strict=True))  # noqa: E731
    return {M[k]: average(lambda s, k=k: s**k) for k in range(1, 5)} | {G: average(lambda s: mp.exp(values[t] * s))}
