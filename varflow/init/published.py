"""Published gains that need no data: each method's formula in one notation, and what it leaves out of account.

A gain is ``g = σ_w √fan_in``; a weight of standard deviation ``g/√fan_in`` follows. Methods that ask for a firing rate are in
``rates``, those that ask for data in ``statistics`` and ``lsuv``; :func:`varflow.catalogue` sets them side by side. No torch.
"""

from __future__ import annotations

import math

import numpy as np

from varflow._checks import DomainError, choice, flag, integer, positive_scale, probability, real_array, scalar, scale
from varflow.init.gains import gain as preserving_gain
from varflow.model.distributions import distribution

__all__ = [
    "bellec_gain",
    "ding_bias",
    "ding_gain",
    "herranz_dampening",
    "herranz_mean",
    "herranz_surrogate_moment",
    "ikun_gain",
    "kaiming_gain",
    "lecun_gain",
    "micheli_finite_size_gain",
    "micheli_gain",
    "micheli_soft_reset_gain",
    "norse_recurrent_gain",
    "spytorch_gain",
    "tdbn_std",
    "torch_bias_std",
    "torch_gain",
    "xavier_gain",
]

BOOTSTRAPS = 1000


def kaiming_gain(*, slope: float = 0.0) -> float:
    r"""Kaiming's gain for rectifiers of a negative slope, ``g² = 2/(1 + a²)``.

    Ignores the threshold: made for activations that pass half of a symmetric potential on, ``E[x²] = V/2``, where a spike
    passes on 1, at a rate below 1/2. It is the preserving gain at θ = 0. **Source**: ``he2015``.

    Parameters
    ----------
    slope : float
        ``a``; ``√5`` is behind :func:`torch_gain`.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.kaiming_gain() ** 2, 12)
    2.0
    """
    return math.sqrt(2 / (1 + scalar("slope", scale("slope", slope)) ** 2))


def torch_gain() -> float:
    """What ``torch.nn.Linear`` and ``torch.nn.Conv2d`` begin with: ``U(±1/√n)``, ``g² = 1/3``.

    Written there as Kaiming's uniform law with a slope of √5; SpikingJelly's ``kaiming_normal_conv_linear_weight`` has the same
    gain under Kaiming's name, lava-dl the same times its ``weight_scale``. Ignores the neuron altogether; the bias that comes
    with it is :func:`torch_bias_std`.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.torch_gain() ** 2, 12) == round(vf.init.published.kaiming_gain(slope=5**0.5) ** 2, 12)
    True
    """
    return 1 / math.sqrt(3)


def torch_bias_std(fan_in: int) -> float:
    """Standard deviation of torch's default biases, ``U(±1/√n)``: ``1/√(3n)``. Constant in time, so a leak amplifies it."""
    return 1 / math.sqrt(3 * integer("fan_in", fan_in, minimum=1))


def xavier_gain(fan_in: int, fan_out: int) -> float:
    """Glorot's and Bengio's, ``Var[w] = 2/(n_in + n_out)``: ``g² = 2 n_in/(n_in + n_out)``, 1 in a square layer.

    A compromise between forward and backward variance of linear units; ignores the threshold. **Source**: ``glorot2010``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.xavier_gain(512, 512)
    1.0
    """
    n, m = integer("fan_in", fan_in, minimum=1), integer("fan_out", fan_out, minimum=1)
    return math.sqrt(2 * n / (n + m))


def lecun_gain() -> float:
    """``g = 1``: keeps the variance of linear units. Ignores the threshold. **Source**: ``lecun1998``."""
    return 1.0


def bellec_gain(*, scale: float = 1.0) -> float:
    """LSNN's, ``w ~ N(0, V₀²/n)`` with ``V₀ = 1``: ``g = V₀``.

    Made beside a threshold of 0.03 and an input scale of ``1 - β``; taken elsewhere without them it is LeCun's.
    **Source**: ``bellec2018`` and its code.
    """
    return scalar("scale", positive_scale("scale", scale))


def spytorch_gain(decay: float) -> float:
    """The SpyTorch tutorials' ``std = 7(1 - β)/√n``: ``g = 7(1 - β)``, found by hand to "give some spikes to begin with".

    Ignores threshold, rate and depth; for one hidden layer. At ``β = 0`` that is 7, far above what depth needs.
    **Source**: the first two tutorials of ``zenke2019``, which accompany ``neftci2019``.
    """
    b = scalar("decay", real_array("decay", decay))
    if not 0 <= b < 1:
        raise DomainError("decay", decay, "must lie between 0 and 1, 1 excluded")
    return 7 * (1 - b)


def ikun_gain(fan_in: int | None = None, fan_out: int | None = None) -> float:
    r"""IKUN's: one over the mean of the surrogate derivative ``1/(1 + x²)`` on [-1, 1], ``g² = 4/π``.

    With fans the second version, ``Var[w] = (4/π)/(n_in + n_out)``. Ignores threshold, leak and reset: the surrogate belongs to
    the backward pass, spikes do not know it. **Source**: ``chang2024`` and its code.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.ikun_gain() ** 2, 4)
    1.2732
    """
    if fan_in is None and fan_out is None:
        return 2 / math.sqrt(math.pi)
    n, m = integer("fan_in", fan_in, minimum=1), integer("fan_out", fan_out, minimum=1)
    return math.sqrt(4 / math.pi * n / (n + m))


def micheli_gain(threshold: float) -> float:
    """The seed paper's, ``g² = 1/Q(θ)``: keeps the variance at 1. :func:`varflow.gain` does so for any variance.

    Assumes infinite width and no memory; ignores stability, which is lost at θ > 1.19. **Source**: ``micheli2024``.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.micheli_gain(1.0) ** 2, 4)
    6.303
    """
    return float(preserving_gain(threshold=scalar("threshold", scale("threshold", threshold))))


def micheli_finite_size_gain(threshold: float, fan_in: int, *, seed: int = 0) -> float:
    r"""The seed paper's finite-size correction, as its code has it: ``g² = 1/p_low`` from one random sample.

    .. math:: p_\text{low} = \bar p - 1.96\, s/\sqrt{1000}, \qquad
              \bar p, s \text{: mean and standard deviation of 1000 bootstraps of one sample of } n \text{ normals}

    The margin is divided by √1000, so that it vanishes beside the sample's own scatter ``√(p(1-p)/n)``: the gain follows the
    luck of one draw, up as often as down. With a sample for every layer, as in the original, fewer networks live than with
    the plain gain: at θ = 1 and width 400, 40 ± 4 % in place of 55 % at layer 100. Another correction, from the exact law:
    :func:`varflow.corrected_gain`.

    Parameters
    ----------
    threshold : float
    fan_in : int
    seed : int
        Of the sample; the original draws from numpy's global state.

    Raises
    ------
    DomainError
        Where no draw exceeds the threshold, so that the bound is not positive.

    Notes
    -----
    The original draws a sample for every layer anew; :func:`varflow.catalogue` takes that of ``seed=0`` for all.
    **Source**: ``micheli2024`` and its code; the bootstrap is drawn here as the binomial it is.

    Examples
    --------
    >>> import varflow as vf
    >>> [round(vf.init.published.micheli_finite_size_gain(1.0, 512, seed=s) ** 2, 2) for s in (0, 1)]
    [5.96, 9.37]
    """
    theta, n = scalar("threshold", scale("threshold", threshold)), integer("fan_in", fan_in, minimum=1)
    rng = np.random.default_rng(integer("seed", seed, minimum=0))
    share = np.mean(rng.standard_normal(n) > theta)
    bootstrapped = rng.binomial(n, share, BOOTSTRAPS) / n
    low = bootstrapped.mean() - 1.959963984540054 * bootstrapped.std() / math.sqrt(BOOTSTRAPS)
    if low <= 0:
        raise DomainError("fan_in", fan_in, f"leaves no draw above the threshold {theta:g}: the bound is not positive")
    return float(1 / math.sqrt(low))


def micheli_soft_reset_gain(threshold: float, decay: float, *, as_published: bool = True) -> float:
    r"""The seed paper's gain for leak and delayed subtraction.

    .. math:: g^2 = \frac{1 - \beta^2 - \theta^2 p(1-p) + 2\beta\theta E}{p}, \qquad p = Q(\theta)

    Parameters
    ----------
    threshold, decay : float
        ``θ``, and ``β`` in [0, 1].
    as_published : bool
        ``E = φ(θ)/p`` as in the paper's code, which is ``E[u | u > θ]``. Otherwise ``E = φ(θ)``, the covariance of potential
        and spike that a variance of the sum calls for.

    Notes
    -----
    Ignores that the mean of the potential is below 0 after resets, and that a spike train is correlated in time: inputs are
    taken as independent from step to step, at a potential ``N(0, 1)``.
    **Source**: ``micheli2024`` and its code.

    Examples
    --------
    >>> import varflow as vf
    >>> soft = vf.init.published.micheli_soft_reset_gain
    >>> [round(soft(1.0, 0.5, as_published=flag) ** 2, 4) for flag in (True, False)]
    [13.4988, 5.411]
    """
    theta, b = scalar("threshold", scale("threshold", threshold)), probability("decay", decay)
    normal = distribution("normal")
    p, density = float(normal.sf(theta)), float(normal.pdf(theta))
    E = density / p if flag("as_published", as_published) else density
    squared = (1 - b**2 - theta**2 * p * (1 - p) + 2 * b * theta * E) / p
    if not squared > 0:
        raise DomainError("threshold", threshold, "leaves no variance for the input: the formula has no positive solution")
    return math.sqrt(squared)


def ding_gain(threshold: float, *, input_scale: float = 1.0) -> float:
    """Ding's slant-asymptote gain, ``g² = 2 θ²/λ²``; with it comes a positive bias, :func:`ding_bias`.

    Kaiming's gain in units of the threshold. Ignores the fixed points of the variance: without the bias it is far below the
    critical gain, ``g² = 6.034 θ²``. Known here from the code of ``shi2026``; the text was not at hand.
    **Source**: ``ding2021``.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.ding_gain(0.5) ** 2, 12)
    0.5
    """
    theta = scalar("threshold", positive_scale("threshold", threshold))
    return math.sqrt(2) * theta / scalar("input_scale", positive_scale("input_scale", input_scale))


def ding_bias(threshold: float, decay: float, *, input_scale: float = 1.0) -> float:
    """The one value of all biases beside :func:`ding_gain`, ``b = θ(1 - β)/(2λ)``: half the threshold, in the long run."""
    theta = scalar("threshold", positive_scale("threshold", threshold))
    return theta * (1 - probability("decay", decay)) / (2 * scalar("input_scale", positive_scale("input_scale", input_scale)))


def herranz_mean(threshold: float, decay: float, width: int, *, reset: str = "delayed_subtract") -> float:
    r"""Mean of recurrent weights that puts a recurrent layer at a rate of one half.

    .. math:: E[w] = \frac{\theta}{n - 1} \times \{3 - 2\beta \text{ (delayed subtract)},\;
              2(1 - \beta) \text{ (gate)},\; 2 - \beta \text{ (zero)}\}

    Condition I of four. Condition II sets the variance, from data in the first layer
    (:func:`varflow.init.statistics.herranz_variance`); III and IV belong to the surrogate derivative. Half of all neurons
    spike in every step: stable gradients are bought with activity. A mean that all weights share makes the
    population move as one, which a variance alone would not.
    **Source**: ``herranz2022`` and its code.

    Parameters
    ----------
    threshold, decay : float
    width : int
        ``n``, at least 2.
    reset : str
        delayed_subtract, gate or zero.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.herranz_mean(1.0, 0.5, 101)
    0.02
    """
    theta, b = scalar("threshold", scale("threshold", threshold)), probability("decay", decay)
    factors = {"delayed_subtract": 3 - 2 * b, "gate": 2 * (1 - b), "zero": 2 - b}
    return factors[choice("reset", reset, factors)] * theta / (integer("width", width, minimum=2) - 1)


def herranz_dampening(
    threshold: float, decay: float, width: int, *, smallest: float, largest: float, input_gradient: float = 0.0
) -> float:
    r"""Height of a surrogate derivative that keeps the worst gradient of a recurrent layer from growing in time.

    .. math:: \gamma = (1 - \beta - G) \, \frac{w_{min}}{w_{max} ((n - 1) w_{min} - \theta)}

    Condition III of four. Between equal bounds, ``w_min = -w_max``, it says ``β + γ ((n - 1) w_max + θ) + G = 1``: leak,
    weights and reset of one neuron, all of one sign, hand on no more than they receive. A bound, not a mean: ``γ`` falls as
    ``1/n``. Weights do not depend on it. **Source**: the code of ``herranz2022``, for reset by subtraction.

    Parameters
    ----------
    threshold, decay : float
    width : int
        ``n``, at least 2.
    smallest, largest : float
        Recurrent weights: ``w_min < 0 < w_max``.
    input_gradient : float
        ``G``: fan-in times the largest input weight times the height in the layer in front; 0 for a first layer.

    Raises
    ------
    DomainError
        For values outside their domain, and where ``β + G`` leaves nothing.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.herranz_dampening(1.0, 0.5, 101, smallest=-0.09, largest=0.09)
    0.05
    """
    theta, b = scalar("threshold", scale("threshold", threshold)), probability("decay", decay)
    n = integer("width", width, minimum=2)
    low, high = scalar("smallest", real_array("smallest", smallest)), scalar("largest", positive_scale("largest", largest))
    if low >= 0:
        raise DomainError("smallest", smallest, "must be negative: the formula is for weights of both signs")
    room = 1 - b - scalar("input_gradient", real_array("input_gradient", input_gradient))
    if not room > 0:
        raise DomainError("input_gradient", input_gradient, "leaves nothing for the recurrent gradient: decay uses up the rest")
    return room * low / (high * ((n - 1) * low - theta))


def herranz_surrogate_moment(
    threshold: float, decay: float, width: int, *, weight_square: float, reset: str = "delayed_subtract"
) -> float:
    r"""``E[ψ²]`` that a surrogate derivative should have, so that gradients of a recurrent layer keep their variance in time.

    .. math:: E[\psi^2] = \begin{cases}
              (1 - \beta^2)/((n - 1) E[w^2] + \theta^2) & \text{delayed subtract} \\
              (2 - \beta^2)/((n - 1) E[w^2]) & \text{gate} \\ (1 - \beta^2/2)/((n - 1) E[w^2]) & \text{zero} \end{cases}

    Condition IV of four, without input from a layer in front; its authors solve it for the sharpness of ``ψ``, with potentials
    uniform between the worst ones. Ignores the covariance of leak and reset, ``-2βθ E[ψ]``. Weights do not depend on it.
    **Source**: the code of ``herranz2022``.

    Parameters
    ----------
    threshold, decay : float
    width : int
        ``n``, at least 2.
    weight_square : float
        ``E[w²]`` of recurrent weights.
    reset : str
        delayed_subtract, gate or zero.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.herranz_surrogate_moment(1.0, 0.5, 101, weight_square=0.02)
    0.25
    """
    theta, b = scalar("threshold", scale("threshold", threshold)), probability("decay", decay)
    weights = scalar("weight_square", positive_scale("weight_square", weight_square)) * (integer("width", width, minimum=2) - 1)
    moments = {
        "delayed_subtract": (1 - b**2) / (weights + theta**2),
        "gate": (2 - b**2) / weights,
        "zero": (1 - b**2 / 2) / weights,
    }
    return moments[choice("reset", reset, moments)]


def norse_recurrent_gain(fan_in: int, hidden: int) -> float:
    """Norse's recurrent cells, ``w ~ N(0, 2/hidden)``: ``g² = 2 n/h``, also for input weights, whose fan-in is another.

    Ignores the neuron: with its default ``β = 0.9``, ``λ = 0.1`` an input white in time has gain 0.0526 in variance.
    """
    return math.sqrt(2 * integer("fan_in", fan_in, minimum=1) / integer("hidden", hidden, minimum=1))


def tdbn_std(threshold: float, *, alpha: float = 1.0) -> float:
    """Threshold-dependent batch normalisation: currents have standard deviation ``α θ``, whatever the weights.

    Needs batch statistics in every forward pass of training. The rate of a memoryless neuron is then ``Q(1/α)``.
    **Source**: ``zheng2021``.
    """
    return scalar("alpha", positive_scale("alpha", alpha)) * scalar("threshold", positive_scale("threshold", threshold))
