"""Norse's recurrent cells."""

from __future__ import annotations

import math

from varflow._checks import integer

__all__ = ["norse_recurrent_gain"]


def norse_recurrent_gain(fan_in: int, hidden: int) -> float:
    """Norse's recurrent cells, ``w ~ N(0, 2/hidden)``: ``g² = 2 n/h``, also for input weights with another fan-in ``n``.

    Ignores the neuron: its default ``β = 0.9``, ``λ = 0.1`` multiply the variance of a white input by 0.0526.
    """
    return math.sqrt(2 * integer("fan_in", fan_in, minimum=1) / integer("hidden", hidden, minimum=1))
