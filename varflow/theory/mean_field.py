"""Every layer of a network at infinite width: the variance map, iterated from the drive, or its analogue in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from varflow._checks import DomainError, instance
from varflow._memory import room
from varflow._progress import Progress, beyond, check_progress, reporter
from varflow.model.network import Network
from varflow.results import Profile
from varflow.results.profile import spread
from varflow.theory.layer import one_step
from varflow.theory.operations.visit import INFINITE, Effort
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.places import ALL_PAIRS, Grid, aligned, standard_error
from varflow.theory.walks.signals import Blocks, signals_walk

LONG = 100  # steps beyond which each point costs so much more that fewer are taken
POINTS, FEWER_POINTS = 2**14, 2**11
PER_INPUT = ("variance", "potential_mean", "firing_rate")


def mean_field(
    network: Network,
    *,
    method: str = "auto",
    points: int | None = None,
    scrambles: int = 8,
    seed: int = 0,
    progress: Progress = False,
) -> Profile:
    r"""Moments of every layer at infinite width, by the map of the variance or, over several steps, of second moments.

    .. math:: V_{l+1} = \lambda^2 (\sigma_b^2 + g^2 p_l), \qquad p_l = Q\big((\theta - \lambda m_g p_{l-1})/\sqrt{V_l}\big)

    and over several steps, with ``M(t, t') = E[S_t S_t']`` of the layer below and delay ``d``

    .. math:: \mathrm{Cov}[I_t, I_{t'}] = g^2 M(t - d, t' - d) + \sigma_b^2, \qquad E[I_t] = m_g r(t - d)

    Parameters
    ----------
    network : Network
        A plain chain, or any layers of ``vf.layers``. Its widths are used for ``spikes`` only.
    method : str
        How a layer's spikes follow from its currents over several steps: ``orthants`` (no reset: normal potentials,
        bivariate orthant probabilities), ``quasi_monte_carlo`` (any neuron, with an error), or ``auto``: orthants without
        reset, else quasi-Monte Carlo.
    points, scrambles, seed : int
        For quasi-Monte Carlo: points per scramble (by default 2¹⁴, and 2¹¹ beyond 100 steps), number of independent scrambles,
        and seed.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in layers, those of each block of a large batch.

    Returns
    -------
    Profile
        Standard deviations are 0; survival is 1 if the rate is positive. For a drive of inputs, the mean over the batch, and
        ``per_input``. Over several steps shapes are (depth, steps), with ``potential_mean``, ``second_moments`` (the second
        moments ``M``) and, for sampling methods, ``error``.

    Raises
    ------
    DomainError
        For a method that does not apply to the neuron, for more than 2048 steps, and, with one step, for multi-spike neurons
        and delays; for a shortcut whose branch joins it with its own input past no weights, but for sums with ``Scale`` and
        with ``BatchNorm`` of given statistics.

    Notes
    -----
    **Assumes** infinite width, so that currents are normal for any weights.
    **Accuracy** for finite networks: off by order 1/width; see :func:`varflow.finite_width`, and over several steps
    :func:`varflow.expansion` (``per_layer=True``). Numerically, by ``orthants`` second moments are within 3e-15 of arbitrary
    precision through 100 layers of 20 steps; by ``quasi_monte_carlo`` ``error`` is the standard error over scrambles, each
    followed through all layers: below 4e-4 for rates at θ = 1, β = 0.5, g² = 8, 20 steps and 100 layers. Near a critical gain
    it grows as ``1/(1-m)``; if some scrambles fall silent, survival is the fraction still alive. ``docs/mean_field.md`` has
    what was measured for layers, maps, BatchNorm and neurons that differ, and where equal steps are no longer equal in the
    limit of infinite width.

    **Source**: ``micheli2024``, with bias, weight mean and input scale added here; normality of currents: ``lee2018``,
    ``matthews2018``; in time derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> kaiming = vf.Network(width=1000, depth=100, gain=2**0.5, neuron=vf.Neuron(1.0))
    >>> [f"{v:.2g}" for v in vf.mean_field(kaiming).variance[:4]]
    ['1', '0.32', '0.076', '0.00028']

    A leaky membrane sums a constant current, up to ``1/(1 - β)²`` times its variance:

    >>> leaky = vf.Network(width=1000, depth=2, gain=vf.gain(threshold=1.0), neuron=vf.Neuron(1.0, decay=0.5), steps=20)
    >>> print(vf.mean_field(leaky).variance[:, -1].round(3))
    [4.    7.779]
    """
    check_progress(progress)
    if points is None:
        points = POINTS if instance("network", network, Network).steps <= LONG else FEWER_POINTS
    if instance("network", network, Network).layers is not None and method != "auto":
        raise DomainError("method", method, "must be 'auto' for a network of layers=[…], each with its own neurons")
    responses = Responses(points, scrambles, seed, method)
    if network.layers is None and network.steps == 1:
        one_step(network)
        responses.samples(network.neuron, 1)
    return _profile_of(network, Effort(responses), progress)


def _profile_of(network: Network, effort: Effort, progress: Progress = False) -> Profile:
    """The profile of a network; independent inputs in blocks."""
    inputs, responses = network.drive.n_inputs, effort.responses
    replicas = max(responses.replicas(neuron, network.steps) for neuron in network.neurons)
    kept = 8 * replicas * network.depth * network.steps * (network.steps + len(PER_INPUT) * inputs)
    room("depth", network.depth, kept, "second moments and rates of every layer: take fewer layers, steps, inputs or scrambles")
    blocks = Blocks.of(network, effort)
    with reporter(progress, len(blocks) * network.depth, "layers") as report:
        records = []
        for n, (start, batching) in enumerate(blocks):
            record = partial(_of_neurons, infinite=batching is INFINITE)
            walk = blocks.walk(batching, beyond(report, n * network.depth), record=record)
            signals_walk(blocks.graph, start, walk)
            records.append(walk.records)
    return _profile(network, [_joined(parts, inputs) for parts in zip(*records, strict=True)], replicas)


def _of_neurons(state: LayerState, grid: Grid, *, infinite: bool) -> dict[str, Any]:
    """Moments over all neurons of a layer, axes (replicas, inputs, steps); second moments of spikes summed over inputs.

    Of infinitely many inputs, those of one.
    """
    folded = (grid.inputs, grid.positions, grid.steps)
    kept = 1 if infinite else grid.inputs

    def by_input(values: np.ndarray, average: Callable[..., np.ndarray] = np.mean) -> np.ndarray:
        """Averaged over positions."""
        whole = values.reshape(len(values), -1, *folded)
        whole = average(whole, axis=3) if grid.positions > 1 else whole[:, :, :, 0]
        return whole[:, :, :kept].reshape(len(values), -1, grid.steps)

    M, of_map, n = state.second_moments, {}, grid.positions
    far = state.pairs and state.pairs(ALL_PAIRS)
    if not grid.per_position and grid.size > grid.steps:
        whole = M.reshape(*M.shape[:2], *folded, *folded)
        M = np.einsum("rgaxsaxt->rgaxst", whole)
        far = (np.einsum("rgaxsayt->rgast", whole) - M.sum(axis=3)) / max(n * (n - 1), 1)
    own = M.reshape(len(M), -1, grid.inputs, n, grid.steps, grid.steps)
    if n > 1 and far is not None:
        of_map = _variances_of_map(own, far.reshape(*own.shape[:3], *far.shape[-2:]), state.firing_rate.reshape(own.shape[:-1]))
    M = own[:, :, :kept].mean(axis=3)
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


def _joined(blocks: Sequence[dict[str, Any]], inputs: int) -> dict[str, Any]:
    """One layer, over all inputs."""
    joined: dict[str, Any] = {name: np.concatenate(aligned(*(block[name] for block in blocks)), axis=1) for name in PER_INPUT}
    joined["second_moments"] = np.asarray(sum(block["second_moments"] for block in blocks)) / inputs
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
