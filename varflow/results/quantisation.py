"""Integer weights that keep a network alive: step, integer threshold and what they cost, for each width and number of bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._display import Drawn, Table, percent
from varflow.results.export import Exported


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Quantisation(Exported, Drawn):
    """Integer weights with the smallest step that keeps networks alive: numbers, or arrays of one entry for each cell.

    Attributes
    ----------
    threshold, width, bits : float, int or ndarray
        The arguments, broadcast.
    depth : int
    survival_target : float
    clip : float or ndarray
        The weight that becomes the largest integer, in standard deviations of weights before rounding.
    integer_threshold : int or ndarray
        ``k``: a neuron fires if its sum of integers is ``k`` or more.
    step : float or ndarray
        ``Δ = θ/(k - ½)``, what the integer 1 stands for. All steps with ``⌊θ/Δ⌋ + 1 = k`` make the same network.
    weight_std : float or ndarray
        Standard deviation of the weights before rounding.
    gain : float or ndarray
        ``√n Std[w]`` of the integers times the step.
    corrected_gain : float or ndarray
        What weights that are not rounded need for the same survival: :func:`varflow.corrected_gain`.
    price : float or ndarray
        ``gain²/corrected_gain²``, the price of few bits in variance.
    firing_rate, variance : float or ndarray
        Mean rate of layer ``depth``, and the variance of potentials that it causes, ``gain² × firing_rate``.
    survival, survival_above : float or ndarray
        ``P(K_depth > 0)`` at ``k``, and at ``k + 1``, with the next finer step.
    """

    threshold: Any
    width: Any
    bits: Any
    depth: int
    survival_target: float
    clip: Any
    integer_threshold: Any
    step: Any
    weight_std: Any
    gain: Any
    corrected_gain: Any
    firing_rate: Any
    survival: Any
    survival_above: Any

    _derived = ("price", "variance")

    @property
    def price(self) -> Any:
        return (self.gain / self.corrected_gain) ** 2

    @property
    def variance(self) -> Any:
        return self.gain**2 * self.firing_rate

    def _table(self) -> Table:
        names = ("threshold", "width", "bits", "clip", "integer_threshold", "step", "weight_std", "gain", "price", "variance")
        columns = [np.ravel(getattr(self, name)) for name in (*names, "firing_rate", "survival", "survival_above")]
        forms = ("{:.4g}", "{:.0f}", "{:.0f}", "{:.4g}", "{:.0f}", *["{:.5g}"] * 3, *["{:.3f}"] * 3)
        rows = [
            (*(form.format(value) for form, value in zip(forms, cell, strict=False)), *map(_alive, cell[-2:]))
            for cell in zip(*columns, strict=True)
        ]
        title = f"Integer weights for {percent(self.survival_target)} of networks alive at layer {self.depth}"
        header = ("θ", "width", "bits", "clip", "k", "step Δ", "std", "gain", "price", "variance", "rate", "alive", "at k + 1")
        layout = "  {:>5}{:>7}{:>6}{:>7}{:>6}{:>10}{:>10}{:>9}{:>8}{:>10}{:>8}  {:>15} {:>10}"
        note = "k: the sum of integers from which a neuron fires; std: of weights before rounding, which clip·std bounds."
        return Table(title, layout, rows, header, (note,))


def _alive(survival: float) -> str:
    return "–" if survival != survival else percent(survival, 3)
