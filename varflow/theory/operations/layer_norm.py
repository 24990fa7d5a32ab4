r"""LayerNorm and RMSNorm: each input and step normalised over neurons and positions, whose moments the signal holds.

.. math:: x'_i = \gamma \frac{x_i - m_i}{s_i} + \beta, \qquad C'_{ij} = \frac{\gamma^2}{s_i s_j} C_{ij}, \qquad
          G_{ij} = \frac{\gamma^2}{s_i s_j} G'_{ij}

``m`` is the mean and ``s`` the standard deviation; of RMSNorm 0 and the root mean square.

What is subtracted from gradients (their mean, and their component along what is normalised) is a mean over infinitely many
neurons of gradients of mean 0, and vanishes.
"""

from __future__ import annotations

import numpy as np

from varflow.model.graph import enter
from varflow.model.layers import LayerNorm, RMSNorm
from varflow.theory.operations.batch_norm import standardising
from varflow.theory.operations.visit import Visit, WayBack
from varflow.theory.signals.counted import uncounted
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Currents, rescaled
from varflow.theory.signals.places import Grid


def forward(layer: LayerNorm | RMSNorm, received: tuple[Currents], visit: Visit) -> Currents:
    """Currents normalised over neurons: ``γ (x - m)/s + β``."""
    mean, scale = over_neurons(layer, received[0])
    return rescaled(received[0].shifted(-mean), scale, layer.beta if isinstance(layer, LayerNorm) else 0.0)


def backward(layer: LayerNorm | RMSNorm, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by what was normalised: ``G_ij = γ² G'_ij/(s_i s_j)``."""
    return [gradients.rescaled(over_neurons(layer, way.laid_out(visit.received[0]))[1])]


def over_neurons(layer: LayerNorm | RMSNorm, currents: Currents) -> tuple[np.ndarray, np.ndarray]:
    """``m`` and ``γ/s`` at every ``i``."""
    mean = over_map(currents.mean, currents.grid) if isinstance(layer, LayerNorm) else np.zeros_like(currents.mean)
    square = np.diagonal(currents.covariance, axis1=-2, axis2=-1) + currents.mean**2
    variance = np.maximum(over_map(square, currents.grid) - mean**2, 0.0)
    return mean, standardising(layer.gamma, variance + layer.eps)


def over_map(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Values at every ``i``, averaged over the positions of a map.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> from varflow.theory.signals.places import Grid
    >>> grid = Grid(inputs=1, height=2, width=2, steps=1)
    >>> vf.theory.over_map(np.array([[[1.0, 2.0, 3.0, 4.0]]]), grid)
    array([[[2.5, 2.5, 2.5, 2.5]]])
    """
    folded = values.reshape(-1, grid.positions, grid.steps)
    return np.broadcast_to(folded.mean(axis=1, keepdims=True), folded.shape).reshape(values.shape)


NORMALISER = "gives all neurons one normaliser, so that they depend on each other"
enter(LayerNorm, forward=forward, backward=backward, count=uncounted(NORMALISER))
enter(RMSNorm, forward=forward, backward=backward, count=uncounted(NORMALISER))
