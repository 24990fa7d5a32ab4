"""InformationDiagram: the depth scale of the overlap of two inputs on a grid of thresholds and gains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import nan_to_none
from varflow._display import Shown, Table, figures
from varflow.results.export import dataset

__all__ = ["InformationDiagram"]

NAMES = ("depth_scale", "overlap", "firing_rate")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class InformationDiagram(Shown):
    """The depth scale of the overlap of two inputs on a grid of thresholds and gains; 0 where only silence is stable.

    Attributes
    ----------
    thresholds : ndarray, shape (t,)
    gains : ndarray, shape (g,)
    depth_scale : ndarray, shape (t, g)
        ``ξ_c`` in layers.
    overlap : ndarray, shape (t, g)
        ``ρ*``, which all pairs of different inputs approach.
    firing_rate : ndarray, shape (t, g)
    """

    thresholds: np.ndarray
    gains: np.ndarray
    depth_scale: np.ndarray
    overlap: np.ndarray
    firing_rate: np.ndarray

    @property
    def reading(self) -> list[str]:
        """The main finding, as sentences."""
        i, j = np.unravel_index(self.depth_scale.argmax(), self.depth_scale.shape)
        if not self.depth_scale[i, j]:
            return ["Only silence is stable at these thresholds and gains."]
        where = f"θ = {self.thresholds[i]:.4g}, g = {self.gains[j]:.4g}"
        largest = f"The depth scale is at most {self.depth_scale[i, j]:.3f} layers, at {where}."
        return [largest, "How deep a readout reaches depends on the width."]

    def to_dict(self) -> dict[str, Any]:
        return nan_to_none({name: getattr(self, name) for name in ("thresholds", "gains", *NAMES, "reading")})

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``threshold`` and ``gain``."""
        axes = {"threshold": ("threshold", self.thresholds), "gain": ("gain", self.gains)}
        return dataset({name: (("threshold", "gain"), getattr(self, name)) for name in NAMES}, axes)

    def plot(self, ax: Any = None) -> Any:
        """A map of the depth scale. Returns matplotlib Axes."""
        return figures().draw(self, ax=ax)

    def _table(self) -> Table:
        sizes = zip(self.overlap.shape, (11, 8), strict=True)
        rows, columns = (np.unique(np.linspace(0, n - 1, most).round().astype(int)) for n, most in sizes)
        cells = [(f"{self.thresholds[i]:.4g}", *(f"{self.depth_scale[i, j]:.3g}" for j in columns)) for i in rows]
        header = ("θ", *(f"{self.gains[j]:.4g}" for j in columns))
        title = "InformationDiagram: depth scale of the overlap of two inputs, in layers, over θ and gain"
        return Table(title, "{:>6}" + "{:>9}" * len(columns), cells, header, self.reading)
