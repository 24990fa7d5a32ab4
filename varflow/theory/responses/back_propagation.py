r"""Layers of neurons backwards: ``G^δ = E[Jᵀ G^e J]``, from the gradients by spikes to those by currents.

One step and one input: a quadrature. Else the Jacobians of :mod:`varflow.theory.responses.step` are averaged over the
quasi-Monte Carlo points of the forward pass. With recurrent weights

.. math:: G^e(t, t') = G^{above}(t, t') + g_r^2\, G^\delta(t + 1, t' + 1)

so one sweep from the last step to the first suffices.

The scatter between networks of ``ln‖δ‖²`` in plain chains of one step, to the first order in 1/width:

With ``K = n p e^y`` spikes in a layer of ``n`` neurons, the next layer has ``ln p(y)``, and multiplies ``‖δ‖²`` by a mean of
``ψ² ε²`` over its neurons, ``ε`` normal:

.. math:: \ln\|\delta_l\|^2 = \sum_{k \ge l} (b_k y_{k-1} + \eta_k), \qquad y_k = m_k y_{k-1} + \xi_k, \qquad
          n \mathrm{Var}\,\eta = 3\kappa - 1, \quad n \mathrm{Var}\,\xi = \tfrac{1 - p}{p}, \quad
          n \mathrm{Cov}(\xi, \eta) = \tfrac wp - 1

with ``b = d ln E[ψ²]/dy``, ``m = d ln p/dy`` and ``w`` the fraction of ``E[ψ²]`` above threshold. Second derivatives give
the means of ``y`` and of the logarithm. In deep layers the variance grows per layer by ``1/n`` times
``3κ - 1 + b²(1-p)/(p(1-m)²) + 2b(w-p)/(p(1-m))``. Source: derived here.

Moments of a surrogate over normal potentials are ``E[ψ(u - θ)²]`` and its kurtosis, ``u ~ N(0, V)``. One quadrature for all
surrogates: Gauss–Legendre on panels that shrink geometrically towards each kink of ``ψ`` and are shorter than a standard
deviation elsewhere, so narrow and wide surrogates need no cases. The closed forms that some shapes have are in ``symbolic``;
tests compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from varflow.model.drive_kinds import Given
from varflow.model.layers import Spike
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import size_of
from varflow.model.surrogate import Surrogate
from varflow.theory.responses.filters import synapse
from varflow.theory.responses.neurons import Responses
from varflow.theory.responses.step import MEMBERS, Population, carried_back, carried_back_alone, jacobians, with_input
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Currents
from varflow.theory.signals.places import replicated
from varflow.theory.threads import in_threads

MARGIN = 10.0  # standard deviations beyond the mean and the kinks
FARTHEST = 38.5  # standard deviations: farther out the density underflows
CHUNK = 256  # configurations at once
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


class SurrogateMoments(NamedTuple):
    """``E[ψ²]``, ``κ = E[ψ⁴]/E[ψ²]²`` and the fraction of ``E[ψ²]`` above threshold (NaN where ψ vanishes)."""

    second: np.ndarray
    kurtosis: np.ndarray
    above: np.ndarray


def surrogate_moments(surrogate: Surrogate, threshold: np.ndarray, variance: np.ndarray) -> SurrogateMoments:
    """Moments for arrays of the same shape; ``variance`` must be positive."""
    theta, std = np.ravel(threshold), np.sqrt(np.ravel(variance))
    chunks = [slice(first, first + CHUNK) for first in range(0, len(theta), CHUNK)]
    parts = in_threads(lambda at: _moments(surrogate, theta[chunks[at]], std[chunks[at]]), len(chunks)) if chunks else []
    moments = np.concatenate(parts, axis=1) if parts else np.empty((3, 0))
    return SurrogateMoments(*(moment.reshape(np.shape(threshold)) for moment in moments))


def _moments(surrogate: Surrogate, theta: np.ndarray, std: np.ndarray) -> np.ndarray:
    # far from the mean positions are measured from the threshold
    origin = np.where(np.abs(theta) > 64.0 * std, theta, 0.0)[:, None]  # positions are x = v + origin
    ends = _panels(surrogate, theta[:, None], std[:, None], origin)
    half = np.diff(ends, axis=1)[..., None] / 2
    x = (ends[:, :-1, None] + half * (1 + NODES)).reshape(len(theta), -1)
    z = (x + (theta[:, None] - origin)) / std[:, None]
    mass = (half / std[:, None, None] * WEIGHTS).reshape(x.shape) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    psi = surrogate(x - origin)
    peak = np.abs(psi).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore"):
        square = np.where(peak > 0, psi / peak, 0.0) ** 2
        second, fourth = np.vecdot(square, mass), np.vecdot(square**2, mass)
        above = np.vecdot(np.where(x > origin, square, 0.0), mass)
        return np.array([peak[:, 0] ** 2 * second, fourth / second**2, above / second])


def _panels(surrogate: Surrogate, theta: np.ndarray, std: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Ends of the panels, ascending; those outside the range are empty."""
    own = surrogate.family == "own"
    kinks = [0.0, *surrogate.kinks] if own else [0.0, -surrogate.width, surrogate.width]
    at = theta + np.array(kinks)
    lo, hi = np.minimum(at.min(axis=1), 0.0) / std[:, 0], np.maximum(at.max(axis=1), 0.0) / std[:, 0]
    lo, hi = np.clip(lo - MARGIN, -FARTHEST, None)[:, None], np.clip(hi + MARGIN, None, FARTHEST)[:, None]
    even = std * (lo + (hi - lo) * np.linspace(0, 1, 65)) + (origin - theta)
    smallest = 1e-8 * std if own else surrogate.width / 8
    near = np.broadcast_to(smallest * 3.0 ** np.arange(18), (len(theta), 18))  # panels that shrink towards a kink
    around = [k + sign * near + origin for k in (kinks if own else kinks[:1]) for sign in (-1, 1)]
    ends = np.concatenate([even, *around, np.array(kinks) + origin], axis=1)
    return np.sort(np.clip(ends, even[:, :1], even[:, -1:]), axis=1)


SINGLE = 1e15  # potentials below which single precision is enough


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """The points at which a layer of neurons is followed back, with what else this takes.

    Attributes
    ----------
    number : int
        Of the layer, which decides its random numbers.
    responses : Responses
        Those of the forward pass.
    surrogate : callable
        ``ψ``, of ``H - θ``.
    detached : bool
        True if the reset is.
    scatter : bool
        True if the scatter between networks is wanted too; in time it takes as long as all else.
    """

    number: int
    responses: Responses
    surrogate: Surrogate
    detached: bool
    scatter: bool = False

    def jacobians(self, neuron: Neuron, at: Population, currents: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """See :func:`varflow.theory.responses.step.jacobians`, of neurons with their parameters at these points."""
        return jacobians(with_input(neuron, at), currents, self.surrogate, detached=self.detached)


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """``λ² E[ψ_i ψ_j]``, and the scatter: ``n`` times the relative variance of ``‖δ‖²`` that a layer of ``n`` neurons adds,
    ``E[q²]/E[q]² - 1`` with ``q = Σ_t δ_t²`` of a neuron; in one step mean and variance of potentials, from which it follows.
    Leading axes (replicas, groups).
    """

    second: np.ndarray
    scatter: np.ndarray | None = None
    potentials: tuple[np.ndarray, np.ndarray] | None = None


def moments_back(layer: Spike, above: np.ndarray, received: Currents, sampling: Sampling) -> tuple[np.ndarray, Slopes]:
    """``E[Jᵀ G J]`` and slopes over the points of the forward pass, of currents past the input scale."""
    neuron, steps = layer.neuron, received.grid.steps
    z, currents = sampling.responses.currents_at_points(neuron, received, sampling.number)
    replicas, groups, size, points = currents.shape
    largest = max(size_of(neuron.threshold), float(np.abs(currents).max()))
    dtype = np.float32 if largest < SINGLE else np.float64
    above = np.broadcast_to(replicated(above, replicas), (replicas, groups, size, size))
    at_once = size == steps and not layer.recurrent  # all groups at once, as sequences that do not mix
    scattered = sampling.scatter and at_once

    def one(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        at, group = (index, slice(None)) if at_once else divmod(index, groups)
        drawn = currents[at, group].reshape(-1, steps, points).astype(dtype)
        population = with_input(neuron, Population.of(neuron, z[at, size:].astype(dtype)))
        rng = np.random.default_rng([sampling.responses.seed, sampling.number, index]) if scattered else None
        how = sampling.surrogate, sampling.detached
        return sampled_back(population, drawn, above[at, group], *how, layer.recurrent_gain, rng)

    *columns, scatters = zip(*in_threads(one, replicas if at_once else replicas * groups), strict=True)
    back, second = (np.reshape(column, (replicas, groups, size, size)) for column in columns)
    return back, Slopes(second, np.array(scatters) if scattered else None)


def at_one_step(neuron: Neuron, received: Currents, surrogate: Surrogate) -> Slopes:
    """Slopes at a normal potential, averaged over neurons that differ."""
    first = synapse(neuron, 1).item()
    mean, variance = np.broadcast_arrays(first * received.mean, first**2 * received.covariance[..., 0])
    second = np.zeros(mean.shape)
    for weight, member in neuron.members(MEMBERS):
        second += weight * surrogate_moments(surrogate, member.threshold - mean, np.maximum(variance, NARROWEST)).second
    return Slopes((first * neuron.input_scale) ** 2 * second[..., None], potentials=(mean, variance))


def driven_back(
    layer: Spike, gradients: Gradients, drive: Given, surrogate: Surrogate, detached: bool
) -> tuple[Gradients, Slopes]:
    """Gradients by the currents of layer 1 where these are given, averaged over its neurons."""
    neuron, by_spikes = layer.neuron, gradients.earlier(layer.neuron.delay).moments
    currents = neuron.input_scale * synapse(neuron, drive.steps) @ drive.currents
    returned = [
        [_over_members(neuron, c[None], G, surrogate, detached) for c, G in zip(currents, above, strict=True)]
        for above in by_spikes
    ]
    back, second = (np.array([[pair[part] for pair in row] for row in returned]) for part in (0, 1))
    return gradients.with_moments(back, pairs={}, balanced=None), Slopes(second)


def _over_members(
    neuron: Neuron, currents: np.ndarray, gradient: np.ndarray, surrogate: Surrogate, detached: bool
) -> tuple[np.ndarray, np.ndarray]:
    back, second = np.zeros(gradient.shape), np.zeros(gradient.shape)
    for weight, member in neuron.members(MEMBERS):
        population = with_input(member, Population.of(member, np.empty(0)))
        returned = sampled_back(population, currents, gradient, surrogate, detached)
        back, second = back + weight * returned[0], second + weight * returned[1]
    return back, second


def sampled_back(
    neuron: Population,
    currents: np.ndarray,
    gradient: np.ndarray,
    surrogate: Surrogate,
    detached: bool,
    recurrent: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Means over the points of ``Jᵀ G J`` and of ``λ² ψ ψᵀ``, and with ``rng`` the scatter of each sequence alone.

    ``currents``: (sequences, steps, points), past the synapse; ``gradient``: of all pairs of sequences and steps, or, shape
    (sequences, steps, steps), of each sequence alone.
    """
    blocks, points = jacobians(neuron, currents, surrogate, detached=detached), currents.shape[-1]
    if recurrent:  # all points are needed at each step
        parts = list(blocks)
        J, psi = (np.concatenate(column, axis=-1) for column in list(zip(*parts, strict=True))[1:])
        blocks = [(slice(points), J, psi)]
    back, second, squares = np.zeros(gradient.shape), np.zeros(gradient.shape), []
    root = None if rng is None else _root(gradient)
    for _, J, psi in blocks:
        if gradient.ndim == 3:
            back += carried_back_alone(J, gradient)
            second += psi @ psi.swapaxes(-1, -2)
            if rng is not None and root is not None:
                e = root @ rng.standard_normal((gradient.shape[-1], J.shape[-1]))
                squares.append(np.square(np.einsum("ptsx,ptx->psx", J, e.astype(J.dtype))).sum(axis=1, dtype=float))
            continue
        back += _swept_back(J, gradient, recurrent) if recurrent else carried_back(J, gradient)
        rows = psi.reshape(len(gradient), -1)
        second += rows @ rows.T
    return back / points, second / points, _excess(np.concatenate(squares, axis=1)) if squares else None


def _root(gradient: np.ndarray) -> np.ndarray:
    """A square root of ``G`` of each sequence, in units of its largest element."""
    unit = np.abs(gradient).max(axis=(-2, -1), keepdims=True)
    values, vectors = np.linalg.eigh(gradient / np.where(unit > 0, unit, 1.0))
    return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]


def _excess(q: np.ndarray) -> np.ndarray:
    """``E[q²]/E[q]² - 1`` over the last axis; NaN without gradients."""
    largest = q.max(axis=-1, keepdims=True)
    q = q / np.where(largest > 0, largest, np.nan)
    return np.mean(q**2, axis=-1) / np.mean(q, axis=-1) ** 2 - 1


def _swept_back(J: np.ndarray, gradient: np.ndarray, recurrent: float) -> np.ndarray:
    """The sum over points of ``Jᵀ G^e J``: from the last step on, each returns by the recurrent weights to the one before."""
    sequences, steps, _, points = J.shape
    squared, unit = recurrent**2 / points, float(np.abs(gradient).max()) or 1.0  # single precision
    total = (gradient / unit).reshape(sequences, steps, sequences, steps)
    back = np.zeros_like(total)
    for s in range(steps - 1, -1, -1):
        total[:, s, :, s:-1] += squared * back[:, s + 1 : s + 2, :, s + 1 :].sum(axis=1)
        total[:, s + 1 : -1, :, s] += squared * back[:, s + 2 :, :, s + 1 : s + 2].sum(axis=-1)
        for p in range(sequences):
            weighted = total[p, s:].transpose(1, 2, 0).astype(J.dtype) @ J[p, s:, s]  # (q, t', points)
            for q in range(sequences):
                row = np.matmul(J[q, :, s:], weighted[q, :, :, None])[..., 0].sum(axis=0)
                back[p, s, q, s:], back[q, s:, p, s] = row, row
    return unit * back.reshape(gradient.shape)


STEP = 1e-3  # of y, in differences
NARROWEST = 1e-280  # variance of a potential that does not vary


class Fluctuations(NamedTuple):
    """``Var η``, ``Var ξ`` and ``Cov(ξ, η)`` of a layer; first and second derivatives of ``ln p`` and ``ln E[ψ²]`` by ``y``."""

    excess: np.ndarray
    of_count: np.ndarray
    covariance: np.ndarray
    rate: tuple[np.ndarray, np.ndarray]
    slope: tuple[np.ndarray, np.ndarray]


def fluctuations(
    neuron: Neuron, mean: np.ndarray, variance: np.ndarray, constant: float, width: int, surrogate: Surrogate
) -> Fluctuations:
    """Fluctuations to potentials of these means and variances, of which ``constant`` does not depend on the count below."""
    factors = np.exp(STEP * np.array([-1.0, 0.0, 1.0]))[:, None]
    means, variances = factors * mean, np.maximum(constant + factors * (variance - constant), NARROWEST)
    rate, second, fourth, above = np.zeros((4, 3, len(mean)))
    for weight, member in neuron.members(MEMBERS):
        found = surrogate_moments(surrogate, member.threshold - means, variances)
        rate += weight * ndtr((means - member.threshold) / np.sqrt(variances))
        second += weight * found.second
        fourth += weight * found.kurtosis * found.second**2
        above += weight * found.above * found.second
    fires = rate.min(axis=0) > 0
    p = np.where(fires, rate, 1.0)  # silent layers do not fluctuate
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = 3 * fourth[1] / second[1] ** 2 - 1
        covariance = np.where(fires, above[1] / second[1] / p[1] - 1, 0.0)
        slope = _derivatives(second)
    return Fluctuations(excess / width, (1 - p[1]) / (p[1] * width), covariance / width, _derivatives(p), slope)


def _derivatives(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    below, here, above = np.log(values)
    return (above - below) / (2 * STEP), (above - 2 * here + below) / STEP**2


def scattered(layers: list[Fluctuations]) -> tuple[np.ndarray, np.ndarray]:
    """Variance of ``ln‖δ_l‖²`` between networks, and its mean less the logarithm at infinite width, the first layer first."""
    counts, y = [], np.zeros((2, *layers[0].excess.shape))  # mean and variance of y; the drive is the same for all networks
    for layer in layers:
        counts.append(y)
        (m, bend), noise = layer.rate, layer.of_count
        y = np.array([m * y[0] + bend * y[1] / 2 - noise / 2, m**2 * y[1] + noise])
    found, later, variance, mean = [], 0.0, 0.0, 0.0
    for layer, (shift, of_y) in zip(layers[::-1], counts[::-1], strict=True):
        b, bend = layer.slope
        variance = variance + layer.excess + 2 * later * layer.covariance + later**2 * layer.of_count
        later = b + layer.rate[0] * later  # the derivative of ln‖δ‖² by y of the layer below
        mean = mean + b * shift + bend * of_y / 2 - layer.excess / 2
        found.append((variance + later**2 * of_y, mean))
    variance, mean = np.swapaxes(found[::-1], 0, 1)
    return variance, mean
