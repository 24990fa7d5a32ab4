r"""What a distribution of random weights is: one object that holds everything theory and simulation ask of it.

Theory reads its cumulants and the tails of its sums, the simulator its draws; neither reads the other's half, so that an error
in one shows as a disagreement. The distributions that varflow brings are in ``weight_families``; anyone may add their own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from varflow._checks import DomainError

__all__ = ["Lattice", "Pair", "WeightDistribution", "unknown"]

Pair = tuple[np.ndarray, np.ndarray]  # P(X > x) and P(X ≤ x), each with its own digits
Lattice = tuple[tuple[int, ...], tuple[float, ...]]  # whole numbers, ascending, and their probabilities


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

    lattice: Lattice | None = None
    support: tuple[float, float] = (-math.inf, math.inf)
    cgf_strip: tuple[float, float] = (-math.inf, math.inf)
    sums_are_normal: bool = False
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
        """``ln E[e^{sx}]`` for complex ``s`` with real part in the strip; any branch, if ``J`` stays whole (widths to 10⁴)."""
        raise NotImplementedError

    def pdf(self, x: np.ndarray) -> np.ndarray:
        """Density of one core."""
        raise NotImplementedError

    def characteristic(self, t: np.ndarray) -> np.ndarray:
        """``E[e^{itx}]`` for real ``t``; where it is not given, theory integrates the density."""
        raise NotImplementedError

    def gives(self, name: str) -> bool:
        """Whether the subclass has its own method of this name."""
        return getattr(type(self), name) is not getattr(WeightDistribution, name)

    def draw(self, variates: Any) -> Any:
        """A fresh tensor of cores, one for each weight, made from independent ones. Read by the simulator only.

        ``variates`` offers ``normal()``, ``uniform()`` on [0, 1), ``exponential()`` of mean 1, ``gamma(shape)``,
        ``integers(largest)`` uniform on -largest … largest, ``choice(levels, probabilities)`` of whole numbers, and
        ``quantile(function)``: a function of numpy arrays at uniform numbers in (0, 1), slower. On a lattice the default
        serves.
        """
        if self.lattice is None:
            raise DomainError("weights", self, "has no draw, which the simulator needs")
        return variates.choice(*self.lattice)

    def draw_steps(self, variates: Any, steps: int) -> Any:
        """Cores in units of about ``std/steps``, as whole numbers. Read by the simulator only."""
        return self.draw(variates) if self.lattice else self.draw(variates).mul_(steps / self.std).round_()

    def steps_std(self, steps: int) -> float:
        """The standard deviation of these whole numbers; rounding adds the variance of a unit uniform (Sheppard)."""
        return self.std if self.lattice else math.sqrt(steps**2 + 1 / 12)

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


def unknown(x: np.ndarray) -> Pair:
    """Where there is no closed form."""
    return np.full(len(x), np.nan), np.full(len(x), np.nan)
