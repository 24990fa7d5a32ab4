"""Ensembles drawn from the exact chain: what a perfect simulation of ``repeats`` networks would have measured.

Counts are exact draws. A layer's sample variance and its own spike count come from the same potentials and are
correlated; up to ``EXACT_WIDTH`` neurons the potentials themselves are drawn, beyond it the sample variance is drawn
given the count, as a gamma variable with the exact conditional mean and variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varflow._checks import integer
from varflow.model.distributions import distribution
from varflow.model.network import Network
from varflow.results import Ensemble
from varflow.theory.layers import driven_threshold, driven_variances, layers

__all__ = ["ExactLaw"]

EXACT_WIDTH = 64
LAST_Z = 40.0  # beyond, a normal tail is empty in double precision, and fourth powers need not overflow


@dataclass(frozen=True, slots=True, eq=False)
class ExactLaw:
    """``law(repeats, seed)`` draws an Ensemble of a network; ``law(repeats, seed, ensembles=m)`` stacks m of them."""

    network: Network

    def __call__(self, repeats: int, seed: int = 0, ensembles: int = 1) -> Ensemble:
        network = self.network
        integer("repeats", repeats, minimum=1)
        rng = np.random.default_rng(integer("seed", seed, minimum=0))
        inputs = np.tile(np.arange(repeats), ensembles)
        kind = inputs % len(network.drive.current_variances)
        conditional, z = driven_variances(network)[kind], driven_threshold(network)[kind]
        drawn = [_layer(rng, int(network.widths[0]), conditional, z)]
        for layer in layers(network):
            counts = drawn[-1][0]
            conditional, z = layer.conditional_variance(counts), layer.standardised_threshold(counts)
            drawn.append(_layer(rng, layer.width, conditional, z))
        counts, variances = np.moveaxis(np.array(drawn), 0, 2)
        return Ensemble(network, variances, counts / network.widths, seed=seed, engine="chain", device="cpu", dtype="float64")


def _layer(rng: np.random.Generator, width: int, conditional: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spike count and sample variance of ``width`` potentials of variance ``conditional``, for each network."""
    counts, spread = np.zeros_like(z), np.zeros_like(z)
    certain = np.isinf(z)
    counts[certain & (z < 0)] = width
    random = np.flatnonzero(~certain | (conditional > 0))
    if len(random):
        draw = _from_potentials if width <= EXACT_WIDTH else _from_moments
        counts[random], spread[random] = draw(rng, width, z[random])
    return counts, conditional * spread if width > 1 else np.full_like(z, np.nan)


def _from_potentials(rng: np.random.Generator, width: int, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    potentials = rng.standard_normal((len(z), width))
    counts = np.count_nonzero(potentials > z[:, None], axis=1)
    return counts, potentials.var(axis=1, ddof=1) if width > 1 else np.full(len(z), np.nan)


def _from_moments(rng: np.random.Generator, width: int, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    normal = distribution("normal")
    z = np.clip(z, -LAST_Z, LAST_Z)
    counts = rng.binomial(width, normal.sf(z))
    above, below = _tail_moments(z, normal.hazard(z)), _tail_moments(z, -normal.hazard(-z))
    share = counts / width
    centre = share * above[0] + (1 - share) * below[0]
    up, down = _about(centre, above), _about(centre, below)
    # Σ(u-ū)² = Σ(u-c)² - n(ū-c)² with c = E[ū | K]; the last term has the mean of one potential's conditional variance.
    squares = share * up[0] + (1 - share) * down[0]
    scatter = share * (above[1] - above[0] ** 2) + (1 - share) * (below[1] - below[0] ** 2)
    mean = (width * squares - scatter) / (width - 1)
    variance = (share * up[1] + (1 - share) * down[1]) * width / (width - 1) ** 2
    return counts, rng.standard_gamma(mean**2 / variance) * variance / mean


def _tail_moments(z: np.ndarray, hazard: np.ndarray) -> tuple[np.ndarray, ...]:
    """First four moments of a standard normal beyond ``z``: above it with hazard φ/Q, below it with ``-φ/(1-Q)``."""
    return hazard, 1 + z * hazard, (z**2 + 2) * hazard, 3 + (z**3 + 3 * z) * hazard


def _about(c: np.ndarray, moments: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of ``(u - c)²``."""
    m1, m2, m3, m4 = moments
    mean = m2 - 2 * c * m1 + c**2
    fourth = m4 - 4 * c * m3 + 6 * c**2 * m2 - 4 * c**3 * m1 + c**4
    return mean, np.maximum(fourth - mean**2, 0.0)
