"""Every layer in time at infinite width: the recursion from the drive to the last layer.

The state of a layer is the matrix ``M(t, t') = E[S_t S_t']``. It gives the currents of the next layer (``currents``), and a
response (``responses``) gives that layer's membranes and spikes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from varflow._memory import room
from varflow._progress import Progress, Report, beyond, reporter
from varflow.model.drive_kinds import Given
from varflow.model.network import Network
from varflow.results import Profile
from varflow.results.ensemble import spread
from varflow.theory.in_time.currents import arriving, past_synapse, received
from varflow.theory.in_time.differences import differences
from varflow.theory.in_time.responses import LayerState, Response
from varflow.theory.in_time.stepping import driven_by
from varflow.theory.layers import layers
from varflow.theory.over_inputs import over_inputs

__all__ = ["in_time"]

PER_INPUT = ("variance", "potential_mean", "firing_rate")
AT_ONCE = 2**19  # inputs × steps² computed together, so that a batch does not fill the memory


def in_time(network: Network, response: Response, progress: Progress = False) -> Profile:
    """Profile of a network of several steps; shapes (depth, steps), and (depth, steps, steps) for second moments."""
    kinds, size = network.drive.kinds, max(1, AT_ONCE // network.steps**2)
    kept = 8 * response.replicas * network.depth * network.steps * (network.steps + len(PER_INPUT) * kinds)
    room("depth", network.depth, kept, "second moments and rates of every layer: take fewer layers, steps, inputs or scrambles")
    starts = range(0, kinds, size)
    with reporter(progress, len(starts) * network.depth, "layers") as report:
        blocks = [
            _layers(network, response, slice(first, first + size), beyond(report, block * network.depth))
            for block, first in enumerate(starts)
        ]
    stacked = {name: np.concatenate([block[name] for block in blocks], axis=2) for name in PER_INPUT}
    first, *others = (block["coincidences"] for block in blocks)
    moments = [np.asarray(sum((block[l] for block in others), start=first[l])) / kinds for l in range(network.depth)]
    point_fraction = np.max([block["point_fraction"] for block in blocks], axis=(0, 1))
    per_input = {name: stacked[name].mean(axis=0).swapaxes(0, 1) for name in ("variance", "firing_rate")}  # inputs first
    alive = (stacked["firing_rate"] > 0).mean(axis=0).swapaxes(0, 1)  # the fraction of replicas alive
    mean = {name: values.mean(axis=2) for name, values in stacked.items()}
    value = {name: values.mean(axis=0) for name, values in mean.items()}
    value["coincidences"] = np.stack([layer.mean(axis=0) for layer in moments])
    error = _errors(mean, moments, value, point_fraction) if response.replicas > 1 else {}
    potential, second = value["potential_mean"], value["coincidences"]
    return over_inputs(network, per_input, alive, potential_mean=potential, coincidences=second, error=error)


def _errors(
    replicas: dict[str, np.ndarray], moments: list[np.ndarray], value: dict[str, np.ndarray], point_fraction: np.ndarray
) -> dict[str, np.ndarray]:
    """Standard errors over replicas, at least that of one point, which stands for a ``point_fraction`` of the neurons."""
    potential = np.sqrt(value["variance"] + value["potential_mean"] ** 2)
    spikes = np.sqrt(np.maximum(np.diagonal(value["coincidences"], axis1=1, axis2=2), 1.0))
    unit = {"variance": potential**2, "potential_mean": potential, "firing_rate": spikes}
    whole = {name: np.hypot(spread(values), point_fraction[:, None] * unit[name]) for name, values in replicas.items()}
    number = len(replicas["variance"])
    pairs = (at * np.multiply.outer(one, one) for at, one in zip(point_fraction, spikes, strict=True))
    scatter = (spread(np.broadcast_to(M, (number, *M.shape[1:]))) for M in moments)  # one that stands for all scatters by 0
    whole["coincidences"] = np.stack([np.hypot(*both) for both in zip(scatter, pairs, strict=True)])
    return {name: error / np.sqrt(number) for name, error in whole.items()}


def _layers(network: Network, response: Response, kinds: slice, report: Report) -> dict[str, Any]:
    """Quantities of a profile, axes (replicas, depth, inputs, steps); second moments are summed over inputs, layer by layer."""
    kept: dict[str, list[np.ndarray]] = {name: [] for name in (*PER_INPUT, "coincidences", "point_fraction")}
    for number, state in enumerate(_states(network, response, kinds), start=1):
        for name in PER_INPUT:
            values = getattr(state, name)  # replicas that are still equal are stored once and broadcast here
            kept[name].append(np.broadcast_to(values, (response.replicas, *values.shape[1:])))
        kept["coincidences"].append(state.coincidences.sum(axis=1))
        kept["point_fraction"].append(np.full(1, state.point_fraction))
        report(number)
    stacked: dict[str, Any] = {name: np.stack(values, axis=1) for name, values in kept.items() if name in PER_INPUT}
    return stacked | {"coincidences": kept["coincidences"], "point_fraction": np.stack(kept["point_fraction"], axis=1)}


def _states(network: Network, response: Response, kinds: slice) -> Iterator[LayerState]:
    neuron, drive = network.neuron, network.drive
    if isinstance(drive, Given):
        state = driven_by(drive.of_rows(kinds), neuron)
    else:
        covariance = neuron.input_scale**2 * drive.of_rows(kinds).covariance(network.steps)[None]
        mean = np.zeros(covariance.shape[:-1])
        state = response(*past_synapse(neuron, mean, covariance), 0, differences(mean, covariance))
    yield state
    for number, layer in enumerate(layers(network), start=1):
        mean, covariance = received(layer, state.firing_rate, state.coincidences, neuron.delay)
        state = response(*past_synapse(neuron, mean, covariance), number, arriving(layer, state, neuron.delay))
        yield state
