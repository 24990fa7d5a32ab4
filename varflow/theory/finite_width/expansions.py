r"""Moments of a wide, surviving network as a series in ``1/n`` about the stable fixed point.

The firing fraction ``x = K/n`` is a Markov chain, ``n x' ~ Binomial(n, π(x))``, with ``π(p) = p`` at the fixed point. With
``ξ = x - p``, ``u(ξ) = π(p + ξ) - p = m ξ + π'' ξ²/2 + …`` and ``ε = 1/n``, three steps give every order:

1. ``N_k(u) = E[(x' - p)^k]`` follows from the derivative of a binomial mean by its probability,
   ``N_{k+1} = u N_k + ε (p + u)(1 - p - u) dN_k/du``, ``N_0 = 1``: a polynomial in ``u`` and ``ε``;
2. with ``u = u(ξ)`` it reads ``E[ξ'^k | ξ] = Σ_{a,b} T^k_{ab} ξ^a ε^b``, where ``a + 2b ≥ k`` and ``T^k_{k0} = m^k``;
3. in the stationary state, ``E[ξ^k] = Σ_j e_{kj} ε^j`` starting at ``j = ⌈k/2⌉``,
   ``(1 - m^k) e_{kj} = Σ_{(a,b) ≠ (k,0)} T^k_{ab} e_{a,j-b}``: triangular, for ``j`` upwards and in it ``k`` downwards.

Cumulants follow from these moments. Leading order: ``Var[x] = p(1-p)/(n(1-m²))``, ``E[x] - p = π'' Var[x]/(2(1-m))``.
The rate of falling silent is beyond all orders in ``1/n``; see ``escape``. Several steps: ``in_time``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import eval_hermitenorm, factorial

from varflow._checks import LARGEST_SCALE, SMALLEST_SCALE, DomainError, flag, frozen, instance, integer
from varflow._display import Listed, Table
from varflow.model.distributions import distribution
from varflow.model.network import Network
from varflow.results import FixedPoint
from varflow.results.export import Exported
from varflow.theory.finite_width.chain import equal_layers
from varflow.theory.finite_width.in_time.expansion import LARGEST_PARAMETER, temporal_expansion
from varflow.theory.layer import CountedLayer, sample_variance_std
from varflow.theory.memoryless.fixed_points import critical_gain, fixed_points
from varflow.theory.responses.neurons import Responses

HIGHEST_ORDER = 8  # the series is asymptotic: more terms do not help


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Expansion(Exported, Listed):
    """Moments of the quasi-stationary state of a wide network, to a given order in ``1/n``.

    Attributes
    ----------
    network : Network
    order : int
        Number of terms kept in each series.
    fixed_point : FixedPoint
        The one expanded about, with variance ``V*``.
    variance, variance_std : float
        Expected sample variance (ddof = 1) of a layer, ``E[C]``, and its standard deviation over networks,
        ``√(Var[C] + 2 E[C²]/(n-1))``.
    skewness : float
        Of ``C``; the firing rate has the same.
    firing_rate, firing_rate_std : float
    mean_coefficients, variance_coefficients : ndarray, shape (order,)
        ``E[C] = V* + Σ_k mean_coefficients[k-1] n^-k`` and ``Var[C] = Σ_k variance_coefficients[k-1] n^-k``.
    skewness_coefficients : ndarray, shape (order,)
        ``n^(1/2-k)`` in the skewness.
    small_parameter : float
        The effective expansion parameter: the larger of ``(π''/(1-m))² p(1-p)/(n(1-m²))``, which grows as ``(1-m)^-3/n``
        towards the saddle-node, and ``1/(n p(1-p))``.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.expansion(vf.Network(width=1000, depth=5, gain=2.0, neuron=vf.Neuron(0.5)))
    >>> found.order, round(found.variance, 4), round(found.variance_std, 4)
    (2, 1.3284, 0.0855)
    """

    network: Network
    order: int
    fixed_point: FixedPoint
    variance: float
    variance_std: float
    skewness: float
    firing_rate: float
    firing_rate_std: float
    mean_coefficients: np.ndarray
    variance_coefficients: np.ndarray
    skewness_coefficients: np.ndarray
    small_parameter: float
    listed: ClassVar = {"order": "", "variance": ".6g", "skewness": ".3g", "firing_rate": ".6g", "small_parameter": ".2g"}

    def _table(self) -> Table:
        names = ("mean_coefficients", "variance_coefficients", "skewness_coefficients")
        series = [(name, ", ".join(f"{value:.6g}" for value in getattr(self, name))) for name in names]
        return Table(f"Expansion of {self.network!r}", [*self._parts(), *series])


def expansion(
    network: Network,
    *,
    order: int | None = None,
    per_layer: bool = False,
    points: int = 2**14,
    scrambles: int = 8,
    seed: int = 0,
) -> Any:
    r"""The ``1/n`` expansion of variance and firing rate in a surviving network of equal layers, also over several steps.

    .. math::
        E[C] = V^* + \frac{F'' s^2}{2n(1-m^2)(1-m)} + \dots, \qquad
        \operatorname{Var}[C] = \frac{s^2}{n(1-m^2)} + \dots, \qquad s^2 = g^4 p(1-p)

    with ``C = g² K/n + σ_b²`` and everything taken at the largest stable fixed point ``V*``. Over several steps, for neurons
    with any leak and reset, it is that of the second moments ``M = (1/n) Σ_i s_i s_iᵀ`` of spike trains, ``M' = F(M) + ξ/√n``,

    .. math::
        E[M] = M^* + \frac{c}{n}, \quad \operatorname{Cov}[M] = \frac{V}{n}, \qquad V = J V J^T + C, \quad
        c = (1 - J)^{-1} \tfrac12 (H{:}V)

    with ``J`` and ``H`` the derivatives of ``F`` at the fixed point ``M*`` that layers reach from the drive, and ``C`` the
    covariance of ``s sᵀ``.

    Parameters
    ----------
    network : Network
        One step: equal widths and gains; any threshold, bias and weight mean; ``weights="normal"``. Several steps: any bias,
        neurons (also that differ) of at most one spike per step, continuous symmetric weights of mean 0, several inputs of
        ``vf.drives.inputs``, of which each starts from rest.
    order : int, optional
        Terms kept in each series, 1 … 8, by default 2; over several steps 1.
    per_layer : bool
        Over several steps: every layer from the drive on, of any widths and gains, instead of the state of deep layers.
    points, scrambles, seed : int
        Over several steps, for quasi-Monte Carlo: points per scramble, number of independent scrambles, whose
        scatter is ``error``, and seed.

    Returns
    -------
    Expansion
        Over several steps :class:`varflow.TemporalExpansion`.

    Raises
    ------
    DomainError
        If no active fixed point is stable; if layers differ; if the width is so small that the small parameter reaches 1/4
        (the message names the width needed); if the fourth power of the gain, the unit of the coefficients, over- or
        underflows; outside ``vf.SpikeChain``'s domain. Over several steps: for networks that are not described above; if steps
        are silent, where :func:`varflow.survival` answers, or repeat earlier ones; for several inputs or ``per_layer``, beyond
        24 inputs × steps.

    Notes
    -----
    **Assumes** that the network is alive and deep. Escape to silence is beyond all orders.
    **Accuracy**, measured against the exact chain at the preserving gain: mean shift, variance and skewness are within 1 %
    above these widths: order 1, θ = 0.7: 1265, 288, 1701; order 1, θ = 1: 18191, 10059, 72478; order 2, θ = 0.7: 194, 118, 350;
    order 2, θ = 1: 3076, 2525, 7480 (more in ``docs/expansions.md``).
    The error falls as ``n^-(order+1)`` (mean, variance) and ``n^-(order+1/2)`` (skewness) (tested). The series are
    asymptotic: more terms help only if ``small_parameter`` is small.

    *Several steps*: one step to 14 digits of the series above, two steps within 1e-4 of a quadrature. Of late rates over 4 to
    16 steps, in 13 designs (reset zero, SpikingJelly, snnTorch, subtract, none; β = .5 and .9; 1.1 to 2 times the critical
    gain) shifts ``c`` agree with drawn networks of width 300 and 1000 within standard errors of 4 to 15 %, variances within
    1 %. Networks with every step alive have shifts 10 to 40 % larger than ``c/n`` at a ``small_parameter`` of .05 to .18; where
    a late step has died rates are lower still. The error of ``M*`` (``error["fixed_point"]``) may exceed ``c/n`` in wide
    networks. With ``per_layer`` layers 2 and 3 after a constant drive, whose steps almost depend on each other,
    have large errors. Beyond 24 steps the coefficients of a step's rate are those of steps 9 to 16; the variance of the late
    rate is that of all steps, by the adjoint of ``J`` (1 % at 100 steps). Errors grow with the steps: of ``c`` .006 at 8, .007
    at 16 (SpikingJelly, 1.3 times the critical gain). Skewed or discrete weights shift rates by more than ``1/n``.
    **Source**: ``yaida2020``, ``roberts2022`` and, for products of random matrices, ``hanin2020`` expand smooth networks in
    ``1/n``; for the binomial chain derived here, see the module.

    Examples
    --------
    >>> import varflow as vf
    >>> network = vf.Network(width=2000, depth=2, gain=vf.gain(threshold=0.7), neuron=vf.Neuron(0.7))
    >>> for order in (1, 2):
    ...     print(f"{vf.expansion(network, order=order).variance - 1:.6f}")
    -0.001017
    -0.001023

    The rate of SpikingJelly's neuron over late steps, and how much it varies between networks of width 300:

    >>> lif = vf.neurons.spikingjelly_lif()
    >>> drive = vf.drives.currents(2.0)
    >>> network = vf.Network(width=300, depth=2, gain=6.4, neuron=lif, steps=4, drive=drive)
    >>> found = vf.expansion(network, points=2**12)
    >>> print(f"{found.late_rate:.3f} ± {found.late_rate_std:.3f}")
    0.255 ± 0.023
    """
    responses = Responses(points, scrambles, seed)
    if instance("network", network, Network).steps > 1:
        if order is not None and integer("order", order, minimum=1) > 1:
            raise DomainError("order", order, "must be 1 for networks of several steps: the next order is not derived")
        return temporal_expansion(network, flag("per_layer", per_layer), responses)
    if per_layer:
        raise DomainError("per_layer", per_layer, "needs several steps; for one, vf.finite_width(network) is exact")
    order = 2 if order is None else integer("order", order, minimum=1)
    if order > HIGHEST_ORDER:
        rule = f"must be at most {HIGHEST_ORDER}: the series is asymptotic, so more terms do not help"
        raise DomainError("order", order, rule)
    layer = equal_layers(network)
    if not SMALLEST_SCALE <= layer.weight_variance * layer.fan_in <= LARGEST_SCALE:
        rule = "has a fourth power that over- or underflows; measure potentials in other units"
        raise DomainError("gain", network.gain, rule)
    point = _active_state(layer)
    series = rate_series(layer, point.firing_rate, 2 * order + 2)
    small, n = _small_parameter(series, layer.width), layer.width
    if not small < LARGEST_PARAMETER:
        needed = f"below {LARGEST_PARAMETER} only above {small * n / LARGEST_PARAMETER:.0f} neurons"
        rule = f"is too small for a series in 1/n: the small parameter is {small:.3g}, {needed}"
        exact = "quasi_stationary" if network.silence_is_absorbing else "stationary"
        raise DomainError("width", n, f"{rule}; use vf.SpikeChain(network).{exact}()")
    mean, variance, skewness = _cumulants(stationary_moments(series, order + 1))
    g2, powers = layer.weight_variance * layer.fan_in, float(n) ** -np.arange(1, order + 1)
    shift, spread = float(mean @ powers), float(variance @ powers)
    expected = point.variance + g2 * shift
    relative = (g2 / expected) ** 2 * max(spread, 0.0)
    return Expansion(
        network,
        order,
        point,
        expected,
        expected * sample_variance_std(relative, 1 + relative, n),
        skewness=float(skewness @ powers) * n**0.5,
        firing_rate=float(series[0]) + shift,
        firing_rate_std=float(np.sqrt(max(spread, 0.0))),
        mean_coefficients=frozen(g2 * mean),
        variance_coefficients=frozen(g2**2 * variance),
        skewness_coefficients=frozen(skewness),
        small_parameter=small,
    )


def _active_state(layer: CountedLayer) -> FixedPoint:
    """The largest stable fixed point that is not silence."""
    gain, mean_gain = float(np.sqrt(layer.weight_variance * layer.fan_in)), layer.weight_mean * layer.fan_in
    bias_std = float(np.sqrt(layer.bias_variance))
    points = fixed_points(threshold=layer.threshold, gain=gain, bias_std=bias_std, mean_gain=mean_gain)
    active = [point for point in points if point.stable and 0 < point.firing_rate < 1]
    if not active and any(point.multiplier <= -1 for point in points):
        rule = "leaves no stable fixed point to expand about: layers alternate, see vf.fixed_points(...).cycles"
        raise DomainError("mean_gain", mean_gain, rule)
    if not active:
        hint = f"; the critical gain is {critical_gain(threshold=layer.threshold):.6g}" if mean_gain == bias_std == 0 else ""
        rule = f"leaves no stable active fixed point to expand about, only silence or saturation{hint}"
        raise DomainError("gain", gain, rule)
    return active[-1]


def _small_parameter(series: np.ndarray, width: int) -> float:
    p, m, curvature = series[0], series[1], 2 * series[2]
    noise = p * (1 - p)
    return float(max((curvature / (1 - m)) ** 2 * noise / (1 - m**2), 1 / noise)) / width


def rate_series(layer: CountedLayer, x: Any, order: int) -> np.ndarray:
    r"""Taylor coefficients ``π^{(k)}(x)/k!``, ``k = 0 … order``, of the firing probability at a firing fraction.

    .. math::
        \pi(x) = Q\!\left(\frac{\theta - m_g x}{\sqrt{g^2 x + \sigma_b^2}}\right), \qquad
        Q^{(k)}(z) = (-1)^k He_{k-1}(z)\,\varphi(z)

    Parameters
    ----------
    layer : CountedLayer
    x : float or array
        Firing fractions at which ``g² x + σ_b² > 0``.
    order : int

    Returns
    -------
    ndarray, shape (order + 1, *x.shape)
    """
    x = np.asarray(x, dtype=float)
    g2, mean_gain = layer.weight_variance * layer.fan_in, layer.weight_mean * layer.fan_in
    C, k = g2 * x + layer.bias_variance, np.arange(1, order + 1)
    root = [1 / np.sqrt(C)]
    for factor in -(k - 0.5) / k:  # of C^(-1/2)
        root.append(root[-1] * factor * g2 / C)
    z = np.array([(layer.threshold - mean_gain * x) * term for term in root])
    z[1:] -= mean_gain * np.array(root[:-1])
    return _compose(_tail_series(z[0], order), z)


def _tail_series(z: np.ndarray, order: int) -> np.ndarray:
    """``Q^{(k)}(z)/k!``."""
    normal, k = distribution("normal"), np.arange(1, order + 1).reshape(-1, *[1] * z.ndim)
    terms = (-1.0) ** k * eval_hermitenorm(k - 1, z) / factorial(k) * normal.pdf(z)
    return np.concatenate([np.asarray(normal.sf(z))[None], terms])


def _compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Coefficients of ``Σ_k outer_k (inner(ξ) - inner_0)^k``, by Horner's rule."""
    total = np.zeros_like(inner)
    for coefficient in outer[::-1]:
        product = np.zeros_like(total)
        for k in range(1, len(inner)):
            product[k:] += inner[k] * total[: len(inner) - k]
        total = product
        total[0] += coefficient
    return total


def stationary_moments(series: np.ndarray, order: int) -> np.ndarray:
    """``e_{kj}``: the coefficient of ``n^-j`` in ``E[(x - p)^k]``, up to ``j = order`` and ``k = 2 order``.

    Parameters
    ----------
    series : ndarray, shape (at least 2 order + 1,)
        Taylor coefficients of ``π`` at its fixed point ``p``, as :func:`rate_series` gives them.
    order : int

    Returns
    -------
    ndarray, shape (2 order + 1, order + 1)
    """
    size = 2 * order
    u = np.array([0.0, *series[1 : size + 1]])
    powers = [np.eye(1, size + 1)[0]]  # of u, as series in ξ
    for _ in range(size):
        powers.append(np.convolve(powers[-1], u)[: size + 1])
    transfer = [N.T @ np.array(powers) for N in _binomial_moments(float(series[0]), size, order)]  # T^k, indexed [b, a]
    e = np.zeros((size + 1, order + 1))
    e[0, 0] = 1.0
    for j in range(1, order + 1):
        for k in range(2 * j, 0, -1):
            lower_orders = sum(transfer[k][b] @ e[:, j - b] for b in range(j + 1))
            e[k, j] = lower_orders / (1 - u[1] ** k)  # e[k, j] itself is still 0 in it
    return e


def _binomial_moments(p: float, size: int, order: int) -> list[np.ndarray]:
    """``N_k = E[(x' - p)^k]``, ``k = 0 … size``, as arrays indexed by the power of ``u`` and the power of ``ε``."""
    N = [np.zeros((size + 1, order + 1))]
    N[0][0, 0] = 1.0
    for _ in range(size):
        derivative = np.zeros_like(N[0])
        derivative[:-1] = np.arange(1, size + 1)[:, None] * N[-1][1:]
        noise = p * (1 - p) * derivative
        noise[1:] += (1 - 2 * p) * derivative[:-1]
        noise[2:] -= derivative[:-2]
        following = np.zeros_like(N[0])
        following[1:] = N[-1][:-1]
        following[:, 1:] += noise[:, :-1]
        N.append(following)
    return N


def _cumulants(e: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients of mean and variance in ``n^-1, n^-2, …`` and of skewness in ``n^-1/2, n^-3/2, …``."""
    size = e.shape[1]
    times = lambda a, b: np.convolve(a, b)[:size]  # noqa: E731
    first, second, third = e[1:4]
    square = times(first, first)
    variance = second - square
    cumulant = third - 3 * times(first, second) + 2 * times(first, square)
    skewness = times(cumulant[2:], _power(variance[1:], -1.5))[: size - 2]
    return first[1:-1], variance[1:-1], skewness


def _power(series: np.ndarray, exponent: float) -> np.ndarray:
    """Coefficients of a power of a series, by Euler's recurrence."""
    out = np.zeros_like(series)
    out[0] = series[0] ** exponent
    for k in range(1, len(series)):
        j = np.arange(1, k + 1)
        out[k] = np.sum((j * (exponent + 1) - k) * series[1 : k + 1] * out[k - j]) / (k * series[0])
    return out
