"""A layer in a derivation: admissible parameters, responses of its neurons, and its quantities computed from the definition.

The definition is ``u' = Σ_j w_j r(u_j) + b`` with independent weights, potentials and bias. Quantities are computed from it
by quadrature of the density and by summing over all patterns of two-valued weights. A response ``r(u)`` is given twice,
independently: as an integrand of ``E[r(u)²]``, for sympy; and as a function of a number, for the quadrature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, count, product
from random import Random
from typing import Any, NamedTuple

import sympy
from sympy import S, sqrt

from varflow._checks import DomainError, choice
from varflow._mpmath import mp, mpf
from varflow.symbolic.laws import Law, Parameters, law_of, sign_of
from varflow.symbolic.numbers import Values, value
from varflow.symbolic.symbols import NAMES, V, above, all_of, exact, g, n, quantity, sigma_w, theta

u = sympy.Symbol("u", real=True)
slope = sympy.Symbol("a", real=True)
k = sympy.Symbol("k", integer=True, positive=True)
V_next = quantity("V'", "V'", positive=True)
E_x, E_x2 = quantity("E[x]", r"\mathrm{E}[x]"), quantity("E[x^2]", r"\mathrm{E}[x^2]", positive=True)


class Response(NamedTuple):
    """``E[r(u)²] = base + ∫_θ^∞ weight(u) f_u du``; ``at(u, θ, a)`` is ``r`` itself and ``kinks(θ)`` where it jumps."""

    name: str
    weight: Any
    at: Callable[[Any, Any, Any], Any]
    reason: str
    base: Any = S.Zero
    kinks: Callable[[Any], Iterable[Any]] = lambda theta: [theta]
    parameters: tuple[Any, ...] = ()


RESPONSES = {
    "step": Response("step", S.One, lambda u, theta, a: int(u > theta), "$x = 1(u > \\theta)$, a spike is its own square"),
    "graded": Response("graded", u**2, lambda u, theta, a: u * int(u > theta), "$x = u\\,1(u > \\theta)$"),
    "ternary": Response(
        "ternary",
        S(2),
        lambda u, theta, a: int(u > theta) - int(u < -theta),
        "$x = \\pm 1$ beyond $\\pm\\theta$, and the distribution is symmetric",
        kinks=lambda theta: [-theta, theta],
    ),
    "leaky_relu": Response(
        "leaky_relu",
        (1 - slope**2) * u**2,
        lambda u, theta, a: u if u > theta else a * u,
        "$x = u$ above the threshold, $x = a u$ below it",
        base=slope**2 * V,
        parameters=(slope,),
    ),
    "multi_spike": Response(
        "multi_spike",
        2 * k - 1,
        lambda u, theta, a: mp.floor(u / theta) if u > 0 else 0,
        "$x = \\lfloor u/\\theta \\rfloor$, whose square is the sum of the odd numbers up to $2x - 1$",
        kinks=lambda theta: (j * theta for j in count(1)),
    ),
}


def response_of(name: Any, theta: Any) -> Response:
    """A response by name; some need a positive threshold."""
    response = RESPONSES[choice("response", name, tuple(RESPONSES))]
    if name in ("multi_spike", "ternary") and not theta.is_positive:
        raise DomainError(
            "threshold", theta, f"must be positive for response={name!r}; declare it, Symbol('theta', positive=True)"
        )
    return response


@dataclass(frozen=True, eq=False)
class SymbolicLayer:
    """A layer; threshold, bias and weight mean are symbols or numbers."""

    law: Law
    threshold: Any
    response: Response
    bias: Any
    mean: Any

    @property
    def incoming_mean(self) -> Any:
        """``m_g p``, the mean of the potentials, with ``p = (V - σ_b²)/g²``."""
        return self.mean * (V - self.bias**2) / g**2

    @property
    def z(self) -> Any:
        """The threshold in standard deviations above the mean."""
        return (self.threshold - self.incoming_mean) / sqrt(V)

    def draw(self, rng: Random) -> Values:
        """Random admissible parameters: ``z`` in the range of the distribution's formulas, the others of order one."""
        low, high = (0.3, 2.5) if self.response.name == "multi_spike" else (-2.5, 2.5)
        z, parameters = self.z, self.law.parameters
        for _ in range(2000):  # until the threshold lies where neurons fire
            values = self._drawn(rng)
            ends = [float(end.subs({symbol: values[symbol] for symbol in parameters})) for end in (self.law.low, self.law.high)]
            if max(low, ends[0] * 0.95) < value(z, values) < min(high, ends[1] * 0.95) or z == 0:
                return values
        rule = "leaves no point of ordinary size at which the steps can be checked: measure potentials in another unit"
        raise DomainError("mean_gain" if self.mean != 0 else "threshold", self.mean if self.mean != 0 else self.threshold, rule)

    def _drawn(self, rng: Random) -> Values:
        between = lambda low, high: mpf(rng.uniform(low, high))  # noqa: E731
        values = {symbol: between(*ends) for symbol, ends in self.law.parameters.items()}
        values |= {symbol: between(-0.9, 0.9) for symbol in (*self.response.parameters, *self.mean.free_symbols)}
        numbers = [abs(value(given, {})) for given in (self.threshold, self.bias) if not given.free_symbols]
        unit = max([mpf(1), *numbers])  # of potentials
        values |= {g: unit * between(0.5, 4), n: mpf(rng.randint(1, 5)), sigma_w: between(0.2, 2)}
        values |= {symbol: between(0.1, 1) for symbol in self.bias.free_symbols}
        received = value(self.bias, values) ** 2 + values[g] ** 2 * between(0.1, 0.9)  # so that 0 < p < 1 in the mean m_g p
        values[V] = received if self.mean != 0 else unit**2 * between(0.2, 4)
        sign = -1 if self.threshold.is_negative else 1 if self.threshold.is_positive else rng.choice([-1, 1])
        return values | {symbol: sign * between(0, 3) for symbol in self.threshold.free_symbols}

    @property
    def holds(self) -> Any:
        """Range of the parameters in which the formulas of distribution and response hold."""
        counted = self.response.name in ("multi_spike", "ternary") and self.threshold.free_symbols
        positive = above(self.threshold, 0) if counted else sympy.true
        return all_of(self.law.holds(self.z), positive)

    def moments(self, values: Values) -> tuple[Any, Any]:
        """``E[r(u)]`` and ``E[r(u)²]`` by quadrature of the density, split where the response jumps."""
        theta, scale, mean = (value(e, values) for e in (self.threshold, sqrt(V), self.incoming_mean))
        slope = values.get(self.response.parameters[0]) if self.response.parameters else None
        out, low = [mpf(0), mpf(0)], -mp.inf
        for kink in chain(self.response.kinks(theta), [mp.inf]):
            high = (kink - mean) / scale
            for power in (1, 2):
                kernel = lambda z, p=power: self.response.at(mean + scale * z, theta, slope) ** p  # noqa: E731
                piece = self.law.integral(kernel, low, high, values)
                out[power - 1] += piece
            if low > 0 and abs(piece) < mp.eps * out[1]:  # infinitely many jumps: the rest is negligible
                break
            low = high
        return out[0], out[1]

    def define(self, values: Values) -> Values:
        """``V'`` for a fan-in of three, summed over all patterns of weights ``±g/√3``."""
        first, second = self.moments(values)
        weights = values[g] / mp.sqrt(3)
        square, _ = spread([-weights, weights], 3, first, second)
        return {V_next: value(self.bias, values) ** 2 + square, E_x: first, E_x2: second}


def spread(weights: list[Any], fan_in: int, first: Any, second: Any, mixed: Any = 0) -> tuple[Any, Any]:
    """``E[u²]`` and ``E[u]`` of ``u = Σ w_j x_j`` for weights with two equally probable values, summed over all patterns.

    ``mixed`` is ``E[x_i x_j]`` of two neurons; it drops out for weights of mean zero.
    """
    total, mean = mpf(0), mpf(0)
    for pattern in product(weights, repeat=fan_in):
        squares, total_weight = sum(w * w for w in pattern), sum(pattern)
        total += squares * second + (total_weight * total_weight - squares) * mixed
        mean += total_weight * first
    return total / 2**fan_in, mean / 2**fan_in


def layer_of(
    distribution: Any,
    *,
    response: Any = "step",
    threshold: Any = theta,
    bias_std: Any = 0,
    mean_gain: Any = 0,
    parameters: Parameters | None = None,
) -> SymbolicLayer:
    """A layer from the arguments of a public function, checked."""
    at, bias, mean = (atom(name, x) for name, x in (("threshold", threshold), ("bias_std", bias_std), ("mean_gain", mean_gain)))
    if bias.is_negative:
        raise DomainError("bias_std", bias_std, "must not be negative")
    if mean != 0 and response != "step":
        raise DomainError("mean_gain", mean_gain, "is supported for response='step' only: leave it 0")
    try:
        law, response = law_of(distribution, sign=sign_of(at), parameters=parameters), response_of(response, at)
    except DomainError as error:
        if error.argument != "threshold":
            raise
        raise DomainError("threshold", threshold, error.rule) from None  # the threshold as given
    if response.name == "ternary" and not law.symmetric:
        raise DomainError("distribution", distribution, "must be symmetric for response='ternary'")
    if response.name == "multi_spike" and not (law.high.is_infinite and law.high in law.ends):
        raise DomainError("distribution", distribution, "must have one formula up to infinity for response='multi_spike'")
    if response.name == "multi_spike" and law.heavy_tailed:
        rule = "must decay faster than a power for response='multi_spike', whose series over spike counts converges too slowly"
        raise DomainError("distribution", distribution, rule)
    return SymbolicLayer(law, at, response, bias, mean)


def atom(name: str, given: Any) -> Any:
    """A number, or a symbol not already used for another quantity of the layer."""
    expression = exact(name, given)
    if not expression.is_Symbol and expression.free_symbols:
        raise DomainError(name, given, "must be one symbol or a number, not a combination of symbols")
    if expression.is_Symbol and NAMES.get(expression.name, name) != name:
        raise DomainError(name, given, f"already stands for the {NAMES[expression.name]}: use a symbol of another name")
    return expression
