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

Partial moments of a potential about the threshold are ``E[(u - θ)^j 1(u > θ) | K]`` and the same for ``u ≤ θ``, j = 0 … 4.

A layer's sample variance and spike count come from the same potentials; these moments give the distribution of the variance
given the count. They are exact for normal and lattice weights and for most with a cumulant generating function; others use sums
binned in cells of 1/16 standard deviation and convolved: probabilities to about 1e-3, mean and variance of every sum exact.
They enter ensembles drawn from the chain and the calibration of ``vf.compare``, never a prediction.
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
from varflow.theory.layer import CountedLayer, standardised_threshold, tails


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
    largest = layer.law.in_degree or layer.fan_in  # connections that are present
    sides = lattice.tails(layer, largest) if layer.law.core.lattice else _at(layer, np.arange(largest + 1.0))
    p, q = sides if layer.law.always_present else mixed(layer, np.stack(sides))
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


def core_threshold(layer: CountedLayer, number: np.ndarray) -> tuple[np.ndarray, float]:
    """``(x, b)`` such that a neuron with ``J`` inputs fires if ``S_J + b N > x``, ``N`` standard normal."""
    x = (layer.threshold / layer.input_scale - layer.shift * number) / layer.scale
    return x, float(np.sqrt(layer.bias_variance) / layer.input_scale / layer.scale)


def _at(layer: CountedLayer, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both tails of a continuous distribution for ``J`` present connections."""
    p, q = tails(layer.threshold, 0 * number, 0 * number + layer.bias_variance, layer.strict)  # J = 0: the bias alone
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
    for given, integral in (("cgf", contour.tails), ("pdf", inversion.tails)):
        unknown = np.isnan(p)
        if unknown.any() and core.gives(given):
            p[unknown], q[unknown] = integral(core, number[unknown], x[unknown], bias)
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


CELL = 1 / 16  # in standard deviations of a weight
CELLS = 2**15  # the bins span 2048 standard deviations


def cell_sums(core: WeightDistribution, largest: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Centres of cells and their probabilities, for the sum of 0, 1, …, ``largest`` cores."""
    index = np.arange(-CELLS // 2, CELLS // 2)
    edges = core.mean + core.std * CELL * (np.append(index, CELLS // 2) - 0.5)
    upper, lower = sum_tails(core, np.ones(len(edges)), edges, 0.0)
    mass = np.maximum(np.where(index <= 0, np.diff(lower), -np.diff(upper)), 0.0)
    mass /= mass.sum()
    mean = float(mass @ index)
    std = float(np.sqrt(mass @ (index - mean) ** 2))
    spectrum = np.fft.rfft(np.fft.ifftshift(mass))
    power = np.ones_like(spectrum)
    for number in range(largest + 1):
        centre = round(number * mean)
        masses = np.roll(np.fft.irfft(power, CELLS), CELLS // 2 - centre)  # circular
        held = np.flatnonzero(masses > 1e-15)
        yield number * core.mean + core.std * (centre + index[held] - number * mean) / std, masses[held]
        power = power * spectrum


ORDERS = np.arange(5)
ORDINARY = 1e50  # potentials between 1/ORDINARY and this have fourth powers in range


def partial_moments(layer: CountedLayer) -> np.ndarray:
    """``E[(u - θ)^j 1(u > θ) | K]`` and ``E[(u - θ)^j 1(u ≤ θ) | K]`` for every count, shape (2, 5, fan_in + 1).

    Potentials are measured in ``unit(layer)``.
    """
    measured = _in_units(layer, unit(layer))
    sides = _of_present(measured, layer.law.in_degree or layer.fan_in)
    sides = sides if layer.law.always_present else mixed(measured, sides)
    sides[:, 0] = firing(layer, np.arange(layer.fan_in + 1))
    return sides


def unit(layer: CountedLayer) -> float:
    """1, or a power of two near the size of potentials whose fourth powers would over- or underflow."""
    size = np.sqrt(layer.weight_variance * layer.fan_in + layer.bias_variance) + abs(layer.threshold)
    return 1.0 if 1 / ORDINARY < size < ORDINARY else float(2.0 ** np.round(np.log2(size)))


def _in_units(layer: CountedLayer, unit: float) -> CountedLayer:
    names = ("weight_mean", "threshold", "scale", "shift")
    lengths = {name: getattr(layer, name) / unit for name in names}
    variances = {name: getattr(layer, name) / unit**2 for name in ("weight_variance", "bias_variance")}
    return replace(layer, **lengths, **variances)


def normal_partial_moments(margin: np.ndarray, std: np.ndarray) -> np.ndarray:
    """``E[y^j 1(y > 0)]`` of ``y ~ N(margin, std²)``, shape (5, …): ``m_j = margin m_{j-1} + (j-1) std² m_{j-2}``."""
    from scipy.special import ndtr

    z = margin / std
    moments = [ndtr(z), std * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) + margin * ndtr(z)]
    for j in range(2, 5):
        moments.append(margin * moments[-1] + (j - 1) * std**2 * moments[-2])
    return np.maximum(np.array(moments), 0.0)


def _of_present(layer: CountedLayer, largest: int) -> np.ndarray:
    """Moments above and below the threshold for 0 … ``largest`` present connections, shape (2, 5, largest + 1)."""
    core, number = layer.law.core, np.arange(largest + 1.0)
    out, bias = np.full((2, 5, largest + 1), np.nan), np.sqrt(layer.bias_variance)
    if core.gives("cgf"):
        _on_contour(layer, number, out)
    missing = np.any(np.isnan(out[:, 1:]), axis=(0, 1))
    sums = _normal if core.sums_are_normal else cell_sums if core.lattice is None else lattice.sums
    for count, (values, mass) in enumerate(sums(core, int(np.max(number, where=missing, initial=-1)))):
        if missing[count]:
            spread = np.hypot(bias, layer.connection_std * np.sqrt(count)) if core.sums_are_normal else bias
            out[..., count] = _of_atoms(layer, lattice.membranes(layer, values, count) - layer.threshold, mass, spread)
    return out


def _normal(core: WeightDistribution, largest: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The means of normal sums, as atoms."""
    return ((np.array([count * core.mean]), np.ones(1)) for count in range(largest + 1))


def _of_atoms(layer: CountedLayer, margin: np.ndarray, mass: np.ndarray, spread: float) -> np.ndarray:
    """Both sides for ``u - θ = margin + spread N`` with margins of probability ``mass`` and ``N`` standard normal."""
    if spread:
        upper, lower = (normal_partial_moments(side * margin, np.full_like(margin, spread)) @ mass for side in (1, -1))
        return np.array([upper, lower * (-1) ** ORDERS])
    fires = margin > 0 if layer.strict else margin >= 0
    powers = margin ** ORDERS[:, None] * mass
    return np.array([powers[:, fires].sum(axis=1), powers[:, ~fires].sum(axis=1)])


def _on_contour(layer: CountedLayer, number: np.ndarray, out: np.ndarray) -> None:
    """Orders 1 to 4 where the sum's density is smooth and the threshold inside its support (order 0 comes from ``firing``)."""
    core, (x, bias) = layer.law.core, core_threshold(layer, number)
    low, high = (np.maximum(number, 1) * end for end in core.support)
    # sums of fewer weights may have a rough density: they use cells
    inside = np.flatnonzero((number > 8) & ((bias > 0) | ((low < x) & (x < high))))
    unit = layer.input_scale * layer.scale
    for row, side in ((0, 1), (1, -1)):
        # 1e-5: a calibration needs no more
        moments = contour.tail_moments(core, side, number[inside], x[inside], bias, range(1, 5), 1e-5)
        out[row, 1:, inside] = (moments * (side * unit) ** ORDERS[1:, None]).T
