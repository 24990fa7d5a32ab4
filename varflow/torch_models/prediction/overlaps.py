"""Overlap of different inputs along a traced model, for normalisations over a batch; see ``signals.overlap``."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import reduce, singledispatchmethod
from typing import Any

import numpy as np

from varflow.model.layers import BatchNorm, Pool, Spike
from varflow.model.merges import Concat, Product, Sum
from varflow.theory.operations.batch_norm import Batch, by_overlap
from varflow.theory.operations.merge import with_term
from varflow.theory.operations.pool import over_windows
from varflow.theory.operations.spike import overlap_of_spikes
from varflow.theory.operations.weights import average_of_overlap
from varflow.theory.signals.moments import Currents
from varflow.theory.signals.overlap import Overlap, averages, told_apart
from varflow.theory.signals.shared_scale import SharedScale
from varflow.theory.signals.windows import Grid, Window
from varflow.torch_models.tracing.origins import Origin, Sender
from varflow.torch_models.tracing.traced import TracedLayer
from varflow.torch_models.tracing.weights import window_of

__all__ = ["Overlaps"]

ROWS = 512  # of a batch, from which the fluctuation of its variance is known within some percent
TINY = 1e-150  # variance of currents that are all equal


class Overlaps:
    """Of currents (their covariance) and of spikes, with a leading axis of replicas. Of maps only for normalisations."""

    def __init__(self, evaluation: Any, needed: bool):
        self.signals = evaluation
        weights = [weight for layer in evaluation.trace.layers for weight in layer.weights]
        self.followed = needed or all(hasattr(weight, "in_features") for weight in weights)
        self.batch = 1  # number of inputs
        self.received: dict[str, np.ndarray] = {}  # of what weights received in the traced pass, by their name
        self.numbers: dict[str, tuple[np.ndarray, Grid]] = {}  # the same numbers, (inputs, positions, steps, channels)
        self.spikes: dict[str, np.ndarray] = {}
        self.known: dict[Origin, np.ndarray] = {}

    def receive(self, name: str, x: np.ndarray, channels: int, batch: int, grid: Grid) -> None:
        """Take along what a weight module received, shape (steps, inputs, …), with this axis of channels."""
        self.batch = batch
        x = np.moveaxis(x, channels, -1)
        steps, inputs, width = *x.shape[:2], x.shape[-1]
        of = x.reshape(steps, inputs, -1, width).transpose(1, 2, 0, 3)  # (inputs, positions, steps, channels)
        self.numbers[name] = of, grid
        if of.shape[1] == grid.positions:
            of = of.reshape(inputs, 1, -1, width) if told_apart(grid) else of.mean(axis=1, keepdims=True)
        sums, own = of.sum(axis=0), np.einsum("bric,brjc->ij", of, of)  # rows of an input that are not positions: each its own
        pairs = max(inputs * (inputs - 1), 1) * of.shape[1] * width
        self.received[name] = ((np.einsum("ric,rjc->ij", sums, sums) - own) / pairs)[None]

    def fire(self, layer: TracedLayer, spike: Spike, currents: Currents, number: int) -> None:
        """Take a layer of neurons along."""
        if not self.followed:
            return
        entry, name = layer.spiking.entry, layer.neuron_name
        if entry is not None:
            between = self._weighted(name, entry.gain, entry.bias_moments[1], None)
        elif layer.origin is not None:
            between = self.of(layer.origin)
        else:
            return
        self.spikes[name] = overlap_of_spikes(
            spike, currents, Overlap(between), number, self.signals.neurons(currents.grid)
        ).between

    def of_spikes(self, layer: TracedLayer) -> float:
        """``Σ_t E[S_a·S_b] / Σ_t E[|S|²]`` of a layer; NaN for one input, and on maps that are not ``fine``."""
        if layer.neuron_name not in self.spikes or self.batch < 2:
            return math.nan
        fired = self.signals.fired[layer]
        if not told_apart(fired.currents.grid):
            return math.nan
        own = np.trace(fired.state.coincidences.mean(axis=(0, 1)))
        return float(np.trace(self.spikes[layer.neuron_name].mean(axis=0)) / own) if own else math.nan

    def normalised(self, layer: BatchNorm, origin: Origin, signal: Currents) -> Currents:
        """Currents after a normalisation over the batch, at ``origin``."""
        (below,) = origin.inputs
        statistics = self.statistics(layer, below, signal)
        after = statistics.applied(layer, signal)
        if isinstance(below.operation, Sender) and below.operation.name in self.received:
            inverse = self._mean_square_of_rows(below.operation.name)
        else:
            inverse = self.mean_square(origin, after)[0] / (layer.gamma**4 or 1.0)
        return replace(after, shared=SharedScale(np.full(1, inverse), inverse)) if layer.gamma else after

    def _row(self, origin: Origin) -> np.ndarray | None:
        """Mean covariance with the batch of each sum of what a weight module received, ``g² x_i·⟨x⟩/n``; else None."""
        name = origin.operation.name if isinstance(origin.operation, Sender) else None
        if name not in self.numbers or name not in self.signals.arrived:
            return None
        (x, grid), moments, weight = self.numbers[name], self.signals.moments[name], self.signals.module(name)
        parts = [x.reshape(1, -1, *x.shape[2:])]
        if not hasattr(weight, "in_features"):
            window = window_of(weight)
            parts = [window.at(tap, parts[0], replace(grid, per_position=True), 1) for tap in window.taps]
        means = sum(part @ part.mean(axis=(0, 1, 2)) for part in parts) / (len(parts) * x.shape[-1])
        known = self.signals.arrived[name].grid
        row = moments.gain**2 * np.asarray(means) + moments.bias_std**2
        return row if known.per_position or hasattr(weight, "in_features") else row.reshape(1, len(x), -1)

    def _mean_square_of_rows(self, name: str) -> float:
        """Mean square of the covariance of normalised sums of what a module received, from random rows that a neuron weighs."""
        (x, grid), weight = self.numbers[name], self.signals.module(name)
        rng, steps = np.random.default_rng(0), x.shape[2]
        x = x[..., : x.shape[-1] // getattr(weight, "groups", 1)]
        if hasattr(weight, "in_features"):
            number = x[..., 0].size
            rows = x.reshape(number, -1)[rng.integers(0, number, ROWS)]
        else:
            window = window_of(weight)
            places, inside = window.places(grid), window.inside_map(grid)
            number = len(x) * len(places) * steps
            of, at, step = np.unravel_index(rng.integers(0, number, ROWS), (len(x), len(places), steps))
            rows = (x[of[:, None], places[at], step[:, None]] * inside[at, :, None]).reshape(ROWS, -1)
        rows = rows - rows.mean(axis=0)
        C = rows @ rows.T
        own, whole = np.diagonal(C), np.sum(C**2)
        pairs = (whole - np.sum(own**2)) / (ROWS * (ROWS - 1))
        return float((np.mean(own**2) / number + (1 - 1 / number) * pairs) / max(np.mean(own), TINY) ** 2)

    def mean_square(self, origin: Origin, signal: Currents) -> tuple[float, int]:
        """Mean square of the covariance of two numbers of a channel over the batch, and the number of them."""
        own, between, grid = signal.covariance, self.of(origin), signal.grid
        blocks = self.batch * (grid.positions if grid.per_position else 1)
        whole = (own**2).mean() / blocks + (1 - 1 / blocks) * (between**2).mean()
        return float(whole), self.batch * grid.positions * grid.steps

    def statistics(self, layer: BatchNorm, origin: Origin, signal: Currents) -> Batch:
        """What it subtracts and multiplies by."""
        return by_overlap(layer, signal, Overlap(self.of(origin), row=self._row(origin)), self.batch)

    def of(self, origin: Origin) -> np.ndarray:
        if origin not in self.known:
            self.known[origin] = self.through(origin.operation, origin)
        return self.known[origin]

    def of_source(self, name: str) -> np.ndarray:
        """Of the spikes of a layer, or the currents of a weight module."""
        if name in self.spikes:
            return self.spikes[name]
        moments, weight = self.signals.moments[name], self.signals.module(name)
        window = None if hasattr(weight, "in_features") else window_of(weight)
        return self._weighted(name, moments.gain, moments.bias_std, window)

    def _weighted(self, name: str, gain: float, bias_std: float, window: Window | None) -> np.ndarray:
        below = self.received[name] if name in self.received else self.of(self.signals.trace.fed[name].origin)
        return gain**2 * average_of_overlap(window, below, self.signals.arrived[name].grid) + bias_std**2

    @singledispatchmethod
    def through(self, operation: Any, origin: Origin) -> np.ndarray:
        """What an operation makes of the overlap: by default, the correlation stays."""
        (below,) = origin.inputs
        stds = [np.sqrt(np.diagonal(self._averages(each)[1], axis1=-2, axis2=-1)) for each in (origin, below)]
        ratio = np.divide(stds[0], stds[1], out=np.zeros_like(stds[0]), where=stds[1] > 0)
        return ratio[..., :, None] * self.of(below) * ratio[..., None, :]

    @through.register
    def _(self, operation: Sender, origin: Origin) -> np.ndarray:
        return self.of_source(operation.name)

    @through.register
    def _(self, operation: Sum, origin: Origin) -> np.ndarray:
        parts = [factor**2 * self.of(each) for factor, each in zip(operation.factors, origin.inputs, strict=True)]
        if isinstance(self.signals.signal(origin), Currents):
            return reduce(np.add, parts)
        means = [f * self._averages(each)[0] for f, each in zip(operation.factors, origin.inputs, strict=True)]
        B, e, _ = reduce(with_term, zip(parts, means, means, strict=True))
        c = operation.constant
        return B + c * (e[..., :, None] + e[..., None, :]) + c**2

    @through.register
    def _(self, operation: Product, origin: Origin) -> np.ndarray:
        return reduce(np.multiply, map(self.of, origin.inputs))

    @through.register
    def _(self, operation: Concat, origin: Origin) -> np.ndarray:
        sizes = [signal.channels for each in origin.inputs if (signal := self.signals.signal(each)) is not None]
        return reduce(np.add, (size / sum(sizes) * self.of(each) for size, each in zip(sizes, origin.inputs, strict=True)))

    @through.register
    def _(self, operation: Pool, origin: Origin) -> np.ndarray:
        """The maximum of spikes keeps its ratio to that of independent ones."""
        (below,) = origin.inputs
        signal = self.signals.signal(below)
        if signal is None:
            raise ValueError("an overlap of unknown signals")
        grid = signal.grid
        window = Window(*operation.windows(grid.shape))
        pooled = over_windows(window, self.of(below), grid)
        if operation.kind == "average":
            return pooled
        e, largest = self._averages(below)[0], self._averages(origin)[0]
        e = window.mean(e, grid, -1) if told_apart(grid) else np.tile(e, largest.shape[-1] // e.shape[-1])
        ratio = np.divide(largest, e, out=np.zeros_like(e), where=e > 0)
        return ratio[..., :, None] * pooled * ratio[..., None, :]

    @through.register
    def _(self, operation: BatchNorm, origin: Origin) -> np.ndarray:
        (below,) = origin.inputs
        B, signal = self.of(below), self.signals.signal(below)
        if not operation.over_batch:
            assert operation.statistics is not None
            return operation.gamma**2 / (operation.statistics[1] + operation.eps) * B
        assert isinstance(signal, Currents)
        return self.statistics(operation, below, signal).centred(B)

    def _averages(self, origin: Origin) -> tuple[np.ndarray, np.ndarray]:
        signal = self.signals.signal(origin)
        assert signal is not None  # overlaps are taken of known signals only
        return averages(signal)
