"""Numerical replicas of a network, the first axis of its moments: their scatter is the error; a single one is exact."""

from __future__ import annotations

import numpy as np

from varflow.results.ensemble import spread

__all__ = ["aligned", "replicated", "standard_error"]


def replicated(values: np.ndarray, replicas: int) -> np.ndarray:
    """Replicas repeated up to this number; one that stands for all stays one."""
    return values if len(values) in (1, replicas) else values[np.arange(replicas) % len(values)]


def aligned(*values: np.ndarray, least: int = 1) -> list[np.ndarray]:
    """Arrays in as many replicas as the one that has most, and at ``least`` so many."""
    most = max(least, *map(len, values))
    more = (replicated(each, most) for each in values)
    return [np.broadcast_to(each, (most, *each.shape[1:])) for each in more]


def standard_error(values: np.ndarray, least: float | np.ndarray = 0.0) -> np.ndarray:
    """Standard error of the mean over replicas, each with an error of at least ``least``."""
    scatter = spread(values) if len(values) > 1 else np.zeros(values.shape[1:])
    return np.hypot(scatter, least) / np.sqrt(len(values))
