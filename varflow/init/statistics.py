"""Published initialisations that ask for statistics of data or of a running network: formulas, no torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from varflow._checks import DomainError, integer, non_negative, positive_scale, probability, real_array, scalar

__all__ = ["ei_init_scale", "herranz_variance", "mp_init_potential"]


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


def mp_init_potential(potentials: Any, spiked: Any, *, previous: float = 0.0, momentum: float = 0.1) -> float:
    r"""MP-Init: the potential from which all neurons of a layer start, a running mean over batches of how they ended.

    .. math:: \mu \leftarrow (1 - m) \mu + m \operatorname{mean}\{H_i : i \text{ spiked in this batch}\}

    Needs a training run: no weights are set by it. It shortens the transient of the first steps; what
    :func:`varflow.mean_field` calls ``potential_mean`` at late steps is the mean over all neurons, silent ones included.
    **Source**: ``kook2025`` and its code, without the variant that clips at 0.

    Parameters
    ----------
    potentials : array
        Of the neurons of a layer, over a batch, after the reset of the last step.
    spiked : array of bool, same shape
        Which of them spiked at least once. Where none did the batch counts as 0.
    previous : float
        ``μ`` so far; 0 before the first batch.
    momentum : float
        ``m``, the weight of the new batch, above 0.

    Raises
    ------
    DomainError
        For values outside their domain, or shapes that differ.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.statistics.mp_init_potential([0.5, -3.0, 1.5], [True, False, True], momentum=0.5)
    0.5
    """
    values, fired = real_array("potentials", potentials), np.asarray(spiked)
    if fired.shape != values.shape or fired.dtype != bool:
        raise DomainError("spiked", spiked, "must be True or False for every potential")
    m = probability("momentum", momentum)
    if m == 0:
        raise DomainError("momentum", momentum, "must be positive: at 0 nothing is learnt")
    now = float(values[fired].mean()) if fired.any() else 0.0
    return (1 - m) * scalar("previous", real_array("previous", previous)) + m * now
