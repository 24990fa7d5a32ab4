"""Gain rules of a sweep: the gain at each threshold, by name or as a number."""

from __future__ import annotations

from typing import Any

from varflow._checks import LARGEST_SCALE, DomainError, non_negative_number, positive_number, real_number
from varflow.init.gains import gain as preserving_gain
from varflow.model.distributions import distribution as as_distribution
from varflow.model.neurons import one_threshold

RULES = ("preserving", "kaiming")


def gain_by_rule(
    gain: Any, threshold: Any, *, distribution: Any = "normal", bias_std: float = 0.0, mean_gain: float = 0.0
) -> float:
    """The gain of a rule at a threshold.

    Parameters
    ----------
    gain : str or float
        ``preserving`` keeps the variance at 1 (``micheli2024``); ``kaiming`` is ``√2`` (``he2015``);
        a number, or its text, is the gain itself.
    threshold, distribution, bias_std, mean_gain
        As in :func:`varflow.gain`, one number each; a threshold may be a distribution over neurons.

    Raises
    ------
    DomainError
        For an unknown rule, or if no gain in range preserves the variance.

    Examples
    --------
    >>> import varflow as vf
    >>> [round(vf.gain_by_rule(rule, 1.0), 6) for rule in ("preserving", "kaiming", 2.5)]
    [2.510573, 1.414214, 2.5]
    """
    theta, m_g = one_threshold(threshold), real_number("mean_gain", mean_gain)
    sigma_b, law = non_negative_number("bias_std", bias_std), as_distribution(distribution)
    if not isinstance(gain, str) or gain not in RULES:
        return number(gain)
    if gain == "kaiming":
        return 2**0.5
    if sigma_b >= 1:
        rule = "is too large for a preserving gain, which keeps the variance at 1: give a gain"
        raise DomainError("bias_std", bias_std, rule)
    preserving = preserving_gain(threshold=theta, distribution=law, bias_std=sigma_b, mean_gain=m_g)
    if preserving > LARGEST_SCALE:
        raise DomainError("threshold", threshold, f"has no preserving gain below {LARGEST_SCALE:g}: give a gain")
    return preserving


def number(rule: Any) -> float:
    """A gain given as a number or as text."""
    try:
        value = float(rule) if isinstance(rule, str) else rule
    except ValueError:
        raise DomainError("gain", rule, "must be a number or one of " + ", ".join(RULES)) from None
    return positive_number("gain", value)
