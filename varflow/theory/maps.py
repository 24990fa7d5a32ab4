"""The layer map at infinite width: what one layer makes of the variance below it.

Memoryless neurons. The standardised potential has the given distribution; the population mean that a weight mean brings
is carried along. Fixed points of the map live in ``fixed_points``, the gain that preserves a variance in ``init.gains``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import non_negative, positive_scale, same_shape, scale, unwrap
from varflow.model.distributions import Distribution
from varflow.model.distributions import distribution as as_distribution

__all__ = ["multiplier", "rate", "slope", "standardised", "variance_map"]


def variance_map(
    variance: Any,
    *,
    threshold: Any,
    gain: Any,
    distribution: Any = "normal",
    bias_std: Any = 0.0,
    mean_gain: Any = 0.0,
) -> Any:
    r"""Variance of the next layer's potentials, from this layer's.

    .. math::
        F(V) = \sigma_b^2 + g^2\, S\!\left(\frac{\theta - m_g (V - \sigma_b^2)/g^2}{\sqrt{V}}\right)

    Parameters
    ----------
    variance : float or array
        ``V ≥ 0``, in squared units of the potential.
    threshold, gain, bias_std : float or array
        ``θ`` (any sign), ``g = σ_w √n > 0`` and ``σ_b ≥ 0``; all arrays broadcast.
    distribution : str or object
        Of the standardised potential; see :func:`varflow.distribution`.
    mean_gain : float or array
        ``m_g = n E[w]``. Then ``V`` is taken as an image of the map, fed by the rate ``(V - σ_b²)/g²``.

    Returns
    -------
    float or ndarray
        ``F(V)``, in the shape of the broadcast arguments.

    Raises
    ------
    DomainError
        For values that are not finite, negative where they must not be, or do not broadcast.

    Notes
    -----
    **Assumes** infinite width and memoryless neurons that spike at ``u > θ``.
    **Accuracy**: that of the tail, a few ulp.
    **Source**: ``micheli2024`` for ``σ_b = m_g = 0`` and the normal law; else derived from the layer's definition.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.variance_map(1.0, threshold=1.0, gain=vf.gain(threshold=1.0)), 12)
    1.0
    """
    checked = _checked(threshold=threshold, gain=gain, bias_std=bias_std, mean_gain=mean_gain)
    V, *parameters = same_shape(variance=non_negative("variance", scale("variance", variance)), **checked)
    theta, g, sigma_b, m_g = parameters
    return unwrap(sigma_b**2 + g**2 * rate(as_distribution(distribution), V, theta, g, sigma_b, m_g))


def _checked(*, threshold: Any, gain: Any, bias_std: Any, mean_gain: Any = 0.0) -> dict[str, np.ndarray]:
    return {
        "threshold": scale("threshold", threshold),
        "gain": positive_scale("gain", gain),
        "bias_std": non_negative("bias_std", scale("bias_std", bias_std)),
        "mean_gain": scale("mean_gain", mean_gain),
    }


def standardised(V: Any, theta: Any, g: Any, sigma_b: Any, m_g: Any) -> Any:
    """``z = (θ - m_g p)/√V`` with ``p`` the rate that made ``V``; ``±inf`` at ``V = 0``, where the potential is constant."""
    margin = theta - m_g * (V - sigma_b**2) / g**2
    with np.errstate(divide="ignore", invalid="ignore"):
        z = margin / np.sqrt(V)
    return np.where(V > 0, z, np.where(margin < 0, -np.inf, np.inf))


def rate(law: Distribution, V: Any, theta: Any, g: Any, sigma_b: Any = 0.0, m_g: Any = 0.0) -> Any:
    """``p = P(u > θ)``."""
    return law.sf(standardised(V, theta, g, sigma_b, m_g))


def slope(law: Distribution, V: Any, theta: Any, g: Any, sigma_b: Any = 0.0, m_g: Any = 0.0) -> Any:
    """``F'(V) = f(z) (g² z/(2V) + m_g/√V)``, for ``V > 0``."""
    z = standardised(V, theta, g, sigma_b, m_g)
    f = law.pdf(z)
    return g**2 * (f * z / (2 * V)) + f * m_g / np.sqrt(V)


def multiplier(law: Distribution, V: float, theta: float, g: float, sigma_b: float = 0.0, m_g: float = 0.0) -> float:
    """``F'(V)``, its limit at ``V = 0`` included: 0 where all neurons are silent or all fire, ``inf`` where F jumps."""
    if V > 0:
        return float(slope(law, V, theta, g, sigma_b, m_g))
    return 0.0 if theta else np.inf
