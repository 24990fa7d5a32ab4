"""Fluctuation-driven initialisation: the neuron as a linear filter of its input, without reset.

Rates are those of the presynaptic neurons: per step for a filter in steps, in hertz for one in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from varflow._checks import DomainError, instance, integer, positive_number, probability, real_number
from varflow.init.published.method import Method, Setting, Weights
from varflow.model.as_neuron import neuron as as_neuron


@dataclass(frozen=True, slots=True)
class FilterSums:
    """``ε̄`` and ``ε̂``: sums (integrals) of a neuron's response to one spike, and of its square.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.FilterSums(mean=2.0, square=1.3)
    FilterSums(mean=2.0, square=1.3)
    """

    mean: float
    square: float


@dataclass(frozen=True, slots=True)
class WeightMoments:
    """Mean and standard deviation of a weight.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.WeightMoments(mean=0.0, std=0.1)
    WeightMoments(mean=0.0, std=0.1)
    """

    mean: float
    std: float


def step_filter(neuron: Any) -> FilterSums:
    r"""Filter sums of a neuron in discrete time, without its reset: ``β`` membrane, ``α`` synapse, ``λ`` input scale.

    .. math:: \bar\epsilon = \frac{\lambda}{(1-\alpha)(1-\beta)}, \qquad
              \hat\epsilon = \frac{\lambda^2 (1 + \alpha\beta)}{(1-\alpha\beta)(1-\alpha^2)(1-\beta^2)}

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.step_filter(vf.Neuron(decay=0.5)).square
    1.3333333333333333
    """
    neuron = as_neuron(neuron)
    a, b, lam = neuron.synaptic_decay, neuron.decay, neuron.input_scale
    if neuron.longer_filter:
        raise DomainError("neuron", neuron, "must have an exponential synapse, without delay")
    if b == 1:
        raise DomainError("neuron", neuron, "has decay 1: its response to a spike has no finite sum")
    return FilterSums(lam / ((1 - a) * (1 - b)), lam**2 * (1 + a * b) / ((1 - a * b) * (1 - a**2) * (1 - b**2)))


def exponential_filter(tau_mem: float, tau_syn: float | None = None) -> FilterSums:
    r"""Filter sums of a current-based neuron in continuous time; without ``τ_syn`` synapses are delta functions.

    .. math:: \bar\epsilon = \tau_s, \quad \hat\epsilon = \frac{\tau_s^2}{2(\tau_s + \tau_m)}; \qquad
              \bar\epsilon = \tau_m, \quad \hat\epsilon = \frac{\tau_m}{2}

    **Source**: ``rossbroich2022`` and its code.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.exponential_filter(20e-3, 10e-3).square, 9)
    0.001666667
    """
    tau_m = positive_number("tau_mem", tau_mem)
    if tau_syn is None:
        return FilterSums(tau_m, tau_m / 2)
    tau_s = positive_number("tau_syn", tau_syn)
    return FilterSums(tau_s, tau_s**2 / (2 * (tau_s + tau_m)))


def fluctuation_driven(
    fan_in: int,
    rate: float,
    filter_sums: FilterSums,
    *,
    threshold: float = 1.0,
    mean_potential: float = 0.0,
    xi: float = 1.0,
    share: float = 1.0,
    all_inputs: int | None = None,
) -> WeightMoments:
    r"""Normal weights for fluctuation-driven firing: the mean potential ``μ_U`` is ``ξ`` standard deviations below threshold.

    .. math:: \mu_w = \frac{\mu_U}{N \nu \bar\epsilon}, \qquad
              \sigma_w^2 = \frac{a}{n \nu \hat\epsilon} \Big(\frac{\theta - \mu_U}{\xi}\Big)^2 - \mu_w^2

    Parameters
    ----------
    fan_in : int
        ``n``.
    rate : float
        Presynaptic rate ``ν``, in the filter's unit of time: known or guessed.
    filter_sums : FilterSums
        From :func:`step_filter` or :func:`exponential_filter`.
    threshold, mean_potential, xi : float
    share : float
        ``a``: fraction of the variance due to this connection. The original uses 0.9 for feed-forward and 0.1 for recurrent
        connections.
    all_inputs : int, optional
        ``N``: inputs of all connections of a neuron, over which the mean is distributed; by default this connection's.

    Raises
    ------
    DomainError
        For values outside their domain, or if the mean alone needs more variance than there is.

    Notes
    -----
    **Assumes** Poisson inputs, independent in time, and a linear membrane without reset. There is no fixed-point condition, so
    the output rate differs from the input rate in general. Weights are fixed, so mean potentials also vary over neurons, with
    ``ν ε̄²/ε̂`` times the variance of the fluctuations; this is ignored.
    **Source**: ``rossbroich2022`` and its code.

    Examples
    --------
    >>> import varflow as vf
    >>> sums = vf.init.published.exponential_filter(20e-3, 10e-3)
    >>> round(vf.init.published.fluctuation_driven(100, 15.8, sums).std, 6)
    0.616236
    """
    n, nu = integer("fan_in", fan_in, minimum=1), positive_number("rate", rate)
    theta, mu = real_number("threshold", threshold), real_number("mean_potential", mean_potential)
    xi, share = positive_number("xi", xi), probability("share", share)
    total = n if all_inputs is None else integer("all_inputs", all_inputs, minimum=n)
    instance("filter_sums", filter_sums, FilterSums)
    mean = mu / (total * nu * filter_sums.mean)
    variance = share / (n * nu * filter_sums.square) * ((theta - mu) / xi) ** 2 - mean**2
    if not variance > 0:
        raise DomainError("mean_potential", mean_potential, "needs more variance than available: lower it, or xi")
    return WeightMoments(mean, math.sqrt(variance))


def _fluctuations(s: Setting) -> Weights:
    return Weights(fluctuation_driven(1, s.rate, step_filter(s.neuron), threshold=s.neuron.threshold).std)


FLUCTUATION_DRIVEN = Method(
    "fluctuation_driven",
    "Fluctuation-driven, ξ = 1",
    _fluctuations,
    "reset, correlations in time, the resulting rate",
    "rossbroich2022",
    "firing rate",
    colour="tab:orange",
)
