r"""Second moments of the spikes of many inputs, in every layer of neurons at infinite width.

.. math:: M(i, j) = E[S_i S_j], \qquad i, j \in (\text{input}, \text{step}), \qquad C = g^2 M + \sigma_b^2

Each pair of inputs closes, so that a batch too large for one index is walked two parts at a time; a BatchNorm over the batch
needs all of it at once. On maps, averages over positions.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from varflow._progress import Progress, Report, beyond, reporter
from varflow.model.build import graph_of
from varflow.model.network import Network
from varflow.theory.operations.spike import LONGEST
from varflow.theory.operations.visit import Effort
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.index import Grid, standard_error
from varflow.theory.walks.signals import Blocks, signals_walk

IN_TIME = 512  # inputs × positions × steps walked together without reset: beyond, filtering costs more than the orthants


def second_moments(network: Network, responses: Responses, progress: Progress = False) -> tuple[np.ndarray, np.ndarray]:
    """``M`` of every layer of neurons and its numerical standard error, shape (depth, inputs × steps, inputs × steps)."""
    inputs, steps = network.drive.n_inputs, network.steps
    parts = _parts(network, responses)
    size = inputs * steps
    moments, error = (np.empty((network.depth, size, size)) for _ in range(2))
    walks = list(combinations(parts, 2)) if len(parts) > 1 else [(parts[0],)]
    with reporter(progress, len(walks) * network.depth, "layers") as report:
        for number, some in enumerate(walks):
            together = np.concatenate(some)
            index = (together[:, None] * steps + np.arange(steps)).ravel()
            of_layers = _walked(network, together, responses, beyond(report, number * network.depth))
            for layer, (M, M_error) in enumerate(of_layers):
                moments[layer][np.ix_(index, index)], error[layer][np.ix_(index, index)] = M, M_error
    for array in (moments, error):
        array.flags.writeable = False  # results then hold views, not copies
    return moments, error


def _parts(network: Network, responses: Responses) -> list[np.ndarray]:
    """The inputs in parts, any two of which are walked together."""
    inputs, normalised = network.drive.n_inputs, graph_of(network).over_batch
    entries = network.steps * max(int(np.prod(shape[1:])) for shape in network.shapes)
    sampled = any(responses.samples(neuron, network.steps) for neuron in network.neurons)
    largest = LONGEST if sampled or network.steps == 1 else IN_TIME
    if normalised or inputs * entries <= largest:
        return [np.arange(inputs)]
    return np.array_split(np.arange(inputs), -(-inputs // max(largest // (2 * entries), 1)))


def _walked(network: Network, inputs: np.ndarray, responses: Responses, report: Report) -> list[tuple[np.ndarray, np.ndarray]]:
    blocks = Blocks.of(network, Effort(responses), inputs)
    ((start, batching),) = blocks
    walk = blocks.walk(batching, report, record=_averaged)
    signals_walk(blocks.graph, start, walk)
    return walk.records


def _averaged(state: LayerState, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Mean over replicas, and its standard error, at least that of one sampling point."""
    M = state.second_moments[:, 0]
    if grid.positions > 1:
        folded = (grid.inputs, grid.positions, grid.steps)
        M = np.einsum("raxsbxt->rasbt", M.reshape(-1, *folded, *folded)) / grid.positions
        M = M.reshape(len(M), *[grid.inputs * grid.steps] * 2)
    mean = M.mean(axis=0)
    root = np.sqrt(np.maximum(np.diagonal(mean), 1.0))
    return mean, standard_error(M, state.point_fraction * np.outer(root, root))
