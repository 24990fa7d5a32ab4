"""sympy.stats random variables as distributions of the standardised membrane potential.

sympy leaves some tails unevaluated (Laplace, Student t) and gives others as differences that cancel (``1 - 1/(1 + e^-z)``). So
the density is integrated numerically between its kinks, by double-exponential quadrature: all terms are positive, and the tail
has full relative accuracy. Every distribution is checked once, when it is made, against mpmath's quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from varflow._checks import DomainError, frozen, put, require
from varflow.model.builtin import Distribution, checked_discrete

Density = Callable[[np.ndarray], np.ndarray]

_STEP = 1 / 24  # with the cut at ±4.2: 1e-13 relative for the densities of sympy.stats
_NODES = np.arange(-4.2, 4.2 + _STEP, _STEP)
_GROWTH = 0.5 * math.pi * np.sinh(_NODES)
_RATE = 0.5 * math.pi * np.cosh(_NODES) * _STEP
_BLOCK = 256
_DISTANCES = np.geomspace(1e-6, 1e6, 3000)


class FromDensity(Distribution):
    """A distribution known by its density on the standardised variable, smooth between its ``knots``."""

    __slots__ = ("_areas", "_density", "_knots", "name", "upper")
    _density: Density
    _knots: np.ndarray
    _areas: np.ndarray

    def __init__(self, name: str, density: Density, knots: list[float]):
        put(self, name=name, upper=knots[-1], _density=density, _knots=frozen(knots))
        put(self, _areas=frozen([_area(density, a, b) for a, b in pairwise(knots)]))

    def _sf(self, z: np.ndarray) -> np.ndarray:
        flat = np.ravel(z)
        tail = np.full(flat.shape, np.nan)
        for start in range(0, flat.size, _BLOCK):
            tail[start : start + _BLOCK] = self._tail(flat[start : start + _BLOCK])
        return tail.reshape(np.shape(z))

    def _tail(self, z: np.ndarray) -> np.ndarray:
        tail = np.where(np.isnan(z), z, np.where(z >= self.upper, 0.0, 1.0))
        for index, (a, b) in enumerate(pairwise(self._knots)):
            here = (z >= a) & (z < b) & np.isfinite(z)
            if not here.any():
                continue
            if a >= 0:  # integrate the smaller tail, so that it does not cancel
                tail[here] = integral(self._density, z[here], b) + np.sum(self._areas[index + 1 :])
            else:
                mirrored = integral(lambda y: self._density(-y), -z[here], -a)
                tail[here] = 1.0 - (mirrored + np.sum(self._areas[:index]))
        return tail

    def _pdf(self, z: np.ndarray) -> np.ndarray:
        inside = (z >= self._knots[0]) & (z <= self.upper) & np.isfinite(z)
        return np.where(np.isnan(z), z, np.where(inside, self._density(np.where(inside, z, 0.0)), 0.0))

    def __reduce__(self) -> Any:
        raise TypeError("distributions made from sympy variables cannot be pickled; pickle the variable instead")

    def __repr__(self) -> str:
        return f"distribution({self.name})"


def _area(density: Density, low: float, high: float) -> float:
    """``∫ density`` from ``low`` to ``high``, either of which may be infinite."""
    if math.isinf(low):
        return _area(lambda y: density(-y), -high, math.inf)
    return float(integral(density, np.array([low]), high)[0])


def integral(density: Density, start: np.ndarray, end: float) -> np.ndarray:
    """``∫ density`` from each start to ``end``, finite (tanh-sinh) or infinite (exp-sinh); Takahasi and Mori 1974."""
    start = start[:, None]
    if math.isinf(end):
        reach = np.exp(_GROWTH)
        return np.sum(density(start + reach) * (reach * _RATE), axis=1)
    fraction = 1.0 / (1.0 + np.exp(-2.0 * _GROWTH))
    weight = 2.0 * _RATE * fraction / (1.0 + np.exp(2.0 * _GROWTH))
    width = end - start
    return np.sum(density(start + width * fraction) * (width * weight), axis=1)


@lru_cache(maxsize=64)  # equal sympy.stats variables are equal keys; one conversion may take seconds
def from_sympy(obj: Any) -> Distribution:
    """The distribution of a sympy.stats random variable without free symbols."""
    sympy, stats = require("sympy", "sympy"), require("sympy", "sympy.stats")
    if not isinstance(obj, stats.rv.RandomSymbol):
        raise DomainError("distribution", obj, "must be a single random variable, such as sympy.stats.Normal('X', 0, 1)")
    x = sympy.Dummy("x", real=True)
    law = stats.density(obj)
    parameters = obj.pspace.distribution.free_symbols - {obj.symbol}
    if parameters:
        names = ", ".join(sorted(map(str, parameters)))
        raise DomainError("distribution", obj, f"leaves {names} free: give every parameter a number")
    if obj.pspace.is_Finite:
        table = {float(atom): float(weight) for atom, weight in law.dict.items()}
        return checked_discrete(f"sympy {obj}", obj, np.array([*table]), np.array([*table.values()]))
    if not obj.pspace.is_Continuous:
        raise DomainError("distribution", obj, "is discrete with infinitely many atoms: give it as a scipy.stats distribution")
    return _from_expression(obj, sympy.sympify(law(x), strict=True), x)


def _from_expression(obj: Any, expression: Any, x: Any) -> Distribution:
    from varflow._mpmath import functions

    sympy = require("sympy", "sympy")
    support = obj.pspace.domain.set
    low, high = float(support.inf), float(support.sup)
    raw = sympy.lambdify(x, expression, modules=["scipy", "numpy"])

    def original(y: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.nan_to_num(np.asarray(raw(y), dtype=np.float64)), np.shape(y))

    kinks = [k for k in _kinks(expression, x) if low < k < high]
    with np.errstate(all="ignore"):
        return _from_pieces(obj, original, [low, *kinks, high], sympy.lambdify(x, expression, modules=[functions(), "mpmath"]))


def _from_pieces(obj: Any, original: Density, ends: list[float], witness: Any) -> FromDensity:
    mean, std = _moments(obj, original, ends)

    def standardised(z: np.ndarray) -> np.ndarray:
        return std * original(mean + std * z)

    law = FromDensity(f"sympy {obj}", standardised, sorted({0.0, *((end - mean) / std for end in ends)}))
    _check(obj, law, witness, mean, std)
    return law


def _kinks(expression: Any, x: Any) -> list[float]:
    """Points where an absolute value or a case of the density switches."""
    sympy = require("sympy", "sympy")
    edges: list[Any] = [atom.args[0] for atom in expression.atoms(sympy.Abs, sympy.sign, sympy.Heaviside)]
    edges += [atom.lhs - atom.rhs for atom in expression.atoms(sympy.core.relational.Relational)]
    edges += [atom.args[0] - other for atom in expression.atoms(sympy.Max, sympy.Min) for other in atom.args[1:]]
    roots = [sympy.solveset(edge, x, sympy.S.Reals) for edge in edges if edge.has(x)]
    found = [root for some in roots if isinstance(some, sympy.FiniteSet) for root in some]  # _check would reject a missed kink
    return sorted({float(root) for root in found if root.is_number})


def _moments(obj: Any, density: Density, ends: list[float]) -> tuple[float, float]:
    """Mean and standard deviation by quadrature, starting from a first guess."""
    for end in (ends[0], ends[-1]):
        if math.isinf(end):
            reach = math.copysign(1.0, end) * np.array([1e20, 1e30])
            tail = np.abs(reach) ** 3 * density(reach)  # tends to 0 if the variance is finite
            if tail[1] > 0 and tail[1] > 0.99 * tail[0]:
                raise DomainError("distribution", obj, "has infinite variance: it cannot be scaled to variance 1")
    centre, width = _on_a_grid(density, ends) or _by_sympy(obj, ends)
    mass = 0.0
    for _ in range(3):  # each pass starts from a better centre
        knots = sorted({(end - centre) / width for end in ends} | {0.0})
        mass, first, second = (_moment(density, centre, width, power, knots) for power in range(3))
        if not (mass > 0 and math.isfinite(second)):
            break
        centre, width = centre + width * first / mass, width * math.sqrt(max(second / mass - (first / mass) ** 2, 0.0))
    if not (abs(mass - 1) < 1e-9 and width > 0):
        rule = "has a density that does not integrate to 1 numerically; give it as a scipy.stats distribution or a sample"
        raise DomainError("distribution", obj, rule)
    return centre, width


def _on_a_grid(density: Density, ends: list[float]) -> tuple[float, float] | None:
    """A first guess: the trapezium rule on points that crowd around finite ends, or around 0; None where it misses the mass."""
    around = [end for end in ends if math.isfinite(end)] or [0.0]
    x = np.unique(np.concatenate([end + sign * _DISTANCES for end in around for sign in (-1, 1)]).clip(ends[0], ends[-1]))[1:-1]
    weight = density(x) * np.gradient(x)
    mass = float(weight.sum())
    if not 0.9 < mass < 1.1:
        return None
    centre = float(weight @ x) / mass
    return centre, math.sqrt(float(weight @ (x - centre) ** 2) / mass)


def _by_sympy(obj: Any, ends: list[float]) -> tuple[float, float]:
    stats = require("sympy", "sympy.stats")
    with suppress(Exception):  # sympy's moments fail in many ways; the quadrature from here is verified
        centre, width = float(stats.E(obj)), math.sqrt(float(stats.variance(obj)))
        if math.isfinite(centre) and 0 < width < math.inf:
            return centre, width
    finite = [end for end in ends if math.isfinite(end)]
    if not finite:
        return 0.0, 1.0
    return (finite[0] + finite[-1]) / 2, max(finite[-1] - finite[0], 1.0)


def _moment(density: Density, centre: float, width: float, power: int, knots: list[float]) -> float:
    def weighted(s: np.ndarray) -> np.ndarray:
        return s**power * (width * density(centre + width * s))

    return sum(_area(weighted, a, b) for a, b in pairwise(knots))


def _check(obj: Any, law: FromDensity, density: Any, mean: float, std: float) -> None:
    """Compare the tail with mpmath's quadrature of the same density, to 1e-9 relative."""
    from varflow._mpmath import mp, mpf, one_call

    for z in (-1.5, -0.4, 0.3, 1.0, 2.5, 6.0):
        if not law._knots[0] < z < law.upper:
            continue
        got = law.sf(z)
        steps = [k for k in law._knots if k > z] + [z + k for k in (0, 0.5, 1, 2, 4, 8, 16, 64) if z + k < law.upper]
        ends = sorted({*steps, law.upper})
        with one_call, mp.workdps(20):
            size = density(mpf(mean + std * z)) or mpf(1)  # mpmath's tolerance is absolute
            want = size * std * mp.quad(lambda y, s=size: density(mean + std * y) / s, ends)
        if not abs(got - want) <= 1e-9 * abs(want):
            rule = f"has a tail on which two quadratures disagree at z={z:g}; give a scipy.stats distribution or a sample"
            raise DomainError("distribution", obj, rule)
