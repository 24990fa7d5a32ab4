"""Depth scales of activity, information and gradients at infinite width, over thresholds, gains and widths of a surrogate; and
the gradient gain, the factor by which one layer multiplies the variance of the backward signal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtr

from varflow._checks import DomainError, brief, frozen, positive_scale, same_shape, scale, unwrap
from varflow.model.surrogates import surrogate_of
from varflow.results import DepthScales
from varflow.theory.memoryless.correlation import stable_overlap
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


THRESHOLDS = tuple(np.linspace(0.02, 2.0, 100).tolist())
GAINS = tuple(np.linspace(0.1, 6.0, 119).tolist())


def depth_scales(*, threshold: Any = None, gain: Any = GAINS, surrogate: Any = "atan", width: Any = None) -> DepthScales:
    r"""Numbers of layers in which activity, the overlap of two inputs and gradients change by a factor e, on a grid.

    .. math:: \xi_V = -\frac{1}{\ln|m|}, \quad m = \frac{z \varphi(z)}{2 Q(z)}, \qquad
              \xi_c = -1/\ln \frac{\varphi_2(z, z; \rho^*)}{Q(z)}, \qquad
              \xi_\nabla = \frac{1}{|\ln \chi|}, \quad \chi = g^2 \mathrm{E}[\psi^2], \qquad z = \theta/\sqrt{V^*}

    Parameters
    ----------
    threshold : float or sequence of float, optional
        ``θ``: by default 0.02 to 2, or 1 with ``width``.
    gain : float or sequence of float
        ``g = σ_w √n``. Values are sorted, and each is taken once.
    surrogate : str, Surrogate or callable
        ``ψ``, as for :func:`varflow.gradient_gain`.
    width : sequence of float, optional
        Widths of the surrogate, in units of the potential, over which to go instead of thresholds; there is then one threshold.

    Returns
    -------
    DepthScales
        At the largest stable variance ``V*``; 0 where only silence is stable.

    Raises
    ------
    DomainError
        For values outside their domain, or none; for several thresholds with ``width``.

    Notes
    -----
    **Assumes** infinite width, normal weights of mean 0, no bias, memoryless neurons. What a readout can use of real networks
    is found by :func:`varflow.readable_depth`; gradients in time by :func:`varflow.gradient_flow`. **Accuracy**: that of
    :func:`varflow.stable_variance`, :func:`varflow.correlation_fixed_points` and :func:`varflow.gradient_gain`, at every point.
    **Speed**: 0.07 ms per point.
    **Source**: ``schoenholz2017`` for smooth activations.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.depth_scales(threshold=[0.5, 1.0], gain=[2.0, 2.51057])
    >>> found.overlap_depth.round(3).tolist(), found.gradient_gain.round(3).tolist()
    ([[1.579, 1.571], [0.0, 1.346]], [[0.615, 0.766], [0.0, 0.759]])
    """
    psi, gains = surrogate_of(surrogate), _axis("gain", positive_scale("gain", gain))
    default = THRESHOLDS if width is None else 1.0
    thresholds = _axis("threshold", scale("threshold", default if threshold is None else threshold))
    widths = None if width is None else _axis("width", positive_scale("width", width))
    if widths is not None and len(thresholds) > 1:
        raise DomainError("threshold", brief(thresholds), "must be one with width: call once for each")
    V = np.asarray(stable_variance(threshold=thresholds[:, None], gain=gains))
    alive = V > 0
    theta, g = (np.broadcast_to(values, V.shape)[alive] for values in (thresholds[:, None], gains))
    z = theta / np.sqrt(V[alive])
    overlap, slope = stable_overlap(z)
    multiplier = np.abs(z) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / (2 * ndtr(-z))
    with np.errstate(divide="ignore"):
        quantities = {
            "firing_rate": ndtr(-z),
            "variance_depth": -1 / np.log(multiplier),
            "overlap_depth": -1 / np.log(slope),
            "overlap": overlap,
        }
    tables = {name: _table(alive, values) for name, values in quantities.items()}
    surrogates = [psi] if widths is None else [psi.widened(one) for one in widths]
    growth = [_table(alive, g**2 * surrogate_moments(one, theta, V[alive]).second) for one in surrogates]
    if widths is not None:
        tables = {name: np.broadcast_to(table, (len(widths), len(gains))) for name, table in tables.items()}
    tables["gradient_gain"] = np.concatenate(growth)
    axes = frozen(thresholds), frozen(gains), None if widths is None else frozen(widths)
    return DepthScales(*axes, surrogate=str(psi), **{name: frozen(table) for name, table in tables.items()})


def _axis(name: str, values: np.ndarray) -> np.ndarray:
    """Sorted, each value once."""
    if not values.size:
        raise DomainError(name, [], "must name at least one value")
    return np.unique(values)


def _table(alive: np.ndarray, values: np.ndarray) -> np.ndarray:
    """0 where only silence is stable."""
    table = np.zeros(alive.shape)
    table[alive] = values
    return table
