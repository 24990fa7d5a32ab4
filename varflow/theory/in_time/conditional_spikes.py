"""Spikes of a membrane that is normal given the past: only the newest innovation of its current is still open."""

from __future__ import annotations

import numpy as np
from scipy import special

from varflow.model.neurons import Neuron
from varflow.theory.in_time.stepping import spikes

__all__ = ["expected_spikes", "normal_cdf"]

REACH = 6.0  # standard deviations: what lies beyond has probability below 1e-9
MOST = 50  # spikes in one step up to which they are summed; where there are more, the sampled number serves as well

END = 16.0  # standard deviations: beyond, a tail is 0 in single precision
# -ln(Φ/(1-Φ)) = x N(x²)/D(x²), fitted here over |x| < 6: Φ to 1.1e-7, and to 4e-4 of itself from -4 on.
N = (-1.05822657e-04, -1.03461281e-02, -1.92318064e-01, -1.59577167)
D = (0.00310325, 0.07498618, 1.0)


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """``Φ`` in the precision of ``x``; in single precision within 2.1e-7, from numpy's vector loops alone."""
    if x.dtype != np.float32:
        return special.ndtr(x)
    x = np.clip(x, -END, END)
    square = x * x
    above = ((N[0] * square + N[1]) * square + N[2]) * square + N[3]
    below = (D[0] * square + D[1]) * square + D[2]
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(x * above / below))


def expected_spikes(
    neuron: Neuron, expected: np.ndarray, std: float, before: np.ndarray, sampled: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``E[S]`` and ``E[S²]`` of ``H ~ N(expected, std²)``; after a spike (``before``), of what the reset lets in of ``std``.

    ``sampled`` are spikes drawn from the same distribution, given back where there is nothing to integrate or too much.
    """
    if std == 0:
        return sampled, sampled**2
    rule = neuron.reset_rule
    if rule.counts:
        return _expected_count(neuron.threshold, expected, std, sampled)
    above = expected - neuron.threshold
    chance = normal_cdf(above * (1 / std))
    if rule.input:
        after = spikes(neuron, expected) if rule.input == 1 else normal_cdf(above * (1 / (std * (1 - rule.input))))
        chance += before * (after - chance)  # np.where on a random mask is slower
    return chance, chance


def _expected_count(threshold: float, expected: np.ndarray, std: float, sampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``E[S] = Σ_k P(S ≥ k)`` and ``E[S²] = Σ_k (2k - 1) P(S ≥ k)``."""
    highest = (float(expected.max()) + REACH * std) / threshold
    if highest > MOST:
        return sampled, sampled**2
    first, second = np.zeros_like(expected), np.zeros_like(expected)
    for k in range(1, int(highest) + 1):
        at_least = normal_cdf((expected - k * threshold) * (1 / std))
        first += at_least
        second += (2 * k - 1) * at_least
    return first, second
