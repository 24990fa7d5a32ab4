"""The statistical test behind the assertions: does the mean of independent repeats agree with an expected value?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Judged:
    """Mean of the repeats, its standard error, the expected value, and whether they agree at a false-alarm rate."""

    mean: float
    stderr: float
    expected: float
    passed: bool
    false_alarm: float

    @property
    def z(self) -> float:
        """Deviation in standard errors; infinite where all repeats equal one wrong value."""
        gap = self.mean - self.expected
        return gap / self.stderr if self.stderr > 0 else (0.0 if self.passed else float(np.copysign(np.inf, gap)))

    @property
    def text(self) -> str:
        return f"{self.mean:.6g} ± {self.stderr:.2g}"


def judged(values: np.ndarray, expected: float, false_alarm: float, *, bias: Callable[[float], float] | None = None) -> Judged:
    """Two-sided t test of ``E[value] = expected``: ``|mean - expected| ≤ t·stderr + bias(t)``, ``t`` the critical value.

    NaN fails.
    """
    from scipy.special import stdtrit

    t = float(stdtrit(len(values) - 1, 1 - false_alarm / 2))
    mean, stderr = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    tolerance = t * stderr + (bias(t) if bias is not None else 0.0)
    return Judged(mean, stderr, expected, bool(abs(mean - expected) <= tolerance), false_alarm)
