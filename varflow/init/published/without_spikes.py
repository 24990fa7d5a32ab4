"""Gains of networks without spikes: rectifiers (Kaiming), torch's default, linear units (Xavier, LeCun, orthogonal)."""

from __future__ import annotations

import math

from varflow._checks import integer, real_number
from varflow.init.published.method import NEURON, Method, Weights


def kaiming_gain(*, slope: float = 0.0) -> float:
    r"""Kaiming's gain for rectifiers with negative slope ``a``, ``g² = 2/(1 + a²)``.

    Ignores the threshold: for rectifiers ``E[x²] = V/2``, while for spikes ``E[x²]`` is the firing rate, below 1/2 for θ > 0.
    It is the preserving gain at θ = 0. **Source**: ``he2015``.

    Parameters
    ----------
    slope : float
        ``a``; ``√5`` gives :func:`torch_gain`.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.kaiming_gain() ** 2, 12)
    2.0
    """
    return math.sqrt(2 / (1 + real_number("slope", slope) ** 2))


def torch_gain() -> float:
    """The default of ``torch.nn.Linear`` and ``torch.nn.Conv2d``: ``U(±1/√n)``, ``g² = 1/3``.

    In torch it is Kaiming's uniform distribution with slope √5; SpikingJelly's ``kaiming_normal_conv_linear_weight`` has the
    same gain, lava-dl the same times its ``weight_scale``. Ignores the neuron. The default bias is :func:`torch_bias_std`.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.torch_gain() ** 2, 12) == round(vf.init.published.kaiming_gain(slope=5**0.5) ** 2, 12)
    True
    """
    return 1 / math.sqrt(3)


def torch_bias_std(fan_in: int) -> float:
    """Standard deviation of torch's default biases, ``U(±1/√n)``: ``1/√(3n)``. Constant in time, so a leak sums it."""
    return 1 / math.sqrt(3 * integer("fan_in", fan_in, minimum=1))


def xavier_gain(fan_in: int, fan_out: int) -> float:
    """Glorot and Bengio's gain, ``Var[w] = 2/(n_in + n_out)``: ``g² = 2 n_in/(n_in + n_out)``, 1 for a square layer.

    A compromise between forward and backward variance of linear units; ignores the threshold. **Source**: ``glorot2010``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.xavier_gain(512, 512)
    1.0
    """
    n, m = integer("fan_in", fan_in, minimum=1), integer("fan_out", fan_out, minimum=1)
    return math.sqrt(2 * n / (n + m))


def lecun_gain() -> float:
    """``g = 1``: preserves the variance of linear units. Ignores the threshold. **Source**: ``lecun1998``."""
    return 1.0


METHODS = (
    Method("kaiming", "Kaiming", lambda s: Weights(kaiming_gain()), NEURON, "he2015", colour="tab:brown"),
    Method(
        "torch_default",
        "torch's default",
        lambda s: Weights(torch_gain(), bias_std=torch_bias_std(s.fan_in)),
        f"{NEURON}; a leak sums its biases",
        colour="tab:pink",
    ),
    Method("xavier", "Xavier", lambda s: Weights(xavier_gain(s.fan_in, s.width)), NEURON, "glorot2010", colour="goldenrod"),
    Method("lecun", "LeCun", lambda s: Weights(lecun_gain()), NEURON, "lecun1998", colour="teal"),
    Method(
        "orthogonal",
        "Orthogonal, gain 1",
        lambda s: Weights(1.0),
        f"{NEURON}; predicted with independent rows",
        "saxe2013",
        colour="black",
    ),
)
