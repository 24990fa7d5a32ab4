"""E-I Init: excitatory weights from statistics of a first batch."""

from __future__ import annotations

import math

from varflow._checks import integer, positive_scale, real_array, scalar
from varflow.init.published.method import Method

__all__ = ["EI_INIT", "ei_init_scale"]


def ei_init_scale(fan_in: int, *, input_variance: float, input_mean: float) -> float:
    r"""E-I Init: mean of the exponential distribution of excitatory weights, from statistics of a first batch.

    .. math:: \frac1L = \sqrt{\frac{\operatorname{Var}[x]}{n (E[x^2] + \operatorname{Var}[x])}}

    Needs a batch, and a circuit whose inhibition cancels the mean. **Source**: ``liu2025`` and its code.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.ei_init_scale(100, input_variance=0.09, input_mean=0.1), 6)
    0.068825
    """
    variance = scalar("input_variance", positive_scale("input_variance", input_variance))
    square = variance + scalar("input_mean", real_array("input_mean", input_mean)) ** 2
    return math.sqrt(variance / (integer("fan_in", fan_in, minimum=1) * (square + variance)))


EI_INIT = Method("ei_init", "E-I Init", None, "needs its inhibitory circuit", "liu2025", "data")
