"""A network whose weights are given as a torch module, which an audit runs: all steps at once, the first axis."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from varflow._checks import DomainError
from varflow.model.drives import Given, Inputs
from varflow.model.extensions import READS
from varflow.model.inner_weights import InnerWeights
from varflow.model.layers import Conv, Filter, Linear, Pool, Spike, Sum
from varflow.model.library_neurons import Spiking, reads
from varflow.model.network import Network
from varflow.model.nir_network import read_nir
from varflow.simulation.neurons import Cells, respond


def with_module(model: Any, inputs: Any, steps: int | None) -> tuple[Any, Any, int | None]:
    """Module, inputs and steps of a NIR graph or of its network; any other model as it is."""
    if isinstance(model, (str, Path)) or type(model).__name__ == "NIRGraph":
        model, inputs, steps = read_nir(model, inputs, steps=steps), None, None
    if not isinstance(model, Network):
        return model, inputs, steps
    nodes, drive = model.nodes, model.drive
    given = all(node.given for node in nodes or () if isinstance(node.operation, Linear | Conv))
    if nodes is None or not given or not isinstance(drive, Given | Inputs) or inputs is not None or steps is not None:
        raise DomainError("model", model, "must be a network of vf.read_nir, audited with the inputs and steps of that")
    x = torch.tensor(drive.currents if isinstance(drive, Given) else drive.frames(model.steps), dtype=torch.float32)
    return GivenNetwork(nodes), x.swapaxes(0, 1).unflatten(2, next(nodes.shapes()).shape), None


class GivenNeurons(nn.Module):
    """A layer of neurons, with its recurrent weights."""

    def __init__(self, node: Any):
        super().__init__()
        given = {name: torch.tensor(array) for name, array in node.given.items()}
        self.neuron, self.below = node.operation.neuron, given["fractions"][:, None] if "fractions" in given else None
        self.values = {name: given[name] for name in ("threshold", "decay") if name in given}
        self.recurrent = InnerWeights(given["weight"]) if "weight" in given else None

    @torch.no_grad()
    def forward(self, currents: Tensor) -> Tensor:
        cells = Cells.of([self.neuron], currents.device, fractions=self.below)
        each = currents.double().flatten(2).swapaxes(0, 1)[:, None].clone()
        spikes = respond(each, cells, torch.float64, recurrence=self.recurrent)[1][:, 0]
        return spikes.swapaxes(0, 1).reshape(currents.shape).to(currents.dtype)


reads(GivenNeurons, time_axis=0)(lambda each: Spiking(each.neuron, recurrent=each.recurrent, values=each.values))


class Filtered(nn.Module):
    """A filter over time."""

    def __init__(self, operation: Filter):
        super().__init__()
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ts,s...->t...", x.new_tensor(self.operation.response(len(x))), x)


READS[Filtered] = lambda each: each.operation


class GivenNetwork(nn.Module):
    """A network; its modules have the names of its nodes."""

    def __init__(self, graph: Any):
        super().__init__()
        self.graph, self.names = graph, list[str]()
        for node, received, sent in graph.sites():
            name = node.name.replace(".", "_")
            while hasattr(self, name):
                name += "_"
            self.names.append(name)
            if isinstance(node.operation, Spike):
                self.add_module(name, GivenNeurons(node))
            elif isinstance(node.operation, Filter):
                self.add_module(name, Filtered(node.operation))
            elif isinstance(node.operation, Linear | Conv):
                self.add_module(name, _weights(node, received[0], sent))

    def forward(self, x: Tensor) -> Tensor:
        sent = [x]
        for node, name in zip(self.graph[1:], self.names[1:], strict=True):
            sent.append(_sent(node, self._modules.get(name), *(sent[source] for source in node.inputs)))
        return sent[-1]


def _weights(node: Any, received: Any, sent: Any) -> nn.Module:
    """The module of a node's weights."""
    module: nn.Module = nn.Linear(received.size, sent.size)
    if isinstance(node.operation, Conv):
        module = nn.Conv2d(received.shape[0], sent.shape[0], *node.operation.windows, node.operation.groups)
    module.load_state_dict({name: torch.tensor(array) for name, array in node.given.items()})
    return module


def _sent(node: Any, module: Any, x: Tensor, *more: Tensor) -> Tensor:
    """The signal that a node sends."""
    operation = node.operation
    if isinstance(operation, Linear):
        return module(x.flatten(2))
    if isinstance(operation, Conv):
        return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    if isinstance(operation, Pool):
        return functional.avg_pool2d(x.flatten(0, 1), *operation.windows(x.shape[-2:])[:3]).unflatten(0, x.shape[:2])
    if isinstance(operation, Sum) and not node.given:  # else part of the biases before
        return reduce(torch.add, map(torch.mul, (x, *more), operation.factors)) + operation.constant
    return x if module is None else module(x)
