"""Fixed points of the overlap of two inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from varflow._checks import nan_to_none
from varflow._display import Table
from varflow.results.export import Exported, dataset, named, records
from varflow.results.fixed_points import Points


@dataclass(frozen=True, slots=True)
class CorrelationFixedPoint(Exported):
    """An overlap of two inputs that a layer reproduces, ``ρ' = ρ``.

    Attributes
    ----------
    overlap : float
        ``ρ = E[x x̂]/p``.
    multiplier : float
        ``m = dρ'/dρ``, by which a small deviation is multiplied per layer; ``inf`` at ``ρ = 1``.
    stable : bool
        Whether ``m < 1``.
    depth_scale : float
        ``ξ_c = -1/ln m`` layers; 0 where deviations grow by an infinite factor.
    """

    overlap: float
    multiplier: float
    stable: bool
    depth_scale: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CorrelationFixedPoints(Points[CorrelationFixedPoint]):
    """The fixed points of the overlap of two inputs, ascending: the stable one, and identical inputs.

    Attributes
    ----------
    points : tuple of CorrelationFixedPoint
    threshold, variance : float
        Of both inputs.
    """

    points: tuple[CorrelationFixedPoint, ...]
    threshold: float
    variance: float

    def to_dict(self) -> dict[str, Any]:
        return nan_to_none({"fixed_points": self.points} | named(self, "threshold", "variance"))

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``fixed_point``."""
        variables = records(self.points, CorrelationFixedPoint.__dataclass_fields__, "fixed_point")
        return dataset(variables, {}, threshold=self.threshold, variance=self.variance)

    def _table(self) -> Table:
        title = f"CorrelationFixedPoints (θ = {self.threshold:g}, V = {self.variance:g})"
        rows = [
            (f"{p.overlap:.8g}", f"{p.multiplier:.6g}", f"{p.depth_scale:.4g}", "stable" if p.stable else "unstable")
            for p in self
        ]
        return Table(title, "{:>12} {:>11} {:>12}  {}", rows, ("overlap", "multiplier", "depth_scale", "stability"))
