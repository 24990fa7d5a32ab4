"""Methods for leaky neurons: Ding's slant-asymptote gain with its bias, and SpikeInit's gain for a hard reset.

SpikeInit assumes inputs independent in time.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from varflow._checks import DomainError, integer, positive_number, probability
from varflow.init.published.method import Method, Setting, Weights
from varflow.theory.roots import bisect


def ding_gain(threshold: float, *, input_scale: float = 1.0) -> float:
    """Ding's slant-asymptote gain, ``g² = 2 θ²/λ²``, used with a positive bias, :func:`ding_bias`.

    Kaiming's gain in units of the threshold. Ignores the fixed points of the variance: without the bias it is far below the
    critical gain, ``g² = 6.034 θ²``. **Source**: ``ding2021``, as in the code of ``shi2026`` (the text was not available).

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.ding_gain(0.5) ** 2, 12)
    0.5
    """
    theta = positive_number("threshold", threshold)
    return math.sqrt(2) * theta / positive_number("input_scale", input_scale)


def ding_bias(threshold: float, decay: float, *, input_scale: float = 1.0) -> float:
    """The common bias used with :func:`ding_gain`, ``b = θ(1 - β)/(2λ)``: in the long run half the threshold.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.ding_bias(1.0, 0.5)
    0.25
    """
    theta = positive_number("threshold", threshold)
    return theta * (1 - probability("decay", decay)) / (2 * positive_number("input_scale", input_scale))


def _ding(s: Setting) -> Weights:
    theta, scale = s.neuron.threshold, s.neuron.input_scale
    return Weights(ding_gain(theta, input_scale=scale), bias=ding_bias(theta, s.neuron.decay, input_scale=scale))


DING = Method("ding", "Ding, with bias", _ding, "fixed points of the variance, width", "ding2021", colour="tab:olive")


def spikeinit_gain(rate: float, *, threshold: float = 1.0, decay: float = 0.0, input_scale: float = 1.0) -> float:
    r"""SpikeInit's gain: a firing rate for neurons with hard reset (``zero``) and inputs independent in time.

    .. math:: m = \beta (m\Phi - s\varphi), \quad
              m^2 + s^2 = \beta^2 [(m^2 + s^2)\Phi - s(\theta + m)\varphi] + \lambda^2 g^2 p, \quad Q(a) = p, \quad
              a = \frac{\theta - m}{s}

    Parameters
    ----------
    rate : float
        ``p`` of this layer and of the layer below.
    threshold, decay, input_scale : float
        ``θ > 0``, ``β``, ``λ``.

    Returns
    -------
    float
        In closed form: ``a = Q⁻¹(p)``, then ``s = θ/(a - βφ/(1 - βΦ))``.

    Raises
    ------
    DomainError
        For rates that no gain gives.

    Notes
    -----
    **Assumes** a normal potential before the spike test, and inputs independent from step to step; a layer below with memory
    makes them dependent, and the rate differs. At ``β = 0`` it is exact, the memoryless gain for a rate.
    **Source**: ``shi2026``, theorem 4.1 as in its code (defaults p = 0.1, θ = 0.5, β = λ = 1/2).

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.spikeinit_gain(0.1, threshold=0.5, decay=0.5, input_scale=0.5), 4)
    2.5784
    """
    theta, lam = positive_number("threshold", threshold), positive_number("input_scale", input_scale)
    p, b = probability("rate", rate, open_ends=True), probability("decay", decay)
    a = -float(special.ndtri(p))
    density, silent = math.exp(-(a**2) / 2) / math.sqrt(2 * math.pi), 1 - p
    pull = b * density / (1 - b * silent)
    if not a > pull:
        raise DomainError("rate", rate, "is not attainable at any gain, because neurons that spike are reset; use a lower rate")
    s = theta / (a - pull)
    m = -pull * s
    drive = (m**2 + s**2) * (1 - b**2 * silent) + b**2 * s * (theta + m) * density
    return math.sqrt(drive / p) / lam


def spikeinit_first_layer_std(rate: float, *, threshold: float = 1.0, decay: float = 0.0, steps: int = 64) -> float:
    r"""Standard deviation of a constant current (times the input scale) for which a first layer has a firing rate.

    .. math:: p = Q\Big(\frac{\theta}{s}\Big) + \sum_{k \ge 1} \frac{1}{k+1} \Big[\Phi\Big(\frac{\theta}{s S_{k-1}}\Big)
              - \Phi\Big(\frac{\theta}{s S_k}\Big)\Big], \qquad S_k = \frac{1 - \beta^{k+1}}{1 - \beta}

    A neuron driven by a constant current ``c`` spikes when ``c S_k`` first exceeds θ after a reset: every ``k + 1`` steps.

    Parameters
    ----------
    rate : float
        Below 1/2.
    threshold, decay : float
    steps : int
        Longest interval between spikes included.

    Notes
    -----
    **Assumes** a constant input (direct coding) and hard reset; the sum is then exact. **Source**: ``shi2026`` and its code.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.spikeinit_first_layer_std(0.1, decay=0.5), 4)
    0.5713
    """
    theta, b = positive_number("threshold", threshold), probability("decay", decay)
    p = probability("rate", rate, open_ends=True)
    if p >= 0.5:
        raise DomainError("rate", rate, "must be below 1/2, since negative currents give no spike")
    S = np.cumsum(b ** np.arange(integer("steps", steps, minimum=1)))

    def fires(s: np.ndarray) -> np.ndarray:
        tails = special.ndtr(-theta / (s * S))  # P(spike within k + 1 steps)
        return np.asarray(tails[0] + np.sum(np.diff(tails) / np.arange(2, len(S) + 1)))

    largest = 1e3 * theta + 1e3 * theta / (0.5 - p)
    return float(bisect(lambda s: p - fires(s), np.array(1e-3 * theta / S[-1]), np.array(largest)))


def _spikeinit(s: Setting) -> Weights:
    cell = s.neuron
    return Weights(spikeinit_gain(s.rate, threshold=cell.threshold, decay=cell.decay, input_scale=cell.input_scale))


SPIKEINIT = Method(
    "spikeinit",
    "SpikeInit",
    _spikeinit,
    "correlations in time, stability; hard reset",
    "shi2026",
    "firing rate",
    colour="tab:purple",
)
