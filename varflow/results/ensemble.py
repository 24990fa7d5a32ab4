"""Ensemble: the measurements of a simulation, one row per network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import nan_to_none, renamed
from varflow._display import Shown, Table
from varflow.model.network import Network
from varflow.results.export import dataset, named
from varflow.results.layout import QUANTITIES, ReadOnly, axes_of, layers_table, over_layers, spikes
from varflow.results.profile import Profile


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ensemble(ReadOnly, Shown):
    """The measurements of a simulation: one row per network.

    Layers are those of neurons; where the network ends in a merge of spikes, the last as in :class:`varflow.Profile`.

    Attributes
    ----------
    network : Network
    variance : ndarray, shape (repeats, depth), or (repeats, depth, steps) for a network of several steps
        Sample variance (ddof = 1) of each layer's potentials; NaN at width 1.
    firing_rate : ndarray
        Spikes per neuron (and step).
    survival : ndarray
        1 where the layer has at least one spike (at that step), else 0.
    seed : int
    engine, device, dtype : str
    potential_mean : ndarray, optional, shape (repeats, depth, steps)
        Mean potential of each layer.
    second_moments : ndarray, optional, shape (repeats, depth, steps, steps)
        Second moments ``(1/n) Σ_i S_ti S_t'i`` of each layer.
    """

    network: Network
    variance: np.ndarray
    firing_rate: np.ndarray
    seed: int = 0
    engine: str = "dense"
    device: str = "cpu"
    dtype: str = "float32"
    potential_mean: np.ndarray | None = None
    second_moments: np.ndarray | None = None

    coincidences = renamed("coincidences", "second_moments")

    @property
    def repeats(self) -> int:
        return self.variance.shape[0]

    @property
    def survival(self) -> np.ndarray:
        return (self.firing_rate > 0).astype(float)

    @property
    def spikes(self) -> np.ndarray:
        """Spikes per layer, width × firing rate."""
        return spikes(self.network, self.firing_rate, self.firing_rate.ndim - 1)

    @property
    def variance_std(self) -> np.ndarray:
        """Sample standard deviation of the variance over networks, shape (depth[, steps])."""
        return spread(self.variance)

    @property
    def firing_rate_std(self) -> np.ndarray:
        """Sample standard deviation of the firing rate over networks, shape (depth[, steps])."""
        return spread(self.firing_rate)

    def _summary(self, reduce: Callable[[np.ndarray], np.ndarray]) -> Profile:
        return Profile(
            self.network,
            variance=reduce(self.variance),
            variance_std=self.variance_std,
            firing_rate=reduce(self.firing_rate),
            firing_rate_std=self.firing_rate_std,
            survival=reduce(self.survival),
            potential_mean=None if self.potential_mean is None else reduce(self.potential_mean),
            second_moments=None if self.second_moments is None else reduce(self.second_moments),
        )

    def mean(self) -> Profile:
        """Mean of each quantity over networks, with its spread over networks, as a :class:`varflow.Profile`."""
        return self._summary(lambda rows: rows.mean(axis=0))

    def std(self) -> Profile:
        """Standard deviation over networks of each quantity (ddof = 1; NaN for one network)."""
        return self._summary(spread)

    def stderr(self) -> Profile:
        """Standard error of each mean, ``std/√repeats``."""
        return self._summary(lambda rows: spread(rows) / np.sqrt(len(rows)))

    def to_dict(self) -> dict[str, Any]:
        """Everything except ``second_moments``, which are large; ``to_xarray`` has them."""
        values = named(self, *QUANTITIES, "spikes", "potential_mean", "seed", "engine", "device", "dtype")
        return nan_to_none({name: value for name, value in values.items() if value is not None})

    def to_xarray(self) -> Any:
        """All quantities as an ``xarray.Dataset`` over ``network``, ``layer`` and ``step``."""
        variables = over_layers(named(self, *QUANTITIES, "spikes", "potential_mean", "second_moments"), "network")
        origin = named(self, "network", "seed", "engine", "device", "dtype")
        return dataset(variables, axes_of(self.network), **origin)

    def _table(self) -> Table:
        title = f"Ensemble of {self.repeats} networks ({self.engine}, seed {self.seed})"
        return layers_table(title, self.network, self.mean())


def spread(rows: np.ndarray, ddof: int = 1) -> np.ndarray:
    """Standard deviation along the first axis, in units of the largest value: squares of variances leave double precision."""
    if len(rows) <= ddof:
        return np.full(rows.shape[1:], np.nan)
    largest = np.abs(rows).max(axis=0)
    unit = np.where(largest > 0, largest, 1.0)
    return unit * (rows / unit).std(axis=0, ddof=ddof)
