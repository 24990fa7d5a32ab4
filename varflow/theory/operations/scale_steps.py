r"""Each step times a factor of its own.

.. math:: \mu'_t = f_t \mu_t + c_t, \qquad C'_{st} = f_s f_t C_{st}, \qquad G_{st} = f_s f_t G'_{st}
"""

from __future__ import annotations

import numpy as np

from varflow.model.graph import enter
from varflow.model.layers import ScaleSteps
from varflow.theory.operations.visit import Visit, WayBack
from varflow.theory.signals.counted import uncounted
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Currents, held, rescaled
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


enter(ScaleSteps, forward=forward, backward=backward, count=uncounted("scales each time step by a factor of its own"))
