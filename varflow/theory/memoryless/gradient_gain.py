r"""The gradient gain of memoryless layers: the factor by which one layer multiplies the variance of the backward signal."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import DomainError, positive_scale, same_shape, scale, unwrap
from varflow.model.surrogates import surrogate_of
from varflow.theory.memoryless.stable import stable_variance
from varflow.theory.responses.surrogate_moments import surrogate_moments


def gradient_gain(*, threshold: Any, gain: Any, surrogate: Any, variance: Any = None) -> Any:
    r"""The factor by which the backward pass through one layer multiplies the variance of a gradient.

    .. math:: \mathrm{E}[\delta_l^2] = \chi\, \frac{n_{l+1}}{n_l}\, \mathrm{E}[\delta_{l+1}^2], \qquad
              \chi = g^2\, \mathrm{E}[\psi(u - \theta)^2], \quad u \sim N(0, V)

    After ``L`` layers of equal width gradients have ``χ^L`` times their variance: they vanish for ``χ < 1`` and explode for
    ``χ > 1``.

    Parameters
    ----------
    threshold, gain : float or array
        ``θ`` of any sign and ``g = σ_w √n > 0``; arrays broadcast.
    surrogate : str, Surrogate or callable
        ``ψ``: one of ``vf.surrogates``; the name of one, which stands for its defaults (``"atan"`` is snnTorch's, ``α = 2``);
        a library's own, such as ``snntorch.surrogate.atan()``; or a function of ``v = u - θ``.
    variance : float or array, optional
        ``V > 0``; by default the largest stable fixed point of the variance map.

    Returns
    -------
    float or ndarray
        ``χ``

    Raises
    ------
    DomainError
        For values outside their domain, an unknown surrogate or one whose values are not finite, and without ``variance``
        where no active fixed point is stable.

    Notes
    -----
    **Assumes** infinite width, memoryless neurons, layers of equal width, no weight mean, and backward signals independent of
    the forward weights. With leak, reset or several steps gradients also flow through time, and χ says little.
    **Accuracy**: relative 7e-14 for box, gaussian and exponential of widths from 1e-100 to 1e100 at any threshold (measured),
    and for all families at moderate ones. The quadrature splits where a surrogate is known to have kinks; a function with
    others, or with peaks narrower than ``√V/50`` off the threshold, needs ``vf.surrogates.own(…, kinks=…)``.
    **Speed**: 0.2 ms per configuration.
    **Source**: the recursion of ``schoenholz2017``, with a surrogate (``neftci2019``, ``zenke2021``) for the derivative.

    Examples
    --------
    snnTorch's and SpikingJelly's defaults, and SuperSpike as published, at the gain that preserves variance 1:

    >>> import varflow as vf
    >>> at = {"threshold": 1.0, "gain": vf.gain(threshold=1.0), "variance": 1.0}
    >>> [round(vf.gradient_gain(surrogate=s, **at), 4) for s in ("atan", "spikingjelly_sigmoid", "fast_sigmoid")]
    [0.7593, 1.015, 0.0407]
    """
    psi = surrogate_of(surrogate)
    theta, g = scale("threshold", threshold), positive_scale("gain", gain)
    theta, g = same_shape(threshold=theta, gain=g)
    V = positive_scale("variance", variance) if variance is not None else _stable(theta, g)
    theta, g, V = same_shape(threshold=theta, gain=g, variance=V)
    return unwrap(g**2 * surrogate_moments(psi, theta, V).second)


def _stable(theta: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The largest stable fixed points; DomainError where there is none."""
    V = np.asarray(stable_variance(threshold=theta, gain=g))
    if not (active := V > 0).all():
        raise DomainError("gain", float(g[~active].flat[0]), "has no stable active fixed point: give variance")
    return V
