"""Kaiming's gain for rectifiers."""

from __future__ import annotations

import math

from varflow._checks import scalar, scale
from varflow.init.published.method import NEURON, Method, Weights

__all__ = ["KAIMING", "kaiming_gain"]


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
    return math.sqrt(2 / (1 + scalar("slope", scale("slope", slope)) ** 2))


KAIMING = Method("kaiming", "Kaiming", lambda s: Weights(kaiming_gain()), NEURON, "he2015", colour="tab:brown")
