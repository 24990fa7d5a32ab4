"""The result of tracing a model: neuron layers with the weights that feed them, and the number of time steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from varflow.model.neurons import Neuron
from varflow.torch_models.library_neurons import Spiking

__all__ = ["INPUT", "Fed", "Trace", "TracedLayer", "steps_of"]

INPUT = "input"


@dataclass(slots=True, eq=False)
class Fed:
    """The inputs of one weight module: the ``shape`` at its first call, every label, and those ``inputs`` that are the model's
    own, call by call.
    """

    shape: tuple[int, ...]
    labels: dict[Any, Any] = field(default_factory=dict)
    last: Any = None
    inputs: list[Any] = field(default_factory=list)

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(sorted(frozenset().union(*(label.sources for label in self.labels))))


@dataclass(slots=True, eq=False)
class TracedLayer:
    """A neuron layer with the weights that feed it.

    Attributes
    ----------
    names : tuple of str
        Qualified names of the weight modules; ``name`` joins several by ``+``.
    neuron_name : str
        Name of the spiking module.
    weights : list of modules
    fed : list of Fed
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
        The normalisations of the others.
    current_shape : tuple of int
        Shape of the currents, at the first call.
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
    fed: list[Fed] = field(default_factory=list)
    current_shape: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return "+".join(self.names)

    @property
    def neuron(self) -> Neuron:
        return self.spiking.neuron  # pyright: ignore[reportReturnType]  # the walker refuses None

    @property
    def driven(self) -> bool:
        return self.sources == (INPUT,)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Input shape of its first weight module, at the first call."""
        return self.fed[0].shape

    @property
    def weight_inputs(self) -> list[Any]:
        """Inputs of the weights of an input-driven layer."""
        return [given for each in self.fed for given in each.inputs] if self.driven else []


@dataclass(slots=True, eq=False)
class Trace:
    """A traced model: ``layers`` in the order of their first call, ``readouts`` (name, module, sources and input shape of
    weight layers without a neuron), the number of time ``steps``, and ``calls``, the layer of every neuron call in order.
    """

    layers: list[TracedLayer]
    readouts: list[tuple[str, Any, tuple[str, ...], tuple[int, ...]]]
    steps: int
    calls: list[TracedLayer]


def steps_of(spiking: Spiking, shape: tuple[int, ...]) -> int:
    """Steps in one call of a spiking module."""
    if spiking.time_axis is None:
        return 1
    if spiking.batch_size is not None:
        return shape[0] // spiking.batch_size
    return shape[spiking.time_axis] if spiking.steps is None else spiking.steps
