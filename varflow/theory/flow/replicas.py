"""Numerical replicas of a network, the first axis of its moments: their scatter is the error; a single one is exact."""

from __future__ import annotations

import numpy as np

__all__ = ["aligned", "replicated"]


def replicated(values: np.ndarray, replicas: int) -> np.ndarray:
    """Replicas repeated up to this number; one that stands for all stays one."""
    return values if len(values) in (1, replicas) else values[np.arange(replicas) % len(values)]


def aligned(*values: np.ndarray, least: int = 1) -> list[np.ndarray]:
    """Arrays in as many replicas as the one that has most, and at ``least`` so many."""
    most = max(least, *map(len, values))
    more = (replicated(each, most) for each in values)
    return [np.broadcast_to(each, (most, *each.shape[1:])) for each in more]
