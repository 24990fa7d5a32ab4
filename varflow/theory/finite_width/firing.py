r"""Firing probabilities ``π_K = P(u > θ | K)`` of one layer, for every distribution of weights.

The tail for ``J`` present and active connections comes from the first of these that the distribution defines: a lattice, a
closed form, a cumulant generating function (``contour``), a density (``inversion``). If connections are absent at random, or
each neuron keeps a fixed number, ``π_K`` is the mean of these tails over ``J | K``, binomial or hypergeometric: a sum of
positive terms.

With standardised rows, a row is a random direction, uniform among those of mean 0,

.. math:: u = \lambda g \sqrt{K (1 - K/n)}\; T, \qquad
          P(T > t) = \tfrac12 P\bigl(\mathrm{Beta}(\tfrac12, \tfrac{n-2}2) > t^2\bigr), \quad t \ge 0

with ``T`` the coordinate of a uniform point on the unit sphere in ``n - 1`` dimensions, and ``√(K(1 - K/n))`` the length of the
centred spikes. Source: derived here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from varflow._checks import ConvergenceError, DomainError, frozen
from varflow.model.over_neurons import OverNeurons, averaged, values_of
from varflow.model.weight_distribution import WeightDistribution
from varflow.theory.finite_width import contour, inversion, lattice
from varflow.theory.layer import CountedLayer, standardised_threshold


def smooth_in_count(layer: CountedLayer) -> bool:
    """True if ``π_K`` is defined for real ``K``, as the grids of wide layers need."""
    return layer.is_normal or layer.rows == "standardised" or (layer.law.always_present and layer.law.core.lattice is None)


def firing(layer: CountedLayer, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Probability that a neuron fires given the spike count below, and its complement, both to full relative accuracy.

    .. math:: \pi_K = P\Bigl(\lambda \sum_{i \le K} w_i + \lambda b > \theta\Bigr)

    Parameters
    ----------
    layer : CountedLayer
    counts : ndarray
        Spikes in the layer below; integers, unless :func:`smooth_in_count`.

    Returns
    -------
    tuple of ndarray
        ``P(u > θ)`` and ``P(u ≤ θ)``; with ``≥`` and ``<`` if the neuron is not strict.

    Raises
    ------
    DomainError
        For non-integer counts if ``π_K`` is not defined there.
    ConvergenceError
        If the tail of a sum of weights is not accurate to 1e-10.

    Notes
    -----
    **Assumes** independent, identically distributed weights, or connections drawn without replacement.
    **Accuracy**: relative 1e-11 in both tails (tested down to 1e-140) for lattice, uniform and exponential weights, also
    sparse; absolute 1e-10 for log-normal and general ones (tested). Ties of lattice weights with the threshold are decided by
    ``λ (scale · I + shift · J)`` in double precision.
    **Source**: derived here; Daniels 1954 and Gil-Pelaez 1951 for the integrals.
    """
    if layer.is_normal:
        return layer.normal_tails(counts)
    if layer.rows == "standardised":
        return standardised_tails(layer, counts)
    if isinstance(layer.threshold, OverNeurons) and layer.law.core.lattice is None:
        # few thresholds, since each costs an integral
        tails = [(weight, firing(replace(layer, threshold=theta), counts)) for theta, weight in values_of(layer.threshold, 32)]
        return np.asarray(sum(weight * p for weight, (p, _) in tails)), np.asarray(sum(weight * q for weight, (_, q) in tails))
    integers = np.rint(counts).astype(int)
    if np.array_equal(integers, counts):
        p, q = _table(layer)
        return p[integers], q[integers]
    if not smooth_in_count(layer):
        rule = "is not supported in layers wider than 10000, whose grid needs non-integer counts"
        raise DomainError("weights", layer.law, f"{rule}; try vf.weights.normal_approximation")
    return _at(layer, np.asarray(counts, dtype=float))


@lru_cache(maxsize=32)
def _table(layer: CountedLayer) -> tuple[np.ndarray, np.ndarray]:
    """Both tails for every count 0 … fan_in."""
    sides = _present(layer, layer.law.in_degree or layer.fan_in)
    if layer.law.always_present:
        return sides
    p, q = mixed(layer, np.stack(sides))
    return frozen(p), frozen(q)


def mixed(layer: CountedLayer, values: np.ndarray) -> np.ndarray:
    """``E[values(J) | K]`` for K = 0 … fan-in, from values at J = 0, 1, … in the last axis."""
    out = np.empty((*values.shape[:-1], layer.fan_in + 1))
    for count, (first, mass) in enumerate(_presence(layer)):
        out[..., count] = values[..., first : first + len(mass)] @ mass
    return out


def _presence(layer: CountedLayer) -> Iterator[tuple[int, np.ndarray]]:
    """Distribution of ``J | K`` for K = 0 … fan-in, as ``(smallest J, probabilities)``."""
    law, first, mass = layer.law, 0, np.ones(1)
    for count in range(layer.fan_in + 1):
        yield first, mass
        if count == layer.fan_in:
            return
        if law.in_degree is None:
            chance: np.ndarray | float = law.density
        else:
            chance = (law.in_degree - first - np.arange(len(mass))) / (layer.fan_in - count)
        grown = np.append(mass * np.maximum(1 - chance, 0.0), 0.0)
        grown[1:] += mass * chance
        significant = np.flatnonzero(grown > 1e-290)
        first, mass = first + int(significant[0]), grown[significant[0] : significant[-1] + 1]


def _present(layer: CountedLayer, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Both tails for 0 … ``largest`` connections that are present."""
    if layer.law.core.lattice is not None:
        return lattice.tails(layer, largest)
    p, q = _at(layer, np.arange(largest + 1.0))
    return frozen(p), frozen(q)


def core_threshold(layer: CountedLayer, number: np.ndarray) -> tuple[np.ndarray, float]:
    """``(x, b)`` such that a neuron with ``J`` inputs fires if ``S_J + b N > x``, ``N`` standard normal."""
    x = (layer.threshold / layer.input_scale - layer.shift * number) / layer.scale
    return x, float(np.sqrt(layer.bias_variance) / layer.input_scale / layer.scale)


def _at(layer: CountedLayer, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both tails of a continuous distribution for ``J`` present connections."""
    p, q = layer.normal_tails(np.zeros(len(number)))  # J = 0: the bias alone
    some = number > 0
    p[some], q[some] = sum_tails(layer.law.core, number[some], *core_threshold(layer, number[some]))
    return p, q


def sum_tails(core: WeightDistribution, number: np.ndarray, x: np.ndarray, bias: float) -> tuple[np.ndarray, np.ndarray]:
    """``P(S_J + b N > x)`` and its complement for ``J > 0`` cores."""
    p, q = np.array(core.sum_tails(number, x, bias))
    if not bias:
        low, high = core.support
        p[x >= number * high], q[x >= number * high] = 0.0, 1.0
        p[x <= number * low], q[x <= number * low] = 1.0, 0.0
        one = np.isnan(p) & (number == 1)
        p[one], q[one] = core.tails(x[one]) if one.any() else (0.0, 0.0)
    for given, tails in (("cgf", contour.tails), ("pdf", inversion.tails)):
        unknown = np.isnan(p)
        if unknown.any() and core.gives(given):
            p[unknown], q[unknown] = tails(core, number[unknown], x[unknown], bias)
    if np.isnan(p).any():
        hint = "set such a small bias to 0" if bias else "give the distribution a pdf or a closed form of such sums"
        raise ConvergenceError(f"no tail was found for a sum of {number[np.isnan(p)][0]:g} weights: {hint}", (p, q))
    return p, q


def standardised_tails(layer: CountedLayer, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``P(u > θ)`` and its complement, over all neurons."""
    length = layer.conditional_variance(counts) * (layer.fan_in - 1)
    zero = np.zeros_like(length)
    t = lambda theta: standardised_threshold(theta, zero, length, layer.strict)  # noqa: E731
    upper = averaged(layer.threshold, lambda theta: _upper_tail(t(theta), layer.fan_in))
    return upper, averaged(layer.threshold, lambda theta: _upper_tail(-t(theta), layer.fan_in))


def _upper_tail(t: np.ndarray, n: int) -> np.ndarray:
    """``P(T > t)``; for two inputs ``T = ±1``."""
    from scipy.special import betainc

    orthogonal = np.clip((1 - np.abs(t)) * (1 + np.abs(t)), 0.0, 1.0)
    tail = 0.5 * betainc((n - 2) / 2, 0.5, orthogonal) if n > 2 else 0.5 * (orthogonal > 0)
    return np.where(t < 0, 1 - tail, tail)


def directions(rng: np.random.Generator, layer: CountedLayer, shape: tuple[int, ...]) -> np.ndarray:
    """Draws of ``T``."""
    normal = rng.standard_normal(shape)
    other_squares = rng.chisquare(layer.fan_in - 2, shape) if layer.fan_in > 2 else 0.0
    return normal / np.sqrt(normal**2 + other_squares)
