"""``read_nir``: the network of a file or graph of the neuromorphic intermediate representation, without any of its frameworks.

Theory knows weights by their moments; simulation takes those of the file. What is not known is left out and named, and so is
what it feeds; readouts, behind which nothing spikes, are left out.

Files and graphs are read as primitives and edges, without subgraphs.

A file is looked through before it is read: its size and number of nodes are bounded, and links are refused, since a few bytes
of them can stand for any number of nodes. **Source**: ``pedersen2024``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from varflow._checks import DomainError, VarflowError, integer, real_array, require
from varflow._memory import room
from varflow.model import drives
from varflow.model.build import Builder
from varflow.model.graph import Graph
from varflow.model.layers import Conv, Filter, Linear, Pool, Scale, Spike, Sum
from varflow.model.library_neurons import coupled_to_itself
from varflow.model.network import Network
from varflow.model.nir_neurons import INTEGRATORS, NEURONS, TAKES, Unread, filter_of, neuron_of, one, step_of
from varflow.model.signals import Fallback, Signal, Source, windows_of

MOST_NODES, DEEPEST = 10_000, 20  # nodes, and subgraphs within each other


class Primitives:
    """The primitives of a graph by name, those of subgraphs as ``subgraph.name``.

    Attributes
    ----------
    values : dict of str to dict
        Numbers of each by name, and its ``kind``.
    received, readers : dict of str to list of str
        What each receives, and what receives it.
    start : str
        The input.
    """

    def __init__(self, graph: Any):
        self.values: dict[str, dict[str, Any]] = {}
        self.received, self.readers = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        self.start = self._add(_read(Path(graph)) if isinstance(graph, (str, Path)) else graph)[0]

    def _add(self, graph: Any, prefix: str = "", depth: int = 0) -> tuple[str, str]:
        """Add those of a graph; the names of its input and output."""
        kinds = {name: type(node).__name__ for name, node in graph.nodes.items()}
        doors = [[name for name in kinds if kinds[name] == kind] for kind in ("Input", "Output")]
        if depth > DEEPEST or len(doors[0]) != 1 or (depth and len(doors[1]) != 1):
            raise DomainError("graph", prefix or "NIRGraph", "is too deep, or has not one Input and, as a subgraph, one Output")
        ends = {name: (f"{prefix}{name}",) * 2 for name in kinds}
        for name, node in graph.nodes.items():
            if kinds[name] == "NIRGraph":
                ends[name] = self._add(node, f"{prefix}{name}.", depth + 1)
            else:
                self.values[ends[name][0]] = _values(ends[name][0], kinds[name], node)
            _few(len(self.values))
        for source, target in dict.fromkeys(map(tuple, graph.edges)):
            if not {source, target} <= kinds.keys():
                raise DomainError("graph", f"edge from {source} to {target}", "joins nodes of which one is missing")
            self.received[ends[target][0]].append(ends[source][1])
            self.readers[ends[source][1]].append(ends[target][0])
        return ends[doors[0][0]][0], ends[doors[1][0]][1] if doors[1] else ""


def _read(path: Path) -> Any:
    """The graph of a file."""
    nir, h5py = require("nir", "nir"), require("nir", "h5py")
    with h5py.File(path, "r") as file:
        size, groups = 0, [file]
        for group in groups:  # which grow
            for name in group:
                link, item = group.get(name, getlink=True), group.get(name)
                if not isinstance(link, h5py.HardLink) or h5py.h5o.get_info(item.id).rc > 1:
                    raise DomainError("graph", str(path), f"has a link, {name!r}: write the graph out")
                if name == "type" and not hasattr(nir, item.asstr()[()]):
                    raise DomainError("graph", item.asstr()[()], "is no primitive of NIR")
                groups += [item] if isinstance(item, h5py.Group) else []
                size += getattr(item, "nbytes", 0)
                _few(len(groups))
        room("graph", str(path), size, "its numbers")
    return nir.read(path, type_check=False)


def _few(nodes: int) -> None:
    if nodes > MOST_NODES:
        raise DomainError("graph", f"{nodes} nodes", f"are too many: at most {MOST_NODES}")


def _values(name: str, kind: str, node: Any) -> dict[str, Any]:
    """Values of a node, numbers as arrays; an input's shape."""
    if kind in ("Input", "Output"):
        return {"kind": kind, "shape": [int(side) for side in np.ravel(next(iter(node.output_type.values())))]}
    numbers: dict[str, Any] = {"kind": kind}
    for key, value in vars(node).items():
        if value is not None and key not in ("input_type", "output_type", "metadata"):
            plain = value.detach() if hasattr(value, "detach") else value
            numbers[key] = plain if isinstance(plain, str) else real_array(f"{name}.{key}", plain)
    return numbers


STEPS = 20
DENSE, WEIGHTS = ("Affine", "Linear"), ("Affine", "Linear", "Conv1d", "Conv2d")


def read_nir(
    graph: Any, inputs: Any = None, *, steps: int | None = None, dt: float | None = None, library: str = "nir"
) -> Network:
    r"""The network of a NIR file or graph, as a library's importer would run it.

    Theory takes the moments of the weights, ``gain = √n · std(w)`` and ``mean_gain = n · mean(w)`` with ``n`` the fan-in, and
    mean and standard deviation of biases; :func:`varflow.simulate` runs the weights themselves, network ``r`` with input
    ``r mod batch``, so that its spikes are those of the library.

    Parameters
    ----------
    graph : str, Path or nir.NIRGraph
    inputs : array or Drive, optional
        Of shape (batch, …), constant in time, or (batch, steps, …), with the shape of the graph's input; or a drive of
        ``vf.drives``. By default one input of ones.
    steps : int, optional
        By default as many as the inputs have, else 20.
    dt : float, optional
        Length of a step in seconds. By default the library's: 1e-4 for ``nir`` and ``snntorch``, 1e-3 for ``norse``.
    library : str
        ``nir`` (the format's equations by Euler steps), ``snntorch``, ``norse`` or ``sinabs``: what a step is.

    Returns
    -------
    Network
        A graph of nodes that prints as a table. ``.unknown`` names what is left out because it is not known.

    Raises
    ------
    DomainError
        For files and graphs that are malformed or too large (10⁴ nodes), numbers that are not finite, shapes that do not fit, a
        step longer than a time constant, and if no layer of neurons is known.
    MissingExtraError
        For a file, without the packages ``nir`` and ``h5py``.

    Notes
    -----
    **Assumes** in theory that weights are independent. **Accuracy**: spikes of snnTorch, Norse and sinabs are equal one by one
    in the tests; docs/nir.md has rates of one file in each of them. Neurons that differ are a distribution over the layer, its
    thresholds and decays independent. A cycle is known as weights from a layer to itself, whose spikes arrive a step later.
    **Source**: ``pedersen2024``; the libraries' importers.

    Examples
    --------
    >>> import nir, numpy as np, varflow as vf
    >>> rng, one = np.random.default_rng(0), np.ones(50)
    >>> neurons = nir.LIF(tau=1e-3 * one, r=10 * one, v_leak=0 * one, v_threshold=one)
    >>> file = nir.NIRGraph.from_list(nir.Linear(rng.normal(size=(50, 8))), neurons)
    >>> network = vf.read_nir(file, rng.random((4, 8)), steps=10)
    >>> network.neurons
    [Neuron(threshold=1, decay=0.9, reset='zero')]
    """
    step, steps = step_of(library, dt), None if steps is None else integer("steps", steps, minimum=1)
    shown = str(graph) if isinstance(graph, (str, Path)) else type(graph).__name__
    try:
        reader = NirReader(Primitives(graph), library, step)
    except VarflowError:
        raise
    except Exception as error:  # whatever h5py, nir and numpy raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
        raise DomainError("graph", shown, f"is no NIR graph that can be read ({reason})") from error
    last = max(number for number, node in enumerate(reader.nodes) if node.operation.spikes or not number)
    if not last:
        raise DomainError("graph", shown, f"leaves no layer of neurons that is known: {'; '.join(reader.unknown)}")
    drive = inputs if isinstance(inputs, drives.Drive) else _drive(inputs, reader.sent[0], steps)
    return Network(nodes=Graph(reader.nodes[: last + 1], reader.unknown), steps=steps or drive.steps or STEPS, drive=drive)


def _drive(x: Any, signal: Signal, steps: int | None) -> drives.Drive:
    """The drive of inputs that are this signal."""
    x = np.ones((1, *signal.shape)) if x is None else real_array("inputs", x)
    leading = next((axes for axes in (1, 2) if x.ndim > axes and math.prod(x.shape[axes:]) == signal.size), 0)
    if not leading or not x.size:
        rule = f"must have shape (batch, …) or (batch, steps, …), with {' × '.join(map(str, signal.shape))} numbers in each"
        raise DomainError("inputs", f"array of shape {x.shape}", rule)
    if signal.kind == "input":
        return drives.inputs(x.reshape(*x.shape[:leading], *signal.shape), None if x.any() else 1.0)
    return drives.given(x.reshape(len(x), -1, signal.size).repeat(1 if leading == 2 else steps or STEPS, axis=1))


class NirReader(Builder):
    """Nodes made one after the other from the primitives, each after those that it receives."""

    def __init__(self, primitives: Primitives, library: str, dt: float):
        self.values, self.received, self.readers = primitives.values, primitives.received, primitives.readers
        self.library, self.dt, self.unknown, start = library, dt, list[str](), primitives.start
        kinds, shape = {self.values[name]["kind"] for name in self.readers[start]}, self.values[start]["shape"]
        if len(shape) in (2, 4) and shape[0] == 1 and "Conv1d" not in kinds:  # a batch of one, which some libraries write
            shape = shape[1:]
        shape = (shape[0], 1, shape[1]) if len(shape) == 2 else tuple(shape)
        super().__init__(Source(Signal("currents" if kinds & {*NEURONS} else "input", shape)))
        self.place, self.recurrent = {start: 0}, dict[str, Any]()
        for name in self.values:
            self._take_out_recurrent(name)
        for name in TopologicalSorter(self.received).static_order():
            try:
                if self.received[name] and self.place.keys() >= {*self.received[name]}:
                    self.place[name] = self._read(name, self.values[name], *(self.place[each] for each in self.received[name]))
            except Unread as error:
                self.unknown.append(f"{name}: {self.values[name]['kind']}, {error}")

    def _take_out_recurrent(self, name: str) -> None:
        """Take weights from neurons to themselves out of the graph; their bias becomes that of the weights before."""
        values, received = self.values[name], self.received[name]
        sources = {self.values[source]["kind"] for source in received}
        if values["kind"] not in DENSE or len(received) != 1 or self.readers[name] != received or not sources & {*NEURONS}:
            return
        (neurons,) = self.received.pop(name)
        self.received[neurons].remove(name)
        self.readers[neurons].remove(name)
        if np.any(bias := values.get("bias", 0.0)):
            before = self.values[self.received[neurons][0]]
            if len(self.received[neurons]) > 1 or before["kind"] not in WEIGHTS:
                raise DomainError("graph", f"{name}.bias", "of recurrent weights is known behind other weights only")
            before["bias"] = before.get("bias", 0.0) + bias
        self.recurrent[neurons] = self.recurrent.get(neurons, 0.0) + values["weight"]

    def _read(self, name: str, values: dict[str, Any], source: int, *more: int) -> int:
        """The number of the node of a primitive's signal."""
        source = self.add(Sum((1.0,) * (1 + len(more))), source, *more, name=f"into {name}") if more else source
        kind, signal = values["kind"], self.sent[source]
        if kind in (*NEURONS, *INTEGRATORS, "Scale"):
            if kind not in ("Scale", *TAKES.get(self.library, (kind,))):
                raise Unread(f"which {self.library} does not import")
            if wrong := [key for key, value in values.items() if np.size(value) not in (1, signal.size)]:
                raise DomainError("graph", f"{name}.{wrong[0]} of shape {np.shape(values[wrong[0]])}", f"receives {signal}")
        if kind in WEIGHTS:
            return self._weights(name, values, source)
        if kind in NEURONS:
            (neuron, given), recurrent = neuron_of(values, self.library, self.dt), {}
            if name in self.recurrent and not np.any((back := self.recurrent[name]) - np.diag(np.diag(back))):
                neuron = coupled_to_itself(neuron, one("V", np.diag(back)))
            elif name in self.recurrent:
                size, weight = signal.size, self.recurrent[name].reshape(signal.size, signal.size)
                recurrent = {"recurrent_gain": math.sqrt(size) * weight.std(), "recurrent_mean_gain": size * weight.mean()}
                given |= {"weight": weight}
            return self.add(Spike(neuron, **recurrent), source, name=name, **given)
        if kind in INTEGRATORS:
            if kind == "Delay":
                return self.add(Filter(delay=round(one("delay", values["delay"]) / self.dt)), source, name=name)
            decay, scale, synapse, rest = (one(kind, each) for each in filter_of(values, self.library, self.dt))
            number = self.add(Filter((synapse, decay) if synapse else (decay,), scale), source, name=name)
            return self.add(Sum((1.0,), rest), number, name=f"{name}.v_leak") if rest else number
        if kind in ("SumPool2d", "AvgPool2d"):
            extents = (np.resize(values[key], 2).astype(int).tolist() for key in ("kernel_size", "stride", "padding"))
            size, *others = map(tuple, extents)
            number = self.add(Pool("average", size, *others), source, name=name)
            return number if kind == "AvgPool2d" else self.add(Scale(math.prod(size)), number, name=f"{name}.sum")
        if kind == "Scale" and np.ptp(values["scale"]) == 0 and signal.kind != "input":
            return self.add(Scale(values["scale"].flat[0]), source, name=name)
        if kind == "Scale":  # part of the weights that come next
            for reader in self.readers[name]:
                if self.values[reader]["kind"] not in DENSE or self.received[reader] != [name]:
                    raise Unread("which differs between neurons, before dense weights only")
                self.values[reader]["weight"] = self.values[reader]["weight"] * values["scale"].ravel()
        elif kind not in ("Input", "Output", "Flatten"):
            raise Unread("which is not known")
        elif len(signal.shape) > 1 and (values.get("start_dim", 0), values.get("end_dim", -1)) not in ((0, -1), (0, 2)):
            raise Unread("which leaves some axes")
        return source  # weights take maps as they are

    def _weights(self, name: str, values: dict[str, Any], source: int) -> int:
        """Weights, with the mean of their biases behind them."""
        weight, signal = values["weight"], self.sent[source]
        if values["kind"] in DENSE:
            operation, fits = Linear(len(weight), gain=1.0), (signal.size,) == weight.shape[1:]
        else:
            extents = ((key, values[key]) for key in ("stride", "padding", "dilation"))
            axes = {key: each if isinstance(each, str) else np.resize(each, weight.ndim - 2) for key, each in extents}
            windows: Any = windows_of(SimpleNamespace(kernel_size=weight.shape[2:], **axes))
            operation = Conv(len(weight), gain=1.0, groups=int(values["groups"]), **windows)
            fits = signal.shape[0] == weight.shape[1] * operation.groups
            weight = weight.reshape(*weight.shape[:2], *windows["kernel"])
        if not fits:
            raise DomainError("graph", f"{name}: weights of shape {weight.shape}", f"receives {signal}")
        bias, n = np.array(np.broadcast_to(values.get("bias", 0.0), len(weight))), weight[0].size
        moments = {"gain": max(math.sqrt(n) * weight.std(), 1e-12), "mean_gain": n * weight.mean(), "bias_std": bias.std()}
        source = self.add(Fallback(), source, name=f"into {name}") if signal.kind == "currents" else source
        number = self.add(replace(operation, **moments), source, name=name, weight=weight, bias=bias)
        return self.add(Sum((1.0,), bias.mean()), number, name=f"{name}.bias", bias=bias) if bias.any() else number
