"""Herranz-Celotti and Rouat: mean and variance of recurrent weights, conditions I and II of four."""

from __future__ import annotations

from varflow._checks import DomainError, choice, integer, non_negative, positive_scale, probability, scalar, scale
from varflow.init.published.method import Method

__all__ = ["HERRANZ_CELOTTI", "herranz_mean", "herranz_variance"]


def herranz_mean(threshold: float, decay: float, width: int, *, reset: str = "delayed_subtract") -> float:
    r"""Mean of recurrent weights that gives a recurrent layer a firing rate of 1/2.

    .. math:: E[w] = \frac{\theta}{n - 1} \times \{3 - 2\beta \text{ (delayed subtract)},\;
              2(1 - \beta) \text{ (gate)},\; 2 - \beta \text{ (zero)}\}

    Condition I of four. Condition II sets the variance, from data in the first layer
    (:func:`varflow.init.published.herranz_variance`); III and IV concern the surrogate derivative. Half of all neurons spike in
    every step: stable gradients at the price of high activity. A common mean of all weights couples the whole population,
    which a variance does not. **Source**: ``herranz2022`` and its code.

    Parameters
    ----------
    threshold, decay : float
    width : int
        ``n``, at least 2.
    reset : str
        delayed_subtract, gate or zero.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.herranz_mean(1.0, 0.5, 101)
    0.02
    """
    theta, b = scalar("threshold", scale("threshold", threshold)), probability("decay", decay)
    factors = {"delayed_subtract": 3 - 2 * b, "gate": 2 * (1 - b), "zero": 2 - b}
    return factors[choice("reset", reset, factors)] * theta / (integer("width", width, minimum=2) - 1)


def herranz_variance(
    mean: float, *, input_variance: float, input_mean: float, weight_variance: float, fan_in: int, width: int
) -> float:
    r"""Variance of recurrent weights, used with :func:`varflow.init.published.herranz_mean`, from statistics of the input.

    .. math:: \operatorname{Var}[w_r] = (\operatorname{Var}[x] + E[x]^2) \operatorname{Var}[w_x] \frac{n_x}{n_r - 1}
              - \frac{E[w_r]^2}{2}

    Condition II of four: input and recurrence contribute equally. The first layer uses the data's mean and variance; later
    ones 1/2 and 1/4, those of a half-active layer. **Source**: ``herranz2022`` and its code.
    """
    n, width = integer("fan_in", fan_in, minimum=1), integer("width", width, minimum=2)
    power = (
        scalar("input_variance", non_negative("input_variance", scale("input_variance", input_variance)))
        + scalar("input_mean", scale("input_mean", input_mean)) ** 2
    )
    variance = power * scalar("weight_variance", positive_scale("weight_variance", weight_variance)) * n / (width - 1)
    variance -= scalar("mean", scale("mean", mean)) ** 2 / 2
    if variance < 0:
        raise DomainError("mean", mean, "is too large for the variance of the input: the formula becomes negative")
    return variance


HERRANZ_CELOTTI = Method(
    "herranz_celotti", "Herranz-Celotti, Rouat", None, "recurrent weights; half of all fire", "herranz2022", "data"
)
