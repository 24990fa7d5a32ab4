"""Trainability: how far gradients tell similar inputs from different ones, and what a step leaves of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._display import Shown, Table, measured
from varflow.model.network import Network
from varflow.results.export import Exported, dataset, numbered
from varflow.results.layout import ReadOnly, evenly


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Trainability(ReadOnly, Exported, Shown):
    r"""The surrogate neural tangent kernel of three inputs: one, a similar one and a different one.

    .. math:: \Theta^l_{ab} = E\Big\langle \frac{\partial L_a}{\partial W_l}, \frac{\partial L_b}{\partial W_l} \Big\rangle
              \propto \sum_{tt'} G^\delta_{ab}(t, t')\, M_{ab}(t, t')

    Attributes
    ----------
    network : Network
        With the inputs as its drive.
    surrogate : str
    contrast : float
        ``(K_01 - K_02)/K_00`` with ``K = Σ_l Θ^l/√Θ^l_00``: what a step on the first input changes in the similar one, less
        what it changes in the different one, under an optimiser that divides by the gradient norm of each layer, as Adam does.
    correlations : ndarray, shape (layers with weights, 2)
        ``Θ_01/√(Θ_00 Θ_11)`` and ``Θ_02/√(Θ_00 Θ_22)`` of each layer with weights, in order of execution.
    norms : ndarray, shape (layers with weights,)
        ``√Θ_00``, the root mean square of the gradient norm, for a readout of norm 1.
    overlaps : ndarray, shape (2,)
        Cosine of the first input with the others.
    persistence : ndarray, shape (layers with weights,)
        ``k``: cosine between the gradients by the weights of a layer before and after a step of the optimiser, which is to deep
        layers like another input close by. NaN for weights that receive less than one spike in a hundred inputs at the
        network's width, where no gradient arrives, and if the network itself sends less.
    mean_persistence : float
        Mean over layers, those without persistence counted as 0: 0 for a silent network.
    persistence_depth : float
        ``-1/ln q`` layers, ``q`` the smallest ratio of the persistence of neighbouring layers (with two of its errors), which
        it approaches below the readout and far from the input; NaN without two such layers.
    error : dict
        Numerical standard errors of ``contrast``, ``correlations``, ``persistence``, ``mean_persistence`` and
        ``persistence_depth``.
    """

    network: Network
    surrogate: str
    contrast: float
    correlations: np.ndarray
    norms: np.ndarray
    overlaps: np.ndarray
    persistence: np.ndarray
    mean_persistence: float
    persistence_depth: float
    error: dict[str, np.ndarray]

    _hidden = ("network",)

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``weighted_layer`` and ``other``, the similar and the different input."""
        variables = {
            "correlations": (("weighted_layer", "other"), self.correlations),
            "correlations_error": (("weighted_layer", "other"), self.error["correlations"]),
            "norms": ("weighted_layer", self.norms),
            "persistence": ("weighted_layer", self.persistence),
            "persistence_error": ("weighted_layer", self.error["persistence"]),
            "mean_persistence": ((), self.mean_persistence),
            "persistence_depth": ((), self.persistence_depth),
            "overlaps": ("other", self.overlaps),
            "contrast": ((), self.contrast),
            "contrast_error": ((), self.error["contrast"]),
        }
        axes = numbered(weighted_layer=len(self.norms)) | {"other": ("other", ["similar", "different"])}
        return dataset(variables, axes, network=self.network, surrogate=self.surrogate)

    def _table(self) -> Table:
        shown = evenly(len(self.norms), 5)
        columns = [self.norms, self.persistence, *self.correlations.T]
        rows = [(str(l + 1), f"{self.norms[l]:.4g}", *(measured(values[l], ".4f") for values in columns[1:])) for l in shown]
        header = ("weights", "norm", "persistence", *(f"input of cosine {value:.4g}" for value in self.overlaps))
        depth = f", falls by e in {self.persistence_depth:.2g} layers" if np.isfinite(self.persistence_depth) else ""
        silent = (np.flatnonzero(np.isnan(self.persistence)) + 1).tolist()
        notes = [
            f"contrast {self.contrast:.4g} ± {float(self.error['contrast']):.2g}",
            f"persistence {self.mean_persistence:.4g} ± {float(self.error['mean_persistence']):.2g}{depth}",
            *([f"no spikes or gradients at weights {', '.join(map(str, silent))}"] if silent else []),
        ]
        title = f"Trainability of {self.network!r}, {self.surrogate}"
        return Table(title, "{:>8} {:>10} {:>12} {:>23} {:>23}", rows, header, notes, "  ")
