"""A network whose weights are given as a torch module, which an audit runs: all steps at once, the batch first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from varflow.model.inner_weights import InnerWeights
from varflow.model.layers import Conv, Filter, Linear, Pool, Spike, Sum
from varflow.model.library_neurons import Spiking, reads
from varflow.simulation.neurons import Cells, respond
from varflow.simulation.operations import response
from varflow.simulation.weighted import given_recurrence


class GivenNeurons(nn.Module):
    """A layer of neurons, with its recurrent weights."""

    def __init__(self, node: Any):
        super().__init__()
        self.neuron, self.given = node.operation.neuron, {name: torch.tensor(array) for name, array in node.given.items()}

    def forward(self, currents: Tensor) -> Tensor:
        fractions, weight = self.given.get("fractions"), self.given.get("weight")
        cells = Cells.of([self.neuron], currents.device, fractions=None if fractions is None else fractions[:, None])
        each = currents.double().flatten(2)[:, None].clone()
        recurrence = None if weight is None else given_recurrence(weight, currents.device)
        return respond(each, cells, currents.dtype, recurrence=recurrence)[1][:, 0].view(currents.shape).to(currents.dtype)


@reads(GivenNeurons, time_axis=1)
def _given(module: GivenNeurons) -> Spiking:
    weight, places = module.given.get("weight"), enumerate(("threshold", "decay") if "fractions" in module.given else ())
    differing = ((name, getattr(module.neuron, name), module.given["fractions"][place].numpy()) for place, name in places)
    values = {name: torch.tensor(over.quantile(below)) for name, over, below in differing if hasattr(over, "quantile")}
    return Spiking(module.neuron, recurrent=None if weight is None else InnerWeights(weight), values=values)


class GivenNetwork(nn.Module):
    """A network of given weights; modules are called as its nodes."""

    def __init__(self, network: Any):
        super().__init__()
        self.nodes, self.names = network.nodes, dict[int, str]()
        for number, (node, received, sent) in enumerate(network.nodes.sites()):
            if isinstance(node.operation, (Linear, Conv, Spike)):
                name = self.names[number] = node.name.replace(".", "_") + "_" * hasattr(self, node.name)
                self.add_module(
                    name, GivenNeurons(node) if isinstance(node.operation, Spike) else _weights(node, received[0], sent)
                )

    def forward(self, x: Tensor) -> Tensor:
        sent = [x]
        for number, node in enumerate(self.nodes[1:], 1):
            module = getattr(self, self.names[number]) if number in self.names else None
            sent.append(_sent(node.operation, module, *(sent[source] for source in node.inputs)))
        return sent[-1]


def _weights(node: Any, received: Any, sent: Any) -> nn.Module:
    """The module of a node's weights."""
    module = nn.Linear(received.size, sent.size)
    if isinstance(operation := node.operation, Conv):
        module = nn.Conv2d(received.shape[0], sent.shape[0], *operation.windows, groups=operation.groups)
    module.load_state_dict({name: torch.tensor(array) for name, array in node.given.items()})
    return module


def _sent(operation: Any, module: nn.Module | None, x: Tensor, *more: Tensor) -> Tensor:
    """The signal that an operation sends."""
    if isinstance(operation, Linear):
        return module(x.flatten(2))
    if isinstance(operation, Spike):
        return module(x)
    if isinstance(operation, Conv):
        return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    if isinstance(operation, Pool):
        windows = operation.windows(x.shape[-2:])
        return functional.avg_pool2d(x.flatten(0, 1), windows.size, windows.stride, windows.padding).unflatten(0, x.shape[:2])
    if isinstance(operation, Sum):
        return sum(f * each for f, each in zip(operation.factors, (x, *more), strict=True)) + operation.constant
    return torch.einsum("ts,bs...->bt...", response(operation, x.shape[1]).to(x), x) if isinstance(operation, Filter) else x
