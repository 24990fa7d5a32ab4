"""A network whose weights are given as a torch module, which an audit runs: all steps at once, the first axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from varflow._checks import DomainError
from varflow.model.drives import Given, Inputs
from varflow.model.inner_weights import InnerWeights
from varflow.model.layers import Conv, Filter, Linear, Pool, Spike, Sum
from varflow.model.library_neurons import Spiking, reads
from varflow.model.network import Network
from varflow.model.nir_network import read_nir
from varflow.simulation.neurons import Cells, respond
from varflow.simulation.operations import response
from varflow.simulation.weighted import given_recurrence


def with_module(model: Any, inputs: Any, steps: int | None) -> tuple[Any, Any, int | None]:
    """Module, inputs and steps of a NIR graph or of its network; any other model as it is."""
    if isinstance(model, (str, Path)) or type(model).__name__ == "NIRGraph":
        model, inputs, steps = read_nir(model, inputs, steps=steps), None, None
    if not isinstance(model, Network):
        return model, inputs, steps
    nodes, drive = model.nodes or (), model.drive
    if (
        not any(node.given for node in nodes)
        or not isinstance(drive, (Given, Inputs))
        or inputs is not None
        or steps is not None
    ):
        rule = "must be one of vf.read_nir, which is audited with the inputs and steps that it was read with"
        raise DomainError("model", model, rule)
    x = torch.tensor(drive.currents if isinstance(drive, Given) else drive.frames(model.steps), dtype=torch.float32)
    return GivenNetwork(nodes), x.swapaxes(0, 1).unflatten(2, next(nodes.shapes()).shape), None


class GivenNeurons(nn.Module):
    """A layer of neurons, with its recurrent weights."""

    def __init__(self, node: Any):
        super().__init__()
        self.neuron, self.given = node.operation.neuron, {name: torch.tensor(array) for name, array in node.given.items()}

    def forward(self, currents: Tensor) -> Tensor:
        below, weight = self.given.get("fractions"), self.given.get("weight")
        cells = Cells.of([self.neuron], currents.device, fractions=None if below is None else below[:, None])
        recurrence = None if weight is None else given_recurrence(weight, currents.device)
        each = currents.double().flatten(2).swapaxes(0, 1)[:, None].clone()
        spikes = respond(each, cells, torch.float64, recurrence=recurrence)[1][:, 0]
        return spikes.swapaxes(0, 1).reshape(currents.shape).to(currents.dtype)


@reads(GivenNeurons, time_axis=0)
def _read(module: GivenNeurons) -> Spiking:
    values = {name: module.given[name] for name in ("threshold", "decay") if name in module.given}
    return Spiking(
        module.neuron, recurrent=InnerWeights(w) if (w := module.given.get("weight")) is not None else None, values=values
    )


class GivenNetwork(nn.Module):
    """A network; its modules are named after its nodes."""

    def __init__(self, graph: Any):
        super().__init__()
        self.nodes = graph
        for node, received, sent in graph.sites():
            if isinstance(node.operation, Spike):
                self.add_module(self.name(node), GivenNeurons(node))
            elif node.given:
                self.add_module(self.name(node), _weights(node, received[0].shape, sent.shape))

    def name(self, node: Any) -> str:
        return f"{node.name.replace('.', '_')}{'_' * hasattr(nn.Module, node.name)}"

    def forward(self, x: Tensor) -> Tensor:
        sent = [x]
        for node in self.nodes[1:]:
            module = self._modules.get(self.name(node))
            sent.append(_sent(node.operation, module, *(sent[source] for source in node.inputs)))
        return sent[-1]


def _weights(node: Any, received: tuple[int, ...], sent: tuple[int, ...]) -> nn.Module:
    """The module of a node's weights."""
    operation = node.operation
    if isinstance(operation, Linear):
        module: nn.Module = nn.Linear(node.given["weight"].shape[1], *sent)
    else:
        module = nn.Conv2d(received[0], sent[0], *operation.windows, operation.groups)
    module.load_state_dict({name: torch.tensor(array) for name, array in node.given.items()})
    return module


def _sent(operation: Any, module: Any, x: Tensor, *more: Tensor) -> Tensor:
    """The signal that an operation sends."""
    if isinstance(operation, (Linear, Spike)):
        return module(x.flatten(2) if isinstance(operation, Linear) else x)
    if isinstance(operation, (Conv, Pool)):
        if isinstance(operation, Pool):
            windows = operation.windows(x.shape[-2:])
            module = nn.AvgPool2d(windows.size, windows.stride, windows.padding)
        return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    if isinstance(operation, Sum):
        total = sum(factor * each for factor, each in zip(operation.factors, (x, *more), strict=True))
        return total + operation.constant
    return torch.einsum("ts,s...->t...", response(operation, len(x)).to(x), x) if isinstance(operation, Filter) else x
