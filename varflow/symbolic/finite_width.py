"""The first corrections of finite width to variance and mean, from the binomial chain of spike counts.

``C = g² K/n + σ_b²`` is the variance of a potential given the ``K`` spikes of the layer before; ``X = C - V*``. Steps are
checked against the chain and against sums over the binomial distribution (``chains``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sympy
from sympy import Eq, O, S, exp, oo, sqrt

from varflow._checks import DomainError, integer
from varflow.symbolic.algebra import LARGEST_FACTORED, factored, neat, symbols_for_long_numbers
from varflow.symbolic.chains import F, G, M, X, chain_setting, e, f, p, shift, spread, t, u
from varflow.symbolic.derivation import Derivation, built_once
from varflow.symbolic.laws import Law, law_of
from varflow.symbolic.symbols import V, above, all_of, below, g, n, z

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
