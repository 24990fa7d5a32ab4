"""A network of layers at infinite width: the walk of a signal from the drive through every layer, and its profile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from varflow._checks import DomainError
from varflow._progress import Progress, reporter
from varflow.model.drive_kinds import Drive, Given, Inputs
from varflow.model.drive_kinds import Spikes as Trains
from varflow.model.layers import Spike
from varflow.model.network import Network
from varflow.model.signals import Layer, all_layers, first_signal
from varflow.results import Profile
from varflow.results.ensemble import spread
from varflow.theory.flow.neurons import Neurons, replicated
from varflow.theory.flow.signals import Currents, Grid, Spikes
from varflow.theory.flow.steps import Signal, Walk, through
from varflow.theory.in_time.responses import LayerState
from varflow.theory.in_time.stepping import driven_by
from varflow.theory.over_inputs import over_inputs

__all__ = ["layered"]


def layered(network: Network, neurons: Neurons, progress: Progress = False) -> Profile:
    """The profile of a network made of layers."""
    layers = network.layers or ()
    together = any(layer.over_batch for layer in all_layers(layers))
    exchangeable = together and network.drive.kinds == 1 and not isinstance(network.drive, Inputs)
    with reporter(progress, network.depth, "layers") as report:
        walk = Walk(neurons, network.width if isinstance(network.width, int) else 0, exchangeable, report)
        if isinstance(network.drive, Given):
            layers, signal = _given(network, layers, together, walk)
        else:
            signal = _start(network, together, exchangeable)
        through(layers, signal, walk)
    return _profile(network, walk)


def _given(network: Network, layers: Sequence[Layer], together: bool, walk: Walk) -> tuple[tuple[Layer, ...], Signal]:
    """The layers after the first, which is stepped with the given currents, and its spikes."""
    first, *rest = layers
    if not isinstance(first, Spike) or first.recurrent or together or first.neuron.delay:
        rule = "must be a Spike without recurrent weights or delay, and no BatchNorm may follow, for a drive of given currents"
        raise DomainError("layers", first, rule)
    assert isinstance(network.drive, Given)
    state, grid = driven_by(network.drive, first.neuron), Grid(1, 1, 1, network.steps)
    walk.passed.append((state, grid))
    return tuple(rest), Spikes(state.firing_rate, state.coincidences, grid, int(network.widths[0]))


def _start(network: Network, together: bool, exchangeable: bool) -> Signal:
    """What the drive sends to the first layer; inputs in one group if a batch is normalised, else in groups of one."""
    drive, steps = network.drive, network.steps
    layers = network.layers or ()
    width = network.width if isinstance(network.width, int) else None
    first = first_signal(drive, layers, width, steps)
    channels, height, columns = first.shape if len(first.shape) == 3 else (first.size, 1, 1)
    grid = Grid(2 if exchangeable else drive.kinds if together else 1, height, columns, steps)
    if first.kind == "currents":
        covariance = _covariance_of_currents(drive, steps, together, exchangeable)
        covariance = _at_every_position(covariance, grid)
        return Currents(np.zeros(covariance.shape[:-1]), covariance, grid, channels)
    mean, moments = _numbers(drive, grid, channels, together, exchangeable)
    return Spikes(mean, moments, grid, channels)


def _covariance_of_currents(drive: Drive, steps: int, together: bool, exchangeable: bool) -> np.ndarray:
    """Shape (1, groups, inputs × steps, inputs × steps)."""
    own = drive.covariance(steps)
    if not together:
        return own[None]
    if isinstance(drive, Inputs):
        x = drive.input_gain * drive.frames(steps).reshape(-1, drive.fan_in)
        return (x @ x.T / drive.fan_in)[None, None]
    between = np.zeros((steps, steps))
    if isinstance(drive, Trains):
        between = np.full((steps, steps), drive.input_gain**2 * np.mean(drive.rates[0] ** 2))
    if not exchangeable:
        raise DomainError("drive", drive, "with several kinds of input cannot feed a BatchNorm; give one, or inputs")
    return np.block([[own[0], between], [between, own[0]]])[None, None]


def _at_every_position(covariance: np.ndarray, grid: Grid) -> np.ndarray:
    """The covariance of independent currents at every position."""
    if grid.positions == 1:
        return covariance
    steps, eye = grid.steps, np.eye(grid.positions)
    blocks = covariance.reshape(*covariance.shape[:2], grid.inputs, steps, grid.inputs, steps)
    whole = np.einsum("rgasbt,xy->rgaxsbyt", blocks, eye)
    return whole.reshape(*covariance.shape[:2], grid.size, grid.size)


def _numbers(drive: Drive, grid: Grid, channels: int, together: bool, exchangeable: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and second moments of the drive's numbers over the inputs of a neuron (the channels of a map)."""
    steps = grid.steps
    if isinstance(drive, Trains):
        if together and not exchangeable:
            raise DomainError("drive", drive, "with several kinds of input cannot feed a BatchNorm; give one, or inputs")
        rates, square = drive.rates.mean(axis=1), np.mean(drive.rates**2, axis=1)
        own = square[:, None, None] + np.eye(steps) * (drive.second_moments.mean(axis=1) - square)[:, None, None]
        if exchangeable:
            between = np.full((steps, steps), square[0])
            return np.full((1, 1, 2 * steps), rates[0]), np.block([[own[0], between], [between, own[0]]])[None, None]
        return np.repeat(rates[:, None], steps, axis=1)[None], own[None]
    assert isinstance(drive, Inputs)
    frames = drive.frames(steps).reshape(drive.kinds, steps, channels, grid.positions)
    x = frames.transpose(0, 3, 1, 2)  # (inputs, positions, steps, channels)
    x = x.reshape(1, -1, channels) if together else x.reshape(drive.kinds, -1, channels)
    return x.mean(axis=-1)[None], (x @ x.swapaxes(-1, -2) / channels)[None]


def _profile(network: Network, walk: Walk) -> Profile:
    """Averages over positions and inputs; axes of what is gathered: (depth, replicas, inputs, steps)."""
    replicas = max(len(state.firing_rate) for state, _ in walk.passed)
    layers = [_of_neurons(state, grid, walk.exchangeable) for state, grid in walk.passed]
    gathered = {
        name: np.stack([np.broadcast_to(x := replicated(layer[name], replicas), (replicas, *x.shape[1:])) for layer in layers])
        for name in layers[0]
    }
    several = network.steps > 1
    if not several:
        gathered = {name: values[..., 0] for name, values in gathered.items() if name != "coincidences"}
    per_input = {name: gathered[name].mean(axis=1).swapaxes(0, 1) for name in ("variance", "firing_rate")}
    alive = (gathered["firing_rate"] > 0).mean(axis=1).swapaxes(0, 1)
    in_time = {name: gathered[name].mean(axis=(1, 2)) for name in ("potential_mean", "coincidences") if several}
    error = {}
    if replicas > 1:
        point = np.array([state.point_fraction for state, _ in walk.passed])
        error = {name: _error(values.mean(axis=2), point) for name, values in gathered.items()}
    return over_inputs(network, per_input, alive, **in_time, error=error)


def _of_neurons(state: LayerState, grid: Grid, exchangeable: bool) -> dict[str, np.ndarray]:
    """Moments over all neurons of a layer, axes (replicas, inputs, steps); of one input if all are alike."""
    folded = (grid.inputs, grid.positions, grid.steps)
    kept = 1 if exchangeable else grid.inputs

    def by_input(values: np.ndarray) -> np.ndarray:
        """Averaged over positions."""
        whole = values.reshape(*values.shape[:2], *folded).mean(axis=3)[:, :, :kept]
        return whole.reshape(len(values), -1, grid.steps)

    potential = by_input(state.potential_mean)
    square = by_input(state.variance + state.potential_mean**2)
    M = state.coincidences.reshape(*state.coincidences.shape[:2], *folded, *folded)
    own = np.einsum("rgaxsaxt->rgast", M)[:, :, :kept] / grid.positions
    return {
        "variance": square - potential**2,
        "potential_mean": potential,
        "firing_rate": by_input(state.firing_rate),
        "coincidences": own.reshape(len(own), -1, grid.steps, grid.steps),
    }


def _error(replicas: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Standard error over replicas (axis 1), at least that of one point."""
    scatter = spread(replicas.swapaxes(0, 1))
    unit = np.abs(replicas).mean(axis=1)
    return np.hypot(scatter, (unit.T * point).T) / np.sqrt(replicas.shape[1])
