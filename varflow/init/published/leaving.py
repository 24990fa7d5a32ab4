"""Formulas that no method of the catalogue uses, nor any other part of varflow: they go with the next release."""

from __future__ import annotations

import math
from dataclasses import dataclass

from varflow._checks import (
    DomainError,
    choice,
    instance,
    integer,
    non_negative_number,
    positive_number,
    probability,
    real_number,
)
from varflow._lazy import names_of
from varflow.init.published.fluctuation_driven import FilterSums


@dataclass(frozen=True, slots=True)
class ExcitatoryInhibitory:
    """A parameter of the weight distribution, for excitatory and for inhibitory weights."""

    excitatory: float
    inhibitory: float


def ei_init_scale(fan_in: int, *, input_variance: float, input_mean: float) -> float:
    r"""Mean of the exponential weights of E-I Init (``liu2025``): ``√(Var[x] / (n (E[x²] + Var[x])))``."""
    variance = positive_number("input_variance", input_variance)
    square = variance + real_number("input_mean", input_mean) ** 2
    return math.sqrt(variance / (integer("fan_in", fan_in, minimum=1) * (square + variance)))


def fluctuation_driven_gain(
    rate: float, *, threshold: float = 1.0, decay: float = 0.0, input_scale: float = 1.0, xi: float = 2.0
) -> float:
    """Gain for weights of mean 0 and one membrane filter (``rossbroich2022``): ``g² = θ² (1 - β²)/(λ² p ξ²)``."""
    theta, b = positive_number("threshold", threshold), probability("decay", decay)
    p, xi = probability("rate", rate, open_ends=True), positive_number("xi", xi)
    scaled = positive_number("input_scale", input_scale) * xi
    return theta * math.sqrt(1 - b**2) / math.sqrt(p) / scaled  # 1/p would overflow


def fluctuation_driven_exponential(
    excitatory: int,
    inhibitory: int,
    rate: float,
    excitatory_filter: FilterSums,
    inhibitory_filter: FilterSums,
    *,
    threshold: float = 1.0,
    xi: float = 1.0,
) -> ExcitatoryInhibitory:
    r"""Rates ``L`` of exponential weights (mean ``1/L``) under Dale's law, excitation and inhibition in balance
    (``rossbroich2022``, without recurrence).

    .. math:: L_e = \frac{\xi \sqrt{2\nu (D^2 n_e \hat\epsilon_e + n_i \hat\epsilon_i)}}{D\theta}, \qquad L_i = D L_e, \qquad
              D = \frac{n_i \bar\epsilon_i}{n_e \bar\epsilon_e}
    """
    n_e, n_i, nu, theta, xi = _dale(excitatory, inhibitory, rate, threshold, xi, excitatory_filter, inhibitory_filter)
    D = n_i * inhibitory_filter.mean / (n_e * excitatory_filter.mean)
    power = D**2 * n_e * nu * excitatory_filter.square + n_i * nu * inhibitory_filter.square
    L_e = xi * math.sqrt(2 * power) / (D * theta)
    return ExcitatoryInhibitory(L_e, D * L_e)


def fluctuation_driven_lognormal(
    excitatory: int,
    inhibitory: int,
    rate: float,
    excitatory_filter: FilterSums,
    inhibitory_filter: FilterSums,
    *,
    threshold: float = 1.0,
    xi: float = 1.0,
) -> ExcitatoryInhibitory:
    r"""Means ``m`` of the logarithms of log-normal weights ``exp N(m, 1)`` under Dale's law (``rossbroich2022``).

    .. math:: m_e = \frac12 \ln \frac{\theta^2}{\xi^2 \nu (n_e \hat\epsilon_e + n_i \hat\epsilon_i e^{2D})} - 1, \qquad
              m_i = m_e + D, \qquad D = \ln \frac{n_e \bar\epsilon_e}{n_i \bar\epsilon_i}
    """
    n_e, n_i, nu, theta, xi = _dale(excitatory, inhibitory, rate, threshold, xi, excitatory_filter, inhibitory_filter)
    D = math.log(n_e * excitatory_filter.mean / (n_i * inhibitory_filter.mean))
    power = n_e * nu * excitatory_filter.square + n_i * nu * inhibitory_filter.square * math.exp(2 * D)
    m_e = 0.5 * math.log(theta**2 / (xi**2 * power)) - 1
    return ExcitatoryInhibitory(m_e, m_e + D)


def _dale(
    excitatory: int, inhibitory: int, rate: float, threshold: float, xi: float, *filters: FilterSums
) -> tuple[int, int, float, float, float]:
    n_e, n_i = integer("excitatory", excitatory, minimum=1), integer("inhibitory", inhibitory, minimum=1)
    numbers = {"rate": rate, "threshold": threshold, "xi": xi}
    nu, theta, xi = (positive_number(name, value) for name, value in numbers.items())
    for name, sums in zip(("excitatory_filter", "inhibitory_filter"), filters, strict=True):
        instance(name, sums, FilterSums)
    return n_e, n_i, nu, theta, xi


def herranz_mean(threshold: float, decay: float, width: int, *, reset: str = "delayed_subtract") -> float:
    """Mean of recurrent weights for a firing rate of 1/2 (``herranz2022``, condition I), ``θ/(n - 1)`` times 3 - 2β
    (delayed subtract), 2 (1 - β) (gate) or 2 - β (zero).
    """
    theta, b = real_number("threshold", threshold), probability("decay", decay)
    factors = {"delayed_subtract": 3 - 2 * b, "gate": 2 * (1 - b), "zero": 2 - b}
    return factors[choice("reset", reset, factors)] * theta / (integer("width", width, minimum=2) - 1)


def herranz_variance(
    mean: float, *, input_variance: float, input_mean: float, weight_variance: float, fan_in: int, width: int
) -> float:
    """Variance of recurrent weights (``herranz2022``, condition II): ``E[x²] Var[w_x] n_x/(n_r - 1) - E[w_r]²/2``."""
    n, width = integer("fan_in", fan_in, minimum=1), integer("width", width, minimum=2)
    square = real_number("input_mean", input_mean) ** 2
    square += non_negative_number("input_variance", input_variance)
    variance = square * positive_number("weight_variance", weight_variance) * n / (width - 1)
    variance -= real_number("mean", mean) ** 2 / 2
    if variance < 0:
        raise DomainError("mean", mean, "is too large for the variance of the input: the formula becomes negative")
    return variance


def norse_recurrent_gain(fan_in: int, hidden: int) -> float:
    """Gain of Norse's recurrent cells, ``w ~ N(0, 2/hidden)``: ``g² = 2 n/h``, also for input weights of fan-in ``n``."""
    return math.sqrt(2 * integer("fan_in", fan_in, minimum=1) / integer("hidden", hidden, minimum=1))


__all__ = names_of(globals())  # pyright: ignore[reportUnsupportedDunderAll]
