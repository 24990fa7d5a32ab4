"""Maps over two settings: in how many layers activity, the overlap of inputs and gradients change, and survival to a depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import DomainError, integer, nan_to_none, probability, real_array
from varflow._display import Drawn, Table, percent
from varflow.results.export import Exported, dataset, evenly, named

NAMES = ("firing_rate", "variance_depth", "overlap_depth", "overlap", "gradient_gain", "gradient_depth")

LEVELS = (0.99, 0.5, 0.01)  # survival probabilities of the contours


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DepthScales(Exported, Drawn):
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

    Examples
    --------
    >>> import varflow as vf
    >>> vf.depth_scales(threshold=[0.5, 1.0], gain=[2.0, 2.5, 3.0])
    DepthScales: ξ_c in layers / χ of atan(alpha=2), over θ and g
      θ            2          2.5            3
    0.5  1.58 / 0.61  1.57 / 0.76  1.56 / 0.91
      1     0.00 / 0  1.33 / 0.75  1.55 / 0.94
    The overlap of two inputs settles in at most 1.579 layers, at g = 2, θ = 0.5.
    How deep a readout reaches depends on the width.
    Gradients keep their variance within 10 % a layer on 40% of the active points.
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

    def _table(self) -> Table:
        _, symbol, values = self.rows
        rows, columns, depth, chi = evenly(len(values), 11), evenly(len(self.gains), 6), self.overlap_depth, self.gradient_gain
        cells = [(f"{values[i]:.4g}", *(f"{depth[i, j]:.2f} / {chi[i, j]:.2g}" for j in columns)) for i in rows]
        header = (symbol, *(f"{self.gains[j]:.4g}" for j in columns))
        title = f"DepthScales: ξ_c in layers / χ of {self.surrogate}, over {symbol} and g"
        return Table(title, cells, header, self.reading)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PhaseDiagram(Drawn):
    """Survival on a grid of thresholds and widths, exact for one step.

    Attributes
    ----------
    thresholds : ndarray, shape (t,)
    widths : ndarray of int, shape (w,)
    depth : int
    gain : str or float
        The rule: ``preserving``, ``kaiming`` or a number.
    survival : ndarray, shape (t, w)
        ``P(K_depth > 0)``, or that the steps of ``alive`` have spikes.
    unstable_from : float, optional
        Threshold from which the preserved variance is an unstable fixed point; None for gains that preserve none.
    differ : tuple of str
        Thresholds that are distributions over neurons; ``thresholds`` has their means.
    alive : str, optional
        In time: which steps must have spikes.
    error : ndarray, shape (t, w), optional
        Standard error of the survival of networks drawn.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.phase_diagram(threshold=[0.5, 1.0], width=[50, 100, 200], depth=20)
    PhaseDiagram: survival to layer 20, gain preserving, over θ and width
      θ     50    100    200
    0.5      1      1      1
      1  0.288  0.536  0.788
    Alive at layer 20 of networks of width 100: 99 % up to θ = 0.90.
    """

    thresholds: np.ndarray
    widths: np.ndarray
    depth: int
    gain: str | float
    survival: np.ndarray
    unstable_from: float | None = None
    differ: tuple[str, ...] = ()
    alive: str | None = None
    error: np.ndarray | None = None

    def logit(self, thresholds: Any = None, widths: Any = None) -> np.ndarray:
        """``ln(S/(1-S))``, clipped at ±28, interpolated monotonically in ``ln n`` and then θ; shape (t, w).

        Raises
        ------
        DomainError
            Outside the grid.
        """
        edge = np.exp(-28.0)  # to a few digits the last that 1 - edge tells from 1
        S = np.clip(self.survival, edge, 1 - edge)
        table = np.log(S / (1 - S))
        if widths is not None:
            table = _interpolated(np.log(self.widths), table, np.log(_inside("widths", widths, self.widths)), axis=1)
        if thresholds is None:
            return table
        return _interpolated(self.thresholds, table, _inside("thresholds", thresholds, self.thresholds), axis=0)

    def largest_threshold(self, width: int, survival: float) -> float:
        """The first threshold at which survival falls below a level, interpolated; NaN if it starts below or never does.

        The exact value is :func:`varflow.largest_threshold`.

        Raises
        ------
        DomainError
            For a width outside the grid, or a survival that is not a probability between 0 and 1.
        """
        level = probability("survival", survival, open_ends=True)
        widths = _inside("width", integer("width", width, minimum=1), self.widths)
        thetas = np.linspace(self.thresholds[0], self.thresholds[-1], 2001)
        enough = self.logit(thetas, widths)[:, 0] >= np.log(level / (1 - level))
        return float(thetas[np.argmin(enough)]) if enough[0] and not enough.all() else float("nan")

    @property
    def reading(self) -> list[str]:
        """The main findings of the figure, as sentences."""
        within = [n for n in (100, 600) if self.widths[0] <= n <= self.widths[-1]] or [int(self.widths[-1])]
        few = self.differ if len(self.differ) < 4 else (self.differ[0], "…", self.differ[-1])
        sentences = [f"Thresholds differ between neurons, θ being their mean: {', '.join(few)}."] if few else []
        sentences += [text for n in within if (text := self._sentence(n))]
        edge = self.unstable_from
        if edge is not None and self.thresholds[-1] > edge:
            seen = f"{percent(self.survival[-1, -1])} are alive at θ = {self.thresholds[-1]:.4g}, width {self.widths[-1]}"
            sentences.append(f"Beyond θ = {edge:.4g} the preserved variance is unstable and width helps little: {seen}.")
        return sentences

    def _sentence(self, width: int) -> str:
        reached = [(level, self.largest_threshold(width, level)) for level in LEVELS]
        phrases = [f"{100 * level:g} % up to θ = {theta:.2f}" for level, theta in reached if np.isfinite(theta)]
        which = f" ({self.alive})" if self.alive else ""
        return f"Alive{which} at layer {self.depth} of networks of width {width}: {', '.join(phrases)}." if phrases else ""

    def to_dict(self) -> dict[str, Any]:
        names = ("thresholds", *(["differ"] if self.differ else []), "widths", "depth", "gain", "survival", "reading")
        return nan_to_none(named(self, *names, *(("alive", "error") if self.alive else ())))

    def to_xarray(self) -> Any:
        """Survival as an ``xarray.Dataset`` over ``threshold`` and ``width``."""
        axes = {"threshold": ("threshold", self.thresholds), "width": ("width", self.widths)}
        tables = {name: (("threshold", "width"), getattr(self, name)) for name in ("survival", "error")}
        return dataset(tables, axes, **named(self, "depth", "gain", "unstable_from", "alive"))

    def _table(self) -> Table:
        columns, rows = evenly(len(self.widths), 8), evenly(len(self.thresholds), 11)
        title = f"PhaseDiagram: survival to layer {self.depth}, gain {self.gain}, over θ and width"
        header = ("θ", *(str(self.widths[j]) for j in columns))
        cells = [(f"{self.thresholds[i]:.4g}", *(f"{self.survival[i, j]:.3g}" for j in columns)) for i in rows]
        return Table(title, cells, header, self.reading)


def _inside(name: str, values: Any, grid: np.ndarray) -> np.ndarray:
    """Values as a vector within a grid, up to rounding at its ends."""
    array = np.atleast_1d(real_array(name, values))
    if array.ndim > 1:
        raise DomainError(name, values, "must be one number or a sequence of them")
    low, high = float(grid[0]), float(grid[-1])
    room = 1e-12 * np.abs(array)
    for value in array[(array < low - room) | (array > high + room)].tolist():
        raise DomainError(
            name, value if np.ndim(values) else values, f"is outside the diagram, which goes from {low:g} to {high:g}"
        )
    return np.clip(array, low, high)


def _interpolated(at: np.ndarray, table: np.ndarray, wanted: Any, axis: int) -> np.ndarray:
    from scipy.interpolate import PchipInterpolator

    if len(at) == 1:
        return np.repeat(table, len(wanted), axis=axis)
    return PchipInterpolator(at, table, axis=axis)(wanted)
