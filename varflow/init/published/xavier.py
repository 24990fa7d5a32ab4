"""Glorot and Bengio's gain, a compromise between forward and backward variance."""

from __future__ import annotations

import math

from varflow._checks import integer
from varflow.init.published.method import NEURON, Method, Weights

__all__ = ["XAVIER", "xavier_gain"]


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


XAVIER = Method("xavier", "Xavier", lambda s: Weights(xavier_gain(s.fan_in, s.width)), NEURON, "glorot2010", colour="goldenrod")
