"""Linear filters over time as layers: leaky integrators and delays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from varflow._checks import integer, probability, put, real_array, real_number
from varflow.model.signals import Layer, Signal


@dataclass(frozen=True, slots=True, repr=False)
class Filter(Layer):
    r"""A chain of leaky integrators, each ``y_t = β y_{t-1} + x_t`` from ``y_0 = 0``, with a factor and a delay.

    Parameters
    ----------
    decays : sequence of float
        ``β`` of each, in [0, 1]; none for a delay alone.
    scale : float
        Factor on the signal.
    delay : int
        Steps of delay; until then the output is 0.

    Raises
    ------
    DomainError
        For a value outside its domain.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.layers.Filter((0.9,), scale=0.1)
    Filter((0.9,), scale=0.1)
    """

    decays: tuple[float, ...] = ()
    scale: float = 1.0
    delay: int = 0
    accepts: ClassVar[tuple[str, ...]] = ("input", "currents", "spikes")
    _positional: ClassVar[tuple[str, ...]] = ("decays",)

    def __post_init__(self) -> None:
        decays = tuple(probability("decays", decay) for decay in real_array("decays", self.decays).ravel().tolist())
        put(self, decays=decays, scale=real_number("scale", self.scale), delay=integer("delay", self.delay, minimum=0))

    def response(self, steps: int) -> np.ndarray:
        """The matrix ``F`` of ``y = F x`` over the steps."""
        steps = integer("steps", steps, minimum=1)
        F = self.scale * np.eye(steps, k=-self.delay)
        for decay in self.decays:
            for t in range(1, steps):
                F[t] += decay * F[t - 1]
        return F

    def after(self, signal: Signal, width: int | None = None) -> Signal:
        return signal
