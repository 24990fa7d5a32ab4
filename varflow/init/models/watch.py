"""What the neurons of a layer do, read off the currents that go into them and the spikes that come out.

The membrane at the spike test is reconstructed from both by the neuron's update, so that it is the same quantity for libraries
that return it before the reset and for those that return it after. The spikes it implies must be those that came out: a module
that does not step as its attributes say is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import DomainError, require
from varflow.init.models.membrane import Membrane
from varflow.init.models.prediction import late, split_steps
from varflow.init.models.walker import TracedLayer

__all__ = ["Recorder", "Watched"]

FOLLOWED = 8  # inputs of a batch, evenly spaced, whose membranes are followed; spikes are counted for all
DISAGREEING = 1e-3, 5e-2  # share of spikes that rounding may decide otherwise, in single and in half precision


@dataclass(frozen=True, slots=True)
class Watched:
    """Of one layer: ``firing_rate`` (steps, inputs), ``variance`` and ``mean`` of the membranes over neurons (steps,), mean
    over at most ``FOLLOWED`` inputs; ``alive`` (inputs,), whether it spikes late; the shares of neurons that never and that
    always spike; ``width``.
    """

    firing_rate: np.ndarray
    variance: np.ndarray
    mean: np.ndarray
    alive: np.ndarray
    dead_fraction: float
    saturated_fraction: float
    width: int


class Recorder:
    """Follows every neuron layer, call by call; an instance is what ``trace`` calls back. Nothing but sums is kept."""

    def __init__(self) -> None:
        self.layers: dict[str, _Follower] = {}

    def __call__(self, layer: TracedLayer, current: Any, spikes: Any) -> None:
        if layer.neuron_name not in self.layers:
            self.layers[layer.neuron_name] = _Follower(layer)
        self.layers[layer.neuron_name].call(current, spikes)

    def results(self) -> dict[str, Watched]:
        return {name: follower.result() for name, follower in self.layers.items()}


class _Follower:
    """One layer's membranes and sums. Everything is summed while it is in the cache: a second pass would cost more."""

    def __init__(self, layer: TracedLayer):
        self.layer, self.membrane = layer, Membrane(layer.neuron)
        weight = layer.weights[0]
        self.axes = 1 if hasattr(weight, "in_features") else 1 + len(weight.kernel_size)
        self.several = layer.neuron.reset == "multi_spike"
        self.spikes: list[Any] = []  # per step: sums over the neurons, one entry per input
        self.moments: list[tuple[Any, Any]] = []  # per step: sum over the neurons of H per followed input, and of H² over all
        self.counts: Any = None  # of steps and inputs at which each neuron spikes
        self.tested: list[Any] = []  # shares of spikes that are not those of the membranes
        self.each: Any = None
        self.ones: Any = None
        self.stride, self.halves = 1, False

    def call(self, current: Any, spikes: Any) -> None:
        spiking = self.layer.spiking
        self.halves |= current.dtype.itemsize < 4
        if spiking.time_axis is None:
            self._step(_flat(current, self.axes), _flat(spikes, self.axes))
        else:
            for step in zip(split_steps(spiking, current), split_steps(spiking, spikes), strict=True):
                self._step(*(_flat(values, self.axes) for values in step))

    def _step(self, current: Any, S: Any) -> None:
        torch, S = require("torch", "torch"), S.to(current.dtype)
        if self.counts is None:
            self.each, self.ones = map(S.new_ones, S.shape)
            self.counts, self.stride = S.new_zeros(S.shape[1]), -(-len(S) // FOLLOWED)
        followed = S[:: self.stride].clone()  # a view would hold all of it until the next step, and cost the pass its cache
        H, _ = self.membrane.step(current[:: self.stride].clone(), followed)
        self.spikes.append(S.mv(self.ones))
        self.moments.append((H.mv(self.ones), torch.linalg.vector_norm(H)))
        self.counts.addmv_(((S > 0).to(S.dtype) if self.several else S).T, self.each)
        step = len(self.spikes)
        if not step & (step - 1):  # steps 1, 2, 4, 8 … and the last tell whether it steps as it should
            self.tested.append(self._disagreeing())

    def result(self) -> Watched:
        torch = require("torch", "torch")
        self._check()
        S = torch.stack(self.spikes).double().cpu().numpy()
        H, norm = (torch.stack(sums).double().cpu().numpy() for sums in zip(*self.moments, strict=True))
        scale, width, followed = self.layer.neuron.input_scale, len(self.ones), H.shape[1]
        mean = scale * H / width
        squares = (scale * norm) ** 2 / followed - width * (mean**2).mean(1)
        alive = S[late(len(S))].max(0) > 0
        never, always = (float((self.counts == number).double().mean()) for number in (0, S.size))
        return Watched(S / width, np.maximum(squares, 0) / max(width - 1, 1), mean.mean(1), alive, never, always, width)

    def _disagreeing(self) -> Any:
        return (self.membrane.fired(self.membrane.H) != self.membrane.S).float().mean()

    def _check(self) -> None:
        shares = [float(share) for share in (*self.tested, self._disagreeing())]
        disagreeing = sum(shares) / len(shares)
        if disagreeing > DISAGREEING[self.halves]:
            rule = f"does not step as {self.layer.neuron} from rest: {100 * disagreeing:.3g} % of its spikes are others"
            raise DomainError("model", f"{self.layer.neuron_name}: {type(self.layer.module).__name__}", rule)


def _flat(values: Any, axes: int) -> Any:
    """Shape (inputs, neurons), in single precision at least."""
    rows = values.flatten(1) if values.dim() > axes else values.flatten()[None]
    return rows if rows.dtype.itemsize >= 4 else rows.float()
