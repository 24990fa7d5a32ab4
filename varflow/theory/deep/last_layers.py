"""Networks of one gain above a driven layer: whole ones, or their last layers only, above deep layers of a similar gain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError
from varflow.theory.deep.chosen_gain import Wanted
from varflow.theory.deep.one_gain import every_step, propagated
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Neurons

__all__ = ["DeepLayers", "Networks", "down"]

EARLY = 2.5  # of 1/points: with few points lingering networks die early, which raises the smallest gain by so much, relatively


@dataclass(frozen=True, slots=True, eq=False)
class DeepLayers:
    """Deep layers of a network of one gain; arrays have a first axis of replicas.

    Attributes
    ----------
    gain : float
        In units of θ/λ.
    firing_rate, variance, last : ndarray, shape (replicas, steps)
        Means over the last layers, and the rates of the last layer alone, of a network with this gain in every layer.
    values, off : ndarray, shape (replicas,)
        The wanted quantity, mean over the last layers, and ``ln(value/wanted)``.
    halfway : float
        The wanted quantity at half the depth.
    lifetime : float
        The last layer whose late half of the steps is alive, as a fraction of the layers computed.
    every_step : bool
        Whether all steps are alive in the last layer.
    kept : LayerState
        As of :class:`Propagated`.
    """

    gain: float
    firing_rate: np.ndarray
    variance: np.ndarray
    last: np.ndarray
    values: np.ndarray
    off: np.ndarray
    halfway: float
    lifetime: float
    every_step: bool
    kept: LayerState

    @property
    def miss(self) -> float:
        """``ln(value/wanted)``, mean over replicas."""
        return float(self.off.mean())

    @property
    def alive(self) -> bool:
        """Whether the late half of the steps is alive in the last layer."""
        return self.lifetime == 1


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """Networks with one gain each, above a driven layer: whole ones, or their last ``layers`` only, above deep layers of a
    similar gain. ``settling``: whole ones end where layers no longer change.
    """

    wanted: Wanted
    neurons: Neurons
    first: LayerState
    layers: int
    settling: bool

    @property
    def entire(self) -> bool:
        """Whether all layers above the driven one are computed."""
        return self.layers == self.wanted.depth - 1

    @property
    def work(self) -> int:
        """Points × steps × layers of one."""
        steps = len(self.wanted.shape)
        return self.layers * steps * (self.neurons.points * self.neurons.scrambles if self._samples else steps)

    @property
    def early_death(self) -> float:
        """By how much few points raise the smallest gain that lives, relatively."""
        return EARLY / self.neurons.points if self._samples else 0.0

    @property
    def _samples(self) -> bool:
        return self.neurons.samples(self.wanted.neuron, len(self.wanted.shape))

    def whole_if_silent(self, found: DeepLayers) -> Networks:
        """Whole networks if steps are silent in ``found``: deep layers then depend on how silence has spread from layer 1."""
        if found.every_step or (self.entire and not self.settling):
            return self
        return replace(self, layers=self.wanted.depth - 1, settling=False)

    def whole(self, gain: float) -> DeepLayers:
        below = self.wanted.depth - self.layers
        options = {"settling": self.settling, "keep": below if below > 1 else self.wanted.depth}
        return down(self.wanted, self.neurons, gain, self.first, **options)

    def above(self, gain: float, below: DeepLayers) -> DeepLayers:
        """The last layers, above deep layers of a network with a similar gain, or the whole network."""
        size = self.whole_if_silent(below).layers + 1
        if size < self.wanted.depth:
            deep = down(self.wanted, self.neurons, gain, below.kept, size, keep=size)
            if deep.every_step:
                return replace(deep, halfway=below.halfway)
        return self.whole(gain)


def down(wanted: Wanted, neurons: Neurons, gain: float, first: LayerState, depth: int = 0, **options: Any) -> DeepLayers:
    """A network of one gain, to its depth (the wanted one by default) or, if layers are known to converge, until its rates no
    longer change.
    """
    depth = depth or wanted.depth
    found = propagated(wanted.neuron, neurons, first, gain, depth, **options)
    rate, variance = found.firing_rate, found.variance
    if not np.isfinite(rate).all():
        raise ConvergenceError(f"activity grows without bound at gain {gain:.3g} θ/λ")
    values = wanted.quantity(rate, variance)
    return DeepLayers(
        gain=gain,
        firing_rate=rate,
        variance=variance,
        last=found.last,
        values=values,
        off=np.log(np.maximum(values, 1e-300) / wanted.value),
        halfway=float(wanted.quantity(*found.halfway).mean()),
        lifetime=found.lifetime / depth,
        every_step=every_step(wanted.neuron, found.last),
        kept=found.kept,
    )
