"""LeCun's gain of 1, normal or orthogonal."""

from __future__ import annotations

from varflow.init.published.method import NEURON, Method, Weights

__all__ = ["LECUN", "ORTHOGONAL", "lecun_gain"]


def lecun_gain() -> float:
    """``g = 1``: preserves the variance of linear units. Ignores the threshold. **Source**: ``lecun1998``."""
    return 1.0


LECUN = Method("lecun", "LeCun", lambda s: Weights(lecun_gain()), NEURON, "lecun1998", colour="teal")

ORTHOGONAL = Method(
    "orthogonal",
    "Orthogonal, gain 1",
    lambda s: Weights(1.0),
    f"{NEURON}; predicted with independent rows",
    "saxe2013",
    colour="black",
)
