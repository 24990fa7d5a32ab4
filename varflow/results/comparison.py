"""Comparison: the verdict on one prediction and one simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import frozen, nan_to_none
from varflow._display import Shown, Table, figures
from varflow.results.ensemble import Ensemble
from varflow.results.profile import Profile

__all__ = ["Comparison"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison(Shown):
    """The verdict on one profile and one ensemble.

    Attributes
    ----------
    z : dict of ndarray, shape (depth,) or (depth, steps)
        Signed deviation in standard errors, per quantity and layer: ``variance`` and ``firing_rate`` over the networks
        alive there, ``survival`` as the normal score of its exact binomial probability. NaN where nothing was measured.
        For a profile without an exact distribution: over all networks, after subtracting the stated bias, and also for
        ``potential_mean`` if both have it.
    p_value : float
        Probability, if the theory holds, of a largest deviation at least as large as the observed one.
    passed : bool
        Whether ``p_value`` exceeds ``false_alarm``.
    false_alarm : float
    calibration : str
        How ``p_value`` was found.
    profile, ensemble
        What was compared.
    """

    z: dict[str, np.ndarray]
    p_value: float
    passed: bool
    false_alarm: float
    calibration: str
    profile: Profile
    ensemble: Ensemble

    def __post_init__(self) -> None:
        object.__setattr__(self, "z", {name: frozen(values) for name, values in self.z.items()})

    @property
    def worst(self) -> dict[str, tuple[Any, ...]]:
        """Layer (and step) and signed deviation of the largest ``|z|`` of each measured quantity."""
        found = {}
        for name, values in self.z.items():
            if not np.all(np.isnan(values)):
                place = np.unravel_index(np.nanargmax(np.abs(values)), values.shape)
                found[name] = (*(int(index) + 1 for index in place), float(values[place]))
        return found

    def to_dict(self) -> dict[str, Any]:
        axes = ("layer", "step", "z") if self.profile.variance.ndim == 2 else ("layer", "z")
        worst = {name: dict(zip(axes, place, strict=True)) for name, place in self.worst.items()}
        names = ("p_value", "passed", "false_alarm", "calibration", "z")
        return nan_to_none({name: getattr(self, name) for name in names} | {"worst": worst})

    def plot(self, ax: Any = None) -> Any:
        """Variance over layers (at the last step): measured mean and band, predicted mean and band. Returns matplotlib axes."""
        return figures().draw(self, ax=ax)

    def _table(self) -> Table:
        verdict = "the theory stands" if self.passed else "the theory is rejected"
        p = f"p = {self.p_value:.3g}" if self.p_value > 0 else "impossible under the theory"
        title = f"Comparison: {verdict} ({p}; false alarm {self.false_alarm:g}; {self.calibration})"
        measured, rows = self.ensemble.mean(), []
        for name, (*place, z) in self.worst.items():
            predicted, found = (getattr(of, name)[tuple(np.subtract(place, 1))] for of in (self.profile, measured))
            rows.append((name, f"{abs(z):.2f}", ", ".join(map(str, place)), f"{predicted:.6g}", f"{found:.6g}"))
        where = "at layer, step" if self.profile.variance.ndim == 2 else "at layer"
        header = ("quantity", "largest |z|", where, "predicted", "measured")
        return Table(title, f"{{:<14}} {{:>11}} {{:>{len(where) + 1}}} {{:>12}} {{:>12}}", rows, header)
