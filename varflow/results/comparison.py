"""Comparison: the verdict on one prediction and one simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from varflow._checks import nan_to_none
from varflow._display import Shown, Table, draw
from varflow.results.export import SPREADS, ReadOnly, axes_of, dataset, named, over_layers
from varflow.results.profile import Ensemble, Profile

VERDICT = ("p_value", "passed", "false_alarm", "calibration")
ALARM = 1e-3  # at which means and spreads weigh the same


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison(ReadOnly, Shown):
    """The verdict on one profile and one ensemble.

    Attributes
    ----------
    z : dict of ndarray, shape (depth,) or (depth, steps)
        Signed deviation in standard errors, per quantity and layer: ``variance`` and ``firing_rate`` over the networks
        alive there, ``survival`` as the normal score of its exact binomial probability; ``spread`` and
        ``conditional_spread`` over networks, pooled over layers 1 … l (judged is the last). NaN where nothing was measured.
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
    spread : dict of float
        The spreads over all layers, in units of the predicted ones: at a width ``n`` for ``n'`` about ``√(n'/n)``. Empty for a
        profile without an exact distribution.
    """

    z: dict[str, np.ndarray]
    p_value: float
    passed: bool
    false_alarm: float
    calibration: str
    profile: Profile
    ensemble: Ensemble
    spread: dict[str, float] = field(default_factory=dict)

    @property
    def deviation(self) -> float:
        """The statistic, the largest ``|z|``, that of spreads weighted as :func:`varflow.compare` says."""
        return float(deviation({name: values.ravel() for name, values in self.z.items()}))

    @property
    def worst(self) -> dict[str, tuple[Any, ...]]:
        """Layer (and step) and signed deviation of the largest ``|z|`` of each measured quantity; of spreads, the last."""
        largest = {}
        for name, values in self.z.items():
            if name in SPREADS:
                if np.isfinite(values[-1]):
                    largest[name] = (len(values), float(values[-1]))
            elif not np.all(np.isnan(values)):
                place = np.unravel_index(np.nanargmax(np.abs(values)), values.shape)
                largest[name] = (*(int(index) + 1 for index in place), float(values[place]))
        return largest

    def to_dict(self) -> dict[str, Any]:
        axes = ("layer", "step", "z") if self.profile.variance.ndim == 2 else ("layer", "z")
        worst = {name: dict(zip(axes, place, strict=True)) for name, place in self.worst.items()}
        return nan_to_none(named(self, *VERDICT, "z", "spread") | {"worst": worst})

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer`` and ``step``: deviations ``z_variance`` …, spreads ``relative_…``, verdict."""
        variables = over_layers({f"z_{name}": values for name, values in self.z.items()})
        variables |= {f"relative_{name}": ((), value) for name, value in self.spread.items()}
        return dataset(variables, axes_of(self.profile.network), **named(self, *VERDICT))

    def plot(self, ax: Any = None) -> Any:
        """Variance over layers (at the last step): measured mean and band, predicted mean and band. Returns matplotlib axes."""
        return draw(self, ax=ax)

    def _table(self) -> Table:
        verdict = "the theory stands" if self.passed else "the theory is rejected"
        p = f"p = {self.p_value:.3g}" if self.p_value > 0 else "impossible under the theory"
        title = f"Comparison: {verdict} ({p}; false alarm {self.false_alarm:g}; {self.calibration})"
        measured, rows, within = self.ensemble.mean(), [], False
        for name, (*place, z) in self.worst.items():
            where, numbers = ", ".join(map(str, place)), (1.0, self.spread.get(name, math.nan))
            if name in SPREADS:
                where = f"1 to {where}"
            else:
                numbers = (getattr(of, name)[tuple(np.subtract(place, 1))] for of in (self.profile, measured))
            predicted, found = numbers
            within |= bool(z == 0 and predicted != found and self.profile.sample is None)
            rows.append((name, f"{abs(z):.2f}", where, f"{predicted:.6g}", f"{found:.6g}"))
        where = "at layer, step" if self.profile.variance.ndim == 2 else "at layer"
        notes = ("|z| is 0 where all that was measured lies within the allowed bias.",) * within
        header = ("quantity", "largest |z|", where, "predicted", "measured")
        return Table(title, f"{{:<18}} {{:>11}} {{:>{len(where) + 1}}} {{:>12}} {{:>12}}", rows, header, notes)


def deviation(z: dict[str, np.ndarray]) -> np.ndarray:
    """Largest ``|z|`` over quantities and layers, shape (…), ignoring NaN; of spreads the last, weighted.

    With the weight either kind alone would exceed the same bar with probability ``ALARM/2``, were all scores normal and
    independent.
    """
    from scipy.special import ndtri

    means = np.abs(np.concatenate([values for name, values in z.items() if name not in SPREADS], axis=-1))
    spreads = [np.abs(z[name][..., -1:]) for name in SPREADS if name in z]
    if spreads:
        bars = [-ndtri(ALARM / 4 / number) for number in (means.shape[-1], len(spreads))]
        means = np.concatenate([means, bars[0] / bars[1] * np.concatenate(spreads, axis=-1)], axis=-1)
    return np.max(np.where(np.isnan(means), 0.0, means), axis=-1)
