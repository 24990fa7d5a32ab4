"""A network at infinite width: the walk of a signal from the drive through every layer, and its profile."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow._memory import room
from varflow._progress import Progress, beyond, reporter
from varflow.model.chains import layers_of
from varflow.model.drive_kinds import Drive, Given, Inputs
from varflow.model.drive_kinds import Spikes as Trains
from varflow.model.layers import Conv, Linear, Spike
from varflow.model.network import Network
from varflow.model.signals import Layer, all_layers, first_signal
from varflow.model.weighted_layers import Weighted
from varflow.results import Profile
from varflow.results.ensemble import spread
from varflow.theory.maps.patches import of_numbers
from varflow.theory.maps.variance_classes import JOINT
from varflow.theory.operations.forward import Passage, Signal, Walk, through, weighted
from varflow.theory.operations.neurons import Neurons
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.stepping import driven_by
from varflow.theory.signals.moments import Currents, Grid, Spikes
from varflow.theory.signals.pair_moments import FAR, Between, Offset
from varflow.theory.signals.replicas import aligned, standard_error

__all__ = ["apart", "driven_layer", "exchangeable", "forward", "in_blocks", "next_layer", "start", "walk_of", "walked"]

ON_MAPS = 2**10  # points at each position of a large map
AT_ONCE = 2**19  # inputs × steps² computed together, so that a batch does not fill the memory
PER_INPUT = ("variance", "potential_mean", "firing_rate")


def driven_layer(spike: Spike, covariance: np.ndarray, neurons: Neurons) -> LayerState:
    """Layer 1 under Gaussian currents of mean 0 and this covariance (replicas, groups, steps, steps)."""
    grid = Grid(1, 1, 1, covariance.shape[-1])
    return neurons.fire(spike, Currents(np.zeros(covariance.shape[:-1]), covariance, grid, 1), 0)[0]


def next_layer(
    linear: Linear, spike: Spike, below: LayerState, neurons: Neurons, number: int, gain: float | np.ndarray = 1.0
) -> LayerState:
    """Layer ``number`` of a chain, with weights ``gain`` times as strong as ``linear``'s, in each replica and group."""
    grid = Grid(1, 1, 1, below.firing_rate.shape[-1])
    fan_in = linear.width or 1
    spikes = Spikes(below.firing_rate, below.coincidences, grid, fan_in, changes=below.changes).later(spike.neuron.delay)
    return neurons.fire(spike, weighted(linear, spikes, Walk(neurons, fan_in)).scaled(gain), number)[0]


def walked(network: Network, neurons: Neurons, progress: Progress = False) -> Profile:
    """The profile of a network; independent inputs in blocks."""
    kinds = network.drive.kinds
    replicas = max(neurons.replicas(neuron, network.steps) for neuron in network.neurons)
    kept = 8 * replicas * network.depth * network.steps * (network.steps + len(PER_INPUT) * kinds)
    room("depth", network.depth, kept, "second moments and rates of every layer: take fewer layers, steps, inputs or scrambles")
    drives = in_blocks(network)
    with reporter(progress, len(drives) * network.depth, "layers") as report:
        blocks = []
        for n, drive in enumerate(drives):
            kept_of = partial(_of_neurons, exchangeable=exchangeable(network, drive))
            options = {"apart": apart(network), "report": beyond(report, n * network.depth), "kept": kept_of}
            walk = walk_of(network, drive, neurons, **options)
            forward(network, drive, walk)
            blocks.append(walk.leaving)
    return _profile(network, [_joined(parts, kinds) for parts in zip(*blocks, strict=True)], replicas)


def in_blocks(network: Network) -> list[Drive]:
    """The drive, inputs that are independent of each other in blocks that fit into the memory."""
    kinds, positions = network.drive.kinds, max(int(np.prod(shape[1:])) for shape in network.shapes)
    size = kinds if _together(network) else max(1, AT_ONCE // (positions * network.steps) ** 2)
    return [network.drive.of_rows(slice(first, first + size)) for first in range(0, kinds, size)]


def _together(network: Network) -> bool:
    """Whether a batch is normalised, so that its inputs depend on each other."""
    return any(layer.over_batch for layer in all_layers(layers_of(network)))


def exchangeable(network: Network, drive: Drive) -> bool:
    """Whether a batch of infinitely many inputs is normalised, for which two stand."""
    return _together(network) and drive.kinds == 1 and not isinstance(drive, Inputs)


def walk_of(network: Network, drive: Drive, neurons: Neurons, **options: Any) -> Walk:
    """A walk through a network, from its first layer; with fewer points at each position where they are ``apart``."""
    width = network.width if isinstance(network.width, int) else 0
    neurons = replace(neurons, points=min(neurons.points, ON_MAPS)) if options.get("apart") else neurons
    return Walk(neurons, width, exchangeable(network, drive), **options)


def apart(network: Network) -> bool:
    """Whether positions of its maps are so many that each is followed on its own, which a BatchNorm over the batch prevents."""
    return not _together(network) and network.steps * max(math.prod(shape[1:]) for shape in network.shapes) > JOINT


def forward(network: Network, drive: Drive, walk: Walk) -> Signal:
    """What the network makes of a drive."""
    layers, together = layers_of(network), _together(network)
    if isinstance(drive, Given):
        layers, signal = _given(drive, layers, together, walk, int(network.widths[0]))
    else:
        signal = start(network, layers, drive, together, walk.exchangeable, walk.apart)
    return through(layers, signal, walk)


def _given(drive: Given, layers: Sequence[Layer], together: bool, walk: Walk, width: int) -> tuple[tuple[Layer, ...], Signal]:
    """The layers after the first, which is stepped with the given currents, and its spikes."""
    first, *rest = layers
    if not isinstance(first, Spike) or first.recurrent or together:
        rule = "must be a Spike without recurrent weights, and no BatchNorm may follow, for a drive of given currents"
        raise DomainError("layers", first, rule)
    state = driven_by(drive, first.neuron)
    grid = Grid(1, 1, 1, state.firing_rate.shape[-1])
    walk.keep(state, grid)
    spikes = Spikes(state.firing_rate, state.coincidences, grid, width).later(first.neuron.delay)
    if walk.passages is not None:
        walk.passages.append(Passage(first, drive, spikes))
    return tuple(rest), spikes


def start(
    network: Network, layers: Sequence[Layer], drive: Drive, together: bool, exchangeable: bool, apart: bool = False
) -> Signal:
    """What the drive, some of the network's inputs, sends to the first layer: in one group if ``together``, else one each."""
    steps = network.steps
    width = None if network.width is None else int(network.widths[0]) if network.layers is None else network.width
    first = first_signal(network.drive, layers[:1], width, steps)  # pyright: ignore[reportArgumentType]
    channels, height, columns = first.shape if len(first.shape) == 3 else (first.size, 1, 1)
    grid = Grid(2 if exchangeable else drive.kinds if together else 1, height, columns, steps, apart)
    if first.kind == "currents":
        covariance = _covariance_of_currents(drive, steps, together, exchangeable)
        pairs = Between(grid.shape, partial(_independent, covariance, grid)) if apart else None
        covariance = _at_every_position(covariance, grid)
        return Currents(np.zeros(covariance.shape[:-1]), covariance, grid, channels, pairs=pairs)
    if isinstance(drive, Inputs):
        x = drive.frames(steps).reshape(drive.kinds, steps, channels, grid.positions)
        return _of_fan_in(layers[0], of_numbers(x.transpose(0, 3, 1, 2), grid))
    return _of_fan_in(layers[0], Spikes(*_of_trains(drive, steps, together, exchangeable), grid, channels))


def _of_fan_in(first: Layer, numbers: Spikes) -> Spikes:
    """Numbers of the drive as weights of this fan-in receive them: ``C = g² n/(n - 1) (M - e eᵀ)`` for standardised rows."""
    if not isinstance(first, Weighted) or first.rows != "standardised":
        return numbers
    n = numbers.channels // first.groups * math.prod(first.windows.size) if isinstance(first, Conv) else numbers.neurons
    return numbers.scaled((n / (n - 1)) ** 0.5)


def _independent(covariance: np.ndarray, grid: Grid, offset: Offset) -> np.ndarray:
    """Covariances of different positions, of independent currents."""
    groups = covariance.shape[1] * (1 if offset is FAR else grid.positions)
    return np.zeros((1, groups, grid.steps, grid.steps))


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
    if grid.apart:
        return np.repeat(covariance, grid.positions, axis=1)
    steps, eye = grid.steps, np.eye(grid.positions)
    blocks = covariance.reshape(*covariance.shape[:2], grid.inputs, steps, grid.inputs, steps)
    whole = np.einsum("rgasbt,xy->rgaxsbyt", blocks, eye)
    return whole.reshape(*covariance.shape[:2], grid.size, grid.size)


def _of_trains(drive: Drive, steps: int, together: bool, exchangeable: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and second moments of the drive's spikes over the inputs of a neuron."""
    assert isinstance(drive, Trains)
    if together and not exchangeable:
        raise DomainError("drive", drive, "with several kinds of input cannot feed a BatchNorm; give one, or inputs")
    rates, square = drive.rates.mean(axis=1), np.mean(drive.rates**2, axis=1)
    own = square[:, None, None] + np.eye(steps) * (drive.second_moments.mean(axis=1) - square)[:, None, None]
    if exchangeable:
        between = np.full((steps, steps), square[0])
        return np.full((1, 1, 2 * steps), rates[0]), np.block([[own[0], between], [between, own[0]]])[None, None]
    return np.repeat(rates[:, None], steps, axis=1)[None], own[None]


def _of_neurons(state: LayerState, grid: Grid, *, exchangeable: bool) -> dict[str, Any]:
    """Moments over all neurons of a layer, axes (replicas, inputs, steps); second moments of spikes summed over inputs.

    If inputs are exchangeable, of one of them.
    """
    folded = (grid.inputs, grid.positions, grid.steps)
    kept = 1 if exchangeable else grid.inputs

    def by_input(values: np.ndarray, average: Callable[..., np.ndarray] = np.mean) -> np.ndarray:
        """Averaged over positions."""
        whole = values.reshape(len(values), -1, *folded)
        whole = average(whole, axis=3) if grid.positions > 1 else whole[:, :, :, 0]
        return whole[:, :, :kept].reshape(len(values), -1, grid.steps)

    M, rate, of_map = state.coincidences, state.firing_rate, {}
    if grid.apart:
        M = M.reshape(len(M), -1, grid.positions, grid.steps, grid.steps)
        if state.pairs is not None:
            of_map = _variances_of_map(M, state.pairs(FAR), rate.reshape(M.shape[:-1]))
        M = M.mean(axis=2)
    elif grid.size > grid.steps:
        whole = M.reshape(*M.shape[:2], *folded, *folded)
        M = np.einsum("rgaxsaxt->rgast", whole)[:, :, :kept] / grid.positions
        if grid.positions > 1:
            n = grid.positions
            own, all_pairs = np.einsum("rgaxsaxt->rgaxst", whole), np.einsum("rgaxsayt->rgast", whole)
            far = (all_pairs - own.sum(axis=3)) / (n * (n - 1))
            of_map = _variances_of_map(own, far, rate.reshape(own.shape[:-1]))
    return of_map | {
        "variance": by_input(state.variance) + (by_input(state.potential_mean, np.var) if grid.positions > 1 else 0.0),
        "potential_mean": by_input(state.potential_mean),
        "firing_rate": by_input(state.firing_rate),
        "coincidences": M.reshape(len(M), -1, grid.steps, grid.steps).sum(axis=1),
        "point_fraction": state.point_fraction,
    }


def _variances_of_map(own: np.ndarray, far: np.ndarray, rate: np.ndarray) -> dict[str, np.ndarray]:
    """Variance of a channel's spikes, averaged over positions, and of their average over positions; summed over inputs.

    From second moments at each position (…, positions, steps, steps) and their mean over pairs of different ones.
    """
    own, far = (np.diagonal(M, axis1=-2, axis2=-1) for M in (own, far))
    n, mean = own.shape[-2], own.mean(axis=-2)
    alone, average = mean - (rate**2).mean(axis=-2), (mean + (n - 1) * far) / n - rate.mean(axis=-2) ** 2
    return {name: values.reshape(-1, own.shape[-1]).sum(axis=0) for name, values in (("alone", alone), ("average", average))}


def _effective_widths(network: Network, layers: list[dict[str, Any]]) -> np.ndarray | None:
    """See ``Profile.effective_width``; shape (depth, steps)."""
    if not any("alone" in layer for layer in layers):
        return None
    widths = []
    for layer, shape in zip(layers, network.shapes, strict=True):
        alone, average = (layer.get(name, np.ones(network.steps)) for name in ("alone", "average"))
        widths.append(shape[0] * np.divide(alone, average, out=np.full(network.steps, np.nan), where=average > 0))
    return np.array(widths)


def _joined(blocks: Sequence[dict[str, Any]], kinds: int) -> dict[str, Any]:
    """One layer, over all inputs."""
    if len(blocks) == 1:
        return blocks[0] | {"coincidences": blocks[0]["coincidences"] / kinds}
    joined: dict[str, Any] = {name: np.concatenate(aligned(*(block[name] for block in blocks)), axis=1) for name in PER_INPUT}
    joined["coincidences"] = np.asarray(sum(block["coincidences"] for block in blocks)) / kinds
    joined |= {name: sum(block[name] for block in blocks) for name in ("alone", "average") if name in blocks[0]}
    return joined | {"point_fraction": max(block["point_fraction"] for block in blocks)}


def _profile(network: Network, layers: list[dict[str, Any]], replicas: int) -> Profile:
    """Averages over inputs and replicas; axes of what is gathered: (replicas, depth, inputs, steps)."""
    replicas = max(replicas, *(len(layer["firing_rate"]) for layer in layers))
    gathered = {name: np.stack(aligned(*(each[name] for each in layers), least=replicas), axis=1) for name in PER_INPUT}
    several = network.steps > 1
    point_fraction = np.array([layer["point_fraction"] for layer in layers])
    mean = {name: values.mean(axis=2) for name, values in gathered.items()}
    value = {name: values.mean(axis=0) for name, values in mean.items()}
    moments = [layer["coincidences"] for layer in layers]
    value["coincidences"] = np.stack([M.mean(axis=0) for M in moments])
    error = _errors(mean, moments, value, point_fraction) if replicas > 1 or point_fraction.any() else {}
    per_input = {name: gathered[name].mean(axis=0).swapaxes(0, 1) for name in ("variance", "firing_rate")}  # inputs first
    alive = (gathered["firing_rate"] > 0).mean(axis=0).swapaxes(0, 1)  # the fraction of replicas alive
    in_time = {name: value[name] for name in ("potential_mean", "coincidences") if several}
    effective = _effective_widths(network, layers)
    if effective is not None:
        in_time["effective_width"] = effective if several else effective[:, 0]
    if not several:
        per_input, alive = {name: values[..., 0] for name, values in per_input.items()}, alive[..., 0]
        error = {name: values[..., 0] for name, values in error.items() if name != "coincidences"}
    variance, rate = per_input["variance"], per_input["firing_rate"]
    return Profile(
        network,
        variance.mean(axis=0),
        spread(variance, ddof=0),
        rate.mean(axis=0),
        spread(rate, ddof=0),
        alive.mean(axis=0),
        per_input=per_input | {"survival": alive} if len(alive) > 1 else {},
        silent_variance=np.nan if network.layers else (network.neuron.input_scale * network.bias_std) ** 2,
        error=error,
        **in_time,
    )


def _errors(
    replicas: dict[str, np.ndarray], moments: list[np.ndarray], value: dict[str, np.ndarray], point_fraction: np.ndarray
) -> dict[str, np.ndarray]:
    """Standard errors over replicas, at least that of one point, which stands for a ``point_fraction`` of the neurons."""
    potential = np.sqrt(value["variance"] + value["potential_mean"] ** 2)
    spikes = np.sqrt(np.maximum(np.diagonal(value["coincidences"], axis1=1, axis2=2), 1.0))
    unit = {"variance": potential**2, "potential_mean": potential, "firing_rate": spikes}
    whole = {name: standard_error(values, point_fraction[:, None] * unit[name]) for name, values in replicas.items()}
    M = np.stack(aligned(*moments, least=len(replicas["variance"])), axis=1)
    pairs = point_fraction[:, None, None] * spikes[:, :, None] * spikes[:, None, :]
    return whole | {"coincidences": standard_error(M, pairs)}
