r"""A layer of resetting neurons at infinite width, integrated over its Gaussian currents by quasi-Monte Carlo.

The currents of a neuron are ``c = μ + L z`` with ``z`` standard normal and ``L`` lower triangular, so ``z_t`` is the innovation
of step ``t``. The neuron is stepped with scrambled Sobol points ``z``, and the newest innovation is integrated exactly, since
``H_t`` is normal given the past:

.. math:: M(s, t) = E[S_s\, p_t] \quad (s < t), \qquad p_t = P(S_t = 1 \mid z_1, …, z_{t-1})

Every scramble is a replica of the whole network with its own ``M`` in every layer. Currents of rank one
need no points (``exact_averages``).
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import special

from varflow._checks import ConvergenceError, frozen, require
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import size_of
from varflow.theory.responses.exact_averages import expected_spikes, rank_one_layer
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.step import NeuronState, Population, admitted, gate, step
from varflow.theory.signals.places import aligned
from varflow.theory.signals.shared_scale import SharedScale

BLOCK = 16384  # points at a time: one step's arrays then fit the second-level cache
JITTER = 2.5e-13  # of each variance: above rounding, and its square root, an innovation, is below FLAT
FLAT = 1e-6  # an innovation below this fraction of its step's standard deviation counts as 0 (rounding of the factor)


@dataclass(frozen=True, slots=True, eq=False)
class QuasiMonteCarlo:
    """The response of a layer, scramble by scramble.

    Parameters
    ----------
    neuron : Neuron
    normals : ndarray, shape (scrambles, steps + parameters, points)
        Of :func:`normal_points`; a row more for each parameter of the neuron that is a distribution, so that every point is a
        neuron of its own.
    seed : int
        Of random signs, new in every layer. The same points in every layer would repeat their error, which a multiplier
        ``m`` amplifies by ``1/(1-m)``; with signs they are still a scrambled Sobol sequence.
    steps : int, optional
        Steps after which neurons start from rest: several sequences follow each other. By default all.
    """

    neuron: Neuron
    normals: np.ndarray
    seed: int
    steps: int | None = None

    def __call__(self, mean: np.ndarray, covariance: np.ndarray, layer: int, shared: SharedScale | None = None) -> LayerState:
        counts = self.neuron.reset_rule.counts
        # a larger variance means that multi-spike layers grow without bound
        if counts and covariance.max() > 1e15 * size_of(self.neuron.threshold) ** 2:
            hint = "multi-spike activity at this gain grows without bound; lower the gain or the number of layers"
            raise ConvergenceError(f"variance {covariance.max():.3g} of the currents into layer {layer + 1}: {hint}")
        run = self.steps or mean.shape[-1]
        exact = rank_one_layer(self.neuron, mean, covariance, run, shared)
        if exact is not None:
            return exact
        replicas, _, points = self.normals.shape
        kinds, steps = covariance.shape[1], covariance.shape[-1]
        # from 40 points per step on means of ``S_s p_t`` are positive definite in spite of their noise
        signs, few = self.signs(layer), points < 40 * steps
        means, factors = aligned(mean, causal_factor(covariance), least=replicas)
        at, which = np.divmod(np.arange(replicas * kinds), kinds)
        together, parts = max(BLOCK // points, 1), []
        for part in (slice(start, start + together) for start in range(0, len(at), together)):
            r, g = at[part], which[part]
            normals = self.normals[part if kinds == 1 else r].swapaxes(0, 1)
            parts.append(trajectories(self.neuron, means[r, g], factors[r, g], normals, signs[r], run, few))
        columns = map(np.concatenate, zip(*parts, strict=True))
        return LayerState(*(x.reshape(replicas, kinds, *x.shape[1:]) for x in columns), point_fraction=1 / points)

    def signs(self, layer: int) -> np.ndarray:
        """Random signs of the points in one layer, shape (scrambles, steps + parameters)."""
        return _signs(self.seed, layer, self.normals.shape[:2])


@lru_cache(maxsize=256)
def _signs(seed: int, layer: int, shape: tuple[int, int]) -> np.ndarray:
    """Kept, since a search for a gain comes back to the same layers."""
    return frozen(1.0 - 2.0 * np.random.default_rng([seed, 1, layer]).integers(0, 2, shape))


def normal_points(steps: int, *, points: int, scrambles: int, seed: int) -> np.ndarray:
    """Independently scrambled Sobol points as standard normal numbers, float32, shape (scrambles, steps, points)."""
    # 64 scrambles of at most 2¹⁸ normal numbers are kept, 64 MiB
    scrambled = _scrambled if steps * points <= 2**18 else _scrambled.__wrapped__
    return np.stack([scrambled(steps, points, seed, which) for which in range(scrambles)])


@lru_cache(maxsize=64)
def _scrambled(steps: int, points: int, seed: int, which: int) -> np.ndarray:
    """One scramble, shape (steps, points); small ones are kept, since a search for a gain asks for the same again and again."""
    generator = np.random.default_rng([seed, 0, which])
    uniform = require("scipy", "scipy.stats").qmc.Sobol(steps, scramble=True, bits=52, rng=generator).random(points)
    return frozen(special.ndtri(uniform.T + 2.0**-53), np.float32)  # the middle of a cell, never 0


class _Workspace(threading.local):
    """Arrays that every layer writes again: the first touch of new memory costs as much as the arithmetic."""

    def __init__(self) -> None:
        self.kept: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Uninitialised; valid until the next call with this name in the same thread."""
        size = math.prod(shape) * dtype.itemsize
        memory = self.kept.get(name)
        if memory is None or len(memory) < size:
            memory = np.empty(size, np.uint8)
            if size <= 2**25:  # memory of larger arrays is not used again
                self.kept[name] = memory
        return memory[:size].view(dtype).reshape(shape)


_workspace = _Workspace()


def causal_factor(covariance: np.ndarray) -> np.ndarray:
    """Lower triangular ``L`` with ``L Lᵀ`` the covariance ``C``, of any rank; negative eigenvalues (rounding) count as 0.

    Cholesky of ``C + JITTER diag(C)``, with steps of no variance left out, or where negative eigenvalues are larger,
    eigenvalues: seven times as slow, and more where BLAS has several threads.
    """
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    none = variance <= 0
    try:
        lower = np.linalg.cholesky(covariance + np.eye(covariance.shape[-1]) * (JITTER * variance + none)[..., None])
    except np.linalg.LinAlgError:
        return _by_eigenvalues(covariance)
    return lower * ~none[..., None] if np.isfinite(lower).all() else _by_eigenvalues(covariance)


def _by_eigenvalues(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))[..., None, :]
    upper = np.linalg.qr(np.swapaxes(root, -1, -2)).R
    signs = np.where(np.diagonal(upper, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return np.swapaxes(upper * signs[..., :, None], -1, -2)


def innovations(factor: np.ndarray) -> np.ndarray:
    """Diagonal of a factor, the standard deviation of each step's innovation; 0 where that is rounding."""
    new, all_of_it = np.diagonal(factor, axis1=-2, axis2=-1), np.linalg.norm(factor, axis=-1)
    largest = all_of_it.max(axis=-1, keepdims=True)
    # below 1e-30 of the largest potential it underflows in single precision
    return np.where(np.abs(new) > np.maximum(FLAT * all_of_it, 1e-30 * largest), new, 0.0)


def trajectories(
    neuron: Neuron, mean: np.ndarray, factor: np.ndarray, normals: np.ndarray, signs: np.ndarray, run: int, few: bool
) -> tuple[np.ndarray, ...]:
    """Variance, mean, rate and second moments of spikes of several layers, block by block of their points.

    ``mean`` (layers, steps), ``factor`` (layers, steps, steps), ``normals`` (steps + parameters, layers, points), to be
    multiplied by ``signs`` (layers, steps + parameters). Neurons start from rest every ``run`` steps. ``few``: means are taken
    of ``S_s S_t``, which are positive definite with any number of points.
    """
    steps, points = mean.shape[1], normals.shape[-1]
    population = Population.of(neuron, normals[steps:] * signs.T[steps:, :, None].astype(normals.dtype))
    if silent := _first_silent(population, mean, factor, run):
        later = slice(silent, None)
        driven = mean[:, later], factor[:, later, later], normals[later], signs[:, later]
        return tuple(_at_the_end(values, steps) for values in trajectories(neuron, *driven, run - silent, few))
    largest = np.maximum(np.linalg.norm(factor, axis=-1).max(axis=-1), np.abs(mean).max(axis=-1))
    unit = np.maximum(largest, size_of(neuron.threshold))[:, None]  # single precision
    unit[unit == 0] = 1.0
    population = replace(population, threshold=(population.threshold / unit).astype(normals.dtype))
    mean, factor = mean / unit, signs[:, None, :steps] * factor / unit[..., None]  # of columns instead of normal numbers
    blocks = (slice(start, start + BLOCK) for start in range(0, points, BLOCK))
    sums = (_sums(population.of_points(part), mean, factor, normals[:steps, :, part], run, few) for part in blocks)
    total = sum(sums) / points
    below, (potential, second, rate, square) = total[..., :steps].swapaxes(1, 2), np.moveaxis(total[..., steps:], -1, 0)
    moments = second_moments(below, square, sampled=few)
    return unit**2 * (second - potential**2), unit * potential, rate, moments


def _at_the_end(values: np.ndarray, steps: int) -> np.ndarray:
    """Values (layers, later steps, …) of the last of so many steps, and 0 before."""
    padded, later = np.zeros((len(values), *[steps] * (values.ndim - 1))), slice(steps - values.shape[1], None)
    padded[:, *[later] * (values.ndim - 1)] = values
    return padded


def _first_silent(neuron: Population, mean: np.ndarray, factor: np.ndarray, run: int) -> int:
    """The number of first steps without any current, through which neurons stay at rest; not all of them."""
    if run < mean.shape[1] or np.min(neuron.threshold) <= 0:
        return 0
    driven = (mean != 0).any(axis=0) | (factor != 0).any(axis=(0, 2))
    return int(driven.argmax()) if driven.any() else len(driven) - 1


def second_moments(sums: np.ndarray, square: np.ndarray, *, sampled: bool) -> np.ndarray:
    """``M`` from means of ``S_s p_t``, or of ``sampled`` ``S_s S_t``, and its better known diagonal."""
    if sampled:
        own = np.diagonal(sums, axis1=-2, axis2=-1)
        ratio = np.sqrt(np.divide(square, own, out=np.ones_like(square), where=own > 0))
        sums = ratio[..., :, None] * sums * ratio[..., None, :]
    past = np.tril(sums, -1)
    return past + past.swapaxes(-1, -2) + square[..., None] * np.eye(square.shape[-1])


def _sums(neuron: Population, mean: np.ndarray, factor: np.ndarray, normals: np.ndarray, run: int, few: bool) -> np.ndarray:
    """Sums over a block of points, for each step ``s``: ``S_s p_t`` for ``t > s`` (``S_s S_t`` if they are few), ``H``, ``H²``,
    ``E[S]``, ``E[S²]``.
    """
    (steps, layers, points), dtype = normals.shape, normals.dtype
    signed, currents = innovations(factor).T[..., None], _from_earlier(mean, factor, normals)
    stds, signed = np.abs(signed), signed.astype(dtype)
    fired, chance = _workspace.array("fired", normals.shape, dtype), currents  # one memory: read, then written
    together = max(2**16 // (layers * points), 1)  # steps of which the newest innovation is averaged together
    of_block = [_workspace.array(name, (together, layers, points), dtype) for name in ("newest", "membranes", "before")]
    rest = np.zeros((layers, points), dtype)
    state = NeuronState(rest, rest)
    moments = np.empty((steps, layers, 4))
    for part in (slice(t, min(t + together, steps)) for t in range(0, steps, together)):
        newest, membranes, before = (values[: part.stop - part.start] for values in of_block)
        np.multiply(signed[part], normals[part], out=newest)
        np.add(currents[part], newest, out=membranes)
        for t, current in enumerate(membranes, part.start):
            state = state if t % run else NeuronState(rest, rest)
            before[t - part.start] = gate(neuron, state)
            state = step(neuron, state, current)
            current[...], fired[t] = state.h, state.s
        chance[part], moments[part] = over_innovation(neuron, membranes, newest, stds[part], before, fired[part])
    pairs = fired.swapaxes(0, 1) @ (fired if few else chance).transpose(1, 2, 0)
    return np.concatenate([pairs, moments.swapaxes(0, 1)], axis=-1)


def _from_earlier(mean: np.ndarray, factor: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Contributions of means and earlier innovations to currents, (steps, layers, points)."""
    currents = _workspace.array("currents", normals.shape, normals.dtype)
    np.matmul(np.tril(factor, -1).astype(normals.dtype), normals.swapaxes(0, 1), out=currents.swapaxes(0, 1))
    if mean.any():
        currents += mean.T[..., None].astype(normals.dtype)
    return currents


def over_innovation(
    neuron: Population, membranes: np.ndarray, newest: np.ndarray, std: np.ndarray, before: np.ndarray, fired: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``E[S]`` at each point, and sums (…, 4) of ``H``, ``H²``, ``E[S]`` and ``E[S²]`` over the points: the ``newest``
    innovation of the current, of standard deviation ``std``, is averaged exactly.

    ``membranes`` at the spike test and spikes ``fired`` are those of the points, after spikes ``before``.
    """
    if neuron.reset_rule.register is not None:  # integers are not averaged, they are sums over the points
        newest, std = 0 * newest, 0 * std
    fraction = admitted(neuron, before)
    expected = membranes - fraction * newest
    chance, square = expected_spikes(neuron, expected, std, before, fired)
    points = expected.shape[-1]
    centre = expected.sum(axis=-1, keepdims=True).astype(float) / points
    let_in = points if np.isscalar(fraction) else _squares(fraction)
    centred = _squares(expected - centre.astype(expected.dtype))
    second = centred + points * centre[..., 0] ** 2 + std[..., 0] ** 2 * let_in
    rate = chance.sum(axis=-1)
    return chance, np.stack([points * centre[..., 0], second, rate, rate if square is chance else square.sum(axis=-1)], axis=-1)


def _squares(values: np.ndarray) -> np.ndarray:
    """``Σ x²`` over the last axis."""
    return (values[..., None, :] @ values[..., None])[..., 0, 0].astype(float)
