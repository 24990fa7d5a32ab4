"""Published initialisations that ask for mean and variance of data: formulas, no torch."""

from __future__ import annotations

import math

from varflow._checks import DomainError, integer, non_negative, positive_scale, real_array, scalar

__all__ = ["ei_init_scale", "herranz_variance"]


def herranz_variance(
    mean: float, *, input_variance: float, input_mean: float, weight_variance: float, fan_in: int, width: int
) -> float:
    r"""Variance of recurrent weights beside :func:`varflow.init.published.herranz_mean`, from statistics of the input.

    .. math:: \operatorname{Var}[w_r] = (\operatorname{Var}[x] + E[x]^2) \operatorname{Var}[w_x] \frac{n_x}{n_r - 1}
              - \frac{E[w_r]^2}{2}

    Condition II of four: input and recurrence contribute alike. The first layer needs the data's mean and variance; later
    ones take the 1/2 and 1/4 of a half-active layer. **Source**: ``herranz2022`` and its code.
    """
    n, width = integer("fan_in", fan_in, minimum=1), integer("width", width, minimum=2)
    power = (
        scalar("input_variance", non_negative("input_variance", input_variance))
        + scalar("input_mean", real_array("input_mean", input_mean)) ** 2
    )
    found = power * scalar("weight_variance", positive_scale("weight_variance", weight_variance)) * n / (width - 1)
    found -= scalar("mean", real_array("mean", mean)) ** 2 / 2
    if found < 0:
        raise DomainError("mean", mean, "exceeds what the variance of the input allows: the formula turns negative")
    return found


def ei_init_scale(fan_in: int, *, input_variance: float, input_mean: float) -> float:
    r"""E-I Init: mean of the exponential law of excitatory weights, from statistics of a first batch.

    .. math:: \frac1L = \sqrt{\frac{\operatorname{Var}[x]}{n (E[x^2] + \operatorname{Var}[x])}}

    Needs a batch, and a circuit that inhibits its own mean away. **Source**: ``liu2025`` and its code.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.statistics.ei_init_scale(100, input_variance=0.09, input_mean=0.1), 6)
    0.068825
    """
    variance = scalar("input_variance", positive_scale("input_variance", input_variance))
    square = variance + scalar("input_mean", real_array("input_mean", input_mean)) ** 2
    return math.sqrt(variance / (integer("fan_in", fan_in, minimum=1) * (square + variance)))
