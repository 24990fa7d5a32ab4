"""Inverse problems at finite width: the chain, solved for a gain; for thresholds, widths and rates see ``limits``.

All use the chain of ``finite_width`` with currents of standard deviation 1, equal layers and no bias. Survival is
``P(K_L > 0)``: L - 1 transitions after layer 1. Functions are vectorised over their first argument; an infeasible problem
raises DomainError, or gives NaN in an array.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Unpack

import numpy as np

from varflow._checks import DomainError, integer, positive_number, probability, unwrap
from varflow.init.gains import gain as preserving_gain
from varflow.init.inverse_in_time import Aim, InTime, aimed
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons, mean_of
from varflow.theory.finite_width.chain import SpikeChain
from varflow.theory.memoryless.variance_map import thresholds
from varflow.theory.roots import rising_root

Threshold = float | OverNeurons

LIMIT = 1e14  # gain in thresholds that stands for infinity: half of the neurons fire, to 1e-14
ACCURACY = 1e-12  # relative, of gains and thresholds


def corrected_gain(
    *,
    threshold: Any = None,
    width: int,
    depth: int,
    survival_target: float = 0.99,
    weights: Any = "normal",
    **in_time: Unpack[InTime],
) -> Any:
    r"""The smallest gain with which networks of this width reach a survival at layer ``depth``.

    .. math:: g = \inf \{ g : P(K_L > 0) \ge 1 - \epsilon \}

    Parameters
    ----------
    threshold : float, array or frozen scipy.stats distribution, optional
        ``θ > 0``: at ``θ ≤ 0`` survival does not rise with the gain. A distribution is one over neurons.
    width, depth : int
    survival_target : float
        ``1 - ε``, strictly between 0 and 1.
    weights : str or distribution
        As in :class:`varflow.Network`. For lattice weights survival is a step function of the gain; the result is the first
        gain beyond the step, to a relative 1e-12.
    **in_time
        In place of a threshold the ``neuron``, as :func:`varflow.neuron` takes it. With memory also ``steps``; ``alive``, which
        of them must have spikes in layer ``depth``, as in :func:`varflow.survival`; the ``drive`` of layer 1, by default
        ``vf.drives.currents()``; ``networks``, drawn at each of five gains about the answer (default 2000); and a ``seed``.

    Returns
    -------
    float or ndarray; for a neuron with memory an Estimate, with ``.value``, ``.error`` and ``.method``
        The gain; 0.0 if any gain does (depth 1). It also changes the variance, to ``vf.stable_variance(threshold=θ, gain=g)``.
        If the paper's :func:`varflow.gain` already reaches the target, the result is *below* it, and so is the variance; to
        initialise, use the larger of the two, as :func:`varflow.init.corrected_normal_` does.

    Raises
    ------
    DomainError
        If no gain reaches the target; the message has the highest survival. If layer 1 dies, where no gain acts, it has the
        factor that the drive (the input gain) needs.

    Notes
    -----
    **Assumes** that survival rises with the gain, which holds for θ > 0 since every ``π_K`` does.
    **Accuracy**: relative 1e-12 in the gain. With memory ``.error`` is that of a logistic fit to the networks drawn: .1 to .3 %
    at 2000 networks, in which 50 gains of three neurons agree with independent simulations. T = 8, currents N(0, 1), layer 50:

    ==================  =====  =====  =====  =====  ===============  =====  =====  =====  =====
    a late step         64     128    256    512    every late step  64     128    256    512
    ==================  =====  =====  =====  =====  ===============  =====  =====  =====  =====
    snnTorch β = 0.5    2.816  2.692  2.621  2.583                   3.060  2.889  2.781  2.710
    snnTorch β = 0.9    2.396  2.321  2.278  2.253                   2.543  2.452  2.404  2.373
    SpikingJelly τ = 2  5.774  5.354  5.165  5.062                   none   none   9.8    7.88
    one step            3.037  2.754  2.621  2.550
    ==================  =====  =====  =====  =====  ===============  =====  =====  =====  =====

    The gain of one step is a bound in neither direction.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.corrected_gain(threshold=1.0, width=100, depth=100) ** 2, 5)
    8.16387

    How large must the gain of snnTorch layers be, for every late step to be alive?

    >>> leaky = vf.neurons.snntorch_leaky(0.9)
    >>> found = vf.corrected_gain(neuron=leaky, steps=4, width=64, depth=10, alive="every late step", networks=500)
    >>> print(f"{found.value:.2f} ± {found.error:.2f}")
    2.17 ± 0.01
    """
    if in_time:
        aim = aimed(threshold, width, depth, survival_target, weights, **in_time)
        if isinstance(aim, Aim):
            return aim.gain()
        threshold = aim
    theta, width = positive_thresholds(threshold), integer("width", width, minimum=1)
    depth, target = integer("depth", depth, minimum=1), probability("survival_target", survival_target, open_ends=True)

    def solve(t: Threshold) -> float:
        survival = lambda g: survival_at(t, g, width, depth, weights)  # noqa: E731
        best = survival(LIMIT * mean_of(t))
        if best < target:
            rule = f"is not attainable at width {width}, depth {depth}: the highest survival at any gain is {best:.4g}"
            raise DomainError("survival_target", target, rule)
        if depth == 1:  # independent of the gain
            return 0.0
        return smallest(lambda g: _logit_excess(survival(g), target), 2.6 * mean_of(t))

    return vectorised(solve, theta)


@lru_cache(maxsize=64)  # the layers of a model mostly share one gain
def raised_gain(threshold: Threshold, **shape: Any) -> float:
    """The paper's gain, raised if too few networks survive with it: ``max(g_corrected, 1/√Q(θ))``."""
    return max(float(corrected_gain(threshold=threshold, **shape)), float(preserving_gain(threshold=threshold)))


def gain_for_mean_variance(*, threshold: Any, width: int, depth: int, variance: float = 1.0, weights: Any = "normal") -> Any:
    """The gain at which layer ``depth`` has a wanted expected sample variance, averaged over all networks, dead ones too.

    Parameters
    ----------
    threshold : float, array or frozen scipy.stats distribution
        ``θ > 0``, or its distribution over neurons.
    width, depth : int
        ``depth ≥ 2``, since the variance of layer 1 does not depend on the gain.
    variance : float
        Wanted ``E[Var u_depth]``.
    weights : str or distribution
        As in :class:`varflow.Network`.

    Returns
    -------
    float or ndarray

    Raises
    ------
    DomainError
        For values outside their domain.

    Notes
    -----
    **Accuracy**: relative 1e-12. **Source**: derived here; every ``π_K``, and so the mean, rises with the gain.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.gain_for_mean_variance(threshold=1.0, width=600, depth=100) ** 2, 4)
    6.4168
    """
    theta, wanted = positive_thresholds(threshold), positive_number("variance", variance)
    width, depth = integer("width", width, minimum=1), integer("depth", depth, minimum=2)
    chain = lambda t, g: _chain(t, g, width, depth, weights)  # noqa: E731

    def solve(t: Threshold) -> float:
        def excess(g: float) -> float:
            found = chain(t, g)
            *_, below, _ = found.masses() if depth > 2 else (found.masses()[0], None)
            return float(np.sum(below * found.layers[-1].conditional_variance(found.grids[-2].counts))) - wanted

        return smallest(excess, float(preserving_gain(threshold=t, variance=wanted)))

    return vectorised(solve, theta)


def positive_thresholds(threshold: Any) -> Any:
    """Checked thresholds, or their distribution over neurons."""
    theta, _ = thresholds(threshold)
    if isinstance(theta, OverNeurons):
        if theta.smallest < 0:
            raise DomainError("threshold", theta, "must be positive in all neurons: below 0 they fire at any gain")
    elif np.any(theta <= 0):
        raise DomainError("threshold", float(theta[theta <= 0].flat[0]), "must be positive: at θ ≤ 0 any gain will do")
    return theta


def _chain(theta: Threshold, g: float, width: int, depth: int, weights: Any = "normal") -> SpikeChain:
    return SpikeChain(Network(width=width, depth=depth, gain=g, neuron=Neuron(theta), weights=weights), rare=0.0)


def survival_at(theta: Threshold, g: float, width: int, depth: int, weights: Any = "normal") -> float:
    """``P(K_depth > 0)`` in a network of equal layers; a survival below 1e-3 can come out too small."""
    return _chain(theta, g, width, 1, weights).survival(depth)


def _logit_excess(survival: float, target: float) -> float:
    """``logit(survival) - logit(target)``: nearly linear in gains and thresholds."""
    S = min(max(survival, 1e-300), 1 - 1e-16)
    excess = math.log(S / (1 - S)) - math.log(target / (1 - target))
    return max(excess, 0.0) if survival >= target else min(excess, -1e-300)


def smallest(excess: Callable[[float], float], guess: float) -> float:
    """The smallest ``x`` with ``excess(x) ≥ 0``, from above."""
    x, step = rising_root(excess, guess, ACCURACY), ACCURACY
    while excess(x) < 0:
        x, step = x * (1 + step), 2 * step
    return x


def vectorised(solve: Callable[[Any], float], values: Any) -> Any:
    if isinstance(values, OverNeurons):
        return solve(values)
    if values.ndim == 0:
        return solve(float(values))
    answers = np.empty(values.shape)
    for i, value in enumerate(values.flat):
        try:
            answers.flat[i] = solve(float(value))
        except DomainError:
            answers.flat[i] = np.nan
    return unwrap(answers)
