"""Gains: the variance map and the chain, solved for ``g``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from varflow._checks import DomainError, non_negative, positive_scale, same_shape, scale, unwrap
from varflow.model.distributions import distribution as as_distribution
from varflow.model.over_neurons import OverNeurons
from varflow.theory.memoryless.thresholds import as_one_threshold
from varflow.theory.memoryless.variance_map import fired, thresholds
from varflow.theory.roots import bisect


def gain(
    *, threshold: Any, variance: Any = 1.0, distribution: Any = "normal", bias_std: Any = 0.0, mean_gain: Any = 0.0
) -> Any:
    r"""The gain that makes ``variance`` a fixed point of the layer map; the paper's at ``variance=1``.

    .. math:: g^2 = \frac{v - \sigma_b^2}{p}, \qquad p = Q\!\left(\frac{\theta - m_g p}{\sqrt v}\right)

    Parameters
    ----------
    threshold, variance, bias_std, mean_gain : float or array
        ``θ`` of any sign, ``v > σ_b²``, ``σ_b ≥ 0``, ``m_g = n E[w]``; arrays broadcast. A threshold may be a frozen
        scipy.stats distribution over neurons; ``p`` is then the average.
    distribution : str or object
        Of the standardised potential.

    Returns
    -------
    float or ndarray
        ``g = σ_w √n``.

    Raises
    ------
    DomainError
        If no gain does: ``v ≤ σ_b²``, or the threshold is above the support.

    Notes
    -----
    **Assumes** infinite width and memoryless neurons. The fixed point need not be stable: for the normal distribution it is
    unstable above ``θ = 1.190601 √v``, which :func:`varflow.lookup` reports.
    With a large positive ``mean_gain`` several rates are self-consistent; the smallest is used.
    **Accuracy**: that of the tail, a few ulp.
    **Source**: ``micheli2024`` for ``v = 1``, ``σ_b = m_g = 0``; at ``θ = 0`` it is Kaiming's ``√2``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.gain(threshold=[0.0, 0.5, 1.0]).round(6).tolist()
    [1.414214, 1.800305, 2.510573]
    """
    law = as_distribution(distribution)
    theta, shape = thresholds(threshold)
    whole, v, sigma_b, m_g = same_shape(
        threshold=shape,
        variance=positive_scale("variance", variance),
        bias_std=non_negative("bias_std", scale("bias_std", bias_std)),
        mean_gain=scale("mean_gain", mean_gain),
    )
    room = v - sigma_b**2
    if not np.all(room > 0):
        raise DomainError("variance", float(v[room <= 0].flat[0]), "must exceed bias_std², the variance due to the biases")
    rate = lambda mean: fired(law, theta, np.asarray(mean), np.sqrt(v))  # noqa: E731
    p = rate(np.zeros_like(v))
    if np.any(m_g != 0):
        p = _self_consistent_rate(lambda p: rate(m_g * p), v.shape)  # not Q(z): with a large mean, z is ill-conditioned
    with np.errstate(divide="ignore", over="ignore"):
        answer = np.sqrt(room / p)
        if not isinstance(theta, OverNeurons):
            z = (whole - m_g * p) / np.sqrt(v)
            answer = np.where(p > 1e-290, answer, np.sqrt(room) * np.exp(-0.5 * np.asarray(law.log_sf(z))))
    if not np.all(np.isfinite(answer)):
        worst = theta if isinstance(theta, OverNeurons) else float(whole[~np.isfinite(answer)].flat[0])
        raise DomainError("threshold", worst, "is so high that nothing fires at this variance; raise the variance")
    return unwrap(answer)


def _self_consistent_rate(image: Callable[[Any], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The smallest ``p`` with ``p = image(p)``."""
    fraction = np.linspace(0, 1, 257).reshape(-1, *([1] * len(shape)))
    rarest = np.maximum(image(np.zeros(shape)), 1e-300)
    steps = np.sort(np.concatenate([np.broadcast_to(fraction, (257, *shape)), rarest ** (1 - fraction)]), axis=0)
    passed = image(steps) <= steps
    first = np.maximum(np.argmax(passed, axis=0), 1)[None]  # the first step at or beyond the smallest root
    lo, hi = (np.take_along_axis(steps, index, axis=0)[0] for index in (first - 1, first))
    return bisect(lambda p: image(p) - p, np.maximum(lo, 1e-300), np.maximum(hi, 1e-300))


def memoryless_gain(rate: float, *, threshold: float | OverNeurons, distribution: Any = "normal") -> float:
    """The gain whose fixed point has firing rate ``rate``: ``z = S⁻¹(p)``, ``g = θ/(z √p)``. For ``θ > 0``."""
    law = as_distribution(distribution)
    if isinstance(threshold, OverNeurons):
        law, threshold = as_one_threshold(law, threshold)
    ceiling = float(law.sf(0.0))
    if threshold <= 0:
        raise DomainError("rate", rate, "cannot be chosen at threshold ≤ 0: give a gain")
    if not 0 < rate < ceiling:
        raise DomainError("rate", rate, f"must lie between 0 and {ceiling:g}, the fraction of potentials above their mean")
    edge = law.upper if np.isfinite(law.upper) else 1e6
    z = float(bisect(lambda z: law.sf(z) - rate, np.array(1e-300), np.array(edge)))
    return float(threshold / (z * math.sqrt(rate)))
