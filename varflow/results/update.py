"""A step of an optimiser: the spikes that it turns over in every layer, and its learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._display import Shown, Table, draw, measured
from varflow.model.network import Network
from varflow.results.export import Exported, ReadOnly, dataset, evenly, numbered


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Flips(ReadOnly, Exported, Shown):
    r"""Spikes that a change of all weights turns over, ``r = Σ E[(S - S')²]/Σ(E[S²] + E[S'²])`` of every layer of neurons.

    Attributes
    ----------
    network : Network
    kind : str
        ``direct`` or ``relative``: how the change was given.
    change : ndarray, shape (depth,)
        Its size in each layer.
    flips : ndarray, shape (depth,)
        At infinite width, or of all sampled networks together; NaN where a layer is silent.
    error : ndarray, shape (depth,)
        Standard error: of quasi-Monte Carlo, or over sampled networks.
    samples : ndarray, shape (repeats, depth), optional
        Of each sampled network; None at infinite width.
    seed : int
    """

    network: Network
    kind: str
    change: np.ndarray
    flips: np.ndarray
    error: np.ndarray
    samples: np.ndarray | None = None
    seed: int = 0

    _hidden = ("network",)

    def plot(self, ax: Any = None) -> Any:
        """Flips over layers. Returns matplotlib Axes."""
        return draw(self, ax=ax)

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer`` and ``repeat``."""
        variables: dict[str, Any] = {name: ("layer", getattr(self, name)) for name in ("change", "flips", "error")}
        variables["samples"] = (("repeat", "layer"), self.samples)
        return dataset(variables, numbered(layer=len(self.flips)), network=self.network, kind=self.kind, seed=self.seed)

    def _table(self) -> Table:
        width = "infinite width" if self.samples is None else f"{len(self.samples)} networks of their own width"
        rows = [
            (str(l + 1), f"{self.change[l]:.3g}", f"{measured(self.flips[l])} ± {measured(self.error[l], '.1g')}")
            for l in evenly(len(self.flips), 8)
        ]
        title = f"Flips of {self.network!r}, {width}"
        return Table(title, "{:>7} {:>10} {:>20}", rows, ("layer", self.kind, "flips"))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LearningRate(ReadOnly, Exported, Shown):
    """Learning rate of an optimiser, and what its first step does.

    Attributes
    ----------
    network : Network
    optimizer : str
    rate : float
        For all layers alike.
    other_rate, first_layer_rate : float, optional
        Instead, where the first layer would take up most of the change: a rate for its weights, and one for all others.
    direct : ndarray, shape (depth,)
        ``d`` of each layer of neurons at ``rate``: root mean square of the change of its currents by its own weights, over
        their standard deviation.
    flips : ndarray, shape (depth,)
        Fraction of spikes that the step turns over, at infinite width.
    dominated_by : int, optional
        The layer that makes more than half of ``Σ d²``.
    error : float
        Root mean square of ``log₂`` of the best rate over ``rate``, in the settings measured; NaN for plain networks of more
        than ten layers, for which none was fitted.
    """

    network: Network
    optimizer: str
    rate: float
    other_rate: float | None
    first_layer_rate: float | None
    direct: np.ndarray
    flips: np.ndarray
    dominated_by: int | None
    error: float

    _hidden = ("network",)

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``layer``."""
        numbers = {name: ((), getattr(self, name)) for name in ("rate", "other_rate", "first_layer_rate", "error")}
        variables = {"direct": ("layer", self.direct), "flips": ("layer", self.flips)} | numbers
        return dataset(variables, numbered(layer=len(self.direct)), network=self.network, optimizer=self.optimizer)

    def _table(self) -> Table:
        rows = [(str(l + 1), f"{self.direct[l]:.3g}", measured(self.flips[l], ".3f")) for l in evenly(len(self.direct), 8)]
        known = f"within a factor of {2**self.error:.1f} (one standard deviation)"
        off = known if np.isfinite(self.error) else "no error known above ten plain layers"
        notes = [f"rate {self.rate:.2g} for all layers, {off}; let it decay"]
        if self.first_layer_rate is not None:
            notes.append(f"or {self.first_layer_rate:.2g} for the first layer and {self.other_rate:.2g} for the others")
        title = f"LearningRate of {self.optimizer}, {self.network!r}"
        return Table(title, "{:>7} {:>14} {:>8}", rows, ("layer", "direct change", "flips"), notes, "  ")
