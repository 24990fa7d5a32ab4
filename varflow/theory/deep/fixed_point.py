"""The fixed point of deep layers in time, by iteration over layers, and its leading multiplier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from varflow._checks import DomainError, integer
from varflow.model.build import chain_parts
from varflow.model.drive_kinds import Given
from varflow.model.network import Network, plain_chain
from varflow.results import TemporalFixedPoint
from varflow.theory.deep.look import ALIVE, MOMENTS, average, late, of_replicas, sustained, unchanged
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.responses.step import driven_by
from varflow.theory.signals.places import standard_error
from varflow.theory.walks.signals import driven_layer, next_layer

GROUP = 8  # layers averaged together
ARRIVED = 0.01  # distance from the final rates, relative to the largest, at which a layer counts as there
DEVIATION = 0.02  # relative size of the deviation from M whose growth is measured: linear, yet above the noise
ROUNDS = 24  # layers over which it is followed; the second half is used

Map = Callable[[LayerState, int], LayerState]  # the layer above one, and its number


def temporal_fixed_point(
    network: Network,
    *,
    method: str = "auto",
    points: int = 2**12,
    scrambles: int = 8,
    seed: int = 0,
    max_depth: int = 200,
) -> TemporalFixedPoint:
    r"""The fixed point ``M(t, t') = E[S_t S_t']`` of deep layers over several steps, and its stability.

    .. math:: M^* = F(M^*), \qquad F: M \mapsto \mathrm{Cov}[I_t, I_{t'}] = g^2 M + \sigma_b^2 \mapsto E[S_t S_{t'}]

    Layers are iterated from the driven one until their rates settle; the leading multiplier of ``F`` there follows from the
    growth of a small deviation.

    Parameters
    ----------
    network : Network
        With equal layers; its depth is not used.
    method, points, scrambles, seed
        As in :func:`varflow.mean_field`.
    max_depth : int
        Largest number of layers.

    Returns
    -------
    TemporalFixedPoint
        If the layers do not settle (isolated volleys), only the number of live steps and mean rates.

    Raises
    ------
    DomainError
        If gains or mean weights differ between layers, or the drive has several inputs.

    Notes
    -----
    **Assumes** infinite width. The state covers ``steps`` steps from rest and need not be stationary in time; without reset and
    leak (``β = 1``) potentials grow with every step, and ``note`` says so. Several states can be stable; the drive decides.
    **Accuracy**: ``error``, from the scatter of independent replicas; a few per cent for the multiplier (finite differences).
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> leaky = vf.Neuron(1.0, decay=0.5)
    >>> state = vf.temporal_fixed_point(vf.Network(width=1000, depth=2, gain=2.51, steps=20, neuron=leaky))
    >>> print(f"{state.late_rate:.4f} {state.variance[-1]:.3f} {state.stable} {state.depth}")
    0.3651 8.436 True 6
    """
    network = _alike(network)
    spike, (linear,) = chain_parts(network)
    responses, drive = Responses(points, scrambles, seed, method), network.drive
    replicas, longest = responses.replicas(network.neuron, network.steps), integer("max_depth", max_depth, minimum=3 * GROUP)
    above = partial(next_layer, linear, spike, responses)
    if isinstance(drive, Given):
        state = driven_by(drive, network.neuron)
    else:
        state = driven_layer(spike, drive.covariance(network.steps)[None], responses)
    groups, rates, settled = [], [state.firing_rate[:, 0]], False
    while len(rates) < longest and not settled:
        group = []
        for _ in range(GROUP):
            state = of_replicas(above(state, len(rates)), replicas)
            group.append(state)
            rates.append(state.firing_rate[:, 0])
        groups = [*groups[-1:], average(group)]
        settled = len(rates) > 2 * GROUP and unchanged(*(g.firing_rate[:, 0] for g in groups))
    return _described(network, groups, rates, settled, above)


def _alike(network: Network) -> Network:
    """The network reduced to two layers; DomainError if its layers differ."""
    plain_chain(network)
    if len(set(network.gains[1:].tolist())) > 1:
        raise DomainError("gain", network.gain, "must be the same in every layer for a fixed point")
    if network.drive.n_inputs > 1:
        raise DomainError("drive", network.drive, "has several inputs, each with its own fixed point: give one of them")
    width = int(network.widths[-1])
    widths: Any = width if network.drive.width is None else (network.drive.width, width)
    return replace(network, depth=2, width=widths, gain=float(network.gains[-1]), neuron=replace(network.neuron, delay=0))


def _described(
    network: Network, groups: list[LayerState], rates: list[np.ndarray], settled: bool, above: Map
) -> TemporalFixedPoint:
    final = groups[-1]
    rate = final.firing_rate[:, 0]
    living = rate > ALIVE
    always, ever = np.asarray(living.all(axis=0)), np.asarray(living.any(axis=0))
    alive = bool(living.any())
    between = _silent_between(sustained(network.neuron, always)) or bool((ever != always).any())
    settled = bool((settled and not between) or not alive)
    multiplier, of_multiplier = leading_multiplier(above, final, len(rates)) if alive and settled else (np.nan, np.nan)
    replicas = {"alive_steps": living.sum(axis=1), "mean_rate": rate.mean(axis=1), "late_rate": late(rate).mean(axis=1)}
    replicas |= {name: getattr(final, name)[:, 0] for name in MOMENTS if settled}
    errors: dict[str, Any] = {name: standard_error(values) for name, values in replicas.items()} if len(rate) > 1 else {}
    if errors and np.isfinite(of_multiplier):
        errors["multiplier"] = of_multiplier
    change = groups[-1].firing_rate.mean(axis=(0, 1)) - groups[-2].firing_rate.mean(axis=(0, 1))
    return TemporalFixedPoint(
        network,
        alive,
        settled,
        **{name: getattr(final, name).mean(axis=(0, 1)) if settled else None for name in MOMENTS},
        alive_steps=float(living.sum(axis=1).mean()),
        mean_rate=float(rate.mean()),
        late_rate=float(late(rate).mean()),
        multiplier=multiplier,
        stable=bool(multiplier < 1) if alive else network.silence_is_absorbing,
        depth=_arrival(rates, rate) if settled else None,
        residual=float(np.abs(change).max()),
        error=errors,
        note=_note(network, alive, settled, between, always),
    )


def _silent_between(living: np.ndarray) -> bool:
    """True if a silent step lies between live ones."""
    steps = np.flatnonzero(living)
    return bool(len(steps)) and len(steps) < steps[-1] - steps[0] + 1


def _arrival(rates: list[np.ndarray], final: np.ndarray) -> int:
    """The first layer from which all rates stay close to the final ones."""
    target = final.mean(axis=0)
    room = ARRIVED * target.max()
    if len(final) > 1:
        room = max(room, 4 * float(standard_error(rates[-1]).max()))
    far = [np.abs(rate.mean(axis=0) - target).max() > room for rate in rates]
    return int(np.flatnonzero(far)[-1]) + 2 if any(far) else 1


def _note(network: Network, alive: bool, settled: bool, between: bool, living: np.ndarray) -> str:
    words = []
    if between:
        words.append("isolated volleys: which steps are alive depends on seed, width and drive, so there is no fixed point")
    elif not settled:
        words.append("the layers have not settled: raise max_depth, or the gain is close to a critical one")
    elif alive and not living.all():
        first, silent = int(np.flatnonzero(living)[0]), int((~living).sum())
        if first:
            words.append(f"steps 1 to {first} are silent")
        if silent > first:
            words.append(f"{silent - first} silent steps between live ones: a gated neuron does not fire twice in a row")
    if network.neuron.decay == 1 and network.neuron.reset_rule.linear and alive:
        words.append("without leak and reset potentials grow with every step: the state is not stationary in time")
    return "; ".join(words)


def leading_multiplier(
    layer: Map, state: LayerState, number: int, *, rounds: int = ROUNDS, size: float = DEVIATION
) -> tuple[float, float]:
    """Leading multiplier at the fixed point, and its standard error: power iteration with central differences.

    The layer number is kept fixed, so that both sides of a difference use the same points.
    """
    mean, moments = state.firing_rate, state.second_moments
    deviation, growth = (size * mean, size * moments), []
    initial = _size(deviation[1])
    if not initial.all():  # silence
        return 0.0, 0.0

    def deviated(sign: float) -> LayerState:
        rate, second = mean + sign * deviation[0], moments + sign * deviation[1]
        return layer(replace(state, firing_rate=rate, second_moments=second, changes=None), number)

    for _ in range(rounds):
        above, below = deviated(1.0), deviated(-1.0)
        response = (above.firing_rate - below.firing_rate) / 2, (above.second_moments - below.second_moments) / 2
        after = _size(response[1])
        growth.append(after / initial)
        if not after.all():
            return 0.0, 0.0
        factor = initial / after
        deviation = (response[0] * factor[..., None], response[1] * factor[..., None, None])
    each = np.exp(np.mean(np.log(growth[rounds // 2 :]), axis=0))[:, 0]
    return float(each.mean()), float(standard_error(each))


def _size(second_moments: np.ndarray) -> np.ndarray:
    return np.sqrt((second_moments**2).sum(axis=(-2, -1)))
