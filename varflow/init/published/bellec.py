"""The LSNN's initialisation."""

from __future__ import annotations

from varflow._checks import positive_scale, scalar
from varflow.init.published.method import NEURON, Method, Weights

__all__ = ["BELLEC", "bellec_gain"]


def bellec_gain(*, scale: float = 1.0) -> float:
    """LSNN's, ``w ~ N(0, V₀²/n)`` with ``V₀ = 1``: ``g = V₀``.

    Designed for a threshold of 0.03 and an input scale of ``1 - β``; without them it equals LeCun's.
    **Source**: ``bellec2018`` and its code.
    """
    return scalar("scale", positive_scale("scale", scale))


BELLEC = Method(
    "bellec", "LSNN", lambda s: Weights(bellec_gain()), f"{NEURON}; made for θ = 0.03", "bellec2018", colour="deeppink"
)
