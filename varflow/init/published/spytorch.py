"""The SpyTorch tutorials' gain."""

from __future__ import annotations

from varflow._checks import DomainError, real_array, scalar
from varflow.init.published.method import Method, Weights

__all__ = ["SPYTORCH", "spytorch_gain"]


def spytorch_gain(decay: float) -> float:
    """The SpyTorch tutorials' ``std = 7(1 - β)/√n``: ``g = 7(1 - β)``, found by hand to "give some spikes to begin with".

    Ignores threshold, rate and depth; for one hidden layer. At ``β = 0`` it is 7, far above the critical gain.
    **Source**: the first two tutorials of ``zenke2019``, which accompany ``neftci2019``.
    """
    b = scalar("decay", real_array("decay", decay))
    if not 0 <= b < 1:
        raise DomainError("decay", decay, "must lie between 0 and 1, 1 excluded")
    return 7 * (1 - b)


SPYTORCH = Method(
    "spytorch",
    "SpyTorch",
    lambda s: Weights(spytorch_gain(s.neuron.decay)),
    "threshold and depth; by hand",
    "zenke2019",
    colour="tab:red",
)
