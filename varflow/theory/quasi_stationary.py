r"""The metastable state of a deep network: what a surviving network looks like, and how fast such networks fall silent.

Conditioned on being alive, the spike count of a network of equal layers settles to the quasi-stationary law ``ν``, the left
eigenvector of the chain restricted to ``K > 0``: ``ν P = (1 - r) ν``. The escape rate ``r`` is the flux into silence,
``Σ_K ν_K (1 - π_K)^n``, a sum of positive terms: with tails kept down to the smallest double it holds its relative accuracy far
below the smallest probability a double distinguishes from zero beside one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from varflow._checks import ConvergenceError, DomainError, frozen
from varflow.theory.binomial import TAIL, WHOLE_TAIL, Kernel
from varflow.theory.counts import CountGrid, CountLaw, count_grid
from varflow.theory.firing import firing, smooth_in_count
from varflow.theory.layers import Layer, sample_variance_moments

__all__ = ["Lifetime", "QuasiStationary", "lifetime", "quasi_stationary"]

TOLERANCE = 1e-13  # relative error of the escape rate left by stopping
SETTLED = 1e-10  # change of the law per layer
EXACT_WIDTH = 2000  # wider layers are held on a grid here: tails this deep would fill the whole matrix
LARGEST_MATRIX = 5000  # of laws that are known at whole counts only: 200 MB
LONGEST = 100_000  # layers of iteration


@dataclass(frozen=True, slots=True, eq=False)
class QuasiStationary:
    """What a deep network that is still alive looks like.

    Attributes
    ----------
    distribution : CountLaw
        Of the spike count, given that it is not 0.
    variance, variance_std : float
        Expected sample variance (ddof = 1) of a layer fed by such a count, and its standard deviation over networks.
    firing_rate, firing_rate_std : float
    escape_rate : float
        Probability per layer that a live network falls silent.
    relaxation_depth : float
        Layers over which a live network forgets its start by a factor e.
    """

    distribution: CountLaw
    variance: float
    variance_std: float
    firing_rate: float
    firing_rate_std: float
    escape_rate: float
    relaxation_depth: float

    def __repr__(self) -> str:
        return (
            f"QuasiStationary(variance={self.variance:.6g} ± {self.variance_std:.2g}, firing_rate={self.firing_rate:.6g} ± "
            f"{self.firing_rate_std:.2g}, escape_rate={self.escape_rate:.6g}, relaxation_depth={self.relaxation_depth:.4g})"
        )


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Mean number of layers with at least one spike: from the drive on, and from the quasi-stationary state on."""

    from_drive: float
    from_quasi_stationary: float


def quasi_stationary(layer: Layer, grid: CountGrid, driven: Callable[[CountGrid], Kernel]) -> QuasiStationary:
    """Iterate the law of the live networks, from the driven one, until it repeats itself.

    See :meth:`varflow.SpikeChain.quasi_stationary`.
    """
    smooth = smooth_in_count(layer)
    if not smooth and grid.width > LARGEST_MATRIX:
        rule = f"has firing probabilities at whole counts only: its stationary law is held in full up to width {LARGEST_MATRIX}"
        raise DomainError("weights", layer.law, rule)
    if grid.width > EXACT_WIDTH and smooth:
        grid = count_grid(grid.width, exact_width=EXACT_WIDTH)
    kernel = Kernel(grid, *firing(layer, grid.counts), WHOLE_TAIL)
    mass, escape = _settled(kernel, driven(grid).dense().mean(axis=0))
    law = CountLaw(grid.counts, frozen(mass), grid.width)
    live = grid.counts[mass > 0]
    conditional, kurtosis = layer.conditional_variance(live), layer.excess_kurtosis(live)
    variance, variance_std = sample_variance_moments(mass[mass > 0], conditional, grid.width, kurtosis)
    relaxation = _relaxation_depth(kernel.with_tail(TAIL), escape)
    return QuasiStationary(law, variance, variance_std, law.firing_rate, law.firing_rate_std, escape, relaxation)


def _settled(kernel: Kernel, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Quasi-stationary law and escape rate."""
    mass, escape = _alive(start)
    change = np.inf
    for _ in range(LONGEST):
        previous, before, change_before = mass, escape, change
        mass, escape = _alive(kernel.push(mass))
        change = abs(escape - before)
        shrink = min(change / change_before, 1.0) if change_before > 0 else 0.0
        settled = change * shrink <= TOLERANCE * escape * (1 - shrink) or change <= 4e-16 * escape
        if settled and np.abs(mass - previous).sum() < SETTLED:
            return mass, escape
    raise ConvergenceError(f"the quasi-stationary law did not settle within {LONGEST} layers", mass)


def _relaxation_depth(kernel: Kernel, escape: float) -> float:
    """``-1/ln(λ₂/λ₁)`` with ``λ₁ = 1 - r`` and ``λ₂`` the chain's second eigenvalue among live states."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

    size = len(kernel.target) - 1
    if size <= 64:
        sizes = np.sort(np.abs(np.linalg.eigvals(kernel.dense()[1:, 1:])))
    else:
        pull = lambda v: kernel.pull(np.concatenate([[0.0], np.ravel(v)]))[1:]  # noqa: E731
        chain = LinearOperator((size, size), matvec=pull, dtype=float)  # pyright: ignore[reportCallIssue]
        try:
            found = eigs(chain, k=2, v0=kernel.target.counts[1:] + 1.0, tol=1e-10, return_eigenvectors=False)  # pyright: ignore[reportArgumentType]
        except ArpackNoConvergence as error:  # the second eigenvalue is too small to be told from 0
            found = error.eigenvalues
        sizes = np.sort(np.abs(found))
    second = sizes[-2] if len(sizes) > 1 else 0.0
    return float(-1 / np.log(second / (1 - escape))) if 1e-12 < second < 1 - escape else 0.0


def _alive(mass: np.ndarray) -> tuple[np.ndarray, float]:
    """The law given at least one spike, and the probability of none."""
    living = mass.copy()
    living[0] = 0.0
    total = living.sum()
    return living / total, float(mass[0] / (total + mass[0]))


def lifetime(state: QuasiStationary, kernel: Kernel, start: np.ndarray) -> Lifetime:
    """Mean layers to silence from a driven law ``start``; see :meth:`varflow.SpikeChain.lifetime`.

    From the quasi-stationary state it is ``1/r``. From the drive, the survivals of the layers are added until the law of the
    live networks has settled; what remains is geometric.
    """
    rate, std = state.firing_rate, state.firing_rate_std
    mass, total, survival, grid = start, 0.0, 1.0, kernel.target
    for _ in range(LONGEST):
        survival = float(mass[1:].sum())
        total += survival
        law = CountLaw(grid.counts, _alive(mass)[0], grid.width) if survival > 0 else None
        if law is None or (abs(law.firing_rate - rate) < 1e-10 * rate and abs(law.firing_rate_std - std) <= 1e-9 * rate):
            break
        mass = kernel.push(mass)
    with np.errstate(divide="ignore"):
        per_escape = 1 / np.float64(state.escape_rate)
    return Lifetime(float(total + (survival * (per_escape - 1) if survival else 0.0)), float(per_escape))
