"""The gain of a block of layers, or its factor after a normalisation, for a wanted firing rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError, DomainError, instance, integer, positive_number, probability
from varflow.init.gains import initialization
from varflow.model.drive_kinds import Drive
from varflow.model.drives import currents
from varflow.model.network import Network
from varflow.model.over_neurons import mean_of
from varflow.model.signals import Layer
from varflow.model.weighted_layers import Weighted
from varflow.results import Initialization
from varflow.results.export import late_steps
from varflow.theory.deep.block import WIDTH, RepeatedBlock, critical_gain_of_block
from varflow.theory.mean_field import mean_field
from varflow.theory.roots import monotone_root, rising_root

NEAR = 1.02  # ratio of gains that tells how the rate depends on them
TIGHT, LOOSE = 1e-13, 1e-4  # accuracy of the gain: at a fixed point, and from the last of many sampled layers


def gain_of_block(
    layers: Sequence[Layer], *, rate: float, steps: int, depth: int, drive: Drive | None, fan_in: int | None, **sizes: int
) -> Initialization:
    """See :func:`varflow.gain_for_rate`; ``sizes``: points, scrambles and seed."""
    block = RepeatedBlock.of(layers)
    steps, depth = integer("steps", steps, minimum=1), integer("depth", depth, minimum=1)
    sums = steps > 1 and not block.binary  # whose mean may exceed 1
    rate = positive_number("rate", rate) if sums else probability("rate", rate, open_ends=True)
    drive = currents() if drive is None else instance("drive", drive, Drive)
    name, _ = block.free
    try:
        if steps == 1:
            found, reached = _at_a_fixed_point(block.for_one_step(), rate)
        else:
            found, reached = _after_many_blocks(block, rate, steps, depth, drive, sizes)
    except ConvergenceError:
        raise DomainError("rate", rate, f"is reached at no {name} of the block's last layer with weights") from None
    critical = critical_gain_of_block(found.layers) if steps == 1 and name == "gain" else None
    weights = next(node.operation for node in reversed(found.graph) if isinstance(node.operation, Weighted))
    reached = initialization(
        weights.gain,
        fan_in=fan_in,
        critical_gain=critical,
        threshold=mean_of(block.reader.neuron.threshold),
        window=None if steps == 1 else (steps // 2 + 1, steps),
        gamma=found.free[1] if name != "gain" else None,
        **reached,
    )
    unstable = "This fixed point is unstable: activity leaves it, towards silence or towards more activity."
    return reached if reached.stable else replace(reached, warnings=(unstable,))


def _at_a_fixed_point(block: RepeatedBlock, rate: float) -> tuple[RepeatedBlock, dict[str, Any]]:
    """The block with a fixed point of this rate, and that fixed point."""
    state = np.array([_state_of(block, rate)])
    found = block.with_free(monotone_root(lambda x: float(block.with_free(x)(state)[0] / state[0] - 1), block.free[1], TIGHT))
    point = found.described(float(state[0]))
    return found, {name: getattr(point, name) for name in ("firing_rate", "variance", "multiplier")}


def _after_many_blocks(
    block: RepeatedBlock, rate: float, steps: int, depth: int, drive: Drive, sizes: dict[str, Any]
) -> tuple[RepeatedBlock, dict[str, Any]]:
    """The block that has this late rate after ``depth`` repetitions; reached from the drive, it is stable."""

    def late(value: float) -> tuple[dict[str, float], dict[str, float]]:
        """Firing rate and variance, and their errors."""
        profile, window = mean_field(_deep(block.with_free(value), depth, steps, drive), **sizes), (-1, late_steps(steps))
        names = ("firing_rate", "variance")
        errors = {name: float(profile.error[name][window].mean()) if name in profile.error else 0.0 for name in names}
        return {name: float(getattr(profile, name)[window].mean()) for name in names}, errors

    value = monotone_root(lambda x: late(x)[0]["firing_rate"] - rate, block.free[1], LOOSE)
    (found, errors), near = late(value), late(NEAR * value)[0]
    change = abs(near["firing_rate"] - found["firing_rate"]) / (NEAR - 1)
    errors[block.free[0]] = value * math.hypot(errors["firing_rate"] / max(change, LOOSE), LOOSE)
    return block.with_free(value), found | {"multiplier": None, "error": errors}


def _state_of(block: RepeatedBlock, rate: float) -> float:
    """The state at which the layer that reads it has this rate."""
    if block.kind == "spikes":
        return rate
    return rising_root(lambda V: float(block.passed(np.array([V]))[1][0]) - rate, block.units[1] ** 2, TIGHT)


def _deep(block: RepeatedBlock, depth: int, steps: int, drive: Drive) -> Network:
    """The block repeated, with the layer that reads its currents, or that makes its first spikes."""
    blocks = [*block.layers] * depth
    layers = [*blocks, block.reader] if block.kind == "currents" else [block.reader, *blocks]
    return Network(width=WIDTH, layers=layers, steps=steps, drive=drive)
