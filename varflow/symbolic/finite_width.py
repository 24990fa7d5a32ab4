"""The first corrections of finite width to variance and mean, from the binomial chain of spike counts.

``C = g² K/n + σ_b²`` is the variance of a potential given the ``K`` spikes of the layer before; ``X = C - V*``. Steps are
checked against sums over the binomial distribution and against the chain in numbers. Its firing probability is a random smooth
function, or that of a distribution. With few neurons the binomial distribution is summed; with many the chain
``n x' ~ Binomial(n, π(x))``, ``x = K/n``, is iterated from its centre until it is stationary, over all counts within nine
standard deviations, in double precision and without an expansion. ``π(x) - p`` is given as a function of ``x - p``, which
avoids cancellation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
import sympy
from sympy import Eq, O, S, exp, oo, sqrt

from varflow._checks import ConvergenceError, DomainError, integer
from varflow._mpmath import mp, mpf
from varflow.symbolic.algebra import LARGEST_FACTORED, factored, neat, symbols_for_long_numbers
from varflow.symbolic.derivation import Derivation, Domain, built_once
from varflow.symbolic.laws import Law, density, law_of, map_slope, tail
from varflow.symbolic.numbers import Values, as_function
from varflow.symbolic.symbols import V, above, all_of, below, g, n, quantity, z

_FEW = 12  # up to so many neurons the binomial distribution is summed; beyond, the chain is solved
p, f = quantity("p", "p", positive=True), quantity("f", "f", positive=True)
F = [S.Zero, *(quantity(f"F{k}", "F" + "'" * k if k < 4 else "F''''") for k in range(1, 5))]
X, u, t = quantity("X", "X"), quantity("u", "u"), sympy.Symbol("t", real=True)
G = quantity("E[exp(t X')|X]", r"\mathrm{E}[e^{t X'} \mid X]", positive=True)
M = [S.One, *(quantity(f"E[X'^{k}|X]", rf"\mathrm{{E}}[X'^{{{k}}} \mid X]") for k in range(1, 5))]
e = [S.One, *(quantity(f"E[X^{k}]", rf"\mathrm{{E}}[X^{{{k}}}]") for k in range(1, 5))]
shift = quantity("E[C] - V*", r"\mathrm{E}[C] - V^*")
spread = quantity("Var[C]", r"\operatorname{Var}[C]", positive=True)
a = [sympy.Symbol(f"a_{k}", real=True) for k in range(6)]  # Taylor coefficients of π at p
HIGHEST_ORDER = 2
small = sympy.Symbol("epsilon", positive=True)  # 1/n
_RATE = p + u / g**2
_GENERATING = exp(-(g**2) * p * t) * (1 - _RATE + _RATE * exp(g**2 * t / n)) ** n  # E[e^{tX'} | X]


@built_once
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
        Of the standardised potential, without bias or weight mean: the result is then in ``z = θ/√V*``, ``V`` (for ``V*``) and
        ``n``. Without it, it is in ``F1 … F4``, the derivatives of any smooth map ``F`` at ``V*``.

    Returns
    -------
    Derivation
        ``.result`` is ``(E[C] - V*, Var[C])``.

    Raises
    ------
    DomainError
        For another order or an unknown distribution.

    Notes
    -----
    **Assumes** independent rows of weights, so that spike counts are a binomial chain; a network that is alive and deep; and,
    with a ``distribution``, that ``F`` does not depend on the spike pattern, which is exact for normal weights.
    **Accuracy**: ``.check()`` compares with the stationary distribution of the exact chain at n = 100 and 10000: the
    remainder must fall as ``n^-(order + 1)``.
    **Source**: derived here; ``yaida2020`` and ``roberts2022`` expand networks of smooth activations in ``1/n``.

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
            "order", order, f"must be at most {HIGHEST_ORDER}; vf.expansion(network, order=...) has higher orders in numbers"
        )
    law = None if distribution is None else law_of(distribution)
    steps = _stationarity(_given_x(Derivation("Finite width", chain_setting(law), answers=2), order), order)
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
    error = O(n ** (-order - 1), (n, oo))
    steps = steps.then(Eq(shift, first + error), r"$\mathrm{E}[C] - V^* = \mathrm{E}[X]$", condition=_stable(law))
    return steps.then(Eq(spread, second + error), r"$\mathrm{E}[X^2] - \mathrm{E}[X]^2$")


def _stable(law: Law | None) -> Any:
    """A stable fixed point, away from saturation."""
    if law is None:
        return all_of(below(sympy.Abs(F[1]), 1), below(p, 1))
    return all_of(law.holds(z), above(z, 0), below(law.pdf(z) * z, 2 * law.sf(z)))


def _given_x(start: Derivation, order: int) -> Derivation:
    """Moments of the next ``X`` given this one, from the binomial distribution."""
    steps = start.then(
        Eq(u, sum(F[k] * X**k / sympy.factorial(k) for k in range(1, 2 * order + 1)) + O(X ** (2 * order + 1))),
        "$u = F(V^* + X) - V^*$, the mean of $X'$ given $X$, about the fixed point",
        assumption="$F(V^*) = V^*$, $F$ smooth there",
    )
    steps = steps.then(
        Eq(G, _GENERATING), r"$K' \sim \mathrm{Binomial}(n, p + u/g^2)$", assumption="rows of weights independent"
    )
    for k in range(1, 2 * order + 1):
        steps = steps.then(Eq(M[k], _moment(k)), "its derivative at $t = 0$" if k == 1 else "and the next")
    return steps


@lru_cache(maxsize=2 * HIGHEST_ORDER)
def _moment(power: int) -> Any:
    """``E[X'^power | X]``, the derivative of ``E[e^{tX'} | X]`` at ``t = 0``."""
    return sympy.collect(sympy.expand(sympy.diff(_GENERATING, t, power).subs(t, 0)), n, sympy.factor)


def _stationarity(steps: Derivation, order: int) -> Derivation:
    """``E[X^k] = E[E[X'^k | X]]`` to the order in ``1/n``, with ``E[X^a] = O(n^-⌈a/2⌉)``."""
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
    """Coefficients of ``X^a n^-b`` in ``E[X'^k | X]`` up to the order."""
    series = sum(F[k] * X**k / sympy.factorial(k) for k in range(1, 2 * order + 1))
    coefficients: list[dict[Any, Any]] = [{(0, 0): S.One}]
    for k in range(1, 2 * order + 1):
        moment = sympy.Poly(sympy.expand(_moment(k).subs(n, 1 / small).subs(u, series)), X, small)
        coefficients.append({ab: sympy.factor(c) for ab, c in moment.terms() if (ab[0] + 1) // 2 + ab[1] <= order})
    return coefficients


@lru_cache(maxsize=2)
def _solved(order: int) -> list[list[Any]]:
    """Coefficients of ``n^-j`` in ``E[X^k]``: terms of lower orders and higher moments, divided by ``1 - F'^k``."""
    coefficients = [[S.One] + [S.Zero] * order] + [[S.Zero] * (order + 1) for _ in range(2 * order)]
    for j in range(1, order + 1):
        for k in range(2 * j, 0, -1):
            lower_orders = sum(c * coefficients[power][j - b] for (power, b), c in _transfer(order)[k].items() if b <= j)
            coefficients[k][j] = _neat(lower_orders / (1 - F[1] ** k))
    return coefficients


def _solution(steps: Derivation, order: int) -> tuple[Any, Any]:
    first, second = _solved(order)[1:3]
    square = [sum(first[i] * first[j - i] for i in range(j + 1)) for j in range(order + 1)]
    return _series(first), _series([_neat(x - y) for x, y in zip(second, square, strict=True)])


def _neat(expression: Any) -> Any:
    """Factored, with factors ``1 - F'`` and ``1 - p``, the rest ordered by the derivatives of ``F``."""
    total, sign = S.One, S.One
    for factor in sympy.Mul.make_args(sympy.factor(expression)):  # pyright: ignore[reportArgumentType]
        base, exponent = factor.as_base_exp()
        if base in (F[1] - 1, p - 1, f * z - 2 * p):
            total, sign = total * (-base) ** exponent, sign * (-1) ** exponent
        else:
            total *= sympy.collect(sympy.expand(base), F[2:], sympy.factor) ** exponent
    return sign * total


def _series(coefficients: list[Any]) -> Any:
    return sum(c / n**j for j, c in enumerate(coefficients))


def _in_law(series: Any, order: int) -> Any:
    """Each coefficient of ``1/n`` factored if it is short, in ``p``, ``f`` and ``z``."""
    short, back = symbols_for_long_numbers(series)
    expanded = sympy.expand(short.subs(n, 1 / small))
    coefficients = [sympy.together(expanded.coeff(small, j)) for j in range(order + 1)]
    return _series([_neat(c) if c.count_ops() <= LARGEST_FACTORED else c for c in coefficients]).xreplace(back)


def _derivatives(steps: Derivation, law: Law) -> tuple[Derivation, dict[Any, Any]]:
    """``F', F'', …`` of ``F(V) = g² Q(θ/√V)`` at its fixed point, where ``θ = z √V`` and ``g² = V/p``."""
    derivatives: dict[Any, Any] = {}
    used = set().union(*(step.expression.free_symbols for step in steps.steps))
    steps = steps.then(Eq(p, law.sf(z)), "the firing rate", assumption=f"{law.name} potentials, no bias")
    steps = steps.then(Eq(f, law.pdf(z)), "the density at the threshold")
    steps = steps.then(Eq(g**2, V / p), "the fixed point, $V = g^2 p$")
    slope = neat(sympy.diff(law.density, law.z) / law.density).subs(law.z, z)
    ratio = z / 2  # of the k-th derivative to f(z) g² V^-k, z = θ/√V
    for k in range(1, max(F.index(symbol) for symbol in used & {*F}) + 1):
        derivatives[F[k]] = ratio * f / p * V ** (1 - k)
        steps = steps.then(Eq(F[k], derivatives[F[k]]), r"derivative of $F(V) = g^2 Q(\theta/\sqrt V)$")
        ratio = factored(-z / 2 * (slope * ratio + sympy.diff(ratio, z)) - k * ratio)
    return steps, derivatives


def chain_setting(law: Law | None) -> Domain:
    """A chain with a random smooth firing probability, or with that of a distribution at a random ``z``."""
    drawn_law = lambda rng: _common(rng) | {z: mpf(rng.uniform(0.25, 0.38)), V: mpf(rng.uniform(0.7, 1.4))}  # noqa: E731
    draw, chain = (_any_chain, _polynomial) if law is None else (drawn_law, lambda values: _of_law(law, values))

    def define(values: Values) -> Values:
        derived, rise, slope, key = chain(values)
        every = values | derived
        if every[n] <= _FEW:
            return derived | _binomial(every)
        moments = _moments(int(every[n]), float(every[p]), slope, key, rise)
        scaled = {e[k]: every[g] ** (2 * k) * mpf(moments[k - 1]) for k in range(1, 5)}
        return derived | scaled | {shift: scaled[e[1]], spread: scaled[e[2]] - scaled[e[1]] ** 2}

    return Domain(draw, define)


_CHAINS: dict[Any, tuple[float, ...]] = {}


def _moments(n: int, p: float, slope: float, key: tuple[Any, ...], rise: Callable[..., Any]) -> tuple[float, ...]:
    """The stationary moments, each chain solved once."""
    if (n, p, *key) not in _CHAINS:
        _CHAINS[(n, p, *key)] = stationary_moments(n, p, slope, rise, 4)
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
    rise = lambda xi: sum(float(c[k]) * xi**k for k in range(1, 6))  # noqa: E731
    xi = values[X] / values[g] ** 2
    derived = {F[k]: mp.factorial(k) * c[k] / values[g] ** (2 * k - 2) for k in range(1, 5)}
    derived[u] = values[g] ** 2 * sum(c[k] * xi**k for k in range(1, 6))
    return derived, rise, float(c[1]), tuple(map(float, c))


@lru_cache(maxsize=256)
def _at_fixed_point(law: Law, at: Any, variance: Any, precision: int) -> Values:
    """Firing rate, gain and derivatives of the map: the first by ``map_slope``, the others by differentiating it."""
    rate, theta = tail(law, at), at * mp.sqrt(variance)
    gain2 = variance / rate
    slope = lambda v: gain2 * density(law, theta / mp.sqrt(v)) * theta / (2 * v * mp.sqrt(v))  # noqa: E731
    derived = {p: rate, f: density(law, at), g: mp.sqrt(gain2), F[1]: map_slope(law, at, rate)}
    return derived | {F[k]: mp.diff(slope, variance, k - 1) for k in range(2, 5)}


def _of_law(law: Law, values: Values) -> tuple[Values, Callable[..., Any], float, tuple[Any, ...]]:
    at, variance = values[z], values[V]
    derived = dict(_at_fixed_point(law, at, variance, mp.prec))
    rate, gain2, theta = derived[p], derived[g] ** 2, at * mp.sqrt(variance)
    derived[u] = gain2 * mp.quad(lambda s: density(law, s), [theta / mp.sqrt(variance + values[X]), at])
    spot, chance = float(at), float(rate)

    def rise(xi: np.ndarray) -> np.ndarray:
        """``∫_s^z f`` for ``s = z √(p/(p + ξ))``."""
        ends = spot * np.sqrt(chance / (chance + xi))
        return _integrals(law, ends, spot)

    return derived, rise, float(derived[F[1]]), (law.name, spot)


def _integrals(law: Law, ends: np.ndarray, start: float) -> np.ndarray:
    """``∫_end^start f`` for descending ends, piece by piece by Gauss–Legendre quadrature."""
    argument = sympy.Symbol("t", real=True)
    height = as_function((argument,), law.whole, "numpy")
    nodes, weights = np.polynomial.legendre.leggauss(12)
    split = int(np.sum(ends > start))
    places = np.concatenate([ends[:split], [start], ends[split:]])
    half, middle = (places[:-1] - places[1:]) / 2, (places[:-1] + places[1:]) / 2
    pieces = half * (np.broadcast_to(height(middle[:, None] + half[:, None] * nodes), (len(half), 12)) @ weights)
    before_start = -np.cumsum(pieces[:split][::-1])[::-1]
    return np.concatenate([before_start, np.cumsum(pieces[split:])])


def _binomial(values: Values) -> Values:
    """Moments of the next ``X`` and ``E[exp(t X')]`` by summing over the binomial distribution."""
    size, gain2 = int(values[n]), values[g] ** 2
    q = values[p] + values[u] / gain2
    mass = [mp.binomial(size, K) * q**K * (1 - q) ** (size - K) for K in range(size + 1)]
    place = [gain2 * (mpf(K) / size - values[p]) for K in range(size + 1)]
    average = lambda r: mp.fsum(w * r(s) for w, s in zip(mass, place, strict=True))  # noqa: E731
    return {M[k]: average(lambda s, k=k: s**k) for k in range(1, 5)} | {G: average(lambda s: mp.exp(values[t] * s))}


def stationary_moments(
    n: int, p: float, slope: float, rise: Callable[[np.ndarray], np.ndarray], highest: int
) -> tuple[float, ...]:
    """``E[(x - p)^k]``, ``k = 1 … highest``.

    Parameters
    ----------
    n : int
        Neurons.
    p, slope : float
        The fixed point, ``π(p) = p``, and ``π'(p)``. The variance is about ``p (1 - p)/(n (1 - π'(p)²))``.
    above : callable
        ``π(p + ξ) - p`` for an ascending array of ``ξ``.
    highest : int
    """
    centre = round(n * p)
    # a normal distribution has 2e-19 beyond 9 standard deviations
    reach = int(9 * np.sqrt(n * p * (1 - p) / (1 - slope**2))) + 2
    K = np.arange(max(centre - reach, 1), min(centre + reach, n - 1) + 1)  # given that there are spikes
    xi = (K - n * p) / n
    chain = _rows(n, np.arange(K[0] - 1, K[-1] + 1), centre, p + rise(xi))[:, 1:]
    law = before = np.equal(K, centre).astype(float)
    for _ in range(int(-50 / np.log(abs(slope))) + 20):  # |slope|^steps < e^-50
        law, before = law @ chain, law
        law /= law.sum()
    if np.abs(law - before).max() > 1e-13 * law.max():
        raise ConvergenceError(f"the chain of {n} neurons did not converge: its slope at the fixed point is not {slope:.3g}")
    return tuple(float(law @ xi**k) for k in range(1, highest + 1))


def _rows(n: int, K: np.ndarray, centre: int, q: np.ndarray) -> np.ndarray:
    """Binomial probabilities of ``K`` for each probability ``q``: ratios to the central count, then normalised."""
    q = np.clip(q, 1e-200, 1 - 1e-15)
    start, odds = centre - int(K[0]), np.log(q / (1 - q))
    usual = np.median(odds)
    growth = np.log((n - K[:-1]) / (K[:-1] + 1)) + usual
    shape = np.concatenate([-np.cumsum(growth[:start][::-1])[::-1], [0.0], np.cumsum(growth[start:])])
    rows = shape + (odds - usual)[:, None] * (K - centre)
    rows = np.exp(rows - rows.max(axis=1, keepdims=True))
    return rows / rows.sum(axis=1, keepdims=True)
