"""A traced model as a graph of layers of ``vf.layers``: what theory predicts and simulation samples.

Weights are read by their moments: ``gain = √(fan-in) · std``, the mean gain, the standard deviation of biases, and a ``Sum``
that adds their mean. Nodes stand in the order of the layers of neurons, what each of them receives before it. Numbers that were
received in the pass stand at the input, and, as a ``Fallback``, before weights that may receive what theory does not know.

Its network is without what theory does not know, and driven by the inputs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.model.attention import Chunk
from varflow.model.drives import Drive, inputs
from varflow.model.graph import Graph, Node, independent
from varflow.model.inner_weights import InnerWeights
from varflow.model.layers import EACH_STEP, Conv, Linear, Product, Spike, Sum
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.model.signals import Fallback, Layer, Measured, Signal, Source, Unknown, numbers_of, windows_of
from varflow.model.upsampling import Upsample
from varflow.results.audit import first_of
from varflow.torch_models.tracing.attention import Attended
from varflow.torch_models.tracing.origins import INPUT, Origin, Sender
from varflow.torch_models.tracing.traced import Received, Trace, TracedLayer, by_step, neurons_of, some
from varflow.torch_models.tracing.weights import Moments, why_not_covered

LEAST_GAIN = 1e-12  # of weights that are all equal, which have none


@dataclass(frozen=True, slots=True, eq=False)
class ReadModel:
    """A traced model as a graph.

    Attributes
    ----------
    graph : Graph
        Sums and products that depend on the same weights are ``Unknown``.
    neurons : list of int
        The node of each layer of neurons, in the order of the trace.
    restarts : dict of int to str
        Nodes of measured numbers, with the name of the weights that received them.
    dependent : list of str
        Sums and products that depend on the same weights, in words.
    inputs : int
        Number of inputs in the batch.
    """

    graph: Graph
    neurons: list[int]
    restarts: dict[int, str]
    dependent: list[str]
    inputs: int


def read_trace(trace: Trace, moments: Mapping[str, Moments], max_inputs: int | None = None) -> ReadModel:
    """The graph of a traced model, from the moments of its weight modules by name; with numbers of so many inputs at most."""
    reader = _Reader(trace, moments, max_inputs)
    for layer in trace.layers:
        reader.add_layer(layer)
    neurons = [reader.neurons[layer.neuron_name] for layer in trace.layers]
    return ReadModel(Graph(reader.nodes), neurons, reader.restarts, reader.dependent, reader.inputs)


@dataclass(slots=True, eq=False)
class _Reader:
    """Nodes made one after the other."""

    trace: Trace
    moments: Mapping[str, Moments]
    max_inputs: int | None
    nodes: list[Node] = field(default_factory=lambda: [Node(Source(Signal("currents", (1,))), (), "drive")])
    sent: list[Signal] = field(default_factory=lambda: [Signal("currents", (1,))])
    unknown: set[int] = field(default_factory=set)  # nodes that theory does not know, and those behind them
    neurons: dict[str, int] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)  # the last node of each weight module
    begun: set[str] = field(default_factory=set)  # weight modules, which may receive what they send
    made: dict[Origin, int] = field(default_factory=dict)
    chunks: dict[int, tuple[int, int]] = field(default_factory=dict)  # of each node: parts taken, and their number
    restarts: dict[int, str] = field(default_factory=dict)
    dependent: list[str] = field(default_factory=list)
    inputs: int = 1

    # Layers of neurons.

    def add_layer(self, layer: TracedLayer) -> None:
        """Add a layer of neurons, and all that it receives."""
        recurrent, name = layer.spiking.recurrent, layer.neuron_name
        shape = _shape(neurons_of(layer.spiking, layer.current_shape), layer)
        if layer.unknown or layer.origin is None or layer.neuron is None:
            words = "; ".join(layer.unknown) or f"{name} receives nothing"
            currents = self.add_unknown(words, name, Signal("currents", shape), self._earlier(layer))
        elif layer.spiking.entry is not None:
            currents = self._inner_weights(layer, layer.spiking.entry)
        else:
            currents = self.origin(layer.origin)
        spike = Spike(layer.neuron or Neuron())
        if recurrent is not None and layer.neuron is not None:
            spike = Spike(layer.neuron, recurrent_gain=recurrent.gain, recurrent_mean_gain=recurrent.mean_gain)
        self.neurons[name] = self.add(spike, currents, name=name, otherwise=Signal("spikes", shape))

    def _earlier(self, layer: TracedLayer) -> list[int]:
        """Nodes that a layer of which theory knows nothing may receive from."""
        origins = [*(origin for received in layer.received for origin in received.origins), layer.origin]
        senders = set().union(*(origin.senders for origin in origins if origin is not None))
        names, every = senders | set(layer.feeding), "" in senders
        return [number for nodes in (self.neurons, self.weights) for name, number in nodes.items() if every or name in names]

    # Operations.

    def origin(self, origin: Origin) -> int:
        """The node of what an origin sends."""
        if origin not in self.made:
            operation: Any = origin.operation
            if isinstance(operation, Sender):
                return self._sender(operation.name)
            if isinstance(operation, Attended):
                inputs = [self._part(*each) for each in zip(origin.inputs, operation.numbers, strict=True)]
                operation, order = operation.described([self.sent[number] for number in inputs], origin.through[0])
                inputs = [inputs[place] for place in order]
                self.dependent += [operation.words] if isinstance(operation, Unknown) else []
            elif isinstance(operation, Product):  # perhaps of a mask and a part
                inputs = [self._part(below) for below in origin.inputs]
            else:
                inputs = [self.origin(below) for below in origin.inputs]
            if origin in self.trace.each_step:
                operation = replace(operation, over=EACH_STEP)
            self.made[origin] = self.add(operation, *inputs, name=origin.through[-1], otherwise=self.sent[inputs[0]])
        return self.made[origin]

    def _part(self, origin: Origin, numbers: int = 0) -> int:
        """The node of a signal, or of its next part, if so many numbers are one, or if it is divided."""
        node = self.origin(origin)
        taken, parts = self.chunks.get(node, (0, 1))
        if numbers and (
            layer := next((each for each in self.trace.layers if self.neurons.get(each.neuron_name) == node), None)
        ):
            parts = math.prod(layer.current_shape) // numbers
        if parts <= 1:
            return node
        self.chunks[node] = taken + 1, parts
        name = f"{self.nodes[node].name}[{taken}]"
        return self.add(Chunk(taken % parts, parts), node, name=name, otherwise=self.sent[node])

    def _sender(self, name: str) -> int:
        """The node of a module's output: a layer of neurons that ran before, or weights."""
        if name in self.neurons:
            return self.neurons[name]
        if name in self.trace.received and all(layer.neuron_name != name for layer in self.trace.layers):
            if name not in self.weights and name not in self.begun:
                self.begun.add(name)
                self.weights[name] = self._weights(name)
            if name in self.weights:
                return self.weights[name]
        words = f"{name or 'a tensor of unknown origin'}, which no layer sent before"
        return self.add_unknown(words, name, Signal("spikes", (1,)))

    def add(self, operation: Layer, *inputs: int, name: str, otherwise: Signal, weights: str = "") -> int:
        """The number of a new node: an ``Unknown`` that sends ``otherwise`` if the operation cannot receive these signals."""
        node = Node(operation, inputs, name, weights=weights)
        if operation.independent and len(inputs) > 1 and self.unknown.isdisjoint(inputs):
            node = self._independent(node)
        try:
            received = [self.sent[source] for source in node.inputs]
            too_many = len(received) > 1 and not node.operation.merges
            if operation.steps not in (None, self.trace.steps):
                raise DomainError("layers", operation, f"has {operation.steps} steps, the model {self.trace.steps}")
            if too_many or not all(signal.kind in node.operation.accepts for signal in received):
                raise DomainError("layers", operation, f"cannot receive {' and '.join(map(str, received))}")
            sent = node.operation.after(*received, width=None)
        except (DomainError, TypeError) as error:  # TypeError: its after takes another number of signals
            rule = getattr(error, "rule", error)
            node, sent = replace(node, operation=Unknown(f"{name}: {operation!r} {rule}", otherwise)), otherwise
        number = len(self.nodes)
        self.nodes.append(node)
        self.sent.append(sent)
        unknown = isinstance(node.operation, Unknown) or not self.unknown.isdisjoint(node.inputs)
        if unknown and numbers_of(operation) is None:
            self.unknown.add(number)
        return number

    def add_unknown(self, words: str, name: str, sends: Signal, inputs: Sequence[int] = ()) -> int:
        """The number of a new node of which nothing is known but what it sends."""
        return self.add(Unknown(words, sends), *inputs, name=name, otherwise=sends)

    def _independent(self, node: Node) -> Node:
        """The node, of independent signals only; else Unknown."""
        graph = Graph([*self.nodes, node])
        after = independent(graph)[-1]
        if isinstance(after.operation, Unknown):
            roots = [graph.roots[source] for source in node.inputs]
            common = [number for number in range(len(graph)) if sum(mask >> number & 1 for mask in roots) > 1]
            kind = {Sum: "sum", Product: "product"}.get(type(node.operation), type(node.operation).__name__)
            names = first_of(sorted(self.nodes[number].name for number in common))
            words = f"a {kind} of signals that depend on each other, since both come from {names}"
            self.dependent.append(words)
            after = replace(after, operation=Unknown(words))
        return after

    # Weights.

    def _weights(self, name: str) -> int:
        """The node of the currents of a weight module."""
        layer = next((layer for layer in self.trace.layers if name in layer.names), None)
        received, module = self.trace.received[name], 0 if layer is None else layer.names.index(name)
        if layer is None or name not in self.moments or why_not_covered(layer.weights[module]):
            inputs = [self.origin(origin) for origin in received.origins if origin.sources != {INPUT}]
            words = f"weights of {name}, which moments do not describe"
            return self.add_unknown(words, name, Signal("currents", (1,)), inputs)
        source = self._received(name, received, layer, module)
        weight, moments = layer.weights[module], self.moments[name]
        zeros = math.prod(weight.stride) if getattr(weight, "transposed", False) else 1  # entries of a map for each input
        gain, mean_gain = math.sqrt(zeros) * max(moments.gain, LEAST_GAIN), zeros * moments.fan_in * moments.weight_mean
        options: dict[str, Any] = {"gain": gain, "mean_gain": mean_gain, "bias_std": moments.bias_std}
        if hasattr(weight, "in_features"):
            described, fits = Linear(weight.out_features, **options), self.sent[source].size == weight.in_features
        else:
            channels, *area = self.sent[source].shape
            fits = channels == weight.in_channels and math.prod(area) == math.prod(received.shape[-len(weight.kernel_size) :])
            windows = windows_of(weight)
            if weight.transposed:
                source, windows = self._with_zeros(weight, source, windows, name)
            described = Conv(weight.out_channels, groups=weight.groups, **windows, **options)
        otherwise = Signal("currents", (getattr(weight, "out_features", None) or weight.out_channels,), weighted=True)
        if source not in self.unknown and not fits:
            return self.add_unknown(f"{name} receives other groups of numbers than were sent", name, otherwise, [source])
        currents = self.add(described, source, name=name, otherwise=otherwise, weights=self._key(weight))
        return self._with_mean(currents, moments.bias_mean)

    def _with_zeros(self, weight: Any, source: int, windows: dict[str, Any], name: str) -> tuple[int, dict[str, Any]]:
        """The map between whose entries a transposed convolution has zeros, and the windows over it."""
        extra = tuple(weight.output_padding)
        upsample = Upsample(windows["stride"], zeros=True, extra=(0, *extra) if len(extra) == 1 else extra)
        reach = zip(windows["kernel"], windows["dilation"], windows["padding"], strict=True)
        padding = tuple(gap * (size - 1) - pad for size, gap, pad in reach)
        number = self.add(upsample, source, name=f"{name}.zeros", otherwise=self.sent[source])
        return number, windows | {"stride": (1, 1), "padding": padding}

    def _key(self, weight: Any) -> str:
        """A key for all modules that share the memory of their weights; empty for one that has its own."""
        modules = {id(module): module for layer in self.trace.layers for module in layer.weights}.values()
        place, places = weight.weight.data_ptr(), Counter(module.weight.data_ptr() for module in modules)
        return str(place) if places[place] > 1 else ""

    def _with_mean(self, currents: int, mean: float) -> int:
        """The node behind the mean of biases."""
        if not mean:
            return currents
        return self.add(Sum((1.0,), mean), currents, name=f"{self.nodes[currents].name}.bias", otherwise=self.sent[currents])

    def _inner_weights(self, layer: TracedLayer, weights: InnerWeights) -> int:
        """The node of the currents of the weights within a neuron module."""
        name = layer.neuron_name
        received, width = self.trace.received[name], len(weights.weight)
        mean, std = weights.bias_moments
        linear = Linear(width, gain=max(weights.gain, LEAST_GAIN), mean_gain=weights.mean_gain, bias_std=std)
        alone = replace(
            layer, names=(), weights=[], received=[received]
        )  # what other weights before it received is not its own
        source, otherwise = self._received(name, received, alone, 0), Signal("currents", (width,), weighted=True)
        return self._with_mean(self.add(linear, source, name=f"{name}.weights", otherwise=otherwise), mean)

    def _received(self, name: str, received: Received, layer: TracedLayer, module: int) -> int:
        """The node of what weights receive: where it is not known, or may not be, with the numbers of the pass."""
        at_input, into = all(origin.sources == {INPUT} for origin in received.origins), f"into {name}"
        sources = [] if at_input else [self.origin(origin) for origin in received.origins]
        if len(sources) > 1:
            words = f"{name} receives other signals at every step"
            sources = [self.add_unknown(words, into, Signal(INPUT, (1,)), sources)]
        x = self._numbers(layer, module) if received.stored else None
        if x is None and not sources:
            return self.add_unknown(f"what {name} receives", into, Signal(INPUT, (1,)))
        if x is None and self.sent[sources[0]].kind != "currents":
            return sources[0]
        sent = self.sent[sources[0]].shape if sources else ()
        if x is not None and x.ndim == 5 and sent[:1] == x.shape[2:3] and math.prod(sent) == x[0, 0].size:
            x = x.reshape(*x.shape[:2], *sent)  # a map, whose positions may be in one row
        numbers = Measured(x) if x is not None and not sources else Fallback(x)
        number = self.add(numbers, *sources, name=into, otherwise=Signal(INPUT, (1,)))
        if x is not None:
            self.restarts[number] = name
        return number

    def _numbers(self, layer: TracedLayer, module: int) -> np.ndarray | None:
        """Numbers that a weight module received at some inputs, (steps, inputs, channels, …); one step if all are equal."""
        weight = layer.weights[module] if layer.weights else None
        steps = by_step(layer, module)
        if len(steps) not in (1, self.trace.steps):
            return None
        x = steps[:1] if bool((steps == steps[:1]).all()) else steps
        x = (x if self.max_inputs is None else some(x, self.max_inputs)).double().cpu().numpy()
        self.inputs = steps.shape[1]
        if not np.isfinite(x).all():
            return None
        if weight is None or hasattr(weight, "in_features"):
            rows = x.reshape(*x.shape[:2], -1, x.shape[-1])
            return rows[:, :, 0] if rows.shape[2] == 1 else rows.swapaxes(-1, -2)
        return None if x.ndim > 5 else x[:, :, :, None] if x.ndim == 4 else x


def _shape(shape: tuple[int, ...], layer: TracedLayer) -> tuple[int, ...]:
    """The shape of a layer's signals: neurons, or channels, rows and columns."""
    if len(shape) < 2 or (layer.weights and hasattr(layer.weights[0], "in_features")):
        return shape[-1:] or (1,)
    return shape if len(shape) == 3 else (shape[0], 1, shape[-1])


def network_of(model: ReadModel, steps: int, words: Sequence[str] = ()) -> Network:
    """The network of a read model without what theory does not know, which ``words`` and its ``unknown`` name."""
    nodes, unknown = _covered(model.graph)
    if not any(node.operation.spikes for node in nodes):
        raise DomainError("model", "; ".join(unknown), "leaves no layer of neurons that theory knows")
    drive, nodes = _driven(nodes)
    unknown = tuple(dict.fromkeys([*words, *unknown]))
    if not unknown and all(node.inputs == (number,) for number, node in enumerate(nodes[1:])):
        return Network(layers=[node.operation for node in nodes[1:]], steps=steps, drive=drive)
    return Network(nodes=Graph(nodes, unknown), steps=steps, drive=drive)


def _covered(graph: Graph) -> tuple[list[Node], list[str]]:
    """The nodes that are not behind an Unknown, with measured numbers only where needed; and the words of the Unknown."""
    nodes, place, words, sent = [graph[0]], {0: 0}, [], list(graph.shapes())
    for number, node in enumerate(graph[1:], 1):
        complete = all(source in place for source in node.inputs)
        if isinstance(node.operation, Unknown):
            words.append(node.operation.words)
        elif isinstance(node.operation, Fallback) and complete and sent[node.inputs[0]].kind != "currents":
            place[number] = place[node.inputs[0]]
        elif isinstance(node.operation, Measured) and node.operation.x is not None and not (node.inputs and complete):
            nodes.append(Node(Measured(_rows_as_inputs(node.operation.x)), (), node.name))
            place[number] = len(nodes) - 1
        elif complete:
            operation = Fallback() if isinstance(node.operation, Fallback) else node.operation
            nodes.append(replace(node, operation=operation, inputs=tuple(place[source] for source in node.inputs)))
            place[number] = len(nodes) - 1
    return nodes, words


def _rows_as_inputs(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 1, 3, 2).reshape(len(x), -1, x.shape[2]) if x.ndim == 4 else x


def _driven(nodes: list[Node]) -> tuple[Drive | None, list[Node]]:
    """The drive in place of the measured numbers, if they stand in one place only; and the nodes."""
    numbers = [number for number, node in enumerate(nodes) if numbers_of(node.operation) is not None]
    x = nodes[numbers[0]].operation.x.swapaxes(0, 1)  # type: ignore[union-attr]
    if len(numbers) > 1 or not x.any():
        return None, nodes
    (start,) = numbers

    def moved(node: Node) -> Node:
        return replace(node, inputs=tuple(0 if source == start else source - (source > start) for source in node.inputs))

    return inputs(x[:, 0] if x.shape[1] == 1 else x), [nodes[0], *map(moved, (*nodes[1:start], *nodes[start + 1 :]))]
