"""``Filter``: what leaky integrators, synapses and delays do to a signal over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from varflow._checks import integer, probability, put, real_array, real_number
from varflow.model.signals import Layer, Signal


@dataclass(frozen=True, slots=True, repr=False)
class Filter(Layer):
    r"""Leaky integrators one after the other, ``y_t = β y_{t-1} + x_t``, times a number and some steps late.

    Parameters
    ----------
    decays : sequence of float
        ``β`` of each, in [0, 1]; none for a delay alone.
    scale : float
        Factor on the signal.
    delay : int
        Steps by which it is late; 0 arrives before.

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
        decays = np.ravel(real_array("decays", self.decays)).tolist()
        put(self, decays=tuple(probability("decays", decay) for decay in decays), scale=real_number("scale", self.scale))
        put(self, delay=integer("delay", self.delay, minimum=0))

    def after(self, signal: Signal, width: Any = None) -> Signal:
        return signal
