"""Published gains that do not depend on the threshold: of networks without spikes (rectifiers: Kaiming; torch's default; linear
units: Xavier, LeCun, orthogonal), of the LSNN, of the SpyTorch tutorials, and IKUN; and methods whose weights are not drawn
here.
"""

from __future__ import annotations

import math

from varflow._checks import DomainError, integer, positive_number, real_array, real_number, scalar
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
    """Standard deviation of torch's default biases, ``U(±1/√n)``: ``1/√(3n)``. Constant in time, so a leak sums it.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.torch_bias_std(300), 4)
    0.0333
    """
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
    """``g = 1``: preserves the variance of linear units. Ignores the threshold. **Source**: ``lecun1998``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.lecun_gain()
    1.0
    """
    return 1.0


RECTIFIERS_AND_LINEAR = (
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


def bellec_gain(*, scale: float = 1.0) -> float:
    """LSNN's, ``w ~ N(0, V₀²/n)`` with ``V₀ = 1``: ``g = V₀``.

    Designed for a threshold of 0.03 and an input scale of ``1 - β``; without them it equals LeCun's.
    **Source**: ``bellec2018`` and its code.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.bellec_gain()
    1.0
    """
    return positive_number("scale", scale)


def spytorch_gain(decay: float) -> float:
    """The SpyTorch tutorials' ``std = 7(1 - β)/√n``: ``g = 7(1 - β)``, found by hand to "give some spikes to begin with".

    Ignores threshold, rate and depth; for one hidden layer. At ``β = 0`` it is 7, far above the critical gain.
    **Source**: the first two tutorials of ``zenke2019``, which accompany ``neftci2019``.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.spytorch_gain(0.9), 4)
    0.7
    """
    b = scalar("decay", real_array("decay", decay))
    if not 0 <= b < 1:
        raise DomainError("decay", decay, "must lie between 0 and 1, 1 excluded")
    return 7 * (1 - b)


def ikun_gain(fan_in: int | None = None, fan_out: int | None = None) -> float:
    r"""IKUN's: one over the mean of the surrogate derivative ``1/(1 + x²)`` on [-1, 1], ``g² = 4/π``.

    With fans, version 2: ``Var[w] = (4/π)/(n_in + n_out)``. Ignores threshold, leak and reset: the surrogate affects the
    backward pass only. **Source**: ``chang2024`` and its code.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.ikun_gain() ** 2, 4)
    1.2732
    """
    if fan_in is None and fan_out is None:
        return 2 / math.sqrt(math.pi)
    n, m = integer("fan_in", fan_in, minimum=1), integer("fan_out", fan_out, minimum=1)
    return math.sqrt(4 / math.pi * n / (n + m))


SPIKING = (
    Method("bellec", "LSNN", lambda s: Weights(bellec_gain()), f"{NEURON}; made for θ = 0.03", "bellec2018", colour="deeppink"),
    Method(
        "spytorch",
        "SpyTorch",
        lambda s: Weights(spytorch_gain(s.neuron.decay)),
        "threshold and depth; by hand",
        "zenke2019",
        colour="tab:red",
    ),
    Method("ikun", "IKUN", lambda s: Weights(ikun_gain()), NEURON, "chang2024", colour="slateblue"),
    Method(
        "ikun_v2", "IKUN, version 2", lambda s: Weights(ikun_gain(s.fan_in, s.width)), NEURON, "chang2024", colour="darkgreen"
    ),
)


WITHOUT_WEIGHTS = (
    Method("tdbn", "tdBN", None, "no weights: batch statistics in training", "zheng2021", "data"),
    Method("ei_init", "E-I Init", None, "needs its inhibitory circuit", "liu2025", "data"),
    Method("mp_init", "MP-Init", None, "no weights: potentials at step 0", "kook2025", "data"),
    Method("herranz_celotti", "Herranz-Celotti, Rouat", None, "recurrent weights; half of all fire", "herranz2022", "data"),
    Method(
        "perez_nieves", "Perez-Nieves, Goodman", None, "not implemented: formulas not available", "perez2023", "firing rate"
    ),
)
