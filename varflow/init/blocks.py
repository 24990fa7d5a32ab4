"""The gain of a block of layers, or its factor after a normalisation, for a wanted firing rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from varflow._checks import ConvergenceError, DomainError, instance, integer, probability, several
from varflow.model.drive_kinds import Drive
from varflow.model.drives import currents
from varflow.model.network import Network
from varflow.model.signals import Layer
from varflow.results import Initialization, Profile
from varflow.results.layout import late_steps
from varflow.theory.flow.block import WIDTH, Block
from varflow.theory.mean_field import mean_field
from varflow.theory.roots import rising_root

__all__ = ["gain_of_block"]

TIGHT, LOOSE = 1e-13, 1e-4  # accuracy of the gain: at a fixed point, and from the last of many sampled layers


def gain_of_block(
    layers: Sequence[Layer],
    *,
    rate: float,
    steps: int,
    depth: int,
    drive: Drive | None,
    fan_in: int | None,
    points: int,
    scrambles: int,
    seed: int,
) -> Initialization:
    """See :func:`varflow.gain_for_rate`."""
    block = Block(tuple(several("block", layers, Layer)))
    rate = probability("rate", rate, open_ends=True)
    steps, depth = integer("steps", steps, minimum=1), integer("depth", depth, minimum=1)
    drive = currents() if drive is None else instance("drive", drive, Drive)
    name, start = block.free
    options: dict[str, Any] = {"points": points, "scrambles": scrambles, "seed": seed}

    def late(profile: Profile) -> tuple[float, float]:
        """Rate and variance of the last layer, over the late half of the steps."""
        rates, variances = (np.atleast_2d(x.T).T for x in (profile.firing_rate, profile.variance))
        window = late_steps(steps)
        return float(rates[-1, window].mean()), float(variances[-1, window].mean())

    def excess(value: float) -> float:
        if steps == 1:
            return float(block.with_free(value)(state)[0] / state[0] - 1)
        return late(mean_field(_deep(block.with_free(value), depth, steps, drive), **options))[0] - rate

    state = np.zeros(1)
    try:
        if steps == 1:
            state = np.array([_state_of(block.for_one_step(), rate)])
        value = rising_root(excess, start, TIGHT if steps == 1 else LOOSE)
    except ConvergenceError:
        raise DomainError("rate", rate, f"is reached at no {name} of the block's last layer with weights") from None
    found = block.with_free(value)
    gain = value if name == "gain" else found.weighted[-1].gain
    if steps == 1:
        point = found.described(float(state[0]))
        multiplier, depth_scale, stable, variance = point.multiplier, point.depth_scale, point.stable, point.variance
    else:  # reached from the drive, so stable
        multiplier, depth_scale, stable = None, None, True
        rate, variance = late(mean_field(_deep(found, depth, steps, drive), **options))
    unstable = "This fixed point is unstable: activity leaves it, towards silence or towards more activity."
    return Initialization(
        gain=gain,
        weight_std=None if fan_in is None else gain / math.sqrt(fan_in),
        weight_variance=None if fan_in is None else gain**2 / fan_in,
        firing_rate=rate,
        variance=variance,
        multiplier=multiplier,
        stable=stable,
        critical_gain=None,
        margin=None,
        depth_scale=depth_scale,
        warnings=() if stable else (unstable,),
        threshold=block.reader.neuron.threshold,
        fan_in=fan_in,
        distribution="normal",
        window=None if steps == 1 else (steps // 2 + 1, steps),
        gamma=value if name == "gamma" else None,
    )


def _state_of(block: Block, rate: float) -> float:
    """The state at which the layer that reads it has this rate."""
    if block.kind == "spikes":
        return rate
    return rising_root(lambda V: float(block.passed(np.array([V]))[1][0]) - rate, block.unit, TIGHT)


def _deep(block: Block, depth: int, steps: int, drive: Drive) -> Network:
    """The block repeated, with the layer that reads its currents, or that makes its first spikes."""
    blocks = block.layers * depth
    layers = [*blocks, block.reader] if block.kind == "currents" else [block.reader, *blocks]
    return Network(width=WIDTH, layers=layers, steps=steps, drive=drive)
