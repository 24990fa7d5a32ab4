"""The distributions of weights that varflow brings: normal, uniform, gamma, log-normal, and those on a lattice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.model.builtin import Normal
from varflow.model.weight_distribution import Pair, Variates, WeightDistribution, unknown

__all__ = ["GammaWeights", "LatticeWeights", "LogNormalWeights", "NormalWeights", "UniformWeights"]

LARGEST_SIGMA = 3.0  # of log-normal weights: the standard deviation is then 8000 times the median
SPLINE = 16  # uniform weights: fewer are summed by the recursion of B-splines


@dataclass(frozen=True, slots=True)
class NormalWeights(WeightDistribution):
    """Standard normal: a sum of ``J`` with a normal bias is normal, of variance ``J + b²``."""

    sums_are_normal = True
    short_tails = True  # P(Σ|z| > 2n) ≤ (2 e⁻² Φ(2))ⁿ = 0.265ⁿ

    def cumulants(self) -> tuple[float, float, float, float]:
        return 0.0, 1.0, 0.0, 0.0

    def sum_tails(self, number: np.ndarray, x: np.ndarray, bias: float) -> Pair:
        z = x / np.sqrt(number + bias**2)
        return Normal().sf(z), Normal().sf(-z)

    def draw(self, variates: Variates) -> Any:
        return variates.normal()

    def __str__(self) -> str:
        return "normal"


@dataclass(frozen=True, slots=True)
class UniformWeights(WeightDistribution):
    """Uniform on (-1, 1). A sum's tail is a sum of B-splines."""

    short_tails = True

    def cumulants(self) -> tuple[float, float, float, float]:
        return 0.0, 1 / 3, 0.0, -2 / 15

    @property
    def support(self) -> tuple[float, float]:
        return -1.0, 1.0

    def cgf(self, s: Any) -> Any:
        """``ln(sinh s / s)``, even; ``Re s`` of one sign."""
        s = np.where(s.real < 0, -s, s)
        return s + np.log(-np.expm1(-2 * s) / (2 * s))

    def sum_tails(self, number: np.ndarray, x: np.ndarray, bias: float) -> Pair:
        p, q = unknown(x)
        few = (bias == 0) & (np.abs(x) < number) & (number < SPLINE)
        for count in np.unique(number[few]):
            rows = few & (number == count)
            p[rows], q[rows] = _spline_tail(int(count), x[rows]), _spline_tail(int(count), -x[rows])
        return p, q

    def discretised(self, steps: int) -> UniformIntegers:
        return UniformIntegers(math.isqrt(3 * steps**2))

    def draw(self, variates: Variates) -> Any:
        return 2 * variates.uniform() - 1

    def __str__(self) -> str:
        return "uniform"


@dataclass(frozen=True, slots=True)
class UniformIntegers:
    """Whole numbers, uniform on -largest … largest: what the simulator draws for uniform weights."""

    largest: int

    @property
    def std(self) -> float:
        return math.sqrt(self.largest * (self.largest + 1) / 3)

    def draw(self, variates: Variates) -> Any:
        return variates.integers(self.largest)


def _spline_tail(number: int, x: np.ndarray) -> np.ndarray:
    """``P(S > x)`` of a sum of uniform variables on (-1, 1): a sum of B-splines of the next order, all terms positive."""
    y = 0.5 * (number - x)  # P(S > x) = P(sum of uniforms on (0, 1) < y)
    at = y - np.arange(number + 1)[:, None]
    spline = np.where((at >= 0) & (at < 1), 1.0, 0.0)
    for order in range(1, number + 1):  # the cardinal B-spline of this order, at y - j
        shifted = np.append(spline[1:], np.zeros((1, len(x))), axis=0)
        spline = (at * spline + (order + 1 - at) * shifted) / order
        spline[(at < 0) | (at > order + 1)] = 0.0
    return spline.sum(axis=0)


@dataclass(frozen=True, slots=True)
class GammaWeights(WeightDistribution):
    """Gamma of this shape and scale 1, exponential for shape 1: sums are gamma of the summed shape."""

    shape: float

    def cumulants(self) -> tuple[float, float, float, float]:
        return self.shape, self.shape, 2 * self.shape, 6 * self.shape

    @property
    def support(self) -> tuple[float, float]:
        return 0.0, math.inf

    @property
    def cgf_strip(self) -> tuple[float, float]:
        return -math.inf, 1.0

    def cgf(self, s: Any) -> Any:
        return -self.shape * np.log1p(-s)

    def sum_tails(self, number: np.ndarray, x: np.ndarray, bias: float) -> Pair:
        from scipy.special import gammainc, gammaincc

        if bias:
            return unknown(x)
        shape, reached = number * self.shape, np.maximum(x, 0.0)
        return gammaincc(shape, reached), gammainc(shape, reached)

    def sum_moments(self, number: np.ndarray, x: np.ndarray, bias: float, side: int) -> np.ndarray:
        """From ``E[G^i 1(G > x)] = a (a + 1) … (a + i - 1) Q(a + i, x)``."""
        from scipy.special import gammainc, gammaincc, poch

        if bias:
            return WeightDistribution.sum_moments(self, number, x, bias, side)
        a, reached, orders = number * self.shape, np.maximum(x, 0.0), range(5)
        fraction = gammaincc if side > 0 else gammainc
        raw = [poch(a, i) * fraction(a + i, reached) for i in orders]
        centred = [sum(math.comb(j, i) * (-x) ** (j - i) * raw[i] for i in range(j + 1)) for j in orders]
        return np.maximum([side**j * moment for j, moment in enumerate(centred)], 0.0)

    def draw(self, variates: Variates) -> Any:
        return variates.exponential() if self.shape == 1 else variates.gamma(self.shape)

    def __str__(self) -> str:
        return "exponential" if self.shape == 1 else f"gamma({self.shape:g})"


@dataclass(frozen=True, slots=True)
class LogNormalWeights(WeightDistribution):
    """``exp(sigma z)`` with ``z`` standard normal."""

    sigma: float

    def cumulants(self) -> tuple[float, float, float, float]:
        w, less = math.exp(self.sigma**2), math.expm1(self.sigma**2)
        variance = w * less
        skewness, kurtosis = (w + 2) * math.sqrt(less), w**4 + 2 * w**3 + 3 * w**2 - 6
        return math.sqrt(w), variance, skewness * variance**1.5, kurtosis * variance**2

    @property
    def support(self) -> tuple[float, float]:
        return 0.0, math.inf

    def pdf(self, x: np.ndarray) -> np.ndarray:
        x = np.maximum(x, 1e-300)
        return np.exp(-0.5 * (np.log(x) / self.sigma) ** 2) / (x * self.sigma * np.sqrt(2 * np.pi))

    def tails(self, x: np.ndarray) -> Pair:
        from scipy.special import ndtr

        z = np.log(np.where(x > 0, x, 1.0)) / self.sigma
        return np.where(x > 0, ndtr(-z), 1.0), np.where(x > 0, ndtr(z), 0.0)

    def characteristic(self, t: np.ndarray) -> np.ndarray:
        """``E[exp(it e^{σz})]`` with ``z`` moved to ``z + iα``: there ``exp(it e^{σz})`` decays instead of turning."""
        alpha = min(np.pi / 2 / self.sigma, 2.0)
        z = np.arange(-12.0, 12.0 + 1e-9, 1 / 16)
        weight = np.exp(-(z**2 - alpha**2) / 2 - 1j * alpha * z) / (16 * np.sqrt(2 * np.pi))
        turned = 1j * np.exp(1j * self.sigma * alpha) * np.exp(self.sigma * z)
        blocks = np.array_split(t, len(t) // 4096 + 1)
        return np.concatenate([np.exp(np.outer(block, turned)) @ weight for block in blocks])

    def draw(self, variates: Variates) -> Any:
        return variates.normal().mul_(self.sigma).exp_()

    def __str__(self) -> str:
        return "lognormal" if self.sigma == 1 else f"lognormal({self.sigma:g})"


@dataclass(frozen=True, slots=True)
class LatticeWeights(WeightDistribution):
    """Whole numbers ``levels``, ascending, with their ``probabilities``; printed by ``name``."""

    levels: tuple[int, ...]
    probabilities: tuple[float, ...]
    name: str = "lattice"
    _cumulants: tuple[float, float, float, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if list(self.levels) != sorted({int(level) for level in self.levels}) or len(self.levels) < 2:
            raise DomainError("levels", self.levels, "must be at least two different whole numbers in ascending order")
        if len(self.probabilities) != len(self.levels) or not all(p > 0 for p in self.probabilities):
            raise DomainError("probabilities", self.probabilities, "must be positive, one for each level")
        if abs(math.fsum(self.probabilities) - 1) > 1e-12:
            raise DomainError("probabilities", self.probabilities, "must add up to 1")
        mean = math.fsum(p * k for k, p in zip(self.levels, self.probabilities, strict=True))
        second, third, fourth = (
            math.fsum(p * (k - mean) ** j for k, p in zip(self.levels, self.probabilities, strict=True)) for j in (2, 3, 4)
        )
        object.__setattr__(self, "_cumulants", (mean, second, third, fourth - 3 * second**2))

    def cumulants(self) -> tuple[float, float, float, float]:
        return self._cumulants

    @property
    def lattice(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        return self.levels, self.probabilities

    def draw(self, variates: Variates) -> Any:
        return variates.choice(self.levels, self.probabilities)

    def __str__(self) -> str:
        return self.name
