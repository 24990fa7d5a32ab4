r"""Operations on the steps of each neuron: factors, and filters ``y = F x``.

.. math:: \mu'_t = f_t \mu_t + c_t, \qquad C'_{st} = f_s f_t C_{st}, \qquad G_{st} = f_s f_t G'_{st}

.. math:: \mu' = F \mu, \qquad C' = F C F^T, \qquad G = F^T G' F
"""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow.model.graph import enter
from varflow.model.layers import Filter, ScaleSteps
from varflow.theory.operations.merge import settled
from varflow.theory.operations.visit import Visit, WayBack
from varflow.theory.signals.counted import uncounted
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Currents, Signal, held, rescaled
from varflow.theory.signals.places import Grid


def forward(layer: ScaleSteps, received: tuple[Currents], visit: Visit) -> Currents:
    """Currents times the factor of their step."""
    currents = held(received[0], layer.steps)
    return rescaled(currents, _at_steps(layer.factors, currents.grid), _at_steps(layer.constants or (0.0,), currents.grid))


def backward(layer: ScaleSteps, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients times the factors of both steps."""
    return [gradients.rescaled(_at_steps(layer.factors, gradients.grid))]


def _at_steps(values: tuple[float, ...], grid: Grid) -> np.ndarray:
    """The value of the step of each entry, (1, 1, entries)."""
    return np.tile(values, grid.size // len(values))[None, None]


def filtered(layer: Filter, received: tuple[Any], visit: Visit) -> Signal:
    """The filtered signal."""
    signal = held(received[0], visit.walk.steps or received[0].grid.steps)
    F = layer.response(signal.grid.steps)
    return signal.mapped(_over_steps(signal.mean, F), lambda M, *_: _both(M, F))


def filtered_back(layer: Filter, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by what was filtered."""
    F = layer.response(gradients.grid.steps).T
    pairs = {offset: _both(G, F) for offset, G in settled(layer, gradients).pairs.items()}
    return [gradients.with_moments(_both(gradients.moments, F), pairs=pairs)]


def _over_steps(values: np.ndarray, F: np.ndarray) -> np.ndarray:
    """``F`` applied to the last axis, in which the step is fastest."""
    return (values.reshape(*values.shape[:-1], -1, len(F)) @ F.T).reshape(values.shape)


def _both(M: np.ndarray, F: np.ndarray) -> np.ndarray:
    """``F M Fᵀ``."""
    return _over_steps(_over_steps(M, F).swapaxes(-1, -2), F).swapaxes(-1, -2)


enter(ScaleSteps, forward=forward, backward=backward, count=uncounted("scales each time step by a factor of its own"))
enter(Filter, forward=filtered, backward=filtered_back, count=uncounted("filters spikes over time"))
