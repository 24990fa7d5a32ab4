"""DepthScales: how many layers activity, the overlap of inputs and gradients take to change, on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._display import Shown, Table
from varflow._figures import draw
from varflow.results.export import Exported, dataset
from varflow.results.layout import evenly

NAMES = ("firing_rate", "variance_depth", "overlap_depth", "overlap", "gradient_gain", "gradient_depth")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DepthScales(Exported, Shown):
    """Depth scales of activity, overlap and gradients, in layers, over thresholds (or widths) and gains.

    Entries are 0 where only silence is stable. ``r`` is the number of thresholds, or of widths if there are any.

    Attributes
    ----------
    thresholds : ndarray, shape (t,)
        One with ``widths``.
    gains : ndarray, shape (g,)
    widths : ndarray, shape (w,), optional
        Of the surrogate.
    surrogate : str
    firing_rate : ndarray, shape (r, g)
    variance_depth : ndarray, shape (r, g)
        ``ξ_V``, in which a deviation from the stable variance falls by a factor e.
    overlap_depth : ndarray, shape (r, g)
        ``ξ_c``, in which the overlap of two inputs settles.
    overlap : ndarray, shape (r, g)
        ``ρ*``, which all pairs of different inputs approach.
    gradient_gain : ndarray, shape (r, g)
        ``χ``, the factor on the variance of gradients per layer.
    """

    thresholds: np.ndarray
    gains: np.ndarray
    widths: np.ndarray | None
    surrogate: str
    firing_rate: np.ndarray
    variance_depth: np.ndarray
    overlap_depth: np.ndarray
    overlap: np.ndarray
    gradient_gain: np.ndarray

    _derived = ("gradient_depth", "reading")

    @property
    def gradient_depth(self) -> np.ndarray:
        """``ξ_∇ = 1/|ln χ|``, in which the variance of gradients changes by a factor e; infinite for ``χ = 1``."""
        with np.errstate(divide="ignore"):
            scale = 1 / np.abs(np.log(self.gradient_gain))
        return np.where(self.gradient_gain > 0, scale, 0.0)

    @property
    def rows(self) -> tuple[str, str, np.ndarray]:
        """Name, symbol and values of the first axis."""
        return ("threshold", "θ", self.thresholds) if self.widths is None else ("width", "a", self.widths)

    @property
    def reading(self) -> list[str]:
        """The main finding, as sentences."""
        i, j = np.unravel_index(self.overlap_depth.argmax(), self.overlap_depth.shape)
        if not self.overlap_depth[i, j]:
            return ["Only silence is stable at these thresholds and gains."]
        _, symbol, values = self.rows
        where = f"g = {self.gains[j]:.4g}" + (f", {symbol} = {values[i]:.4g}" if self.widths is None else "")
        largest = f"The overlap of two inputs settles in at most {self.overlap_depth[i, j]:.3f} layers, at {where}."
        alive = self.firing_rate > 0
        kept = f"Gradients keep their variance within 10 % a layer on {np.mean(self._steady[alive]):.0%} of the active points."
        return [largest, "How deep a readout reaches depends on the width.", kept]

    @property
    def _steady(self) -> np.ndarray:
        return np.abs(self.gradient_gain - 1) < 0.1

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``threshold`` or ``width``, and ``gain``."""
        name, _, values = self.rows
        axes = {name: (name, values), "gain": ("gain", self.gains)}
        return dataset({quantity: ((name, "gain"), getattr(self, quantity)) for quantity in NAMES}, axes)

    def plot(self) -> Any:
        """Maps of the firing rate and the three depth scales, with the line ``χ = 1``. Returns a matplotlib Figure."""
        return draw(self)

    def _table(self) -> Table:
        _, symbol, values = self.rows
        rows, columns, depth, chi = evenly(len(values), 11), evenly(len(self.gains), 8), self.overlap_depth, self.gradient_gain
        cells = [(f"{values[i]:.4g}", *(f"{depth[i, j]:.2f} {chi[i, j]:.2g}" for j in columns)) for i in rows]
        header = (symbol, *(f"{self.gains[j]:.4g}" for j in columns))
        title = f"DepthScales: ξ_c in layers and χ of {self.surrogate}, over {symbol} and g"
        return Table(title, "{:>6}" + "{:>13}" * len(columns), cells, header, self.reading)
