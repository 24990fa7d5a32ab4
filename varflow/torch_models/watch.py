"""Membranes and spikes of a layer, from the currents into its neurons and the spikes they return.

The membrane at the spike test is reconstructed by the neuron's update, so that it is the same quantity for libraries that
return it before or after the reset. If the implied spikes differ from those returned, the module does not step as its
attributes say, which raises DomainError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from varflow._checks import DomainError
from varflow.results import late_steps
from varflow.simulation.neurons import Cells, fired, go_on
from varflow.torch_models.prediction import split_steps
from varflow.torch_models.traced import TracedLayer

__all__ = ["Recorder", "Watched"]

FOLLOWED = 8  # inputs of a batch, evenly spaced, whose membranes are reconstructed; spikes are counted for all
PENDING = 2**18  # numbers of one layer that are buffered, so that several steps run while its membranes are in the cache
DISAGREEING = 1e-3, 5e-2  # fraction of spikes that may differ by rounding, in single and in half precision


@dataclass(frozen=True, slots=True)
class Watched:
    """Measurements of one layer: ``firing_rate`` (steps, inputs); ``variance`` and ``mean`` of the membranes over neurons
    (steps,), averaged over at most ``FOLLOWED`` inputs; ``alive`` (inputs,), whether it spikes late; the fractions of neurons
    that never and always spike; ``width``.
    """

    firing_rate: np.ndarray
    variance: np.ndarray
    mean: np.ndarray
    alive: np.ndarray
    dead_fraction: float
    saturated_fraction: float
    width: int


class Recorder:
    """Records every neuron layer, call by call; passed to ``trace`` as ``record``. Mostly sums are kept."""

    def __init__(self) -> None:
        self.layers: dict[str, _Follower] = {}

    def __call__(self, layer: TracedLayer, current: Any, spikes: Any) -> None:
        follower = self.layers.get(layer.neuron_name)
        if follower is None:
            follower = self.layers[layer.neuron_name] = _Follower(layer)
        follower.call(current, spikes)

    def results(self) -> dict[str, Watched]:
        return {name: follower.result() for name, follower in self.layers.items()}


class _Follower:
    """One layer's sums; spikes are summed at once, membranes a few steps at a time."""

    def __init__(self, layer: TracedLayer):
        self.layer, self.neuron = layer, layer.neuron
        self.cells: Any = None
        self.filtered: Any = 0.0  # current of the synapse
        self.before: Any = None  # membranes and spikes of the last step
        weight = layer.weights[0]
        self.axes = 1 if hasattr(weight, "in_features") else 1 + len(weight.kernel_size)
        self.several = layer.neuron.reset_rule.counts
        self.each: Any = None
        self.ones: Any = None
        self.stride, self.halves = 1, False
        self.counts: Any = None  # number of steps and inputs with a spike, per neuron
        self.spikes: list[Any] = []  # per step: sums over the neurons, one entry per input
        self.pending: list[tuple[Any, Any]] = []  # per step: currents and spikes of the followed inputs
        self.sums: list[Any] = []  # of H over the neurons, shape (steps, followed)
        self.norms: list[Any] = []  # of H over neurons and followed inputs, shape (steps,)
        self.differing: list[Any] = []  # norms of returned minus implied spikes

    def call(self, current: Any, spikes: Any) -> None:
        spiking = self.layer.spiking
        self.halves |= current.dtype.itemsize < 4
        if spiking.time_axis is None:
            self._step(_flat(current, self.axes), _flat(spikes, self.axes))
        else:
            for step in zip(split_steps(spiking, current), split_steps(spiking, spikes), strict=True):
                self._step(*(_flat(values, self.axes) for values in step))

    def _step(self, current: Any, S: Any) -> None:
        S = S.to(current.dtype)
        if self.counts is None:
            self.each, self.ones = map(S.new_ones, S.shape)
            self.counts, self.stride = S.new_zeros(S.shape[1]), -(-len(S) // FOLLOWED)
        self.spikes.append(S.mv(self.ones))
        self.counts.addmv_(((S > 0).to(S.dtype) if self.several else S).T, self.each)
        followed = current[:: self.stride].clone(), S[:: self.stride].clone()  # views would keep all inputs in memory
        self.pending.append(followed)
        if len(self.pending) * followed[0].numel() >= PENDING:
            self._continue()

    def _continue(self) -> None:
        """Step the membranes through the buffered steps."""
        if not self.pending:
            return
        H, S = map(torch.stack, zip(*self.pending, strict=True))
        self.pending.clear()
        self.cells = self.cells or Cells.of([self.neuron], H.device, H.dtype)
        for current, spikes in zip(H.unbind(), S.unbind(), strict=True):
            self._to_membrane(current, spikes)
        norm = torch.linalg.vector_norm
        self.sums.append(H @ self.ones)
        self.norms.append(norm(H.flatten(1), dim=1))
        self.differing.append(norm(fired(H, self.cells).sub_(S)))

    def _to_membrane(self, current: Any, spikes: Any) -> None:
        """Turn a current into the membrane at the spike test, in place, given the returned spikes of the step before."""
        if decay := self.neuron.synaptic_decay:
            self.filtered = decay * self.filtered + current
            current.copy_(self.filtered)
        current.mul_(self.neuron.input_scale)
        if self.before is not None:
            membranes, fired_before = self.before
            go_on(current, membranes, fired_before, self.cells)
        self.before = current, spikes

    def result(self) -> Watched:
        self._continue()
        cat, stack = torch.cat, torch.stack
        S, H, norm, counts = map(_numbers, (stack(self.spikes), cat(self.sums), cat(self.norms), self.counts))
        (width,), followed = counts.shape, H.shape[1]
        self._check(width * H.size)
        mean = H / width
        squares = norm**2 / followed - width * (mean**2).mean(1)
        variance, alive = np.maximum(squares, 0) / max(width - 1, 1), S[late_steps(len(S))].max(0) > 0
        never, always = (np.count_nonzero(counts == number) / width for number in (0, S.size))
        return Watched(S / width, variance, mean.mean(1), alive, never, always, width)

    def _check(self, spikes: int) -> None:
        disagreeing = float(sum(norm**2 for norm in self.differing)) / spikes
        if disagreeing > DISAGREEING[self.halves]:
            rule = f"does not step as {self.layer.neuron} from rest: {100 * disagreeing:.3g} % of its spikes are others"
            raise DomainError("model", f"{self.layer.neuron_name}: {type(self.layer.module).__name__}", rule)


def _flat(values: Any, axes: int) -> Any:
    """Shape (inputs, neurons), at least in single precision."""
    rows = values.flatten(1) if values.dim() > axes else values.flatten()[None]
    return rows if rows.dtype.itemsize >= 4 else rows.float()


def _numbers(values: Any) -> np.ndarray:
    return values.cpu().numpy().astype(float)
