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
from varflow.init.membrane import Membrane
from varflow.init.prediction import late, split_steps
from varflow.init.walker import TracedLayer

__all__ = ["Recorder", "Watched"]

DISAGREEING = 1e-3, 5e-2  # share of spikes that rounding may decide otherwise, in single and in half precision


@dataclass(frozen=True, slots=True)
class Watched:
    """Of one layer: ``firing_rate`` (steps, inputs), ``variance`` and ``mean`` of the membranes over neurons (steps,), mean
    over the inputs; ``alive`` (inputs,), whether it spikes late; the shares of neurons that never and that always spike;
    ``width``.
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
        self.layers[layer.neuron_name].call(current.detach(), spikes.detach())

    def results(self) -> dict[str, Watched]:
        return {name: follower.result() for name, follower in self.layers.items()}


class _Follower:
    """One layer's membranes and sums. Everything is summed while it is in the cache: a second pass would cost more."""

    def __init__(self, layer: TracedLayer):
        self.layer, self.membrane = layer, Membrane(layer.neuron)
        self.several = layer.neuron.reset == "multi_spike"
        self.steps: list[
            tuple[Any, Any, Any]
        ] = []  # per step: sums over the neurons of S and H and the norm of H, one entry per input
        self.counts: Any = 0  # of steps and inputs at which each neuron spikes
        self.tested: list[tuple[Any, Any]] = []  # per step: membranes and spikes of the first input
        self.halves = False

    def call(self, current: Any, spikes: Any) -> None:
        self.halves |= current.dtype.itemsize < 4
        spiking, weight = self.layer.spiking, self.layer.weights[0]
        axes = 1 if hasattr(weight, "in_features") else 1 + len(weight.kernel_size)
        if spiking.time_axis is None:
            self._step(_flat(current, axes), _flat(spikes, axes))
        else:
            for step in zip(split_steps(spiking, current), split_steps(spiking, spikes), strict=True):
                self._step(*(_flat(values, axes) for values in step))

    def _step(self, current: Any, S: Any) -> None:
        norm = require("torch", "torch").linalg.vector_norm
        H, _ = self.membrane.step(current, S)
        self.steps.append((S.sum(-1), H.sum(-1), norm(H, dim=-1)))
        self.counts = self.counts + ((S > 0).float() if self.several else S).sum(0)
        self.tested.append((H[0].clone(), S[0].clone()))  # one input tells whether it steps as it should

    def result(self) -> Watched:
        torch = require("torch", "torch")
        tested, came = (torch.stack(values) for values in zip(*self.tested, strict=True))
        disagreeing = float((self.membrane.fired(tested) != came).float().mean())
        if disagreeing > DISAGREEING[self.halves]:
            share = f"{100 * disagreeing:.2g} %"
            rule = f"does not step as {self.layer.neuron} from rest: {share} of its spikes are others"
            raise DomainError("model", f"{self.layer.neuron_name}: {type(self.layer.module).__name__}", rule)
        S, H, norm = (torch.stack(sums).double().cpu().numpy() for sums in zip(*self.steps, strict=True))
        width = len(self.counts)
        mean, everything = H / width, S.shape[0] * S.shape[1]
        variance = np.maximum(norm**2 - width * mean**2, 0.0) / max(width - 1, 1)
        alive = S[late(len(S))].max(0) > 0
        never, always = (float(mask.float().mean()) for mask in (self.counts == 0, self.counts == everything))
        return Watched(S / width, variance.mean(1), mean.mean(1), alive, never, always, width)


def _flat(values: Any, axes: int) -> Any:
    """Shape (inputs, neurons), in single precision at least."""
    rows = values.flatten(1) if values.dim() > axes else values.flatten()[None]
    return rows if rows.dtype.itemsize >= 4 else rows.float()
