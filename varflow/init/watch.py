"""What the neurons of a layer do, read off the currents that go into them and the spikes that come out.

The membrane at the spike test is reconstructed from both by the neuron's update, so that it is the same quantity for libraries
that return it before the reset and for those that return it after. The spikes it implies must be those that came out: a module
that does not step as its attributes say is refused by name.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import DomainError, require
from varflow.init.membrane import Membrane
from varflow.init.prediction import late, split_steps
from varflow.init.walker import TracedLayer

__all__ = ["Recorder", "Watched"]

DISAGREEING = 1e-3  # share of spikes that rounding may decide otherwise
CHUNK = 2**27  # numbers held before they are summed up


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
    """Collects the calls of every neuron layer; an instance is what ``trace`` calls back."""

    def __init__(self) -> None:
        self.calls: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
        self.sums: dict[str, _Sums] = {}
        self.held = 0

    def __call__(self, layer: TracedLayer, current: Any, spikes: Any) -> None:
        self.calls[layer.neuron_name].append((current.detach(), spikes.detach()))
        self.sums.setdefault(layer.neuron_name, _Sums(layer))
        self.held += 2 * current.numel()
        if self.held > CHUNK:
            self._sum_up()

    def _sum_up(self) -> None:
        for name, calls in self.calls.items():
            self.sums[name].add(calls)
        self.calls.clear()
        self.held = 0

    def results(self) -> dict[str, Watched]:
        self._sum_up()
        return {name: sums.result() for name, sums in self.sums.items()}


class _Sums:
    """One layer's statistics, chunk by chunk of steps."""

    def __init__(self, layer: TracedLayer):
        self.layer, self.membrane = layer, Membrane(layer.neuron)
        self.rates: list[Any] = []
        self.moments: list[Any] = []
        self.ever: Any = False
        self.always: Any = True
        self.disagreeing = self.tests = 0

    def add(self, calls: list[tuple[Any, Any]]) -> None:
        torch = require("torch", "torch")
        currents, S = (self._by_step([call[i] for call in calls]) for i in (0, 1))
        H = torch.empty_like(currents)
        for current, spikes, place in zip(currents, S, H, strict=True):
            place.copy_(self.membrane.step(current, spikes)[0])
        self.disagreeing += int((self.membrane.fired(H) != S).sum())
        self.tests += S.numel()
        self.rates.append(S.mean(-1))
        variance, mean = torch.var_mean(H, -1, correction=1 if H.shape[-1] > 1 else 0)
        self.moments.append(torch.stack([variance.mean(-1), mean.mean(-1)]))
        fired = S > 0
        self.ever = fired.flatten(0, 1).any(0) | self.ever
        self.always = fired.flatten(0, 1).all(0) & self.always

    def _by_step(self, values: list[Any]) -> Any:
        """Shape (steps, inputs, neurons)."""
        torch = require("torch", "torch")
        spiking, weight = self.layer.spiking, self.layer.weights[0]
        if spiking.time_axis is None:
            stacked = torch.stack(values)
        else:
            stacked = torch.cat(
                [split_steps(spiking, value, spiking.steps or value.shape[spiking.time_axis]) for value in values]
            )
        axes = 1 if hasattr(weight, "in_features") else 1 + len(weight.kernel_size)
        batched = stacked.dim() > 1 + axes
        return (stacked.flatten(2) if batched else stacked.flatten(1)[:, None]).float()

    def result(self) -> Watched:
        torch = require("torch", "torch")
        if self.disagreeing > DISAGREEING * self.tests:
            share = f"{100 * self.disagreeing / self.tests:.2g} %"
            rule = f"does not step as {self.layer.neuron} from rest: {share} of its spikes are others"
            raise DomainError("model", f"{self.layer.neuron_name}: {type(self.layer.module).__name__}", rule)
        rates = torch.cat(self.rates).double().cpu().numpy()
        variance, mean = torch.cat(self.moments, -1).double().cpu().numpy()
        alive = rates[late(len(rates))].max(0) > 0
        never, always = (float(mask.float().mean()) for mask in (~self.ever, self.always))
        return Watched(rates, variance, mean, alive, never, always, self.ever.numel())
