r"""The interface of a weight distribution: everything theory and simulation need from it.

Theory reads cumulants and tails of sums, the simulator draws; neither uses the other's part, so an error in one shows as a
disagreement. The built-in distributions are in ``weight_families``; users can add their own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from varflow._checks import DomainError

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
    short_tails : bool
        Whether ``Σ|x|`` of ``n`` weights stays below ``2 n`` standard deviations, so that single precision can hold the sums.
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
        return math.sqrt(self.cumulants()[1])

    @property
    def skewness(self) -> float:
        return self.cumulants()[2] / self.std**3

    @property
    def excess_kurtosis(self) -> float:
        return self.cumulants()[3] / self.std**4


def unknown(x: np.ndarray) -> Pair:
    """NaN: no closed form."""
    return np.full(len(x), np.nan), np.full(len(x), np.nan)
