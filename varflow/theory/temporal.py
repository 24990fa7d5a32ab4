"""Every layer in time at infinite width: the recursion from the drive to the last layer.

The state of a layer is the matrix ``M(t, t') = E[S_t S_t']``. It sets the currents of the next one (``currents``); a response
(``responses``) makes membranes and spikes of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from varflow._checks import DomainError
from varflow.model.drive_kinds import Given
from varflow.model.network import Network
from varflow.results import Profile
from varflow.theory.currents import exponential_filter, filtered, received
from varflow.theory.layers import layers
from varflow.theory.responses import LayerState, Response
from varflow.theory.stepping import driven_by

__all__ = ["LONGEST", "in_time"]

LONGEST = 100  # steps: the work grows with their square, and with a batch of inputs so does memory


def in_time(network: Network, response: Response) -> Profile:
    """Profile of a network of several steps; shapes (depth, steps), and (depth, steps, steps) for coincidences."""
    states = [_summary(state) for state in _states(network, response)]
    stacked = {name: _stack([summary[name] for summary in states], response.replicas) for name in states[0]}
    per_input = {name: stacked[name].mean(axis=0).swapaxes(0, 1) for name in ("variance", "firing_rate")}  # kinds first
    alive = (stacked["firing_rate"] > 0).mean(axis=0).swapaxes(0, 1)  # replicas can disagree on it
    mean = {name: values.mean(axis=2) if name != "coincidences" else values for name, values in stacked.items()}
    value = {name: values.mean(axis=0) for name, values in mean.items()}
    return Profile(
        network,
        value["variance"],
        per_input["variance"].std(axis=0),
        value["firing_rate"],
        per_input["firing_rate"].std(axis=0),
        alive.mean(axis=0),
        per_input=per_input | {"survival": alive} if len(alive) > 1 else {},
        silent_variance=(network.neuron.input_scale * network.bias_std) ** 2,
        potential_mean=value["potential_mean"],
        coincidences=value["coincidences"],
        error={name: _standard_error(values) for name, values in mean.items()} if response.replicas > 1 else {},
    )


def _stack(layers: list[np.ndarray], replicas: int) -> np.ndarray:
    """Layers behind the axis of replicas; where all replicas agree (given currents) a layer may hold one."""
    return np.stack([np.broadcast_to(values, (replicas, *values.shape[1:])) for values in layers], axis=1)


def _standard_error(replicas: np.ndarray) -> np.ndarray:
    return replicas.std(axis=0, ddof=1) / np.sqrt(len(replicas))


def _summary(state: LayerState) -> dict[str, np.ndarray]:
    """What a profile keeps of a layer: of a batch only the mean coincidences, for there would be too many."""
    names = ("variance", "potential_mean", "firing_rate")
    return {name: getattr(state, name) for name in names} | {"coincidences": state.coincidences.mean(axis=1)}


def _states(network: Network, response: Response) -> Iterator[LayerState]:
    neuron, steps = network.neuron, network.steps
    if steps > LONGEST:
        rule = f"must be at most {LONGEST} here; where activity is stationary its first {LONGEST} steps show the late ones too"
        raise DomainError("steps", steps, rule)
    synapse = exponential_filter(neuron.synaptic_decay, steps)
    if isinstance(network.drive, Given):
        state = driven_by(network.drive, neuron)
    else:
        covariance = neuron.input_scale**2 * network.drive.covariance(steps)[None]
        state = response(*filtered(synapse, np.zeros(covariance.shape[:-1]), covariance), 0)
    yield state
    for number, layer in enumerate(layers(network), start=1):
        mean, covariance = received(layer, state.firing_rate, state.coincidences, neuron.delay)
        state = response(*filtered(synapse, mean, covariance), number)
        yield state
