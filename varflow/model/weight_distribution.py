r"""What a distribution of random weights is: one object that holds everything theory and simulation ask of it.

Theory reads its cumulants and the tails of its sums, the simulator its draws; neither reads the other's half, so that an error
in one shows as a disagreement. The distributions that varflow brings are in ``weight_families``; anyone may add their own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

__all__ = ["Discretised", "Pair", "Variates", "WeightDistribution", "unknown"]

Pair = tuple[np.ndarray, np.ndarray]  # P(X > x) and P(X ≤ x), each with its own digits


def unknown(x: np.ndarray) -> Pair:
    """Where there is no closed form."""
    return np.full(len(x), np.nan), np.full(len(x), np.nan)


class Variates(Protocol):
    """Independent random numbers, one for each weight, of which :meth:`WeightDistribution.draw` makes its own.

    Every call returns a fresh array of the simulator, to which arithmetic and its methods apply.
    """

    def normal(self) -> Any:
        """Standard normal."""

    def uniform(self) -> Any:
        """Uniform on [0, 1)."""

    def exponential(self) -> Any:
        """Exponential of mean 1."""

    def gamma(self, shape: float) -> Any:
        """Gamma of this shape and scale 1."""

    def integers(self, largest: int) -> Any:
        """Whole numbers, uniform on -largest … largest."""

    def choice(self, levels: tuple[int, ...], probabilities: tuple[float, ...]) -> Any:
        """Whole numbers with these probabilities."""

    def quantile(self, function: Callable[[np.ndarray], np.ndarray]) -> Any:
        """The quantile function of a distribution (of numpy arrays) at uniform numbers in (0, 1): slower."""


class Discretised(Protocol):
    """Whole numbers the simulator draws in place of a core, and their exact standard deviation."""

    @property
    def std(self) -> float: ...

    def draw(self, variates: Variates) -> Any: ...


@dataclass(frozen=True, slots=True)
class Rounded:
    """A continuous core, rounded at ``steps`` per standard deviation."""

    core: WeightDistribution
    steps: int

    @property
    def std(self) -> float:
        return math.sqrt(self.steps**2 + 1 / 12)  # Sheppard: rounding adds the variance of a unit uniform

    def draw(self, variates: Variates) -> Any:
        return self.core.draw(variates).mul_(self.steps / self.core.std).round_()


class WeightDistribution(ABC):
    r"""The distribution of a weight ``x``, the *core*, before it is scaled: a connection has ``w = scale · x + shift``.

    A subclass gives :meth:`cumulants`, :meth:`draw` and what is known of sums of ``J`` weights, from which theory takes

    .. math:: \pi_J = P(\text{scale} \cdot S_J + \text{shift} \cdot J + b > \theta), \qquad S_J = x_1 + \dots + x_J

    by the first of these that it gives:

    1. ``lattice``: all values are whole numbers; their sums are convolved, exact to rounding;
    2. :meth:`sum_tails`: a closed form of all sums, or of some;
    3. :meth:`cgf`: an integral through the saddle point, relative accuracy 1e-11;
    4. :meth:`pdf`, and :meth:`characteristic` where it is known: Fourier inversion, absolute accuracy 1e-10.

    Off a lattice it must have :meth:`tails`, or :meth:`sum_tails` for ``J = 1``. Objects must be immutable, hashable, and equal
    if they are the same distribution: a frozen dataclass is. ``str`` is the name they print by.

    Attributes
    ----------
    mean, std, skewness, excess_kurtosis : float
        Of the core, from its cumulants. The mean is scaled like the standard deviation, unless ``mean_gain`` replaces it.
    lattice : tuple or None
        The whole numbers it takes, ascending, and their probabilities; None if it is continuous.
    support : tuple of float
        Smallest and largest value.
    cgf_strip : tuple of float
        Between which real ``s`` :meth:`cgf` exists.
    sums_are_normal : bool
        Whether any sum of weights is normal.
    short_tails : bool
        Whether ``Σ|x|`` of many weights stays below two standard deviations each, so that single precision holds their sums.
    """

    __slots__ = ()
    sums_are_normal: ClassVar[bool] = False
    short_tails: ClassVar[bool] = False

    @abstractmethod
    def cumulants(self) -> tuple[float, float, float, float]:
        """Mean, variance, third and fourth cumulant; the fourth may be infinite."""

    @abstractmethod
    def draw(self, variates: Variates) -> Any:
        """One core for each weight. Read by the simulator only."""

    @property
    def lattice(self) -> tuple[tuple[int, ...], tuple[float, ...]] | None:
        return None

    @property
    def support(self) -> tuple[float, float]:
        return -math.inf, math.inf

    @property
    def cgf_strip(self) -> tuple[float, float]:
        return -math.inf, math.inf

    def sum_tails(self, number: np.ndarray, x: np.ndarray, bias: float) -> Pair:
        """``P(S_J + b N > x)`` and its complement for every ``J`` in ``number``, ``N`` standard normal; NaN where unknown."""
        return unknown(x)

    def tails(self, x: np.ndarray) -> Pair:
        """``P(X > x)`` and ``P(X ≤ x)`` of one core, for any ``x``."""
        return self.sum_tails(np.ones(len(x)), x, 0.0)

    def cgf(self, s: Any) -> Any:
        """``ln E[e^{sx}]`` for complex ``s`` with real part in the strip; any branch, if ``J`` stays whole (widths to 10⁴)."""
        raise NotImplementedError

    def pdf(self, x: np.ndarray) -> np.ndarray:
        """Density of one core."""
        raise NotImplementedError

    def characteristic(self, t: np.ndarray) -> np.ndarray:
        """``E[e^{itx}]`` for real ``t``; where it is not given, theory integrates the density."""
        raise NotImplementedError

    def sum_moments(self, number: np.ndarray, x: np.ndarray, bias: float, side: int) -> np.ndarray:
        """``E[y^j 1(y > 0)]`` of ``y = side · (S_J + b N - x)``, j = 0 … 4; NaN where theory shall find them itself, slower."""
        return np.full((5, len(x)), np.nan)

    def gives(self, name: str) -> bool:
        """Whether the subclass has its own method of this name."""
        return getattr(type(self), name) is not getattr(WeightDistribution, name)

    def discretised(self, steps: int) -> Discretised:
        """Whole numbers to draw instead, about ``steps`` to a standard deviation. Read by the simulator only."""
        return Rounded(self, steps) if self.lattice is None else self

    @property
    def mean(self) -> float:
        return self.cumulants()[0]

    @property
    def std(self) -> float:
        return math.sqrt(self.cumulants()[1])

    @property
    def skewness(self) -> float:
        return self.cumulants()[2] / self.std**3

    @property
    def excess_kurtosis(self) -> float:
        return self.cumulants()[3] / self.std**4
