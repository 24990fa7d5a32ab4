r"""The interface of a weight distribution: everything theory and simulation need from it.

Theory reads cumulants and tails of sums, the simulator draws; neither uses the other's part, so an error in one shows as a
disagreement. Built in are normal, uniform, gamma, log-normal ones, and discrete ones on a lattice; users can
add their own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.model import builtin

Pair = tuple[np.ndarray, np.ndarray]  # P(X > x) and P(X ≤ x), both to full relative accuracy
Lattice = tuple[tuple[int, ...], tuple[float, ...]]  # integers, ascending, and their probabilities


class WeightDistribution(ABC):
    r"""The distribution of a weight ``x``, the *core*, before it is scaled: a connection has ``w = scale · x + shift``.

    A subclass defines :meth:`cumulants`, :meth:`draw` and what is known of sums of ``J`` weights, from which theory computes

    .. math:: \pi_J = P(\text{scale} \cdot S_J + \text{shift} \cdot J + b > \theta), \qquad S_J = x_1 + \dots + x_J

    from the first of these that is defined:

    1. ``lattice``: all values are integers; sums are convolved, exact to rounding;
    2. :meth:`sum_tails`: a closed form, for all sums or some;
    3. :meth:`cgf`: an integral through the saddle point, relative accuracy 1e-11;
    4. :meth:`pdf`, and :meth:`characteristic` if known: Fourier inversion, absolute accuracy 1e-10.

    Without a lattice it must define :meth:`tails`, or :meth:`sum_tails` for ``J = 1``. Objects must be immutable and hashable,
    and equal if they are the same distribution, like a frozen dataclass. ``str`` gives the printed name, which also selects the
    random numbers of a simulation.

    Attributes
    ----------
    mean, std, skewness, excess_kurtosis : float
        Of the core, from its cumulants. The mean is scaled like the standard deviation, unless ``mean_gain`` replaces it.
    lattice : tuple or None
        Its integer values, ascending, and their probabilities; None if continuous.
    support : tuple of float
        Smallest and largest value.
    cgf_strip : tuple of float
        Interval of real ``s`` where :meth:`cgf` exists.
    sums_are_normal : bool
        Whether sums of weights are normal.
    index : float
        Sums of ``J`` are as wide as ``J^(1/index)`` weights; below 2 there is no variance, and ``std`` is the scale.
    short_tails : bool
        Whether ``Σ|x|`` of ``n`` weights stays below ``2 n`` standard deviations, so that single precision can hold the sums.

    Examples
    --------
    >>> import varflow as vf
    >>> isinstance(vf.weights.lognormal(0.5), (vf.weights.WeightLaw, vf.weights.WeightDistribution))
    True
    """

    lattice: Lattice | None = None
    support: tuple[float, float] = (-math.inf, math.inf)
    cgf_strip: tuple[float, float] = (-math.inf, math.inf)
    sums_are_normal: bool = False
    index: float = 2.0
    short_tails: bool = False

    @abstractmethod
    def cumulants(self) -> tuple[float, float, float, float]:
        """Mean, variance, third and fourth cumulant; the fourth may be infinite."""

    def sum_tails(self, number: np.ndarray, x: np.ndarray, bias: float) -> Pair:
        """``P(S_J + b N > x)`` and its complement for every ``J`` in ``number``, ``N`` standard normal; NaN where unknown."""
        return unknown(x)

    def tails(self, x: np.ndarray) -> Pair:
        """``P(X > x)`` and ``P(X ≤ x)`` of one core, for any ``x``."""
        return self.sum_tails(np.ones(len(x)), x, 0.0)

    def cgf(self, s: Any) -> Any:
        """``ln E[e^{sx}]`` for complex ``s`` with real part in the strip; any branch of the logarithm."""
        raise NotImplementedError

    def pdf(self, x: np.ndarray) -> np.ndarray:
        """Density of one core."""
        raise NotImplementedError

    def characteristic(self, t: np.ndarray) -> np.ndarray:
        """``E[e^{itx}]`` for real ``t``; if not defined, theory integrates the density."""
        raise NotImplementedError

    def gives(self, name: str) -> bool:
        """True if the subclass defines this method."""
        return getattr(type(self), name) is not getattr(WeightDistribution, name)

    def draw(self, variates: Any) -> Any:
        """A new tensor of independent cores, one per weight. Used by the simulator only.

        ``variates`` offers ``normal()``, ``uniform()`` on [0, 1), ``exponential()`` of mean 1, ``gamma(shape)``,
        ``integers(largest)`` uniform on -largest … largest, ``choice(levels, probabilities)`` of integers, and
        ``quantile(function)``, slower: a function of numpy arrays at uniform numbers in (0, 1). With a lattice this default
        is enough.
        """
        if self.lattice is None:
            raise DomainError("weights", self, "must define draw, which simulation needs")
        return variates.choice(*self.lattice)

    def draw_steps(self, variates: Any, steps: int) -> Any:
        """Cores rounded to integers, in units of about ``std/steps``. Used by the simulator only."""
        return self.draw(variates) if self.lattice else self.draw(variates).mul_(steps / self.std).round_()

    def steps_std(self, steps: int) -> float:
        """Standard deviation of :meth:`draw_steps`; rounding adds 1/12 to the variance (Sheppard)."""
        return self.std if self.lattice else math.sqrt(steps**2 + 1 / 12)

    def __repr__(self) -> str:
        """Without the address of the object, since the label names the random stream of a simulation."""
        values = ", ".join(f"{name}={value!r}" for name, value in getattr(self, "__dict__", {}).items())
        return f"{type(self).__name__}({values})"

    @property
    def mean(self) -> float:
        return self.cumulants()[0]

    @property
    def std(self) -> float:
        return 1.0 if self.index < 2 else math.sqrt(self.cumulants()[1])

    @property
    def skewness(self) -> float:
        return self.cumulants()[2] / self.std**3

    @property
    def excess_kurtosis(self) -> float:
        return self.cumulants()[3] / self.std**4


def usable(name: str, core: WeightDistribution) -> WeightDistribution:
    """The distribution itself; DomainError unless it has the hash, moments and tails that theory needs."""
    mean, variance, third, fourth = core.cumulants()
    spread = 0 < variance < math.inf or core.index < 2
    if not (math.isfinite(mean) and spread and math.isfinite(third)) or math.isnan(fourth):
        raise DomainError(name, core, "must have a finite mean and third cumulant and a positive, finite variance")
    if type(core).__hash__ is None:
        raise DomainError(name, core, "must be hashable: make it a frozen dataclass of numbers")
    if core.lattice is None and np.isnan(core.tails(np.full(1, mean))[0]).any():
        raise DomainError(name, core, "must have a lattice, tails or sum_tails: theory needs the probability to exceed a value")
    return core


def unknown(x: np.ndarray) -> Pair:
    """NaN: no closed form."""
    return np.full(len(x), np.nan), np.full(len(x), np.nan)


# The built-in distributions.

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
class StableWeights(WeightDistribution):
    r"""Symmetric stable variables, ``E[e^{itx}] = exp(-|t|^α)`` with ``α < 2``: a sum of ``J`` is ``J^{1/α}`` times one.

    .. math:: P(x > z) = \frac12 - \frac{\operatorname{Im}}\pi \int_0^\infty e^{izt - t^α} \frac{dt}{t}
              = \frac12 - \fracψπ - \frac{\operatorname{Im}}\pi \int_0^\infty e^{izt - t^α} \frac{ds}{s}, \quad t = s e^{iψ}

    with ``ψ = π/4α``. On this ray the integrand decays, and the trapezoidal rule in ``ln s`` is accurate to 1e-13.
    """

    index: float = 1.0

    def cumulants(self) -> tuple[float, float, float, float]:
        return 0.0, math.inf, 0.0, math.inf

    def sum_tails(self, number: np.ndarray, x: np.ndarray, bias: float) -> Pair:
        if bias:
            return unknown(x)
        z = x / number ** (1 / self.index)
        upper = self._beyond(np.abs(z))
        return np.where(z > 0, upper, 1 - upper), np.where(z > 0, 1 - upper, upper)

    def _beyond(self, z: np.ndarray) -> np.ndarray:
        """``P(x > z)`` for ``z ≥ 0``."""
        if self.index == 1:
            return np.arctan2(1.0, z) / np.pi
        turn, steps = 0.25 * np.pi / self.index, np.arange(-39.0 * max(1.0, self.index), 10.0, 0.12) / self.index
        s = np.exp(steps - np.log(np.maximum(z, 1.0))[:, None])
        wave = np.exp(1j * np.exp(1j * turn) * z[:, None] * s - np.exp(0.25j * np.pi) * s**self.index).imag
        return np.maximum(0.5 - (turn + (steps[1] - steps[0]) * wave.sum(axis=1)) / np.pi, 0.0)

    def draw(self, variates: Any) -> Any:
        """Draws by the method of Chambers, Mallows and Stuck."""
        angle = variates.uniform().sub_(0.5).mul_(math.pi)
        wait = ((1 - self.index) * angle).cos_().div_(variates.exponential())
        return (self.index * angle).sin_().div_(angle.cos_() ** (1 / self.index)).mul_(wait ** (1 / self.index - 1))

    def __str__(self) -> str:
        return "cauchy" if self.index == 1 else f"stable({self.index:g})"


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
