r"""Depth scales of activity, information and gradients at infinite width, over thresholds, gains and widths of a surrogate; and
the gradient gain, the factor by which one layer multiplies the variance of the backward signal.

The overlap of two inputs from layer to layer, in one step, has a map and fixed points.

With ``t = √((1 - ρ)/(1 + ρ))``, the tangent of half the angle between the inputs,

.. math:: 1 - \rho' = D(0, t), \qquad \rho' = Q(z) + D(t, 1) \quad (\rho \ge 0), \qquad
          D(a, b) = \frac{1}{\pi Q(z)} \int_a^b \frac{e^{-z^2 (1 + x^2)/2}}{1 + x^2}\, dx

Both are sums of positive terms, so that neither ``ρ'`` nor ``1 - ρ'`` loses digits. ``D(0, t) = 2 T(z, t)/Q(z)`` with Owen's
``T``. Kernels of many inputs are in ``flow.kernels``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import erfcx, ndtr

from varflow._checks import (
    DomainError,
    brief,
    frozen,
    positive_number,
    positive_scale,
    real_array,
    real_number,
    same_shape,
    scale,
    unwrap,
)
from varflow.model.surrogates import surrogate_of
from varflow.results import CorrelationFixedPoint, CorrelationFixedPoints, DepthScales
from varflow.theory.memoryless.stable import stable_variance
from varflow.theory.memoryless.variance_map import depth_scale
from varflow.theory.responses.back_propagation import surrogate_moments
from varflow.theory.responses.orthants import orthant

NODES, WEIGHTS = np.polynomial.legendre.leggauss(20)
BLOCK = 2**14  # values at a time, whose arrays fit the second-level cache


def correlation_map(rho: Any, *, threshold: Any, variance: Any = 1.0) -> Any:
    r"""The overlap of the spikes of two inputs after one layer, from the correlation of their potentials.

    .. math:: \rho' = \frac{P(u > \theta, \hat u > \theta; \rho)}{Q(z)}, \qquad z = \theta/\sqrt V

    Parameters
    ----------
    rho : float or array
        Correlation of the potentials of the two inputs, from -1 to 1.
    threshold, variance : float or array
        ``θ`` (any sign) and ``V > 0``, the same for both inputs; all arrays broadcast.

    Returns
    -------
    float or ndarray
        ``ρ' = E[x x̂]/p``: the fraction of the spikes of one input that the other one elicits too. Without bias it is also the
        correlation of the next layer's potentials.

    Raises
    ------
    DomainError
        For values outside their domain, or shapes that do not broadcast.

    Notes
    -----
    ``ρ'(0) = Q(z)``, ``ρ'(1) = 1`` with infinite slope, ``1 - ρ' ∝ √(1 - ρ)``. Negative correlations occur in layer 1, where
    inputs are real vectors, and after normalisations; overlaps of spikes are never negative: ``ρ'(-1) = max(0, 2 - 1/Q(z))``.

    **Assumes** infinite width, normal potentials of mean 0 and equal variance, memoryless neurons, no bias or weight mean.
    **Accuracy**, for ``ρ ≥ 0``: relative 5e-15 of ``ρ'``, and absolute 1e-15 of ``1 - ρ'``, for ``|z| < 3``; relative 5e-14 at
    any ``z``. For ``ρ < 0``: absolute 2e-15. **Source**: ``poole2016`` for smooth activations, ``cho2009`` for ``θ = 0``; the
    integral is ``plackett1954``'s.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.correlation_map(0.5, threshold=0.0), 12)  # 1/2 + arcsin(ρ)/π
    0.666666666667
    """
    values = real_array("rho", rho)
    if values.size and np.abs(values).max() > 1:
        raise DomainError("rho", float(values.flat[np.argmax(np.abs(values))]), "is a correlation: it must lie within -1 and 1")
    theta, V = scale("threshold", threshold), positive_scale("variance", variance)
    values, theta, V = same_shape(rho=values, threshold=theta, variance=V)
    z, mapped = (theta / np.sqrt(V)).ravel(), np.empty(values.size)
    for start in range(0, values.size, BLOCK):
        rows = slice(start, start + BLOCK)
        mapped[rows] = _mapped(values.ravel()[rows], z[rows])
    return unwrap(mapped.reshape(values.shape))


def _mapped(rho: np.ndarray, z: np.ndarray) -> np.ndarray:
    """``ρ'`` for either sign of ``ρ``."""
    if rho.min() >= 0:
        value, common = _smaller(np.sqrt((1 - rho) / (1 + rho)), z)
        return np.where(common, value, 1 - value)
    after, negative = np.empty_like(rho), rho < 0
    h = z[negative]
    tail = ndtr(-h)
    after[negative] = np.divide(orthant(h, h, rho[negative]), tail, out=np.zeros_like(h), where=tail > 0)
    if not negative.all():
        after[~negative] = _mapped(rho[~negative], z[~negative])
    return after


def _smaller(t: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smaller of ``ρ'`` and ``1 - ρ'``, about, and whether it is ``ρ'``; for ``t ≤ 1``."""
    common = z * t > 0.7  # about where ρ' is smaller than 1 - ρ': the smaller one is integrated
    with np.errstate(divide="ignore", over="ignore"):
        low = np.where(common, t, 0.0)
        # beyond 8.5 standard deviations of e^{-z²x²/2} lies 1e-17
        half = (np.minimum(np.where(common, 1.0, t), np.hypot(low, 8.5 / np.abs(z))) - low) / 2
        middle, total = low + half, np.zeros_like(low)
        for node, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True):
            x = middle + node * half
            total += weight * np.exp(-0.5 * (z * x) ** 2) / (1 + x * x)
    # e^{z²/2} Q(z) = erfcx(z/√2)/2
    return common * ndtr(-z) + 2 / np.pi / erfcx(z / np.sqrt(2)) * half * total, common


def stable_overlap(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The overlap that two different inputs approach with depth, and its multiplier, for ``z = θ/√V``.

    Found as layers find it: from independent inputs the overlap rises to the first fixed point.
    """
    t = np.ones_like(z)  # of independent inputs
    for _ in range(60):  # deviations from the stable overlap shrink by 0.532 or less each
        value, common = _smaller(t, z)
        t = np.sqrt(np.where(common, (1 - value) / (1 + value), value / (2 - value)))
    value, common = _smaller(t, z)
    overlap = np.where(common, value, 1 - value)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        sine = 2 * t / (1 + t * t)  # √(1 - ρ²)
        slope = np.exp(-0.5 * (z * t) ** 2) / (np.pi * erfcx(z / np.sqrt(2)) * sine)
    return overlap, np.where(t > 1e-150, slope, 0.5)  # close to ρ = 1: 1 - ρ' ∝ √(1 - ρ)


def correlation_fixed_points(*, threshold: float, variance: float = 1.0) -> CorrelationFixedPoints:
    r"""The overlaps of two inputs that a layer reproduces: ``ρ* < 1``, which is stable, and 1, which is not.

    .. math:: \rho^* = \rho'(\rho^*), \qquad m = \frac{d\rho'}{d\rho} = \frac{\varphi_2(z, z; \rho^*)}{Q(z)},
              \qquad \xi_c = -1/\ln m

    Parameters
    ----------
    threshold, variance : float
        ``θ`` (any sign) and the stationary variance ``V > 0`` of the potentials; only ``z = θ/√V`` matters.

    Returns
    -------
    CorrelationFixedPoints
        Ascending; each with ``.overlap .multiplier .stable .depth_scale``.

    Raises
    ------
    DomainError
        For a threshold or variance outside its domain.

    Notes
    -----
    Any two different inputs approach ``ρ*``, in ``ξ_c`` layers. ``ξ_c`` is at most 1.579 layers, at ``z = 0.466``, and there is
    no phase in which it diverges: whatever the gain, pairwise geometry is forgotten within a few layers. After a bias the
    potentials of two inputs share its variance; :func:`varflow.kernel` takes it into account.

    **Assumes** as :func:`correlation_map`. **Accuracy**: relative 1e-13, of ``ρ*`` where it is not rounded to 1 (``z < -6``)
    or 0 (``z > 38``). **Source**: ``schoenholz2017`` for smooth activations; ``∂P/∂ρ = φ₂`` is ``plackett1954``'s identity.

    Examples
    --------
    >>> import varflow as vf
    >>> stable, identical = vf.correlation_fixed_points(threshold=1.0)
    >>> print(f"{stable.overlap:.5f} {stable.multiplier:.5f} {stable.depth_scale:.3f} {identical.multiplier}")
    0.27400 0.47580 1.346 inf
    """
    theta = real_number("threshold", threshold)
    V = positive_number("variance", variance)
    z = theta / V**0.5
    overlap, slope = (float(values[0]) for values in stable_overlap(np.array([z])))
    stable = CorrelationFixedPoint(overlap, slope, True, depth_scale(slope))
    return CorrelationFixedPoints((stable, CorrelationFixedPoint(1.0, np.inf, False, 0.0)), theta, V)


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
