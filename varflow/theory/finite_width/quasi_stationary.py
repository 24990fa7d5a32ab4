r"""The quasi-stationary (metastable) state of a deep network and its escape rate.

Conditioned on not having left a set of counts (for instance, on being alive), the spike count of a network of equal layers
settles to the quasi-stationary distribution ``ν``, the left eigenvector of the chain restricted to that set:
``ν P = (1 - r) ν``. The escape rate ``r`` is the flux out of the set, for silence ``Σ_K ν_K (1 - π_K)^n``: a sum of positive
terms, which is accurate far below 1e-16. Chains without absorbing silence are treated in ``stationary``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from varflow._checks import ConvergenceError, DomainError, frozen, require
from varflow._display import Listed
from varflow.theory.finite_width.binomial import TAIL, WHOLE_TAIL, Transition
from varflow.theory.finite_width.counts import CountGrid, CountLaw, count_grid
from varflow.theory.finite_width.firing import firing, smooth_in_count
from varflow.theory.layer import CountedLayer, sample_variance_moments

SETTLED = 1e-12  # change of the distribution per layer
KEPT = 0.2  # fraction of the last distribution kept in each step, so that alternating networks settle too
EXACT_WIDTH = 2000  # wider layers use a grid of counts: with whole tails the full matrix would be dense
LARGEST_MATRIX = 5000  # for weights whose π_K needs integer counts: 200 MB
LONGEST = 100_000  # layers or rounds
SMALLEST = 1e-300  # a smaller probability per layer underflows in products and counts as 0
HIDDEN = 1e-12  # smaller eigenvalues are rounding


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class QuasiStationary(Listed):
    """The state of a deep network that has not yet left a set of counts.

    Attributes
    ----------
    distribution : CountLaw
        Of the spike count, given that the network is still alive (or in the set).
    variance, variance_std : float
        Expected sample variance (ddof = 1) of the next layer, and its standard deviation over networks.
    firing_rate, firing_rate_std : float
    escape_rate : float
        Probability per layer that the network falls silent (or leaves the set).
    relaxation_depth : float
        Layers over which the memory of the start decays by a factor e.
    """

    distribution: CountLaw
    variance: float
    variance_std: float
    firing_rate: float
    firing_rate_std: float
    escape_rate: float
    relaxation_depth: float
    listed: ClassVar = {"variance": ".6g", "firing_rate": ".6g", "escape_rate": ".6g", "relaxation_depth": ".4g"}


def whole_kernel(layer: CountedLayer, grid: CountGrid) -> Transition:
    """The transition kernel of equal layers, with whole tails."""
    smooth = smooth_in_count(layer)
    if not smooth and grid.width > LARGEST_MATRIX:
        rule = f"has a stationary state up to width {LARGEST_MATRIX} only: its firing probability needs integer counts"
        raise DomainError("weights", layer.law, rule)
    if grid.width > EXACT_WIDTH and smooth:
        grid = count_grid(grid.width, exact_width=EXACT_WIDTH)
    return Transition(grid, *firing(layer, grid.counts), WHOLE_TAIL)


def quasi_stationary(layer: CountedLayer, kernel: Transition, inside: np.ndarray, start: np.ndarray) -> QuasiStationary:
    """The state conditioned on the counts ``inside``; see :meth:`varflow.SpikeChain.quasi_stationary`."""
    mass, escape, survival = settled(kernel, inside, start)
    if not survival:
        gain, rule = float(np.sqrt(layer.weight_variance * layer.fan_in)) / layer.input_scale, "sustains no activity"
        raise DomainError("gain", gain, f"{rule}: every layer is followed by silence; see vf.critical_gain")
    values = eigenvalues(kernel.with_tail(TAIL), inside)
    second = abs(values[1]) / survival if len(values) > 1 and abs(values[1]) > HIDDEN else 0.0
    return QuasiStationary(*summary(layer, kernel.target, mass), escape, depth_of(second))


def summary(layer: CountedLayer, grid: CountGrid, mass: np.ndarray) -> tuple[CountLaw, float, float, float, float]:
    """The count's distribution, and mean and standard deviation of the sample variance and of the firing rate."""
    law = CountLaw(grid.counts, frozen(mass), grid.width)
    held = mass > 0
    conditional, kurtosis = layer.conditional_variance(grid.counts[held]), layer.excess_kurtosis(grid.counts[held])
    moments = sample_variance_moments(mass[held], conditional, grid.width, kurtosis)
    return law, *moments, law.firing_rate, law.firing_rate_std


def settled(kernel: Transition, inside: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Quasi-stationary distribution, escape rate and its complement; zeros, 1 and 0 if all leave within one layer."""
    mass, escape, change = np.where(inside, start, 0.0) / start[inside].sum(), 0.0, 0.0
    for _ in range(LONGEST):
        previous, before, change_before = mass, escape, change
        following = kernel.push(mass)
        left = float(following[~inside].sum())
        following[~inside] = 0.0
        stay = float(following.sum())
        if stay < SMALLEST:
            return np.zeros_like(mass), 1.0, 0.0
        escape = left / (left + stay)
        mass = KEPT * mass + (1 - KEPT) * following / stay
        change = abs(escape - before)
        if _steady(escape, change, change_before) and np.abs(mass - previous).sum() < SETTLED:
            return np.where(mass > SMALLEST, mass, 0.0), escape, stay / (left + stay)
    raise ConvergenceError(f"the quasi-stationary distribution did not settle within {LONGEST} layers", mass)


def alive_after(kernel: Transition, mass: np.ndarray, layers: int) -> float:
    """``P(K > 0)`` so many layers later. Once the distribution given life has settled, survival falls by ``1 - r`` per layer.

    Where silence is not absorbing, the distribution itself settles.
    """
    absorbing = bool(kernel.p[0] == 0)
    lives = np.where(absorbing & (kernel.target.counts == 0), 0.0, 1.0)
    mass, silent, change = mass * lives, 0.0, 0.0
    for left in range(layers - 1, -1, -1):
        previous, before, change_before = mass, silent, change
        following = kernel.push(mass)
        if (alive := float((mass := following * lives).sum())) < SMALLEST:
            return 0.0
        silent = float(following[0] / following.sum())
        change = abs(silent - before)
        if _steady(silent, change, change_before) and np.abs(mass / alive - previous / previous.sum()).sum() < SETTLED:
            return float(mass[1:].sum()) * (
                float((1.0 - silent) ** left if silent > 1e-3 else np.exp(left * np.log1p(-silent))) if absorbing else 1.0
            )
    return float(mass[1:].sum())


def _steady(value: float, change: float, before: float) -> bool:
    """True if changes that shrink geometrically, the last two being ``before`` and ``change``, add up to a negligible one."""
    shrink = min(change / before, 1.0) if before > 0 else 1.0
    # 1e-13: relative error of the escape rate left by stopping
    return change * shrink <= 1e-13 * value * (1 - shrink) or change <= 4e-16 * value


def eigenvalues(kernel: Transition, inside: np.ndarray | None = None, mass: np.ndarray | None = None) -> np.ndarray:
    """The largest eigenvalues by size: of the chain restricted to ``inside``, or without the eigenvalue 1 of ``mass``."""
    sparse = require("scipy", "scipy.sparse.linalg")
    size = len(kernel.target)
    counts, mass = np.arange(size) if inside is None else np.flatnonzero(inside), np.zeros(size) if mass is None else mass

    def pull(v: np.ndarray) -> np.ndarray:
        full = np.zeros(size)
        full[counts] = np.ravel(v)
        return (kernel.pull(full) - mass @ full)[counts]

    start = kernel.target.counts[counts] + 1.0
    if len(counts) <= 256:  # few counts: all eigenvalues
        values = np.linalg.eigvals(kernel.dense()[np.ix_(counts, counts)] - mass[counts])
    elif not pull(start).any():
        values = np.zeros(1)
    else:
        chain = sparse.LinearOperator((len(counts),) * 2, matvec=pull, dtype=float)
        try:
            values = sparse.eigs(chain, k=2, v0=start, tol=1e-10, return_eigenvectors=False)
        except sparse.ArpackNoConvergence as error:  # the second eigenvalue is 0 within rounding
            values = error.eigenvalues
    return values[np.argsort(-np.abs(values))]


def depth_of(multiplier: float) -> float:
    """``-1/ln|m|`` layers; 0 or ``inf`` for a multiplier that equals 0 or 1 within rounding."""
    if multiplier <= HIDDEN:
        return 0.0
    return float(-1 / np.log(multiplier)) if multiplier < 1 - 1e-13 else np.inf
