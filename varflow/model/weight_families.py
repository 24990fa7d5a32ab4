"""The built-in weight distributions: normal, uniform, gamma, log-normal, and discrete ones on a lattice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from varflow.model import builtin
from varflow.model.weight_distribution import Lattice, Pair, WeightDistribution, unknown

LARGEST_SIGMA = 3.0  # of log-normal weights: the standard deviation is then 8000 times the median


@dataclass(frozen=True)
class NormalWeights(WeightDistribution):
    """Standard normal: a sum of ``J`` with a normal bias is normal with variance ``J + b²``."""

    sums_are_normal = True
    short_tails = True  # P(Σ|z| > 2n) ≤ (2 e⁻² Φ(2))ⁿ = 0.265ⁿ

    def cumulants(self) -> tuple[float, float, float, float]:
        return 0.0, 1.0, 0.0, 0.0

    def sum_tails(self, number: np.ndarray, x: np.ndarray, bias: float) -> Pair:
        z, normal = x / np.sqrt(number + bias**2), builtin.Normal()
        return normal.sf(z), normal.sf(-z)

    def draw(self, variates: Any) -> Any:
        return variates.normal()

    def __str__(self) -> str:
        return "normal"


@dataclass(frozen=True)
class UniformWeights(WeightDistribution):
    """Uniform on (-1, 1). Tails of sums are sums of B-splines."""

    support = (-1.0, 1.0)
    short_tails = True

    def cumulants(self) -> tuple[float, float, float, float]:
        return 0.0, 1 / 3, 0.0, -2 / 15

    def cgf(self, s: Any) -> Any:
        """``ln(sinh s / s)``, an even function."""
        s = np.where(s.real < 0, -s, s)
        return s + np.log(-np.expm1(-2 * s) / (2 * s))

    def sum_tails(self, number: np.ndarray, x: np.ndarray, bias: float) -> Pair:
        p, q = unknown(x)
        few = (bias == 0) & (np.abs(x) < number) & (number < 16)  # sums of more weights use the saddle-point integral
        for count in np.unique(number[few]):
            rows = few & (number == count)
            p[rows], q[rows] = _spline_tail(int(count), x[rows]), _spline_tail(int(count), -x[rows])
        return p, q

    def draw_steps(self, variates: Any, steps: int) -> Any:
        return variates.integers(math.isqrt(3 * steps**2))

    def steps_std(self, steps: int) -> float:
        largest = math.isqrt(3 * steps**2)
        return math.sqrt(largest * (largest + 1) / 3)

    def __str__(self) -> str:
        return "uniform"


def _spline_tail(number: int, x: np.ndarray) -> np.ndarray:
    """``P(S > x)`` of a sum of uniform variables on (-1, 1): a sum of B-splines, all terms positive."""
    y = 0.5 * (number - x)  # P(S > x) = P(sum of uniforms on (0, 1) < y)
    at = y - np.arange(number + 1)[:, None]
    spline = np.where((at >= 0) & (at < 1), 1.0, 0.0)
    for order in range(1, number + 1):  # the cardinal B-spline of this order, at y - j
        shifted = np.append(spline[1:], np.zeros((1, len(x))), axis=0)
        spline = (at * spline + (order + 1 - at) * shifted) / order
        spline[(at < 0) | (at > order + 1)] = 0.0
    return spline.sum(axis=0)


@dataclass(frozen=True)
class GammaWeights(WeightDistribution):
    """Gamma with scale 1 (exponential for shape 1): a sum of ``J`` is gamma with shape ``J · shape``."""

    shape: float
    support = (0.0, math.inf)
    cgf_strip = (-math.inf, 1.0)

    def cumulants(self) -> tuple[float, float, float, float]:
        return self.shape, self.shape, 2 * self.shape, 6 * self.shape

    def cgf(self, s: Any) -> Any:
        return -self.shape * np.log1p(-s)

    def sum_tails(self, number: np.ndarray, x: np.ndarray, bias: float) -> Pair:
        from scipy.special import gammainc, gammaincc

        if bias:
            return unknown(x)
        shape, reached = number * self.shape, np.maximum(x, 0.0)
        return gammaincc(shape, reached), gammainc(shape, reached)

    def draw(self, variates: Any) -> Any:
        return variates.exponential() if self.shape == 1 else variates.gamma(self.shape)

    def __str__(self) -> str:
        return "exponential" if self.shape == 1 else f"gamma({self.shape:g})"


@dataclass(frozen=True)
class LogNormalWeights(WeightDistribution):
    """``exp(sigma z)`` with ``z`` standard normal."""

    sigma: float
    support = (0.0, math.inf)

    def cumulants(self) -> tuple[float, float, float, float]:
        w, less = math.exp(self.sigma**2), math.expm1(self.sigma**2)
        variance = w * less
        skewness, kurtosis = (w + 2) * math.sqrt(less), w**4 + 2 * w**3 + 3 * w**2 - 6
        return math.sqrt(w), variance, skewness * variance**1.5, kurtosis * variance**2

    def pdf(self, x: np.ndarray) -> np.ndarray:
        x = np.maximum(x, 1e-300)
        return np.exp(-0.5 * (np.log(x) / self.sigma) ** 2) / (x * self.sigma * np.sqrt(2 * np.pi))

    def tails(self, x: np.ndarray) -> Pair:
        from scipy.special import ndtr

        z = np.log(np.where(x > 0, x, 1.0)) / self.sigma
        return np.where(x > 0, ndtr(-z), 1.0), np.where(x > 0, ndtr(z), 0.0)

    def characteristic(self, t: np.ndarray) -> np.ndarray:
        """``E[exp(it e^{σz})]`` on the shifted line ``z + iα``, where the integrand decays instead of oscillating."""
        alpha = min(np.pi / 2 / self.sigma, 2.0)
        z = np.arange(-12.0, 12.0 + 1e-9, 1 / 16)
        weight = np.exp(-(z**2 - alpha**2) / 2 - 1j * alpha * z) / (16 * np.sqrt(2 * np.pi))
        turned = 1j * np.exp(1j * self.sigma * alpha) * np.exp(self.sigma * z)
        blocks = np.array_split(t, len(t) // 4096 + 1)
        return np.concatenate([np.exp(np.outer(block, turned)) @ weight for block in blocks])

    def draw(self, variates: Any) -> Any:
        return variates.normal().mul_(self.sigma).exp_()

    def __str__(self) -> str:
        return "lognormal" if self.sigma == 1 else f"lognormal({self.sigma:g})"


@dataclass(frozen=True)
class LatticeWeights(WeightDistribution):
    """Integers with their probabilities."""

    name: str
    lattice: Lattice | None

    def cumulants(self) -> tuple[float, float, float, float]:
        return _cumulants(*(self.lattice or ((), ())))

    def __str__(self) -> str:
        return self.name


@lru_cache(maxsize=32)
def _cumulants(levels: tuple[int, ...], probabilities: tuple[float, ...]) -> tuple[float, float, float, float]:
    mean = math.fsum(p * k for k, p in zip(levels, probabilities, strict=True))
    second, third, fourth = (
        math.fsum(p * (k - mean) ** j for k, p in zip(levels, probabilities, strict=True)) for j in (2, 3, 4)
    )
    return mean, second, third, fourth - 3 * second**2
