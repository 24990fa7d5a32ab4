"""IKUN: the gain from a surrogate derivative's mean."""

from __future__ import annotations

import math

from varflow._checks import integer
from varflow.init.published.method import NEURON, Method, Weights

__all__ = ["IKUN", "IKUN_V2", "ikun_gain"]


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


IKUN = Method("ikun", "IKUN", lambda s: Weights(ikun_gain()), NEURON, "chang2024", colour="slateblue")

IKUN_V2 = Method(
    "ikun_v2", "IKUN, version 2", lambda s: Weights(ikun_gain(s.fan_in, s.width)), NEURON, "chang2024", colour="darkgreen"
)
