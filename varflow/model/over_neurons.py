r"""A parameter that differs between the neurons of a layer: its distribution over them, or a sample of it.

Each neuron draws its own value, independently of all weights, and keeps it. Theory averages over the distribution, by one of
two quadrature rules; a simulation draws a value for each neuron.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np

from varflow._checks import LARGEST_SCALE, DomainError, frozen, scale

BOUND = 6.0  # of the standardised value in Gauss rules
PART = 305  # values averaged at once, as many as the trapezoidal rule has: memory stays bounded for large samples
SAMPLE = "sample"


@dataclass(frozen=True, slots=True, repr=False)
class OverNeurons:
    """A continuous distribution of ``scipy.stats``, by name, shape parameters, location and scale; or a sample, of which
    ``shapes`` are the ordered values before location and scale.

    Arithmetic with it raises DomainError: it gets no further where only equal neurons are supported.
    """

    name: str
    shapes: tuple[float, ...]
    location: float
    scale: float

    @classmethod
    def of(cls, argument: str, value: Any) -> OverNeurons:
        """The description of a frozen scipy.stats distribution with a finite mean, or of values; DomainError for any other."""
        if isinstance(value, cls):
            return value
        if np.ndim(value) == 1:
            return cls(SAMPLE, tuple(np.sort(scale(argument, value)).tolist()), 0.0, 1.0)
        rule = "must be a number or a frozen continuous scipy.stats distribution, such as scipy.stats.uniform(0.7, 0.2)"
        if not (hasattr(value, "dist") and hasattr(value, "args") and hasattr(value, "pdf")):
            raise DomainError(argument, value, rule)
        from scipy import stats

        if type(value.dist) is not type(getattr(stats, str(value.dist.name), None)):  # rv_histogram, the user's own
            raise DomainError(argument, value.dist.name, rule)
        shapes, location, spread = value.dist._parse_args(*value.args, **value.kwds)
        numbers = np.array([*shapes, location, spread], dtype=object)
        if any(np.ndim(number) for number in numbers):
            raise DomainError(argument, value.dist.name, "has array parameters: give one distribution at a time")
        if not bool(value.dist._argcheck(*shapes)) or not np.isfinite(location) or not 0 < spread < np.inf:
            raise DomainError(argument, value.dist.name, "has invalid parameters: give finite ones, and a positive scale")
        made = cls(value.dist.name, tuple(float(shape) for shape in shapes), float(location), float(spread))
        if not np.isfinite(made.mean) or np.abs(made.rule()[0]).max() > LARGEST_SCALE:
            raise DomainError(argument, made, "must have a finite mean")
        return made

    @property
    def frozen(self) -> Any:
        """The scipy.stats distribution, or the sample with the same methods."""
        if self.name == SAMPLE:
            return _Empirical(self.location + self.scale * np.array(self.shapes))
        from scipy import stats

        return getattr(stats, self.name)(*self.shapes, loc=self.location, scale=self.scale)

    @property
    def mean(self) -> float:
        return float(self.frozen.mean())

    @property
    def smallest(self) -> float:
        """The smallest value of a sample; of a distribution the quantile of 3e-17, as lower values are ignored."""
        return self.support[0] if self.name == SAMPLE else float(self.rule()[0][0])

    @property
    def support(self) -> tuple[float, float]:
        low, high = self.frozen.support()
        return float(low), float(high)

    def quantile(self, fraction: np.ndarray) -> np.ndarray:
        """The value below which this fraction of neurons lies."""
        return np.asarray(self.frozen.ppf(fraction), dtype=np.float64)

    def rule(self, points: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        r"""Values and weights of a quadrature, ``E[f] = weights @ f(values)``.

        By default the trapezoidal rule in ``t``, where :math:`1/(1 + e^{-t})` is the quantile: 305 values, which resolve both
        tails. With ``points``, the Gauss rule with that many values, for smooth ``f``. A sample is its own rule, by
        all its different values; with ``points``, if they are no more than these.
        """
        return _fine(self) if points is None else _gauss(self, points)

    def rules_for(self, widths: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Rules for functions that rise from 0 to 1 over each of these widths: which of them, and values and weights in parts.

        The Gauss rule where it is as accurate as the fine one (measured to 1e-12 for uniform, normal, lognormal, gamma and
        Student's t): where a function is no narrower than half the bulk.
        """
        wide = np.asarray(widths >= _narrowest(self))
        # a Gauss rule of 64 values is as accurate as the trapezoidal one for smooth functions
        for which, points in ((wide, 64), (~wide, None)):
            for values, weights in in_parts(*self.rule(points)) if which.any() else ():
                yield which, values, weights

    def __repr__(self) -> str:
        if self.name == SAMPLE:
            return "{} values from {:g} to {:g}".format(len(self.shapes), *self.support)
        shown = [f"{number:g}" for number in (*self.shapes, self.location, self.scale)]
        return f"{self.name}({', '.join(shown)})"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def _is_no_number(self, *others: Any) -> NoReturn:
        raise DomainError("neuron", self, "differs between neurons, which is not supported here: give numbers")

    __float__ = __array__ = __abs__ = __neg__ = __lt__ = __le__ = __gt__ = __ge__ = _is_no_number
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _is_no_number


@dataclass(frozen=True, slots=True, eq=False)
class _Empirical:
    """Equal weight on each of these ordered values; methods as of scipy.stats."""

    values: np.ndarray

    def mean(self) -> float:
        return float(self.values.mean())

    def support(self) -> tuple[float, float]:
        return float(self.values[0]), float(self.values[-1])

    def ppf(self, fraction: Any) -> np.ndarray:
        places = np.asarray(fraction) * len(self.values)
        return self.values[np.clip(places.astype(int), 0, len(self.values) - 1)]

    def cdf(self, x: Any) -> np.ndarray:
        return np.searchsorted(self.values, x, side="right") / len(self.values)

    def sf(self, x: Any) -> np.ndarray:
        return 1 - self.cdf(x)


@lru_cache(maxsize=64)
def _fine(over: OverNeurons) -> tuple[np.ndarray, np.ndarray]:
    if over.name == SAMPLE:
        values, counts = np.unique(over.frozen.values, return_counts=True)
        return frozen(values), frozen(counts / counts.sum())
    t = 0.25 * np.arange(-152, 153)  # logits of the quantile: each tail beyond ±38 holds 3e-17
    small = 1 / (1 + np.exp(np.abs(t)))  # the smaller of the two tails
    values = np.where(t < 0, over.frozen.ppf(small), over.frozen.isf(small))
    weights = small * (1 - small)
    return frozen(values), frozen(weights / weights.sum())


@lru_cache(maxsize=64)
def _gauss(over: OverNeurons, points: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Gauss rule by Lanczos iteration on the fine one, for polynomials in ``y = x/√(1 + (x/BOUND)²)``, ``x`` standardised.

    In ``y`` heavy tails are finite; polynomials in ``x`` would miss the bulk (thresholds ``scipy.stats.lognorm(1)``: 80 %).
    """
    values, weights = _fine(over)
    if len(values) <= points:
        return values, weights
    middle, unit = _bulk(values, weights)
    x = (values - middle) / unit
    y = x / np.sqrt(1 + (x / BOUND) ** 2)
    basis = [np.sqrt(weights)]
    diagonal, side = [], []
    for _ in range(points):
        following = y * basis[-1]
        diagonal.append(float(following @ basis[-1]))
        for vector in (*basis, *basis):  # twice: rounding would otherwise undo the orthogonality
            following = following - (following @ vector) * vector
        side.append(float(np.linalg.norm(following)))
        basis.append(following / (side[-1] or 1.0))
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(side[:-1], 1) + np.diag(side[:-1], -1))
    nodes = nodes / np.sqrt(np.maximum(1 - (nodes / BOUND) ** 2, np.finfo(float).eps))
    return frozen(np.clip(middle + unit * nodes, values[0], values[-1])), frozen(vectors[0] ** 2)


def _bulk(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The median, and half of the interquartile range (if almost all values agree, a quarter of the mean deviation)."""
    low, middle, high = np.interp([0.25, 0.5, 0.75], np.cumsum(weights), values).tolist()
    return middle, max((high - low) / 2, float(weights @ np.abs(values - middle)) / 4) or 1.0


@lru_cache(maxsize=64)
def _narrowest(over: OverNeurons) -> float:
    """The width of a function from which its Gauss rule is as good as the fine one; a sample has its own rule only."""
    return np.inf if over.name == SAMPLE else _bulk(*_fine(over))[1] / 2


def over_neurons(value: Any) -> bool:
    """True if a parameter is given as a distribution, by this class or by an object of scipy.stats. Arrays are none."""
    named = any(hasattr(value, name) for name in ("quantile", "pdf", "pmf", "ppf"))
    return named and not hasattr(value, "ndim")


def differs(value: Any) -> bool:
    """True if a parameter of a neuron is given as a distribution or as several values."""
    try:
        return over_neurons(value) or (np.ndim(value) == 1 and len(value) > 1)
    except Exception:  # lists of different lengths, and what is no array
        return False


def in_parts(values: np.ndarray, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A quadrature rule in parts of few values each: an average is the sum over parts."""
    for first in range(0, len(values), PART):
        yield values[first : first + PART], weights[first : first + PART]


def averaged(parameter: float | OverNeurons, function: Callable[[Any], np.ndarray]) -> np.ndarray:
    """``E[function(value)]`` over neurons; values that differ form the last axis."""
    if not isinstance(parameter, OverNeurons):
        return function(parameter)
    return np.asarray(sum(function(values) @ weights for values, weights in in_parts(*parameter.rule())))


def values_of(parameter: float | OverNeurons, points: int) -> list[tuple[float, float]]:
    """Values and their weights: the number itself, or a Gauss rule."""
    if not isinstance(parameter, OverNeurons):
        return [(parameter, 1.0)]
    return list(zip(*(column.tolist() for column in parameter.rule(points)), strict=True))


def mean_of(parameter: float | OverNeurons) -> float:
    """The number, or the mean over neurons."""
    return parameter.mean if isinstance(parameter, OverNeurons) else parameter


def times(parameter: float | OverNeurons, factor: float) -> Any:
    """The number, or the distribution of values, times a positive factor."""
    if isinstance(parameter, OverNeurons):
        return replace(parameter, location=factor * parameter.location, scale=factor * parameter.scale)
    return factor * parameter


def plus(parameter: float | OverNeurons, amount: float) -> Any:
    """The number, or the distribution of values, plus an amount."""
    if isinstance(parameter, OverNeurons):
        return replace(parameter, location=parameter.location + amount)
    return parameter + amount


def written(parameter: float | OverNeurons) -> float | str:
    """The number, or the distribution as text."""
    return repr(parameter) if isinstance(parameter, OverNeurons) else parameter


def size_of(parameter: float | OverNeurons) -> float:
    """``E|value|``: the scale of the parameter."""
    return float(averaged(parameter, np.abs))
