"""Integer weights that keep a network alive: step, integer threshold and what they cost, for each width and number of bits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from varflow._display import Drawn, Table, percent
from varflow.results.export import Exported, dataset, named, numbered

FORMS = {
    **dict.fromkeys(("threshold", "width", "bits", "clip", "integer_threshold"), "{:.4g}".format),
    **dict.fromkeys(("step", "weight_std", "gain"), "{:.5g}".format),
    **dict.fromkeys(("price", "variance", "firing_rate"), "{:.3f}".format),
    **dict.fromkeys(("survival", "survival_above"), partial(percent, digits=3)),
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Quantisation(Exported, Drawn):
    """Integer weights with the smallest step that keeps networks alive: numbers, or arrays of one entry for each cell.

    Attributes
    ----------
    depth : int
    survival_target : float
    threshold, width, bits : float, int or ndarray
        The arguments, broadcast.
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
    price : float or ndarray
        ``gain²/g²``, with ``g`` the :func:`varflow.corrected_gain` of weights that are not rounded; NaN if no ``g`` suffices.
    variance, firing_rate : float or ndarray
        Mean rate of layer ``depth``, and ``gain²`` times it, the variance of potentials that it causes.
    survival, survival_above : float or ndarray
        ``P(K_depth > 0)`` at ``k``, and at ``k + 1``, with the next finer step.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.quantise(threshold=1.0, width=100, depth=20, bits=4)
    >>> found.integer_threshold, round(found.step, 4)
    (10, 0.1053)
    """

    depth: int
    survival_target: float
    threshold: Any
    width: Any
    bits: Any
    clip: Any
    integer_threshold: Any
    step: Any
    weight_std: Any
    gain: Any
    price: Any
    variance: Any
    firing_rate: Any
    survival: Any
    survival_above: Any

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``cell``, the entries of the arguments in their order."""
        columns = {name: ("cell", np.ravel(getattr(self, name))) for name in FORMS}
        return dataset(columns, numbered(cell=np.size(self.bits)), **named(self, "depth", "survival_target"))

    def _table(self) -> Table:
        title = f"Integer weights for {percent(self.survival_target)} of networks alive at layer {self.depth}"
        columns = [[form(value) for value in np.ravel(getattr(self, name))] for name, form in FORMS.items()]
        header = ("θ", "width", "bits", "clip", "k", "step Δ", "std", "gain", "price", "variance", "rate", "alive", "at k + 1")
        note = "k: the sum of integers from which a neuron fires; std: of weights before rounding, which clip·std bounds."
        return Table(title, list(zip(*columns, strict=True)), header, (note,), dispensable=("std", "variance", "θ"))
