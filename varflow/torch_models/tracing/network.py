"""The network of a model that was read: without what theory does not know, and driven by the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from varflow._checks import DomainError
from varflow.model.drives import Drive, inputs
from varflow.model.graph import Graph, Node
from varflow.model.network import Network
from varflow.model.sources import Fallback, Measured, Unknown, numbers_of
from varflow.torch_models.tracing.read import ReadModel


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
