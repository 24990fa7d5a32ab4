"""The signals of a traced model at infinite width: each operation of its graph is a map of ``theory.operations``.

Where theory does not know what weights receive, it goes on from the moments of what they did receive in the traced pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatchmethod
from typing import Any

import numpy as np

from varflow.model.inner_weights import InnerWeights
from varflow.model.layers import BatchNorm, Conv, LayerNorm, Linear, Pool, Spike
from varflow.model.merges import Concat, Product, Sum
from varflow.results.audit import first_of
from varflow.theory.maps.maxima import Windows, fire_maxima
from varflow.theory.maps.patches import of_numbers
from varflow.theory.maps.variance_classes import JOINT
from varflow.theory.operations.batch_norm import running
from varflow.theory.operations.layer_norm import normalised
from varflow.theory.operations.merge import concatenated, multiplied, summed
from varflow.theory.operations.pool import averaged, largest
from varflow.theory.operations.spike import fire, with_jitter
from varflow.theory.operations.weights import convolved, weighted
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Neurons
from varflow.theory.signals.moments import Currents, Signal, Spikes, as_inputs, held
from varflow.theory.signals.windows import Grid, Window
from varflow.torch_models.prediction.overlaps import Overlaps
from varflow.torch_models.tracing.origins import INPUT, Origin, Sender
from varflow.torch_models.tracing.steps import by_step, some
from varflow.torch_models.tracing.traced import Fed, Trace, TracedLayer
from varflow.torch_models.tracing.weights import Moments, why_not_covered, window_of

__all__ = ["Evaluation", "Fired", "linear_of"]

POINTS, SCRAMBLES = 2**10, 2  # of quasi-Monte Carlo: rates within about 1 %
MANY, FEWER = 64, 2**8  # positions × steps above which fewer points do, since rates are averages over positions
JITTER = 1e-7  # relative variance that is added to currents at several positions
WINDOWS = 2**25  # numbers in the covariances of all windows of a maximum
LEAST_GAIN = 1e-12  # of weights that are all equal, which have none


@dataclass(frozen=True, slots=True, eq=False)
class Fired:
    """A layer of neurons, the currents it received, its state, and its number in the order of layers."""

    spike: Spike
    currents: Currents | Windows
    state: LayerState
    number: int


class Evaluation:
    """Signals of one model under some of the inputs of its batch.

    Parameters
    ----------
    trace : Trace
    moments : mapping
        Of the weight modules, by name.
    inputs : int
        Number of inputs of the batch that are used.
    """

    def __init__(self, trace: Trace, moments: Mapping[str, Moments], inputs: int):
        self.trace, self.moments, self.inputs = trace, moments, inputs
        self.many = Neurons(POINTS, SCRAMBLES, 0)
        self.fewer = Neurons(FEWER, SCRAMBLES, 0)
        origins = [
            origin
            for layer in trace.layers
            for origin in (layer.origin, *(n for fed in layer.fed for n in fed.origins))
            if origin
        ]
        self.pooled = any(_has(origin, Pool) for origin in origins)
        self.overlaps = Overlaps(self, any(map(_over_batch, origins)))
        self.spikes: dict[str, Spikes | None] = {}
        self.known: dict[Origin, Signal | Windows | None] = {}
        self.fired: dict[TracedLayer, Fired] = {}
        self.arrived: dict[str, Spikes] = {}  # at weights, by their name
        self.used = 1  # number of inputs
        self.restarted: list[str] = []  # weight modules whose inputs are taken as they were
        self.dependent: list[str] = []  # joints of signals that are not independent, in words
        self.known_roots: dict[Origin, frozenset[str]] = {}

    def neurons(self, grid: Grid) -> Neurons:
        """The responses of layers of neurons over such an index."""
        return self.many if grid.size <= MANY else self.fewer

    def states(self) -> list[tuple[LayerState, Grid] | None]:
        """Every layer in order; None where theory does not know it."""
        return [self._fired(number, layer) for number, layer in enumerate(self.trace.layers)]

    def _fired(self, number: int, layer: TracedLayer) -> tuple[LayerState, Grid] | None:
        self.spikes[layer.neuron_name] = None
        currents = self.currents(layer)
        if currents is None or layer.neuron is None:
            return None
        inner = layer.spiking.recurrent
        spike = Spike(layer.neuron)
        if inner is not None:
            spike = Spike(layer.neuron, recurrent_gain=inner.gain, recurrent_mean_gain=inner.mean_gain)
        if isinstance(currents, Windows):
            state, spikes = fire_maxima(spike, currents, number, self.many)
            self.fired[layer] = Fired(spike, currents, state, number)
            self.spikes[layer.neuron_name] = spikes
            return state, currents.grid
        regular = with_jitter(currents, JITTER)
        state, spikes = fire(spike, regular, number, self.neurons(currents.grid))
        self.fired[layer] = Fired(spike, regular, state, number)
        self.spikes[layer.neuron_name] = spikes
        self.overlaps.fire(layer, spike, currents, number)
        return state, currents.grid

    def currents(self, layer: TracedLayer) -> Currents | Windows | None:
        """What a layer receives."""
        if layer.unknown or layer.origin is None:
            return None
        entry = layer.spiking.entry
        signal = self.signal(layer.origin) if entry is None else self.through_entry(layer, entry)
        recurrent = layer.spiking.recurrent is not None
        return signal if isinstance(signal, Currents) or (isinstance(signal, Windows) and not recurrent) else None

    def through_entry(self, layer: TracedLayer, weights: InnerWeights) -> Currents | None:
        """Currents of the weights within a neuron module."""
        fed = self.trace.fed[layer.neuron_name]
        received = self.received(fed)
        if received is None and fed.kept and not layer.names:
            received = self.measured(layer, 0)
        if received is None:
            return None
        self.arrived[layer.neuron_name] = received = held(as_inputs(received), self.trace.steps)
        described = linear_of(weights)
        return weighted(described, replace(received, changes=None), described.width or 1).shifted(weights.bias_moments[0])

    def signal(self, origin: Origin) -> Signal | Windows | None:
        """What a origin sends on; None where theory does not know it."""
        if origin not in self.known:
            below = [self.signal(each) for each in origin.inputs]
            known = [each for each in below if each is not None and not isinstance(each, Windows)]
            self.known[origin] = self.through(origin.operation, known, origin) if len(known) == len(below) else None
        return self.known[origin]

    def roots(self, origin: Origin) -> frozenset[str]:
        """Names of what a signal comes from past neurons: weights, or the input."""
        if origin not in self.known_roots:
            self.known_roots[origin] = frozenset()  # of neurons that receive their own spikes
            below, name = origin.inputs, origin.operation.name if isinstance(origin.operation, Sender) else ""
            layer = next((layer for layer in self.trace.layers if layer.neuron_name == name), None)
            if layer is not None and layer.origin is not None and layer.spiking.entry is None:
                below, name = (layer.origin,), ""
            self.known_roots[origin] = frozenset([name] if name else []).union(*map(self.roots, below))
        return self.known_roots[origin]

    def in_common(self, origin: Origin) -> list[str]:
        """Names of weights, or the input, that several of the signals below a origin come from: these depend on each other."""
        names = [name for each in origin.inputs for name in self.roots(each)]
        return sorted({name for name in names if names.count(name) > 1})

    def _independent(self, origin: Origin) -> bool:
        if common := self.in_common(origin):
            words = "sum" if isinstance(origin.operation, Sum) else "product"
            self.dependent.append(f"a {words} of signals that depend on each other, since both come from {first_of(common)}")
        return not common

    # Weights.

    def of_weights(self, name: str) -> Currents | None:
        """Currents of a weight module."""
        layer = next((each for each in self.trace.layers if name in each.names), None)
        if layer is None:
            return None
        weight, fed = self.module(name), self.trace.fed[name]
        if name not in self.moments or why_not_covered(weight):
            return None
        received = self.received(fed)
        if received is None and fed.kept:
            received = self.measured(layer, layer.names.index(name))
            if received is not None and fed.sources != (INPUT,):
                self.restarted.append(name)
        received = None if received is None else as_inputs(received)
        if received is None or not _fits(weight, fed, received):
            return None
        self.arrived[name] = held(received, self.trace.steps)
        described = self.described(name)
        if isinstance(described, Linear):
            out = weighted(described, replace(received, changes=None), described.width or 1)
        else:
            out = convolved(described, window_of(weight), received)
        return held(out.shifted(self.moments[name].bias_mean), self.trace.steps)

    def described(self, name: str) -> Linear | Conv:
        """A weight module by its moments."""
        weight, moments = self.module(name), self.moments[name]
        gain, mean_gain = max(moments.gain, LEAST_GAIN), moments.fan_in * moments.weight_mean
        if hasattr(weight, "in_features"):
            return Linear(weight.out_features, gain=gain, mean_gain=mean_gain, bias_std=moments.bias_std)
        return Conv(weight.out_channels, 1, gain=gain, mean_gain=mean_gain, bias_std=moments.bias_std)

    def module(self, name: str) -> Any:
        """A weight module that feeds a layer."""
        return next(w for layer in self.trace.layers for own, w in zip(layer.names, layer.weights, strict=True) if own == name)

    def received(self, fed: Fed) -> Signal | None:
        """What a weight module receives; None if that differs between steps, or is not known."""
        signal = self.signal(fed.origin) if len(fed.origins) == 1 else None
        return None if isinstance(signal, Windows) else signal

    def windows(self, signal: Currents, window: Window) -> Windows | None:
        """Currents whose maxima are sent on; None if they are too many, or overlaps of inputs are needed."""
        grid, signal = window.smaller(signal.grid), signal.per_position()
        size = len(window.taps) * grid.steps
        if self.overlaps.followed or signal.pairs is None or size > JOINT or self.inputs * grid.positions * size**2 > WINDOWS:
            return None
        return Windows.of(signal, window)

    def numbers(self, layer: TracedLayer, module: int) -> np.ndarray | None:
        """What a weight module received in the traced pass, at some inputs: (steps, inputs, …), one step if all are alike."""
        whole = by_step(layer, module)
        if len(whole) not in (1, self.trace.steps):
            return None
        x = some(whole[:1] if bool((whole == whole[:1]).all()) else whole, self.inputs).double().cpu().numpy()
        self.used = x.shape[1]
        return x

    def measured(self, layer: TracedLayer, module: int) -> Spikes | None:
        """The signal that a weight module received in the traced pass; one step of it if all are equal."""
        weight = layer.weights[module] if layer.weights else None
        dense, x = weight is None or hasattr(weight, "in_features"), self.numbers(layer, module)
        if x is None:
            return None
        height, width = (1, 1) if dense else (1, *x.shape[3:])[-2:]
        if not dense and x.ndim > 5:
            return None
        apart = not dense and (not self.pooled or height * width * self.trace.steps > JOINT)
        grid = Grid(1, height, width, self.trace.steps, apart)
        name, at_all_steps = layer.names[module] if layer.names else layer.neuron_name, (self.trace.steps, *x.shape[1:])
        inputs = by_step(layer, module).shape[1]
        self.overlaps.receive(name, np.broadcast_to(x, at_all_steps), -1 if dense else 2, inputs, grid)
        grid = replace(grid, steps=len(x))
        if dense:
            x = x.reshape(*x.shape[:2], -1, x.shape[-1]).transpose(1, 2, 0, 3)  # (inputs, rows, steps, features)
            return of_numbers(x.reshape(-1, 1, *x.shape[2:]), grid)
        return of_numbers(x.reshape(*x.shape[:3], -1).transpose(1, 3, 0, 2), grid)  # (inputs, positions, steps, channels)

    # Operations.

    @singledispatchmethod
    def through(self, operation: Any, below: Sequence[Signal], origin: Origin) -> Signal | Windows | None:
        """What an operation makes of the signals below it."""
        return None

    @through.register
    def _(self, operation: Sender, below: Sequence[Signal], origin: Origin) -> Signal | None:
        name = operation.name
        return self.spikes.get(name) if name in self.spikes or name not in self.trace.fed else self.of_weights(name)

    @through.register
    def _(self, operation: Sum, below: Sequence[Signal], origin: Origin) -> Signal | None:
        if len({(type(each), each.grid, each.mean.shape[1]) for each in below}) > 1 or not self._independent(origin):
            return None
        return summed(below, operation.factors, operation.constant)

    @through.register
    def _(self, operation: Product, below: Sequence[Signal], origin: Origin) -> Signal | None:
        x, y = below
        if not (isinstance(x, Spikes) and isinstance(y, Spikes)) or x.grid != y.grid or not self._independent(origin):
            return None
        return multiplied([x, y])

    @through.register
    def _(self, operation: Concat, below: Sequence[Signal], origin: Origin) -> Signal | None:
        parts = [each for each in below if isinstance(each, Spikes)]
        if len(parts) < len(below) or len({(each.grid, each.mean.shape) for each in parts}) > 1:
            return None
        return concatenated(parts)

    @through.register
    def _(self, operation: Pool, below: Sequence[Signal], origin: Origin) -> Signal | Windows | None:
        (signal,) = below
        grid = signal.grid
        window = Window(*operation.windows(grid.shape))
        if operation.kind == "max" and isinstance(signal, Currents):
            return self.windows(signal, window)
        if grid.per_position or (operation.kind == "max" and getattr(signal, "sampled", None) is None):
            return None  # pairs of positions through several layers take seconds: the weights above start from what arrived
        return averaged(window, signal) if operation.kind == "average" else largest(window, signal)

    @through.register
    def _(self, operation: BatchNorm, below: Sequence[Signal], origin: Origin) -> Signal | None:
        (signal,) = below
        if not isinstance(signal, Currents):
            return None
        if operation.statistics is not None:
            return running(operation, signal, *operation.statistics)
        return self.overlaps.normalised(operation, origin, signal)

    @through.register
    def _(self, operation: LayerNorm, below: Sequence[Signal], origin: Origin) -> Signal | None:
        (signal,) = below
        return normalised(operation, signal) if isinstance(signal, Currents) else None


def linear_of(weights: InnerWeights) -> Linear:
    """Weights within a neuron module by their moments."""
    gain = max(weights.gain, LEAST_GAIN)
    return Linear(len(weights.weight), gain=gain, mean_gain=weights.mean_gain, bias_std=weights.bias_moments[1])


def _fits(weight: Any, fed: Fed, signal: Spikes) -> bool:
    """Whether a signal has the size of what the module received."""
    if hasattr(weight, "in_features"):
        return signal.neurons == weight.in_features
    area = fed.shape[-len(weight.kernel_size) :]
    return signal.channels == weight.in_channels and signal.grid.positions == math.prod(area)


def _has(origin: Origin, kind: type) -> bool:
    return any(isinstance(each.operation, kind) for each in origin.ancestors)


def _over_batch(origin: Origin) -> bool:
    return any(getattr(each.operation, "over_batch", False) for each in origin.ancestors)
