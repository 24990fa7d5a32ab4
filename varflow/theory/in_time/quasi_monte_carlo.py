r"""A layer of resetting neurons at infinite width, integrated over its Gaussian currents by quasi-Monte Carlo.

The currents of a neuron are ``c = μ + L z`` with ``z`` standard normal and ``L`` lower triangular, so ``z_t`` is the innovation
of step ``t``. The neuron is stepped with scrambled Sobol points ``z``, and the newest innovation is integrated exactly, since
``H_t`` is normal given the past:

.. math:: M(s, t) = E[S_s\, p_t] \quad (s < t), \qquad p_t = P(S_t = 1 \mid z_1, …, z_{t-1})

Every scramble is a replica of the whole network with its own ``M`` in every layer. Currents of rank one
need no points (``rank_one_currents``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from varflow._checks import ConvergenceError, require
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import size_of
from varflow.theory.in_time.conditional_spikes import expected_spikes
from varflow.theory.in_time.rank_one_currents import rank_one_layer
from varflow.theory.in_time.responses import LayerState
from varflow.theory.in_time.stepping import Population, admitted, membrane, spikes

__all__ = ["QuasiMonteCarlo", "causal_factor", "in_threads", "innovations", "normal_points", "second_moments", "stepped_once"]

BLOCK = 16384  # points at a time: one step's arrays then fit the second-level cache
PRODUCT = 2**18  # multiplications that BLAS does on one thread, since replicas already run in threads
CLEAR = 1e-4  # innovations above this fraction of their step's standard deviation are no rounding
LONG = 100  # steps; beyond, even one point exceeds that, and all points are multiplied at once
FLAT = 1e-6  # an innovation below this fraction of its step's standard deviation counts as 0 (rounding of the factor),
NOTHING = 1e-30  # and so does one below this fraction of the largest potential (it underflows in single precision)
OVERFLOW = 1e15  # variance in units of θ² above which a multi-spike layer grows without bound


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
    threads : int, optional
        By default ``OMP_NUM_THREADS``, else the number of processors. Results do not depend on it.
    steps : int, optional
        Steps after which neurons start from rest: several probes follow each other. By default all.
    """

    neuron: Neuron
    normals: np.ndarray
    seed: int
    threads: int | None = None
    steps: int | None = None

    def __call__(self, mean: np.ndarray, covariance: np.ndarray, layer: int) -> LayerState:
        if self.neuron.reset_rule.counts and covariance.max() > OVERFLOW * size_of(self.neuron.threshold) ** 2:
            hint = "multi-spike activity at this gain grows without bound; lower the gain or the number of layers"
            raise ConvergenceError(f"variance {covariance.max():.3g} of the currents into layer {layer + 1}: {hint}")
        run = self.steps or mean.shape[-1]
        exact = rank_one_layer(self.neuron, mean, covariance, run)
        if exact is not None:
            return exact
        replicas, _, points = self.normals.shape
        kinds, steps = covariance.shape[1], covariance.shape[-1]
        signs = self.signs(layer)
        factors = np.broadcast_to(causal_factor(covariance), (replicas, kinds, steps, steps))
        means = np.broadcast_to(mean, (replicas, kinds, steps))

        def one(index: int) -> tuple[np.ndarray, ...]:
            at, which = divmod(index, kinds)
            return trajectories(self.neuron, means[at, which], factors[at, which], self.normals[at], signs[at], run)

        columns = zip(*in_threads(one, replicas * kinds, self.threads), strict=True)
        moments = (np.reshape(column, (replicas, kinds, *column[0].shape)) for column in columns)
        return LayerState(*moments, point_fraction=1 / points)

    def signs(self, layer: int) -> np.ndarray:
        """Random signs of the points in one layer, shape (scrambles, steps + parameters)."""
        return 1.0 - 2.0 * np.random.default_rng([self.seed, 1, layer]).integers(0, 2, self.normals.shape[:2])


def normal_points(steps: int, *, points: int, scrambles: int, seed: int) -> np.ndarray:
    """Independently scrambled Sobol points as standard normal numbers, float32, shape (scrambles, steps, points)."""
    sobol = require("scipy", "scipy.stats").qmc.Sobol
    out = np.empty((scrambles, steps, points), np.float32)
    for which in range(scrambles):
        generator = np.random.default_rng([seed, 0, which])
        uniform = sobol(steps, scramble=True, bits=52, rng=generator).random(points)
        out[which] = special.ndtri(uniform.T + 2.0**-53)  # the middle of a cell, never 0
    return out


def causal_factor(covariance: np.ndarray) -> np.ndarray:
    """Lower triangular ``L`` with ``L Lᵀ`` the covariance, of any rank; negative eigenvalues (rounding) count as 0.

    Cholesky where every innovation is well above rounding: fourteen times as fast at 1000 steps.
    """
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        lower = None
    if lower is not None:
        new, size = np.diagonal(lower, axis1=-2, axis2=-1), np.linalg.norm(lower, axis=-1)
        if np.all(new > CLEAR * size):
            return lower
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))[..., None, :]
    upper = np.linalg.qr(np.swapaxes(root, -1, -2)).R
    signs = np.where(np.diagonal(upper, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return np.swapaxes(upper * signs[..., :, None], -1, -2)


def innovations(factor: np.ndarray) -> np.ndarray:
    """Standard deviation of each step's innovation; 0 where that is rounding."""
    new, all_of_it = factor.diagonal(), np.linalg.norm(factor, axis=1)
    return np.where(new > np.maximum(FLAT * all_of_it, NOTHING * all_of_it.max()), new, 0.0)


def trajectories(
    neuron: Neuron, mean: np.ndarray, factor: np.ndarray, normals: np.ndarray, signs: np.ndarray, run: int
) -> tuple[np.ndarray, ...]:
    """Variance, mean, rate and second moments of spikes over one set of points, block by block.

    Neurons start from rest every ``run`` steps.
    """
    steps, points = len(mean), normals.shape[1]
    unit = (
        float(max(size_of(neuron.threshold), np.linalg.norm(factor, axis=1).max(), np.abs(mean).max())) or 1.0
    )  # single precision
    population = Population.of(neuron, normals[steps:] * signs[steps:, None])
    population = replace(population, threshold=population.threshold / unit)
    mean, factor, normals, signs = mean / unit, factor / unit, normals[:steps], signs[:steps]
    blocks = (slice(start, start + BLOCK) for start in range(0, points, BLOCK))
    total = sum(_sums(population.of_points(part), mean, factor, normals[:, part], signs, run) for part in blocks) / points
    below, (potential, second, rate, square) = total[:, :steps].T, total[:, steps:].T
    return unit**2 * (second - potential**2), unit * potential, rate, second_moments(below, square)


def second_moments(sums: np.ndarray, square: np.ndarray) -> np.ndarray:
    """``M`` from means of ``S_s p_t``, or of ``S_s S_t`` over many steps, and its better known diagonal."""
    if len(square) > LONG:
        own = sums.diagonal()
        ratio = np.sqrt(np.divide(square, own, out=np.ones_like(square), where=own > 0))
        past = np.tril(ratio[:, None] * sums * ratio, -1)
    else:
        past = np.tril(sums, -1)
    return past + past.T + np.diag(square)


def _sums(
    neuron: Population, mean: np.ndarray, factor: np.ndarray, normals: np.ndarray, signs: np.ndarray, run: int
) -> np.ndarray:
    """Sums over a block of points, for each step ``s``: ``S_s p_t`` for all ``t``, ``H``, ``H²``, ``E[S]``, ``E[S²]``."""
    points, new = normals.shape[1], innovations(factor)
    known, fired = np.empty_like(normals), np.empty_like(normals)
    earlier = np.tril(factor, -1) * signs
    np.matmul(earlier.astype(normals.dtype), _slices(normals), out=_slices(known))  # contribution of earlier innovations
    if mean.any():
        known += mean[:, None].astype(normals.dtype)
    chance = known  # overwritten row by row
    moments = np.empty((len(mean), 4))
    h = s = rest = np.zeros(points, normals.dtype)
    for t in range(len(mean)):
        if t % run == 0:
            h = s = rest
        h, s, chance[t], moments[t] = stepped_once(neuron, h, s, known[t], float(new[t]), normals[t], float(signs[t]))
        fired[t] = s
    later = fired if len(mean) > LONG else chance  # over many steps: positive definite in spite of the noise
    pairs = np.matmul(_slices(fired), _slices(later).swapaxes(1, 2)).sum(axis=0, dtype=float)
    return np.hstack([pairs, moments])


def stepped_once(
    neuron: Population, h: np.ndarray, s: np.ndarray, known: np.ndarray, std: float, normal: np.ndarray, sign: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float, float, float]]:
    """One step from membranes ``h`` and spikes ``s``, under currents ``N(known, std²)`` sampled at ``sign · normal``.

    Returns membranes, spikes, ``E[S]`` at each point, and sums of ``H``, ``H²``, ``E[S]`` and ``E[S²]`` over the points, the
    newest innovation averaged exactly.
    """
    expected, fraction, points = membrane(neuron, h, s, known), admitted(neuron, s), len(normal)
    H = expected + fraction * (sign * std) * normal
    fired = spikes(neuron, H)
    chance, square = expected_spikes(neuron, expected, std, s, fired)
    centre = float(expected.sum()) / points
    spread = expected - centre
    let_in = points if np.isscalar(fraction) else float(np.dot(fraction, fraction))
    second = float(np.dot(spread, spread)) + points * centre**2 + std**2 * let_in
    return H, fired, chance, (points * centre, second, float(chance.sum()), float(square.sum()))


def _slices(rows: np.ndarray) -> np.ndarray:
    """A view (slices, steps, points) whose matrix products are small enough for one BLAS thread."""
    most = PRODUCT // len(rows) ** 2 if len(rows) <= LONG else rows.shape[1]
    return rows.reshape(len(rows), -1, min(2 ** (most.bit_length() - 1), rows.shape[1])).swapaxes(0, 1)


def in_threads(task: Callable[[int], Any], count: int, threads: int | None) -> list[Any]:
    """``[task(0), …]``, computed in threads (numpy releases the lock)."""
    workers = min(count, threads or _allowed())
    if workers == 1:
        return [task(index) for index in range(count)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(task, range(count)))


def _allowed() -> int:
    """``OMP_NUM_THREADS``, as for BLAS and torch; the number of processors if it is not set."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else os.cpu_count() or 1
