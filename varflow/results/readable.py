"""ReadableDepth: held-out accuracy of a linear readout of each layer, and the depth where it has fallen half way to chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import nan_to_none
from varflow._display import Shown, Table
from varflow._figures import draw
from varflow.model.network import Network
from varflow.results.ensemble import spread
from varflow.results.export import dataset, named, numbered
from varflow.results.kernel import UPPER_BOUND
from varflow.results.layout import ReadOnly


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ReadableDepth(ReadOnly, Shown):
    """Held-out accuracy of a linear readout of each layer, and how deep it reaches.

    Attributes
    ----------
    network : Network
    accuracies : ndarray, shape (repeats, depth)
        Of each sampled network with its own split (infinite width: of each split).
    chance : float
        ``1/classes``: accuracies are averaged over classes.
    infinite_width : bool
    readout : str
    seed : int
    """

    network: Network
    accuracies: np.ndarray
    chance: float
    infinite_width: bool
    readout: str = "counts"
    seed: int = 0

    @property
    def accuracy(self) -> np.ndarray:
        """Mean over repeats, shape (depth,)."""
        return self.accuracies.mean(axis=0)

    @property
    def error(self) -> np.ndarray:
        """Its standard error, shape (depth,); NaN for one repeat."""
        return spread(self.accuracies) / np.sqrt(len(self.accuracies))

    @property
    def half(self) -> float:
        """The accuracy half way from layer 1's to chance."""
        return float(self.accuracy[0] + self.chance) / 2

    @property
    def deepest(self) -> int:
        """The deepest layer with at least that accuracy; 0 if layer 1 is not above chance by three standard errors."""
        return 0 if self._nothing else _deepest(self.accuracy, self.chance)

    @property
    def depth(self) -> float:
        """Depth at which the accuracy crosses that level, interpolated between layers; the network's if it never does."""
        return 0.0 if self._nothing else _crossing(self.accuracy, self.chance)

    @property
    def depth_error(self) -> float:
        """Standard error of ``depth``, over repeats; NaN for one."""
        depths = np.array([_crossing(accuracy, self.chance) for accuracy in self.accuracies])
        return float(spread(depths) / np.sqrt(len(depths)))

    @property
    def _nothing(self) -> bool:
        return bool(self.accuracy[0] - np.nan_to_num(3 * self.error[0]) <= self.chance)

    @property
    def throughout(self) -> bool:
        """True if the last layer is still readable, so that ``depth`` is only a lower bound."""
        return self.deepest == len(self.accuracy)

    def to_dict(self) -> dict[str, Any]:
        names = ("depth", "depth_error", "deepest", "throughout", "accuracy", "error", "chance", "infinite_width", "readout")
        return nan_to_none(named(self, *names, "seed"))

    def to_xarray(self) -> Any:
        """Accuracies as an ``xarray.Dataset`` over ``repeat`` and ``layer``."""
        setting = named(self, "depth", "depth_error", "deepest", "chance", "infinite_width", "readout", "seed", "network")
        variables, layers = {"accuracy": (("repeat", "layer"), self.accuracies)}, numbered(layer=len(self.accuracy))
        return dataset(variables, layers, **setting)

    def plot(self, ax: Any = None) -> Any:
        """Accuracy over layers. Returns matplotlib Axes."""
        return draw(self, ax=ax)

    def _table(self) -> Table:
        width = "infinite width" if self.infinite_width else "the network's own width"
        depth = f"at least {self.depth:.0f}" if self.throughout else f"{self.depth:.2f} ± {self.depth_error:.2g}"
        title = f"ReadableDepth: {depth} layers, at {width}, of {self.network!r}"
        rows = [(str(l), f"{a:.3f} ± {e:.2g}") for l, (a, e) in enumerate(zip(self.accuracy, self.error, strict=True), start=1)]
        chance = f"Chance {self.chance:.3f}; half way {self.half:.3f}. {len(self.accuracies)} repeats, each with its own split."
        notes = (chance, UPPER_BOUND) if self.infinite_width else (chance,)
        return Table(title, "{:>7} {:>18}", rows, ("layer", "accuracy"), notes)


def _deepest(accuracy: np.ndarray, chance: float) -> int:
    enough = np.flatnonzero(accuracy >= (accuracy[0] + chance) / 2)
    return int(enough[-1]) + 1 if accuracy[0] > chance else 0


def _crossing(accuracy: np.ndarray, chance: float) -> float:
    deepest = _deepest(accuracy, chance)
    if deepest in (0, len(accuracy)):
        return float(deepest)
    higher, lower = accuracy[deepest - 1 : deepest + 1]
    return float(deepest + (higher - (accuracy[0] + chance) / 2) / (higher - lower))
