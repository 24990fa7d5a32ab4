"""Responses ``r(u)`` of a neuron to its potential: the spike of the paper, and four others.

Each is given twice, independently: as an integrand of ``E[r(u)²]``, for sympy; and as a function of a number, from which
checks compute ``E[r(u)²]`` by quadrature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, NamedTuple

import sympy
from sympy import S

from varflow._checks import DomainError, choice
from varflow._mpmath import mp
from varflow.symbolic.symbols import V

u = sympy.Symbol("u", real=True)
slope = sympy.Symbol("a", real=True)
k = sympy.Symbol("k", integer=True, positive=True)


class Response(NamedTuple):
    """``E[r(u)²] = base + ∫_θ^∞ weight(u) f_u du``; ``at(u, θ, a)`` is ``r`` itself and ``kinks(θ)`` where it jumps."""

    name: str
    base: Any
    weight: Any
    at: Callable[[Any, Any, Any], Any]
    kinks: Callable[[Any], Iterable[Any]]
    reason: str
    parameters: tuple[Any, ...] = ()


def _at_threshold(theta: Any) -> list[Any]:
    return [theta]


RESPONSES = {
    "step": Response(
        "step",
        S.Zero,
        S.One,
        lambda u, theta, a: int(u > theta),
        _at_threshold,
        "$x = 1(u > \\theta)$, a spike is its own square",
    ),
    "graded": Response(
        "graded", S.Zero, u**2, lambda u, theta, a: u * int(u > theta), _at_threshold, "$x = u\\,1(u > \\theta)$"
    ),
    "ternary": Response(
        "ternary",
        S.Zero,
        S(2),
        lambda u, theta, a: int(u > theta) - int(u < -theta),
        lambda theta: [-theta, theta],
        "$x = \\pm 1$ beyond $\\pm\\theta$, and the distribution is symmetric",
    ),
    "leaky_relu": Response(
        "leaky_relu",
        slope**2 * V,
        (1 - slope**2) * u**2,
        lambda u, theta, a: u if u > theta else a * u,
        _at_threshold,
        "$x = u$ above the threshold, $x = a u$ below it",
        (slope,),
    ),
    "multi_spike": Response(
        "multi_spike",
        S.Zero,
        2 * k - 1,
        lambda u, theta, a: mp.floor(u / theta) if u > 0 else 0,
        lambda theta: (j * theta for j in count(1)),
        "$x = \\lfloor u/\\theta \\rfloor$, whose square is the sum of the odd numbers up to $2x - 1$",
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
