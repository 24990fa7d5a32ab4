"""CorrectedGainTable: corrected gains over thresholds, widths and depths, as rows and as text."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np

from varflow.results.export import Exported, dataset

DIGITS = 12  # in the file: the accuracy of the gain


@dataclass(frozen=True, slots=True)
class CorrectedGain(Exported):
    """One row.

    Attributes
    ----------
    threshold, width, depth, survival_target
        The arguments.
    paper_gain, survival_at_paper_gain : float
        The gain that preserves the variance at infinite width, and the fraction of networks alive with it.
    corrected_gain, corrected_survival : float
        The smallest gain that reaches the target, and the fraction alive with it. NaN if no gain does; 0 at depth 1. It is
        below ``paper_gain`` if that reaches the target too: initialise with the larger of the two.
    variance : float
        The stable fixed point of the variance at the corrected gain; 0 where only silence is stable.
    """

    threshold: float
    width: int
    depth: int
    survival_target: float
    paper_gain: float
    survival_at_paper_gain: float
    corrected_gain: float
    corrected_survival: float
    variance: float


COLUMNS = tuple(field.name for field in fields(CorrectedGain))
ARGUMENTS = COLUMNS[:4]


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedGainTable(Exported):
    """Rows in the order threshold, width, depth."""

    rows: tuple[CorrectedGain, ...]

    def to_csv(self) -> str:
        """Comma-separated values with a header line; empty cells where no gain reaches the target."""
        lines = [",".join(_text(value) for value in astuple(row)) for row in self.rows]
        return "\n".join([",".join(COLUMNS), *lines, ""])

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``threshold``, ``width``, ``depth`` and ``survival_target``; NaN where there is no row."""
        axes, places = {}, []
        for name in ARGUMENTS:
            values, place = np.unique([getattr(row, name) for row in self.rows], return_inverse=True)
            axes[name] = (name, values)
            places.append(place)
        variables = {}
        for name in COLUMNS[len(ARGUMENTS) :]:
            grid = np.full([len(values) for _, values in axes.values()], np.nan)
            grid[tuple(places)] = [getattr(row, name) for row in self.rows]
            variables[name] = (ARGUMENTS, grid)
        return dataset(variables, axes)

    def __repr__(self) -> str:
        shown = self.rows if len(self.rows) <= 12 else (*self.rows[:6], *self.rows[-6:])
        title = f"CorrectedGainTable: {len(self.rows)} rows{'' if shown is self.rows else ', the first and last six'}"
        head = f"{'θ':>6} {'n':>7} {'L':>5} {'paper g':>9} {'alive':>9} {'corrected g':>12} {'alive':>9} {'variance':>9}"
        lines = [
            f"{row.threshold:>6.4g} {row.width:>7} {row.depth:>5} {row.paper_gain:>9.5f} {row.survival_at_paper_gain:>9.4g} "
            f"{row.corrected_gain:>12.5f} {row.corrected_survival:>9.4g} {row.variance:>9.4g}"
            for row in shown
        ]
        enough = sum(row.corrected_gain < row.paper_gain for row in self.rows if row.depth > 1)
        note = f"In {enough} of the rows the paper's gain already reaches the target. The corrected gain, the smallest that "
        note += "does, is then lower and would lower the variance. Initialise with the larger of the two."
        return "\n".join([title, head, *lines, *[note] * (enough > 0)])


def _text(value: float) -> str:
    return "" if value != value else f"{value:.{DIGITS}g}"
