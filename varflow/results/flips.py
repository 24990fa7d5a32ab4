"""Flips: spikes that one step of an optimiser turns over in every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._display import Shown, Table, measured
from varflow._figures import draw
from varflow.model.network import Network
from varflow.results.export import Exported, dataset, numbered
from varflow.results.layout import ReadOnly, evenly


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
        variables = {name: ("layer", getattr(self, name)) for name in ("change", "flips", "error")}
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
