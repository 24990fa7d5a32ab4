r"""Linear filters over time, ``y = F x``: ``μ' = F μ``, ``M' = F M Fᵀ``; gradients ``G = Fᵀ G' F``."""

from __future__ import annotations

from functools import reduce

import numpy as np

from varflow.model.coverage import enter
from varflow.model.layers import Filter
from varflow.theory.operations.merge import settled
from varflow.theory.operations.visit import Visit, WayBack
from varflow.theory.responses.filters import exponential_filter
from varflow.theory.signals.counted import uncounted
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Signal, held


def response(layer: Filter, steps: int) -> np.ndarray:
    """``F``, shape (steps, steps)."""
    late = layer.scale * np.eye(steps, k=-layer.delay)
    return reduce(np.matmul, (exponential_filter(decay, steps) for decay in layer.decays), late)


def forward(layer: Filter, received: tuple[Signal], visit: Visit) -> Signal:
    """The filtered signal."""
    signal = held(received[0], visit.walk.steps or received[0].grid.steps)
    F = response(layer, signal.grid.steps)
    return signal.mapped(_in_steps(signal.mean[..., None, :], F)[..., 0, :], lambda M, *_: _both(M, F))


def backward(layer: Filter, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by what was filtered."""
    F = response(layer, gradients.grid.steps).T
    pairs = {offset: _both(G, F) for offset, G in settled(layer, gradients).pairs.items()}
    return [gradients.with_moments(_both(gradients.moments, F), pairs=pairs)]


def _in_steps(values: np.ndarray, F: np.ndarray) -> np.ndarray:
    """``F`` applied to the last axis, in which the step is fastest."""
    return (values.reshape(*values.shape[:-1], -1, len(F)) @ F.T).reshape(values.shape)


def _both(M: np.ndarray, F: np.ndarray) -> np.ndarray:
    """``F M Fᵀ``."""
    return _in_steps(_in_steps(M, F).swapaxes(-1, -2), F).swapaxes(-1, -2)


enter(Filter, forward=forward, backward=backward, count=uncounted("filters spikes over time"))
