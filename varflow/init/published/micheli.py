"""Micheli et al. (the paper): the gain that preserves the variance, its finite-size correction, its formula for soft reset.

The corrected gain, varflow's own method, is the preserving one, raised if networks of finite width would die.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import DomainError, choice, flag, integer, positive_number, probability, real_number
from varflow.init.fills import check_floating, fan_of, normal_, uniform_
from varflow.init.gains import gain as preserving_gain
from varflow.init.gains import steps_of
from varflow.init.kept_alive import raised_gain
from varflow.init.published.method import Method, Setting, Weights
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.distributions import distribution
from varflow.model.neurons import Neuron
from varflow.model.resets import Reset
from varflow.results.export import CRITERIA

BOOTSTRAPS = 1000

Tensor = Any  # torch is imported where it is needed


def micheli_gain(threshold: float) -> float:
    """The preserving gain, ``g² = 1/Q(θ)``, which keeps variance 1; :func:`varflow.gain` keeps any variance.

    Assumes infinite width and no memory; ignores stability, lost at θ > 1.19. **Source**: ``micheli2024``.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.published.micheli_gain(1.0) ** 2, 4)
    6.303
    """
    return float(preserving_gain(threshold=real_number("threshold", threshold)))


def micheli_finite_size_gain(threshold: float, fan_in: int, *, seed: int = 0) -> float:
    r"""The paper's finite-size correction, as in its code: ``g² = 1/p_low`` from one random sample.

    .. math:: p_\text{low} = \bar p - 1.96\, s/\sqrt{1000}, \qquad
              \bar p, s \text{: mean and standard deviation of 1000 bootstraps of one sample of } n \text{ normals}

    The margin is divided by √1000, so it is small compared with the sample's own scatter ``√(p(1-p)/n)``: the gain is randomly
    too high or too low. With a new sample for every layer, as in the original, fewer networks survive than with the plain
    gain: at θ = 1 and width 400, 40 ± 4 % instead of 55 % at layer 100. For an exact correction see
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
        If no draw exceeds the threshold, so that the bound is not positive.

    Notes
    -----
    The original draws a new sample for every layer; :func:`varflow.catalogue` uses ``seed=0`` for all.
    **Source**: ``micheli2024`` and its code; the bootstrap is drawn here as the equivalent binomial,
    and so is the number above the threshold in a sample of more than 2²⁰ normals.

    Examples
    --------
    >>> import varflow as vf
    >>> [round(vf.init.published.micheli_finite_size_gain(1.0, 512, seed=s) ** 2, 2) for s in (0, 1)]
    [5.96, 9.37]
    """
    theta, n = real_number("threshold", threshold), integer("fan_in", fan_in, minimum=1)
    rng = np.random.default_rng(integer("seed", seed, minimum=0))
    if n <= 2**20:  # larger samples are not drawn normal by normal
        n_above = np.count_nonzero(rng.standard_normal(n) > theta)
    else:
        n_above = rng.binomial(n, distribution("normal").sf(theta))
    bootstrapped = rng.binomial(n, n_above / n, BOOTSTRAPS) / n
    low = bootstrapped.mean() - 1.959963984540054 * bootstrapped.std() / math.sqrt(BOOTSTRAPS)
    if low <= 0:
        raise DomainError("fan_in", fan_in, f"leaves no draw above the threshold {theta:g}: the bound is not positive")
    return float(1 / math.sqrt(low))


def micheli_soft_reset_gain(threshold: float, decay: float, *, as_published: bool = True) -> float:
    r"""The preserving gain for leak and delayed subtraction.

    .. math:: g^2 = \frac{1 - \beta^2 - \theta^2 p(1-p) + 2\beta\theta E}{p}, \qquad p = Q(\theta)

    Parameters
    ----------
    threshold, decay : float
        ``θ``, and ``β`` in [0, 1].
    as_published : bool
        ``E = φ(θ)/p = E[u | u > θ]`` as in the paper's code; else ``E = φ(θ) = E[u 1(u > θ)]``, the covariance of potential and
        spike, which is what the variance of the sum contains.

    Notes
    -----
    Ignores the negative mean potential after resets, and correlations in time: inputs are independent from step to step, with
    a potential ``N(0, 1)``.
    **Source**: ``micheli2024`` and its code.

    Examples
    --------
    >>> import varflow as vf
    >>> soft = vf.init.published.micheli_soft_reset_gain
    >>> [round(soft(1.0, 0.5, as_published=flag) ** 2, 4) for flag in (True, False)]
    [13.4988, 5.411]
    """
    theta, b = real_number("threshold", threshold), probability("decay", decay)
    normal = distribution("normal")
    p, density = float(normal.sf(theta)), float(normal.pdf(theta))
    factor = 1 / p if flag("as_published", as_published) and p else 1.0
    squared = (1 - b**2 - theta**2 * p * (1 - p) + 2 * b * theta * factor * density) / p if p else 0.0
    if not squared > 0:
        raise DomainError("threshold", threshold, "is too large: the formula has no positive solution")
    return math.sqrt(squared)


def micheli_normal_(
    tensor: Tensor, threshold: float = 1.0, *, variance: float = 1.0, fan: Any = None, generator: Any = None
) -> Tensor:
    r"""Fill with normal weights that preserve the variance of a spiking layer.

    .. math:: w \sim N\Big(0, \frac{v}{n\, Q(\theta/\sqrt v)}\Big)

    Parameters
    ----------
    tensor, fan, generator
        As in :func:`varflow.init.normal_`.
    threshold, variance : float
        ``θ`` and ``v``, as in :func:`varflow.gain`.

    Notes
    -----
    **Assumes** infinite width and memoryless neurons. At θ = 1 the fixed point is close to the saddle-node and narrow networks
    die: see :func:`varflow.init.corrected_normal_`. The bias is not set; torch's default is not zero.
    **Source**: ``micheli2024`` at ``v = 1``.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> weight = vf.init.micheli_normal_(torch.empty(400, 500), 0.5)
    >>> print(f"{float(weight.std()) * 500**0.5:.1f} {vf.gain(threshold=0.5):.3f}")
    1.8 1.800
    """
    return normal_(tensor, _gain(threshold, variance), fan=fan, generator=generator)


def micheli_uniform_(
    tensor: Tensor, threshold: float = 1.0, *, variance: float = 1.0, fan: Any = None, generator: Any = None
) -> Tensor:
    """Fill with uniform weights of the same gain, for which potentials are also normal at large fan-in.

    Parameters
    ----------
    tensor, threshold, variance, fan, generator
        As in :func:`varflow.init.micheli_normal_`.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> weight = vf.init.micheli_uniform_(torch.empty(40, 50), 0.5)
    >>> bool(weight.abs().max() <= vf.gain(threshold=0.5) * (3 / 50) ** 0.5)
    True
    """
    return uniform_(tensor, _gain(threshold, variance), fan=fan, generator=generator)


def _gain(threshold: float, variance: float) -> float:
    theta, v = real_number("threshold", threshold), positive_number("variance", variance)
    return float(preserving_gain(threshold=theta, variance=v))


def _soft_reset(s: Setting) -> Weights:
    if replace(s.neuron.reset_rule, delayed=False, detached=False) != Reset(threshold=1.0):
        raise DomainError("reset", s.neuron.reset, "is not subtraction, which the formula assumes")
    return Weights(micheli_soft_reset_gain(s.neuron.threshold, s.neuron.decay))


METHODS = (
    Method(
        "micheli",
        "Micheli",
        lambda s: Weights(micheli_gain(s.neuron.threshold)),
        "leak, width, stability",
        "micheli2024",
        colour="tab:blue",
    ),
    Method(
        "micheli_finite_size",
        "Micheli, finite size",
        lambda s: Weights(micheli_finite_size_gain(s.neuron.threshold, s.fan_in)),
        "depth and stability; follows one random sample",
        "micheli2024",
        colour="tab:cyan",
    ),
    Method(
        "micheli_soft_reset",
        "Micheli, soft reset",
        _soft_reset,
        "the mean after resets, correlations in time",
        "micheli2024",
        colour="navy",
    ),
)


def corrected_normal_(
    tensor: Tensor,
    threshold: float = 1.0,
    *,
    depth: int,
    width: int | None = None,
    survival_target: float = 0.99,
    neuron: Any = None,
    steps: int | None = None,
    alive: str | None = None,
    fan: Any = None,
    generator: Any = None,
) -> Tensor:
    r"""Fill with normal weights of the preserving gain, raised if networks of this width would not survive to a depth.

    .. math:: w \sim N\Big(0, \frac{g^2}{n}\Big), \qquad
              g = \max\Big(\inf \{ g : P(K_L > 0) \ge 1 - \epsilon \},\; \frac{1}{\sqrt{Q(\theta)}}\Big)

    If the preserving gain is enough, the corrected gain, the smallest that suffices, is lower and would lower the variance.

    Parameters
    ----------
    tensor, fan, generator
        As in :func:`varflow.init.normal_`.
    threshold : float
        ``θ > 0``.
    depth, survival_target
        As in :func:`varflow.corrected_gain`.
    width : int, optional
        Width of the network; by default the fan-in.
    neuron : Neuron, torch module or str, optional
        In place of the threshold. With memory the gain is :func:`varflow.corrected_gain` under currents of standard deviation
        ``1/λ`` into layer 1, interpolated in the table of :func:`varflow.lookup` for snnTorch's common neurons, else of
        networks drawn, in seconds, once for all layers alike.
    steps, alive
        For a neuron with memory, as in :func:`varflow.corrected_gain`.

    Notes
    -----
    **Assumes** equal dense layers and normal weights in every layer. **Source**: derived here.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> weight = vf.init.corrected_normal_(torch.empty(100, 100), 1.0, depth=100)
    >>> round(vf.corrected_gain(threshold=1.0, width=100, depth=100) ** 2, 3)
    8.164

    At θ = 0.5 the preserving gain is enough:

    >>> weight = vf.init.corrected_normal_(torch.empty(400, 500), 0.5, depth=100)
    >>> print(f"{float(weight.std()) * 500**0.5:.1f} {vf.gain(threshold=0.5):.3f}")
    1.8 1.800

    Every late step of snnTorch's neuron stays alive:

    >>> leaky, every = vf.neurons.snntorch_leaky(0.9), "every late step"
    >>> weight = vf.init.corrected_normal_(torch.empty(400, 128), neuron=leaky, steps=8, depth=20, alive=every)
    >>> print(f"{float(weight.std()) * 128**0.5:.1f}")
    2.2
    """
    g = _raised_gain(tensor, threshold, depth, width, survival_target, fan, neuron, steps=steps, alive=alive)
    return normal_(tensor, g, fan=fan, generator=generator)


def corrected_uniform_(
    tensor: Tensor,
    threshold: float = 1.0,
    *,
    depth: int,
    width: int | None = None,
    survival_target: float = 0.99,
    fan: Any = None,
    generator: Any = None,
) -> Tensor:
    """Fill with uniform weights of the corrected gain, by their own survival at finite width.

    Parameters
    ----------
    tensor, threshold, depth, width, survival_target, fan, generator
        As in :func:`varflow.init.corrected_normal_`.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> tuple(vf.init.corrected_uniform_(torch.empty(20, 50), 0.7, depth=10).shape)
    (20, 50)
    """
    g = _raised_gain(tensor, threshold, depth, width, survival_target, fan, weights="uniform")
    return uniform_(tensor, g, fan=fan, generator=generator)


def _raised_gain(
    tensor: Tensor, threshold: float, depth: int, width: Any, target: float, fan: Any, neuron: Any = None, **more: Any
) -> float:
    neuron = Neuron(real_number("threshold", threshold)) if neuron is None else as_neuron(neuron)
    check_floating(tensor)
    if not tensor.numel():  # the fill warns
        return 1.0
    n = int(fan_of(tensor, fan)) if width is None else integer("width", width, minimum=1)
    more |= {"width": n, "depth": integer("depth", depth, minimum=1), "steps": steps_of(neuron, more.get("steps"))}
    if more.get("alive") is not None:
        choice("alive", more["alive"], CRITERIA)
    return raised_gain(neuron, survival_target=probability("survival_target", target, open_ends=True), **more)


def _corrected(s: Setting) -> Weights:
    shape = {"width": s.width, "depth": s.depth, "survival_target": s.survival_target}
    return Weights(raised_gain(s.neuron, s.steps, s.alive, **shape))


CORRECTED = Method(
    "corrected",
    "varflow, corrected",
    _corrected,
    "raises the variance if it corrects",
    needs="width and depth",
    colour="tab:green",
)
