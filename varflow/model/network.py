"""The network: the one description that theory predicts, simulation measures and comparison judges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from varflow._checks import (
    LARGEST_SCALE,
    SMALLEST_SCALE,
    DomainError,
    instance,
    integer,
    need,
    non_negative_number,
    per_layer,
    positive_scale,
    put,
    real_array,
    real_number,
    refuse,
    several,
)
from varflow._display import Shown, Table
from varflow._hints import hinting
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.build import as_chain, graph_of, of_layers, of_nodes, pooled_first, spiking_shapes
from varflow.model.drives import Drive, Given, currents
from varflow.model.graph import Graph
from varflow.model.layers import Spike
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import mean_of
from varflow.model.signals import Layer, first_signal
from varflow.model.weights import NAMES, WeightLaw, weight_law


@dataclass(frozen=True, slots=True, eq=False)
class Network(Shown):
    r"""A deep feed-forward spiking network with independent random weights.

    .. math:: u_{l+1} = \lambda (W x_l + b), \qquad x_l = 1(u_l > \theta), \qquad
              E[W_{ij}] = \frac{m_g}{n}, \quad \operatorname{Std}[W_{ij}] = \frac{g}{\sqrt n}, \quad b \sim N(0, \sigma_b^2)

    with ``g`` the gain, ``m_g`` the mean gain, ``λ`` the neuron's input scale and ``n`` the number of neurons of layer ``l``.

    Parameters
    ----------
    width : int or sequence of int
        Neurons per layer; with one entry per layer, ``width[l]`` is that of layer ``l+1``.
    depth : int
        Number of layers, the driven one included.
    gain : float or sequence of float
        ``g = σ_w √n`` of the weights into a layer. Layer 1 has no such weights; its entry is not used.
    neuron : Neuron
        Threshold and dynamics, the same in every layer; its threshold and decay may be distributions over neurons.
    weights : str, object of vf.weights or scipy.stats distribution
        Distribution of the weights, scaled to the gain: ``normal``, ``uniform``, ``sign``, ``exponential``, ``lognormal``, an
        object of ``vf.weights``, your own :class:`varflow.weights.WeightDistribution`, or a frozen or new-style scipy.stats
        distribution with a finite variance.
    bias_std : float
        Standard deviation of the biases, layer 1 excepted.
    mean_gain : float, optional
        ``n E[w]``. By default (None) the distribution's own mean, scaled like its standard deviation: 0 for symmetric ones.
    steps : int
        Time steps.
    drive : Drive
        What layer 1 receives, from ``vf.drives``: ``currents``, ``white``, ``inputs``, ``spikes`` or ``given``.
    layers : sequence of vf.layers, optional
        Any sequence of layers, in place of ``depth``, ``gain``, ``neuron``, ``weights``, ``bias_std`` and ``mean_gain``, which
        describe a plain chain ``[Spike] + (depth - 1) · [Linear, Spike]``. ``width`` is then that of layers without their own,
        and ``depth`` the number of ``Spike`` layers, in order of execution, branches included. A first ``Linear`` or ``Conv``
        receives the numbers of the drive, pooled by any ``Pool`` before it. If the layers are a plain chain, the network is the
        same as if described so.
    nodes : mapping of str to tuple, optional
        Any graph of layers, ``{name: (layer, *names of what it receives)}``, in place of ``layers``; ``"drive"`` is what the
        network receives. ``Sum``, ``Product`` and ``Concat`` of ``vf.layers`` join several signals. The order is that of
        execution, but that a node comes behind those it receives. ``print(network)`` shows them as a table.

    Attributes
    ----------
    widths, gains, thresholds : ndarray, shape (depth,)
        Width, gain and threshold of each layer; ``gains`` of plain chains only.
    mean_gains : ndarray, shape (depth,)
        ``n E[w]`` of the weights into each layer of a plain chain; 0 for layer 1.
    weight_law : WeightLaw
        What ``weights`` stands for.
    unknown : tuple of str
        Of a network that :func:`varflow.read` made of a model: what it leaves out because theory does not know it.

    Raises
    ------
    DomainError
        For a value outside its domain, a sequence without exactly one entry per layer, a fixed in-degree above a fan-in, or a
        drive made for another number of steps or neurons.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.Network(width=1000, depth=100, gain=2.51, neuron=vf.Neuron(1.0))
    Network(width=1000, depth=100, gain=2.51, neuron=Neuron(threshold=1))
    >>> spike, linear = vf.layers.Spike(vf.Neuron(1.0)), vf.layers.Linear(gain=1.1)
    >>> vf.Network(width=1000, layers=[vf.layers.Residual(spike, linear, keep=0.9)] * 20 + [spike]).depth
    21
    """

    width: int | tuple[int, ...] | None
    depth: int
    gain: float | tuple[float, ...]
    neuron: Neuron
    weights: str | WeightLaw
    bias_std: float
    mean_gain: float | None
    steps: int
    drive: Drive
    layers: tuple[Layer, ...] | None
    nodes: Graph | None

    @hinting
    def __init__(
        self,
        *,
        width: Any = None,
        depth: int | None = None,
        gain: Any = None,
        neuron: Any = None,
        weights: Any = "normal",
        bias_std: float = 0.0,
        mean_gain: float | None = None,
        steps: int = 1,
        drive: Drive | None = None,
        layers: Sequence[Layer] | None = None,
        nodes: Mapping[str, Any] | Graph | None = None,
    ):
        put(self, steps=integer("steps", steps, minimum=1))
        put(self, drive=instance("drive", currents() if drive is None else drive, Drive))
        chain = {"gain": gain, "neuron": neuron, "mean_gain": mean_gain}
        if nodes is None and layers is None:
            self._chain(width, depth, gain, neuron, weights, bias_std, mean_gain)
        else:
            width = None if width is None else integer("width", width, minimum=1)
            if nodes is not None:
                self._of_nodes(nodes, width, depth, layers, chain)
            else:
                self._of_layers(layers, width, depth, chain)  # pyright: ignore[reportArgumentType]
        if self.layers is None:
            _fits(self)

    def _chain(
        self, width: Any, depth: Any, gain: Any, neuron: Any, weights: Any, bias_std: Any, mean_gain: float | None
    ) -> None:
        """A plain chain ``[Spike] + (depth - 1) · [Linear, Spike]``."""
        need("must be given, or layers=[…]", width=width, depth=depth, gain=gain)
        put(self, depth=integer("depth", depth, minimum=1), layers=None, nodes=None)
        gains = per_layer("gain", positive_scale("gain", gain), self.depth)
        law = weight_law(weights)
        named = law.label in NAMES and law == weight_law(law.label)
        symmetric = 0.0 if law.own_mean == 0 else None
        put(
            self,
            width=_widths(width, self.depth),
            gain=float(gains[0]) if np.ndim(gain) == 0 else tuple(gains.tolist()),
            neuron=Neuron() if neuron is None else as_neuron(neuron),
            weights=law.label if named else law,
            bias_std=non_negative_number("bias_std", bias_std),
            mean_gain=symmetric if mean_gain is None else real_number("mean_gain", mean_gain),
        )

    def _of_layers(self, layers: Sequence[Layer], width: int | None, depth: Any, chain: dict[str, Any]) -> None:
        """Any sequence of layers; a plain chain becomes one."""
        layers, drive = pooled_first(several("layers", layers, Layer), self.drive)
        put(self, drive=drive, layers=layers, nodes=None)
        graph = of_layers(layers, first_signal(drive, layers[:1], width, self.steps), width)
        self._of_graph("layers", graph, width, depth, chain)
        plain = as_chain(layers, width, drive)
        if plain is not None:
            put(self, drive=plain.pop("drive"))
            self._chain(**plain)

    def _of_nodes(self, nodes: Any, width: int | None, depth: Any, layers: Any, chain: dict[str, Any]) -> None:
        """Any graph; nodes in a row are a sequence of layers."""
        graph = of_nodes(nodes, self.drive, width, self.steps)
        operations = tuple(node.operation for node in graph[1:])
        if layers is not None and tuple(layers) != operations:
            raise DomainError("layers", layers, "cannot be given with nodes={…}, which have their own")
        if graph.in_a_row and not isinstance(nodes, Graph):
            return self._of_layers(operations, width, depth, chain)
        put(self, layers=operations, nodes=graph)
        self._of_graph("nodes", graph, width, depth, chain)

    def _of_graph(self, argument: str, graph: Graph, width: int | None, depth: Any, chain: dict[str, Any]) -> None:
        refuse(f"cannot be given with {argument}=…, which have their own", **chain)
        shapes = spiking_shapes(graph)
        if depth not in (None, len(shapes)):
            raise DomainError("depth", depth, f"cannot be given with {argument}=…, which have {len(shapes)} Spike layers")
        if not shapes:
            raise DomainError(argument, self.layers, "must have at least one Spike")
        for node in graph:
            if node.operation.steps not in (None, self.steps):
                raise DomainError(argument, node.operation, f"has {node.operation.steps} steps, the network {self.steps}")
        put(self, width=width, depth=len(shapes), weights="normal", bias_std=0.0, gain=None, neuron=None, mean_gain=None)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Words for what a network that was read from a model leaves out."""
        return () if self.nodes is None else self.nodes.unknown

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shape of every layer of neurons, ``(width,)``, or ``(channels, height, width)`` of a map."""
        if self.layers is None:
            return [(n,) for n in self.widths.tolist()]
        return spiking_shapes(graph_of(self))

    @property
    def neurons(self) -> list[Neuron]:
        """The neuron of every layer, in order of execution."""
        if self.layers is None:
            return [self.neuron] * self.depth
        return [node.operation.neuron for node in graph_of(self) if isinstance(node.operation, Spike)]

    @property
    def thresholds(self) -> np.ndarray:
        """Threshold of every layer of neurons, shape (depth,); its mean where neurons differ."""
        return np.array([mean_of(neuron.threshold) for neuron in self.neurons])

    @property
    def widths(self) -> np.ndarray:
        if self.layers is not None:
            return np.array([math.prod(shape) for shape in self.shapes])
        return np.broadcast_to(np.asarray(self.width), self.depth)

    @property
    def gains(self) -> np.ndarray:
        return np.broadcast_to(np.asarray(plain_chain(self).gain), self.depth)

    @property
    def weight_law(self) -> WeightLaw:
        return weight_law(self.weights)

    @property
    def mean_gains(self) -> np.ndarray:
        if self.mean_gain is not None:
            return np.where(np.arange(self.depth) > 0, self.mean_gain, 0.0)
        connections = list(zip(self.gains[1:].tolist(), self.widths[:-1].tolist(), strict=True))
        mean_gain_of = {pair: self.weight_law.own_mean_gain(*pair) for pair in set(connections)}
        return np.array([0.0, *(mean_gain_of[pair] for pair in connections)])

    @property
    def silence_is_absorbing(self) -> bool:
        """True if a layer without spikes silences all later ones (no bias, and θ above rest)."""
        return self.bias_std == 0 and not plain_chain(self).neuron.fires_at(0.0)

    def _parts(self) -> list[tuple[str, str]]:
        """Name and text of everything that is not a default."""
        default_mean: Any = None
        if self.layers is not None:
            parts = [] if self.width is None else [("width", str(self.width))]
            names = None if self.nodes is None else f"{{{self.nodes[1].name}, …, {self.nodes[-1].name}}}"
            parts.append(("nodes", names) if names else ("layers", f"[{_shortened(self.layers)}]"))
        else:
            width = f"({self.width[0]}, …, {self.width[-1]})" if isinstance(self.width, tuple) else str(self.width)
            gain = f"({self.gain[0]:.4g}, …, {self.gain[-1]:.4g})" if isinstance(self.gain, tuple) else f"{self.gain:.6g}"
            parts = [("width", width), ("depth", str(self.depth)), ("gain", gain), ("neuron", repr(self.neuron))]
            default_mean = 0.0 if self.weight_law.own_mean == 0 else None
        defaults = {"weights": "normal", "bias_std": 0.0, "mean_gain": default_mean, "steps": 1, "drive": currents()}
        parts += [(name, repr(getattr(self, name))) for name, default in defaults.items() if getattr(self, name) != default]
        return parts

    def _table(self) -> Table:
        if self.nodes is not None:
            return replace(self.nodes._table(), title=repr(self))
        return Table("Network", self._parts())

    def __str__(self) -> str:
        return repr(self) if self.nodes is None else self._table().text()

    def __repr__(self) -> str:
        return f"Network({', '.join(f'{name}={text}' for name, text in self._parts())})"


def plain_chain(network: Any) -> Network:
    """The network, if it is a plain chain; else DomainError."""
    if instance("network", network, Network).layers is not None:
        rule = "is made of layers=[…]: this answer exists for plain chains only, Network(width=…, depth=…, gain=…)"
        raise DomainError("network", network, rule)
    return network


def _shortened(layers: Sequence[Layer]) -> str:
    """The layers, equal neighbours counted; the middle of many is left out."""
    texts = [f"{n} × {text}" if (n := len(list(same))) > 1 else text for text, same in groupby(map(repr, layers))]
    return ", ".join(texts if len(texts) <= 6 else [*texts[:3], "…", texts[-1]])


def _widths(width: Any, depth: int) -> int | tuple[int, ...]:
    if not isinstance(width, (list, tuple)) and np.ndim(width) == 0:
        return integer("width", width, minimum=1)
    per_layer("width", real_array("width", width), depth)
    return tuple(integer("width", item, minimum=1) for item in width)


def _fits(network: Network) -> None:
    """Raise if the drive has other steps or another width, or the weights need a larger fan-in or gain."""
    drive, width = network.drive, int(network.widths[0])
    for name, wanted, there in (("steps", drive.steps, network.steps), ("width", drive.width, width)):
        if wanted not in (None, there):
            raise DomainError("drive", drive, f"needs a network with {name}={wanted} (in layer 1), not {name}={there}")
    law, fan_ins = network.weight_law, set(network.widths[:-1].tolist())
    fan_ins |= set() if drive.fan_in is None else {drive.fan_in}
    for fan_in in sorted(fan_ins):
        if law.in_degree is not None and law.in_degree > fan_in:
            raise DomainError("weights", law, f"needs more inputs than a neuron has: the smallest fan-in is {fan_in}")
    for gain, fan_in in set(zip(network.gains[1:].tolist(), network.widths[:-1].tolist(), strict=True)):
        law.connection(gain, fan_in, network.mean_gain)
    _squares_fit(network)


def _squares_fit(network: Network) -> None:
    """Raise if the square of a potential would overflow or underflow."""
    drive, factor = network.drive, network.neuron.input_scale
    driven = np.abs(drive.currents).max() if isinstance(drive, Given) else np.sqrt(drive.current_variances).max()
    sizes = {"gain": network.gains, "bias_std": network.bias_std, "mean_gain": network.mean_gains, "drive": driven}
    for name, size in sizes.items():
        potential = factor * np.abs(size)
        if not np.all((potential == 0) | ((potential >= SMALLEST_SCALE) & (potential <= LARGEST_SCALE))):
            rule = f"times input_scale={factor:g} must lie within {SMALLEST_SCALE:g} and {LARGEST_SCALE:g} in size; measure "
            raise DomainError(name, getattr(network, name), rule + "potentials in units of the threshold")
