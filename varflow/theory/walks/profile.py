"""The profile of a network at infinite width, gathered from the layers that walks over blocks of inputs have passed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from varflow._memory import room
from varflow._progress import Progress, beyond, reporter
from varflow.model.network import Network
from varflow.results import Profile
from varflow.results.ensemble import spread
from varflow.theory.operations.visit import Effort, Walk
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.signals.pair_moments import ALL_PAIRS
from varflow.theory.signals.replicas import aligned, standard_error
from varflow.theory.signals.windows import Grid
from varflow.theory.walks.blocks import Blocks
from varflow.theory.walks.signals import signals_walk

__all__ = ["profile_of"]

PER_INPUT = ("variance", "potential_mean", "firing_rate")


def profile_of(network: Network, effort: Effort, progress: Progress = False) -> Profile:
    """The profile of a network; independent inputs in blocks."""
    kinds, neurons = network.drive.n_inputs, effort.neurons
    replicas = max(neurons.replicas(neuron, network.steps) for neuron in network.neurons)
    kept = 8 * replicas * network.depth * network.steps * (network.steps + len(PER_INPUT) * kinds)
    room("depth", network.depth, kept, "second moments and rates of every layer: take fewer layers, steps, inputs or scrambles")
    blocks = Blocks.of(network, effort)
    with reporter(progress, len(blocks) * network.depth, "layers") as report:
        rows = []
        for n, (start, batching) in enumerate(blocks):
            row = partial(_of_neurons, exchangeable=batching.exchangeable)
            walk = Walk(blocks.effort, batching, network.steps, beyond(report, n * network.depth), row)
            signals_walk(blocks.graph, start, walk)
            rows.append(walk.rows)
    return _profile(network, [_joined(parts, kinds) for parts in zip(*rows, strict=True)], replicas)


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

    M, rate, of_map = state.second_moments, state.firing_rate, {}
    if grid.per_position:
        M = M.reshape(len(M), -1, grid.positions, grid.steps, grid.steps)
        if state.pairs is not None:
            of_map = _variances_of_map(M, state.pairs(ALL_PAIRS), rate.reshape(M.shape[:-1]))
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
        "second_moments": M.reshape(len(M), -1, grid.steps, grid.steps).sum(axis=1),
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
        return blocks[0] | {"second_moments": blocks[0]["second_moments"] / kinds}
    joined: dict[str, Any] = {name: np.concatenate(aligned(*(block[name] for block in blocks)), axis=1) for name in PER_INPUT}
    joined["second_moments"] = np.asarray(sum(block["second_moments"] for block in blocks)) / kinds
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
    moments = [layer["second_moments"] for layer in layers]
    value["second_moments"] = np.stack([M.mean(axis=0) for M in moments])
    error = _errors(mean, moments, value, point_fraction) if replicas > 1 or point_fraction.any() else {}
    per_input = {name: gathered[name].mean(axis=0).swapaxes(0, 1) for name in ("variance", "firing_rate")}  # inputs first
    alive = (gathered["firing_rate"] > 0).mean(axis=0).swapaxes(0, 1)  # the fraction of replicas alive
    in_time = {name: value[name] for name in ("potential_mean", "second_moments") if several}
    effective = _effective_widths(network, layers)
    if effective is not None:
        in_time["effective_width"] = effective if several else effective[:, 0]
    if not several:
        per_input, alive = {name: values[..., 0] for name, values in per_input.items()}, alive[..., 0]
        error = {name: values[..., 0] for name, values in error.items() if name != "second_moments"}
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
    spikes = np.sqrt(np.maximum(np.diagonal(value["second_moments"], axis1=1, axis2=2), 1.0))
    unit = {"variance": potential**2, "potential_mean": potential, "firing_rate": spikes}
    whole = {name: standard_error(values, point_fraction[:, None] * unit[name]) for name, values in replicas.items()}
    M = np.stack(aligned(*moments, least=len(replicas["variance"])), axis=1)
    pairs = point_fraction[:, None, None] * spikes[:, :, None] * spikes[:, None, :]
    return whole | {"second_moments": standard_error(M, pairs)}
