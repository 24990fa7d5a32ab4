"""Ding's slant-asymptote gain and bias."""

from __future__ import annotations

import math

from varflow._checks import positive_number, probability
from varflow.init.published.method import Method, Setting, Weights


def ding_gain(threshold: float, *, input_scale: float = 1.0) -> float:
    """Ding's slant-asymptote gain, ``g² = 2 θ²/λ²``, used with a positive bias, :func:`ding_bias`.

    Kaiming's gain in units of the threshold. Ignores the fixed points of the variance: without the bias it is far below the
    critical gain, ``g² = 6.034 θ²``. **Source**: ``ding2021``, as in the code of ``shi2026`` (the text was not available).

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.ding_gain(0.5) ** 2, 12)
    0.5
    """
    theta = positive_number("threshold", threshold)
    return math.sqrt(2) * theta / positive_number("input_scale", input_scale)


def ding_bias(threshold: float, decay: float, *, input_scale: float = 1.0) -> float:
    """The common bias used with :func:`ding_gain`, ``b = θ(1 - β)/(2λ)``: in the long run half the threshold."""
    theta = positive_number("threshold", threshold)
    return theta * (1 - probability("decay", decay)) / (2 * positive_number("input_scale", input_scale))


def _ding(s: Setting) -> Weights:
    theta, scale = s.neuron.threshold, s.neuron.input_scale
    return Weights(ding_gain(theta, input_scale=scale), bias=ding_bias(theta, s.neuron.decay, input_scale=scale))


DING = Method("ding", "Ding, with bias", _ding, "fixed points of the variance, width", "ding2021", colour="tab:olive")
