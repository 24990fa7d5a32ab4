"""Prediction of every layer of a traced model from the moments of its weights, over the same steps and inputs.

A plain chain of dense layers is predicted at its own width, exactly in distribution; any other model at infinite width, by the
walk of signals over its graph: where theory does not know what weights receive, it goes on from the moments of
what they did receive in the traced pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import numpy as np

from varflow.model.attention import Attention
from varflow.model.drive_kinds import Inputs
from varflow.model.graph import Graph
from varflow.model.layers import BatchNorm, Linear, Pool, Spike
from varflow.model.network import Network
from varflow.model.signals import Layer
from varflow.results import late_steps
from varflow.simulation.run import check_supported, simulated
from varflow.theory.maps.positions import TOGETHER
from varflow.theory.operations.visit import BY_OVERLAP, IN_INDEX, Effort, Visit, Walk
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.places import told_apart
from varflow.theory.walks.signals import signals_walk
from varflow.torch_models.tracing.origins import INPUT
from varflow.torch_models.tracing.read import LEAST_GAIN, ReadModel, read_trace
from varflow.torch_models.tracing.traced import Trace, TracedLayer, by_step, neurons_of, some
from varflow.torch_models.tracing.weights import Moments, why_not_covered

LIVE_RATE = 0.015  # predicted late rate above which a layer is alive: stable layers have more, dying ones fall below
DRAWN = 2**14  # neurons drawn per layer, over all networks: late rates have a standard error of 1.5 %
WORK = 2**19  # inputs × layers × steps² for which gradients take a few seconds
MOST_INPUTS, FEW_INPUTS = 64, 8  # inputs of a batch that are used; at infinite width, where each needs many neurons
POINTS, SCRAMBLES = 2**10, 2  # of quasi-Monte Carlo: rates within about 1 %
MANY, FEWER = 64, 2**8  # positions × steps above which fewer points do, since rates are averages over positions
JITTER = 1e-7  # relative variance that is added to currents at several positions
WINDOWS = 2**25  # numbers in the covariances of all windows of a maximum


def effort_for(graph: Graph) -> Effort:
    """The effort of an audit: without pools, which join positions, each position of a map is followed on its own."""
    pooled = any(isinstance(node.operation, Pool | Attention) for node in graph)
    responses, fewer = (Responses(points, SCRAMBLES, 0) for points in (POINTS, FEWER))
    limits: dict[str, Any] = {"largest_map": TOGETHER if pooled else 0, "windows": WINDOWS, "largest_batch": 0}
    return Effort(responses, fewer, MANY, JITTER, increments=False, pools=False, **limits)


@dataclass(frozen=True, slots=True, eq=False)
class InfiniteWidth:
    """Signals of one model under some of the inputs of its batch: all nodes of its graph as the walk has passed them."""

    trace: Trace
    model: ReadModel
    visits: Sequence[Visit]

    @classmethod
    def of(cls, trace: Trace, moments: Mapping[str, Moments], most: int) -> InfiniteWidth:
        """The walk through a model with these moments of its weight modules, under so many inputs at most."""
        model = read_trace(trace, moments, most)
        normalised = any(node.operation.over_batch for node in model.graph)
        dense = all(hasattr(weight, "in_features") for layer in trace.layers for weight in layer.weights)
        batching = BY_OVERLAP if normalised or dense else IN_INDEX
        walk = Walk(effort_for(model.graph), batching, model.inputs, trace.steps, gaps={})
        return cls(trace, model, signals_walk(model.graph, None, walk, keep=True))

    def visit(self, layer: TracedLayer) -> Visit:
        """The node of a layer of neurons."""
        return self.visits[self.model.neurons[self.trace.layers.index(layer)] - 1]

    @property
    def restarted(self) -> list[str]:
        """Weight modules whose inputs theory does not know and took as they were."""
        begun = [visit for visit in self.visits if visit.received and visit.sent is not visit.received[0]]
        names = [self.model.restarts[visit.node_number] for visit in begun if visit.node_number in self.model.restarts]
        return [name for name in names if all(layer.neuron_name != name for layer in self.trace.layers)]

    def overlap(self, layer: TracedLayer) -> float:
        """``Σ_t E[S_a·S_b] / Σ_t E[|S|²]`` of two inputs; NaN for one, and on maps whose positions are not told apart."""
        visit = self.visit(layer)
        overlap = getattr(visit.sent, "overlap", None)
        if overlap is None or self.model.inputs < 2 or not told_apart(visit.kept["received"].grid):
            return math.nan
        square = np.trace(visit.kept["state"].second_moments.mean(axis=(0, 1)))
        return float(np.trace(overlap.between.mean(axis=0)) / square) if square else math.nan


def uncovered(trace: Trace) -> list[str]:
    """Names of all by which a model is more than a plain chain of layers; empty for a chain."""
    words, ran, neurons = [], {INPUT}, {layer.neuron_name: layer for layer in trace.layers}
    for layer in trace.layers:
        words += () if layer.through else layer.unknown
        if layer.spiking.recurrent is not None:
            words.append(f"{layer.neuron_name} has recurrent weights")
        if layer.neuron is not None and layer.neuron.heterogeneous:
            words.append(f"neurons of {layer.neuron_name} differ")
        if not layer.weights:
            words.append(f"{layer.neuron_name} follows no weight layer")
            continue
        reasons = [(name, why_not_covered(weight)) for name, weight in zip(layer.names, layer.weights, strict=True)]
        words += [f"{name} {reason}" for name, reason in reasons if reason]
        words += [f"{step}, before {layer.neuron_name}" for step in layer.through]
        if len(layer.weights) > 1:
            words.append(f"{layer.neuron_name} sums the currents of {' and '.join(layer.names)}")
        if len(layer.sources) != 1:
            words.append(f"{layer.name} receives {' and '.join(layer.sources)} together")
        elif layer.sources[0] not in {INPUT, *neurons}:
            words.append(f"{layer.name} receives the currents of {layer.sources[0]}, without a neuron between")
        elif layer.sources[0] not in ran:
            words.append(f"{layer.name} receives the spikes of {layer.sources[0]}, a later layer")
        elif not layer.driven and _regrouped(neurons[layer.sources[0]], layer):
            words.append(f"{layer.name} receives the spikes of {layer.sources[0]} in other groups")
        ran.add(layer.neuron_name)
    return words


def _regrouped(sender: TracedLayer, layer: TracedLayer) -> bool:
    """True if weights receive more or less than the spikes of one input below, as behind patches folded into the batch."""
    sent, given = sender.current_shape, layer.received[0].shape
    if not hasattr(layer.weights[0], "in_features"):
        axes = 1 + len(layer.weights[0].kernel_size)
        return sent[-axes:] != given[-axes:]
    dense = sender.weights and hasattr(sender.weights[0], "in_features")
    return given[-1] != (sent[-1] if dense else math.prod(neurons_of(sender.spiking, sent)))


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Every layer as theory expects it; NaN where it is not known.

    Attributes
    ----------
    firing_rate, variance : ndarray, shape (depth, steps)
        Means over networks and inputs.
    late_rates : ndarray, shape (networks, depth)
        Of every network of the model's width; at infinite width, of every input.
    at_width : bool
        True for a chain of dense layers, of which networks of its own width are sampled.
    infinite : InfiniteWidth, optional
        The walk at infinite width, which overlaps and gradients need; None where it would be too much work for a chain.
    """

    firing_rate: np.ndarray
    variance: np.ndarray
    late_rates: np.ndarray
    at_width: bool = False
    infinite: InfiniteWidth | None = None

    @property
    def rates(self) -> np.ndarray:
        """Late rate of every layer."""
        return self.late_rates.mean(0)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of late rates over networks and inputs; NaN at infinite width."""
        return self.late_rates.std(0) if self.at_width else np.full(len(self.variance), math.nan)

    @property
    def late_variance(self) -> np.ndarray:
        """Late variance of the membranes of every layer."""
        return self.variance[:, late_steps(self.variance.shape[1])].mean(1)

    @property
    def survival(self) -> np.ndarray:
        """The fraction of networks and inputs that keep every layer alive."""
        alive = self.late_rates > (0 if self.at_width else LIVE_RATE)
        return np.where(np.isnan(self.rates), math.nan, alive.mean(0))

    @property
    def overlaps(self) -> list[float]:
        """Overlap of two inputs in every layer."""
        if self.infinite is None:
            return [math.nan] * len(self.variance)
        return [self.infinite.overlap(layer) for layer in self.infinite.trace.layers]

    @property
    def restarted(self) -> list[str]:
        """Weight modules whose inputs theory does not know and took as they were."""
        return [] if self.infinite is None else self.infinite.restarted


def predicted(trace: Trace, moments: Mapping[str, Moments]) -> Prediction:
    """The prediction of a model from the moments of its weight modules; those without moments are unknown."""
    if plain(trace) and all(layer.name in moments for layer in trace.layers) and _any_input(trace):
        return replace(at_own_width(trace, moments), infinite=evaluated(trace, moments))
    return at_infinite_width(trace, moments)


def evaluated(trace: Trace, moments: Mapping[str, Moments]) -> InfiniteWidth | None:
    """The signals for few inputs; None if there are too many layers and steps."""
    inputs = min(FEW_INPUTS, WORK // (len(trace.layers) * trace.steps**2))
    return InfiniteWidth.of(trace, moments, inputs) if inputs else None


def at_infinite_width(trace: Trace, moments: Mapping[str, Moments], most: int = FEW_INPUTS) -> Prediction:
    """The prediction for at most so many inputs."""
    infinite = InfiniteWidth.of(trace, moments, most)
    columns = [_of_layer(infinite.visit(layer), trace.steps) for layer in trace.layers]
    inputs = max(len(late) for *_, late in columns)
    rate, variance, late = zip(*columns, strict=True)
    rates = np.stack([np.broadcast_to(each.mean() if len(each) != inputs else each, inputs) for each in late], axis=1)
    return Prediction(np.stack(rate), np.stack(variance), rates, infinite=infinite)


def _of_layer(visit: Visit, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rate and variance over neurons and positions at every step, and the late rate of every input."""
    if "state" not in visit.kept:
        return np.full(steps, math.nan), np.full(steps, math.nan), np.full(1, math.nan)
    state, shape = visit.kept["state"], (-1, visit.kept["received"].grid.positions, steps)
    rates = state.firing_rate.reshape(len(state.firing_rate), *shape).mean(axis=(0, 2))
    variance, mean = (values.reshape(shape) for values in (state.variance, state.potential_mean))
    return rates.mean(0), variance.mean((0, 1)) + mean.var(axis=1).mean(0), rates[:, late_steps(steps)].mean(1)


def plain(trace: Trace) -> bool:
    """True for a chain of dense layers and neurons."""
    return not uncovered(trace) and all(hasattr(layer.weights[0], "in_features") for layer in trace.layers)


def _any_input(trace: Trace) -> bool:
    return any(bool(x.any()) for layer in trace.layers for x in layer.weight_inputs)


def at_own_width(trace: Trace, moments: Mapping[str, Moments], wider: int = 1) -> Prediction:
    """The prediction of a chain of dense layers at its own width, or ``wider`` times that, exactly in distribution: networks
    simulated without weight matrices (the conditional engine of :func:`varflow.simulate`).
    """
    network = chain_of(trace, moments, wider)
    check_supported(network, "conditional")
    rows = network.drive.n_inputs
    repeats = rows * max(DRAWN // int(network.widths.max()) // rows, 1)
    settings = {"engine": "conditional", "device": "cpu", "dtype": "float32", "second_moments": False}
    measured = simulated([network], 0, repeats, seed=0, stop=Event(), **settings)
    rate, variance = (measured[name].reshape(repeats, network.depth, -1) for name in ("firing_rate", "variance"))
    return Prediction(rate.mean(0), variance.mean(0), rate[..., late_steps(trace.steps)].mean(-1), at_width=True)


def chain_of(trace: Trace, moments: Mapping[str, Moments], wider: int) -> Network:
    """A chain of dense layers as a network, with weights of the same moments, driven by some of the inputs."""
    x = _rows(trace)
    unit = float(np.sqrt(np.mean(x**2)))
    layers: list[Layer] = []
    for layer in trace.layers:
        weights = moments[layer.name]
        gain = max(weights.gain, LEAST_GAIN) * (unit if layer.driven else 1.0)
        mean_gain = weights.fan_in * weights.weight_mean * (unit if layer.driven else 1.0)
        options = {"gain": gain, "mean_gain": mean_gain, "bias_std": weights.bias_std, "biases": weights.biases}
        layers.append(Linear(wider * layer.weights[0].out_features, **options))
        if weights.bias_mean:
            layers.append(BatchNorm(1.0, weights.bias_mean, (0.0, 1.0), 0.0))  # adds the mean of the biases
        layers.append(Spike(layer.neuron))
    return Network(layers=layers, steps=trace.steps, drive=Inputs(x / unit, 1.0))


def _rows(trace: Trace) -> np.ndarray:
    """Inputs of a chain of dense layers, shape (inputs, features) or (inputs, steps, features)."""
    x = some(by_step(trace.layers[0]), MOST_INPUTS).double().cpu().numpy()
    x = x.reshape(*x.shape[:2], -1, x.shape[-1])
    x = x.transpose(1, 2, 0, 3).reshape(-1, len(x), x.shape[-1])  # rows of an input count as inputs
    return x[:, 0] if x.shape[1] == 1 else x
