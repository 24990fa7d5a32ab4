"""Infinite width by extrapolation from two finite ones: the deviation of order 1/n cancels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from validation.claim import Judgement
from validation.sidak import sidak

__all__ = ["Prediction", "drawn", "extrapolated", "judged"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """At infinite width, per point: the value, its numerical standard error, and the scatter between networks.

    ``scatter`` has shape (points, 2), one column per width; only ``drawn`` needs it.
    """

    value: np.ndarray
    error: np.ndarray
    scatter: np.ndarray


def extrapolated(measured: np.ndarray, widths: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """``(n₂ x₂ - n₁ x₁)/(n₂ - n₁)`` and its standard error; ``measured`` has shape (points, 2, repeats)."""
    weights = np.array([-widths[0], widths[1]]) / (widths[1] - widths[0])
    errors = measured.std(axis=2, ddof=1) / np.sqrt(measured.shape[2])
    return measured.mean(axis=2) @ weights, np.sqrt(errors**2 @ weights**2)


def judged(
    points: tuple[str, ...], theory: Prediction, measured: np.ndarray, widths: tuple[int, int], bias: float
) -> Judgement:
    """Student's t test of the deviation beyond the bias, Šidák over the points.

    ``bias``: relative deviation allowed for terms of order 1/n², which do not cancel.
    """
    from scipy.stats import t

    seen, error = extrapolated(measured, widths)
    error = np.hypot(error, theory.error)
    difference = seen - theory.value
    beyond = np.maximum(np.abs(difference) - bias * np.abs(theory.value), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.copysign(np.where(beyond == 0, 0.0, beyond / error), difference)
    worst = 2 * float(t.sf(np.abs(z).max(), measured.shape[2] - 1))
    return Judgement(sidak(worst, len(points)), points, theory.value, seen, error, z)


def drawn(theory: Prediction, repeats: int, seed: int) -> np.ndarray:
    """Measurements that scatter about the prediction as those of simulated networks; points independent."""
    noise = np.random.default_rng([1, seed]).standard_normal((*theory.scatter.shape, repeats))
    return theory.value[:, None, None] + theory.scatter[..., None] * noise
