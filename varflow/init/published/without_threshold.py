"""Gains of spiking networks that do not depend on the threshold: of the LSNN, of the SpyTorch tutorials, and IKUN."""

from __future__ import annotations

import math

from varflow._checks import DomainError, integer, positive_number, real_array, scalar
from varflow.init.published.method import NEURON, Method, Weights


def bellec_gain(*, scale: float = 1.0) -> float:
    """LSNN's, ``w ~ N(0, V₀²/n)`` with ``V₀ = 1``: ``g = V₀``.

    Designed for a threshold of 0.03 and an input scale of ``1 - β``; without them it equals LeCun's.
    **Source**: ``bellec2018`` and its code.
    """
    return positive_number("scale", scale)


def spytorch_gain(decay: float) -> float:
    """The SpyTorch tutorials' ``std = 7(1 - β)/√n``: ``g = 7(1 - β)``, found by hand to "give some spikes to begin with".

    Ignores threshold, rate and depth; for one hidden layer. At ``β = 0`` it is 7, far above the critical gain.
    **Source**: the first two tutorials of ``zenke2019``, which accompany ``neftci2019``.
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


METHODS = (
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
