"""Chains of spike counts in numbers, to check the finite-width series.

The firing probability is a random smooth function, or that of a distribution. With few neurons the binomial distribution is
summed; with many the chain ``n x' ~ Binomial(n, π(x))``, ``x = K/n``, is iterated from its centre until it is stationary, over
all counts within nine standard deviations, in double precision and without an expansion. ``π(x) - p`` is given as a function of
``x - p``, which avoids cancellation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
import sympy
from sympy import S

from varflow._checks import ConvergenceError
from varflow._mpmath import mp, mpf
from varflow.symbolic.derivation import Domain
from varflow.symbolic.laws import Law
from varflow.symbolic.numbers import Values, as_function
from varflow.symbolic.symbols import V, g, n, quantity, z
from varflow.symbolic.tails import density, map_slope, tail

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


def chain_setting(law: Law | None) -> Domain:
    """A chain with a random smooth firing probability, or with that of a distribution at a random ``z``."""
    draw, chain = (_any_chain, _polynomial) if law is None else (_drawn_law, lambda values: _of_law(law, values))

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


def _drawn_law(rng: Random) -> Values:
    return _common(rng) | {z: mpf(rng.uniform(0.25, 0.38)), V: mpf(rng.uniform(0.7, 1.4))}


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
