"""Trainability: how far gradients tell similar inputs from different ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._display import Shown, Table
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
    error : dict
        Numerical standard errors of ``contrast`` and ``correlations``.
    """

    network: Network
    surrogate: str
    contrast: float
    correlations: np.ndarray
    norms: np.ndarray
    overlaps: np.ndarray
    error: dict[str, np.ndarray]

    _hidden = ("network",)

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``weighted_layer`` and ``other``, the similar and the different input."""
        variables = {
            "correlations": (("weighted_layer", "other"), self.correlations),
            "correlations_error": (("weighted_layer", "other"), self.error["correlations"]),
            "norms": ("weighted_layer", self.norms),
            "overlaps": ("other", self.overlaps),
            "contrast": ((), self.contrast),
            "contrast_error": ((), self.error["contrast"]),
        }
        axes = numbered(weighted_layer=len(self.norms)) | {"other": ("other", ["similar", "different"])}
        return dataset(variables, axes, network=self.network, surrogate=self.surrogate)

    def _table(self) -> Table:
        shown = evenly(len(self.norms), 5)
        rows = [(str(l + 1), f"{self.norms[l]:.4g}", *(f"{value:.4f}" for value in self.correlations[l])) for l in shown]
        header = ("weights", "norm", *(f"input of cosine {value:.2g}" for value in self.overlaps))
        note = f"contrast {self.contrast:.4g} ± {float(self.error['contrast']):.2g}"
        title = f"Trainability of {self.network!r}, {self.surrogate}"
        return Table(title, "{:>8} {:>10} {:>20} {:>20}", rows, header, (note,), "  ")
