"""One p-value of many points."""

from __future__ import annotations

import numpy as np

__all__ = ["sidak"]


def sidak(smallest: float, points: int) -> float:
    """``1 - (1 - p)^m``: probability that the smallest of ``m`` p-values is at most ``p``.

    Exact for independent points with uniform p-values. An upper bound if points that deviate together do so more often than
    independent ones, as two-sided tests of correlated normal numbers do (Šidák 1967): so where points share weights.
    """
    return float(-np.expm1(points * np.log1p(-smallest))) if smallest < 1 else 1.0
