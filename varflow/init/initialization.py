"""The one place that builds :class:`varflow.results.Initialization`: what follows from a gain, a fan-in and a multiplier."""

from __future__ import annotations

import math
from typing import Any

from varflow._checks import DomainError, integer
from varflow.model.neurons import Neuron
from varflow.results import Initialization
from varflow.theory.memoryless.variance_map import depth_scale


def without_memory(neuron: Neuron, steps: int | None) -> bool:
    """True if every step is as the first, which nothing precedes."""
    return neuron.memoryless or (steps == 1 and not (neuron.reset_rule.counts or neuron.longer_filter))


def steps_of(neuron: Neuron, steps: int | None) -> int:
    """The steps that are asked for; a neuron without memory needs none."""
    if steps is None and not neuron.memoryless:
        raise DomainError("steps", steps, "is missing: a neuron with memory (decay, reset or filter) has a gain for some steps")
    return 1 if steps is None else integer("steps", steps, minimum=1)


def initialization(
    gain: float, *, fan_in: int | None, multiplier: float | None, critical_gain: float | None = None, **known: Any
) -> Initialization:
    """The result for a gain; ``known``: its other fields. Without a multiplier the state is reached, and so is stable."""
    n = None if fan_in is None else integer("fan_in", fan_in, minimum=1)
    return Initialization(
        gain=gain,
        weight_std=None if n is None else gain / math.sqrt(n),
        weight_variance=None if n is None else gain**2 / n,
        multiplier=multiplier,
        stable=multiplier is None or abs(multiplier) < 1,
        depth_scale=None if multiplier is None else depth_scale(multiplier) + 0.0,
        critical_gain=critical_gain,
        margin=gain / critical_gain - 1 if critical_gain else None,
        fan_in=n,
        **{"distribution": "normal", "warnings": ()} | known,
    )
