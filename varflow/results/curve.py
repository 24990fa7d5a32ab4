"""Curve: one network of a sweep, predicted, simulated and judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import nan_to_none
from varflow.model.network import Network
from varflow.model.over_neurons import OverNeurons, written
from varflow.results.comparison import Comparison
from varflow.results.ensemble import Ensemble
from varflow.results.profile import Profile


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One network of the sweep: predicted, simulated, judged.

    Attributes
    ----------
    rule : str
        The gain rule: preserving, kaiming or a number.
    profile, ensemble, comparison
        The prediction for the inputs that the simulated networks saw (exact at one step, infinite width over several), the
        measurement, and the verdict.
    survival_per_input : ndarray, shape (batch,), optional
        For a drive of inputs at one step: the exact probability that the last layer is alive, for each input of the batch.
    """

    rule: str
    profile: Profile
    ensemble: Ensemble
    comparison: Comparison
    survival_per_input: np.ndarray | None = None

    @property
    def network(self) -> Network:
        return self.profile.network

    @property
    def threshold(self) -> float | OverNeurons:
        """The number, or the distribution over neurons."""
        return self.network.neuron.threshold

    @property
    def width(self) -> int:
        return int(self.network.widths[-1])

    def to_dict(self) -> dict[str, Any]:
        theory = self.profile.to_dict()
        theory.pop("per_input", None)  # inputs × depth numbers; the last layer's survival stays
        network = {"threshold": written(self.threshold), "rule": self.rule, "gain": self.network.gain, "width": self.width}
        measured = {"theory": theory, "simulation": self.ensemble.mean().to_dict(), "comparison": self.comparison.to_dict()}
        return network | measured | {"survival_per_input": nan_to_none(self.survival_per_input)}
