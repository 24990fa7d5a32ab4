"""The result of tracing a model: neuron layers with the weights that feed them, and the number of time steps; and what modules
receive and return step by step, wherever the loop over time is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from varflow.model.inner_weights import InnerWeights
from varflow.model.library_neurons import Spiking
from varflow.torch_models.tracing.modules import holds_weights, input_weights
from varflow.torch_models.tracing.origins import INPUT, Origin, tensors_in

# Sum over all inputs of what weights receive (numbers other than 0 as 1, unless they are spikes), and the number of inputs,
# by whether spikes are added or numbers multiplied, and by the shape of an input.
Arrivals = dict[tuple[bool, tuple[int, ...]], tuple[Any, int]]


@dataclass(slots=True, eq=False)
class Received:
    """Inputs of one weight module: the ``shape`` at its first call, every ``origin`` that they came from, and, if ``stored``,
    the ``inputs`` themselves, call by call; and the ``arrivals`` of all calls.
    """

    shape: tuple[int, ...]
    stored: bool = True
    origins: dict[Origin, None] = field(default_factory=dict)
    inputs: list[Any] = field(default_factory=list)
    arrivals: Arrivals = field(default_factory=dict)

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(sorted(frozenset().union(*(origin.sources for origin in self.origins))))

    @property
    def senders(self) -> frozenset[str]:
        """The sources, and those that only make factors of their signals."""
        return frozenset().union(*(origin.sources | origin.factors for origin in self.origins))

    @property
    def origin(self) -> Origin:
        """The last origin."""
        return next(reversed(self.origins))

    def called_again(self, weight: str, layer: TracedLayer, other: TracedLayer) -> bool:
        """True if weights are called again for another layer, whose currents are not those of the same call."""
        return weight in other.names and (other.module is layer.module or len(self.origins) > 1)


@dataclass(slots=True, eq=False)
class TracedLayer:
    """A neuron layer with the weights that feed it; there may be none.

    Attributes
    ----------
    names : tuple of str
        Qualified names of the weight modules; ``name`` joins several by ``+``.
    neuron_name : str
        Name of the spiking module.
    feeding : tuple of str
        Names of all weight modules whose currents it receives, those that also feed earlier layers included.
    weights : list of modules
    received : list of Received
        Their inputs.
    module : module
        The spiking module.
    spiking : Spiking
    sources : tuple of str
        Neuron layers, by ``neuron_name``, whose spikes go into the weights; ``"input"`` for the model's input.
    through : tuple of str
        Operations on spikes and currents other than moving numbers, in words; empty for a plain chain.
    scaled_by : tuple of str
        Weight modules whose scale affects the currents (is not normalised away).
    normalised_by : tuple of str
        The normalisations of the others, in words.
    origins : dict of Origin to None
        The operations between the weights and the neurons, of all steps; ``origin`` is the last.
    unknown : tuple of str
        Why theory does not know its currents or its neuron, in words; empty if it does.
    current_shape : tuple of int
        Shape of the currents, at the first call.
    operations : ndarray, shape (4,)
        ``macs``, ``acs``, ``most_acs`` and ``dense`` of all calls, as in ``Cost``, for the whole batch; NaN without weights.
    inner : dict of InnerWeights to Arrivals
        What the weights within the neuron module received.
    """

    names: tuple[str, ...]
    neuron_name: str
    weights: list[Any]
    module: Any
    spiking: Spiking
    sources: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    scaled_by: tuple[str, ...] = ()
    normalised_by: tuple[str, ...] = ()
    origins: dict[Origin, None] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    received: list[Received] = field(default_factory=list)
    feeding: tuple[str, ...] = ()
    current_shape: tuple[int, ...] = ()
    operations: Any = field(default_factory=lambda: np.full(4, np.nan))
    inner: dict[InnerWeights, Arrivals] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "+".join(self.names) or self.neuron_name

    @property
    def classes(self) -> dict[str, str]:
        """The class of each of its modules, by name."""
        modules = zip((*self.names, self.neuron_name), (*self.weights, self.module), strict=True)
        return {name: type(module).__name__ for name, module in modules}

    @property
    def neuron(self) -> Any:
        """A :class:`varflow.Neuron`; None if the layer is only measured."""
        return self.spiking.neuron

    @property
    def has_inner_weights(self) -> bool:
        """True if the neuron module multiplies what it receives by weights of its own."""
        unread = self.spiking.neuron is None and not self.names
        return self.spiking.entry is not None or (unread and bool(input_weights(self.module, self.current_shape)))

    @property
    def uncounted(self) -> bool:
        """True if ``operations`` leave out weights within the neuron module."""
        within = (self.spiking.entry, self.spiking.recurrent)
        return (self.neuron is None and holds_weights(self.module)) or any(
            each and each.parameter is not None for each in within
        )

    @property
    def origin(self) -> Origin | None:
        return next(reversed(self.origins), None)

    @property
    def driven(self) -> bool:
        return bool(self.names) and self.sources == (INPUT,)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Input shape of its first weight module, at the first call."""
        return self.received[0].shape if self.received else self.current_shape

    @property
    def undriven(self) -> bool:
        """True for an input-driven layer whose inputs are all 0."""
        return self.driven and not any(bool(x.any()) for x in self.weight_inputs)

    @property
    def weight_inputs(self) -> list[Any]:
        """Inputs of the weights of an input-driven layer."""
        return [x for received in self.received for x in received.inputs] if self.driven else []


@dataclass(slots=True, eq=False)
class Trace:
    """A traced model: ``layers`` in the order of their first call, ``readouts`` (name, module, sources and input shape of
    weight layers without a neuron), the number of time ``steps``, ``calls``, the layer of every neuron call in order,
    ``received``, the inputs of every weight module by its name, ``notes`` on what is unusual, whether the pass drew ``random``
    numbers, the normalisations over a batch that ran at ``each_step`` by itself, and the ``operations`` of readouts.
    """

    layers: list[TracedLayer]
    readouts: list[tuple[str, Any, tuple[str, ...], tuple[int, ...]]]
    steps: int
    calls: list[TracedLayer]
    received: dict[str, Received]
    notes: list[str] = field(default_factory=list)
    random: bool = False
    each_step: set[Origin] = field(default_factory=set)
    operations: Any = 0.0

    def senders_to(self, layer: TracedLayer) -> set[str]:
        """Neuron layers whose spikes reach another by weights, shortcuts or factors; ``"input"`` for the model's input."""
        origin = [] if layer.origin is None else [*layer.origin.sources, *layer.origin.factors]
        return self._neurons([*layer.sources, *origin]) - {layer.neuron_name, ""}

    def _neurons(self, names: Iterable[str]) -> set[str]:
        """Neuron layers of these names, and those whose spikes reach weights of these names."""
        senders, names, layers = set[str](), list(names), {layer.neuron_name for layer in self.layers}
        for name in names:  # which grows
            if name in layers or name not in self.received:
                senders.add(name)
            else:
                names += self.received[name].senders.difference(names)
        return senders

    @property
    def last(self) -> list[TracedLayer]:
        """Neuron layers whose spikes go into no further layer of neurons."""
        further = set().union(*map(self.senders_to, self.layers))
        return [layer for layer in self.layers if layer.neuron_name not in further] or self.layers[-1:]

    @property
    def depth(self) -> int:
        """Number of layers of neurons on the longest way through the model."""
        deep: dict[str, int] = {}
        for layer in self.layers:
            deep[layer.neuron_name] = 1 + max((deep.get(name, 0) for name in self.senders_to(layer)), default=0)
        return max(deep.values())

    @property
    def outputs(self) -> set[str]:
        """Neuron layers whose spikes go into no weights and no further layer."""
        feeding = self._neurons(name for name, *_ in self.readouts).union(*map(self.senders_to, self.layers))
        return {layer.neuron_name for layer in self.layers} - feeding


def neurons_of(spiking: Spiking, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the neurons of one input at one step, in a call of a spiking module with currents of such a shape."""
    merged = spiking.time_axis is None or spiking.batch_size is not None or spiking.steps is not None
    return shape[1 if merged else 2 :]


def steps_of(spiking: Spiking, shape: tuple[int, ...]) -> int:
    """Steps in one call of a spiking module."""
    if spiking.time_axis is None:
        return 1
    if spiking.batch_size is not None:
        return shape[0] // spiking.batch_size
    return shape[spiking.time_axis] if spiking.steps is None else spiking.steps


def batch_of(inputs: Any, rows: list[int]) -> int:
    """Number of inputs of a model whose layers have so many rows; patches folded into the batch have rows of their own."""
    sizes = {size for tensor in tensors_in(inputs) for size in tensor.shape[:2]}  # time or batch comes first
    return min(sizes.intersection(rows), default=max(rows, default=1))


def by_step(layer: TracedLayer, module: int = 0) -> Any:
    """The input of one weight module of an input-driven layer, steps first; a single step if it was called once."""
    calls, spiking, shape = layer.received[module].inputs, layer.spiking, layer.current_shape
    first, axes = calls[0], axes_of_a_step(layer, module)
    if len(calls) > 1 or spiking.time_axis is None:
        x = torch.stack(calls)
        return x if first.dim() > axes else x[:, None]
    merged = first.dim() == axes + 1 and len(shape) > 2 and len(first) == shape[0] * shape[1]
    if merged and spiking.time_axis == 0 and spiking.batch_size is None and spiking.steps is None:
        return first.unflatten(0, shape[:2])  # a container merged time into the batch axis (SpikingJelly)
    return steps_first(spiking, first)


def steps_first(spiking: Spiking, values: Any) -> Any:
    """Values of one call of a neuron layer, with steps first and batch second."""
    if spiking.time_axis is None:
        return values[None]
    if spiking.batch_size is not None or spiking.steps is not None:
        return values.unflatten(0, (-1, steps_of(spiking, tuple(values.shape)))).movedim(1, 0)
    return values.movedim(spiking.time_axis, 0)


def some(x: Any, most: int) -> Any:
    """Evenly spaced inputs of a batch, at most so many; shape (steps, inputs, …)."""
    if x.shape[1] <= most:
        return x
    return x[:, np.unique(np.linspace(0, x.shape[1] - 1, most).round().astype(int))]


def stacked(steps: list[Any]) -> Any:
    """Values per input at each step as (steps, inputs). Inputs that left the batch count as the mean of the others."""
    inputs = max(map(len, steps))
    filled = (torch.cat([values, values.mean().nan_to_num().expand(inputs - len(values))]) for values in steps)
    return torch.stack(list(steps if len({*map(len, steps)}) == 1 else filled))


def axes_of_a_step(layer: TracedLayer, module: int = 0) -> int:
    """Number of axes of one input of a weight module at one step."""
    weight = layer.weights[module] if layer.weights else None  # None for weights within the neuron
    return 1 if weight is None or hasattr(weight, "in_features") else 1 + len(weight.kernel_size)


def in_single(values: Any) -> Any:
    """Values at least in single precision."""
    return values if values.dtype.itemsize >= 4 and values.is_floating_point() else values.float()


def flat(layer: TracedLayer, values: Any) -> Any:
    """Values of a layer at one step as (inputs, neurons), at least in single precision."""
    return in_single(values.flatten(1) if values.dim() > axes_of_a_step(layer) else values.flatten()[None])
