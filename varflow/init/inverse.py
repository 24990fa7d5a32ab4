"""Inverse problems at finite width: the chain, solved for gain, threshold or width.

All use the chain of ``finite_width`` with currents of standard deviation 1, equal layers and no bias, and are vectorised over
their first argument; an infeasible problem raises DomainError, or gives NaN in an array.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import numpy as np

from varflow._checks import DomainError, choice, integer, need, positive_number, probability, real_array, refuse, unwrap
from varflow._progress import Progress
from varflow.init.gains import gain as preserving_gain
from varflow.init.inverse_in_time import ABOVE, Aim, aimed
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.drives import Drive, currents
from varflow.model.network import Network
from varflow.model.over_neurons import OverNeurons, mean_of
from varflow.model.weight_distribution import NormalWeights
from varflow.model.weights import weight_law
from varflow.theory.finite_width.chain import SpikeChain, chain_of, survival_at
from varflow.theory.memoryless.variance_map import thresholds
from varflow.theory.roots import highest, root_from_above

Threshold = float | OverNeurons
LIMIT = 1e14  # gain in thresholds that stands for infinity: half of the neurons fire, to 1e-14
ACCURACY = 1e-12  # relative, of gains and thresholds
WIDEST = 10**8  # largest width tried


def corrected_gain(
    *,
    threshold: Any = None,
    width: int,
    depth: int,
    survival_target: float = 0.99,
    weights: Any = "normal",
    neuron: Any = None,
    steps: int | None = None,
    alive: str | None = None,
    drive: Drive | None = None,
    networks: int = 2000,
    seed: int = 0,
    progress: Progress = False,
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
    neuron : Neuron, torch module or str, optional
        In place of a threshold, as :func:`varflow.neuron` takes it. One with memory needs ``steps`` and ``alive``.
    steps, alive, drive
        With memory: steps, counted from the first arrival, so that a delay has no effect; which of them must have spikes in
        layer ``depth``, as in :func:`varflow.survival`; the drive of layer 1, by default ``vf.drives.currents()``.
    networks, seed, progress
        With memory: networks drawn at each of five gains about the answer; a bar, or ``progress(done, total)`` of ensembles.

    Returns
    -------
    float or ndarray; for a neuron with memory an Estimate, with ``.value``, ``.error`` and ``.method``
        0.0 if any gain does (depth 1). The variance changes to ``vf.stable_variance(threshold=θ, gain=g)``. If the preserving
        gain, :func:`varflow.gain`, reaches the target, the result is *below* it, and so is the variance: to initialise, use the
        larger, as :func:`varflow.init.corrected_normal_` does.

    Raises
    ------
    DomainError
        If no gain reaches the target; the message has the highest survival, or the factor that the drive (the input gain)
        needs, if layer 1 dies, where no gain acts.

    Notes
    -----
    **Assumes** that survival rises with the gain, which holds for θ > 0 since every ``π_K`` does.
    **Accuracy**: relative 1e-12 in the gain. With memory ``.error`` is that of a logistic fit to networks drawn, .1 to .3 %.
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
    2.27 ± 0.01
    """
    threshold = aimed(threshold, width, depth, survival_target, weights, neuron, steps, alive, drive, networks, seed, progress)
    if isinstance(threshold, Aim):
        return threshold.gain()
    theta, width = _positive_thresholds(threshold), integer("width", width, minimum=1)
    depth, target = integer("depth", depth, minimum=1), probability("survival_target", survival_target, open_ends=True)

    def solve(t: Threshold) -> float:
        survival = lambda g: survival_at(t, g, width, depth, weights)  # noqa: E731
        best = survival(LIMIT * mean_of(t))
        if best < target:
            rule = f"is not attainable at width {width}, depth {depth}: the highest survival at any gain is {best:.4g}"
            raise DomainError("survival_target", target, rule)
        if depth == 1:  # independent of the gain
            return 0.0
        return root_from_above(lambda g: _logit_excess(survival(g), target), 2.6 * mean_of(t), ACCURACY)

    return _vectorised(solve, theta)


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
    theta, wanted = _positive_thresholds(threshold), positive_number("variance", variance)
    width, depth = integer("width", width, minimum=1), integer("depth", depth, minimum=2)
    chain = lambda t, g: chain_of(t, g, width, depth, weights)  # noqa: E731

    def solve(t: Threshold) -> float:
        def excess(g: float) -> float:
            found = chain(t, g)
            *_, below, _ = found.masses() if depth > 2 else (found.masses()[0], None)
            return float(np.sum(below * found.layers[-1].conditional_variance(found.grids[-2].counts))) - wanted

        return root_from_above(excess, float(preserving_gain(threshold=t, variance=wanted)), ACCURACY)

    return _vectorised(solve, theta)


def largest_threshold(
    *,
    width: Any,
    depth: int,
    survival_target: float = 0.99,
    gain: Any = "preserving",
    neuron: Any = None,
    steps: int | None = None,
    alive: str | None = None,
    drive: Drive | None = None,
    networks: int = 2000,
    seed: int = 0,
    progress: Progress = False,
) -> Any:
    """The largest threshold at which networks of a width reach a survival at layer ``depth``, ``max{θ: P(K_L > 0) ≥ P*}``.

    Parameters
    ----------
    width : int or array of int
    depth, survival_target
        As in :func:`varflow.corrected_gain`.
    gain : str or float
        ``"preserving"``: that gain at each threshold; ``"best"``: the limit of large gains. With memory it is a number.
    neuron : Neuron, torch module or str, optional
        With memory; its threshold is changed.
    steps, alive, drive, networks, seed, progress
        For such a neuron, as in :func:`varflow.corrected_gain`.

    Returns
    -------
    float or ndarray; for a neuron with memory an Estimate

    Raises
    ------
    DomainError
        If not even a threshold near 0 reaches it.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.largest_threshold(width=100, depth=100), 4)
    0.7284
    """
    aim = aimed(None, width, depth, survival_target, "normal", neuron, steps, alive, drive, networks, seed, progress)
    if isinstance(aim, Aim):
        return aim.threshold(positive_number("gain", gain), mean_of(as_neuron(neuron).threshold))
    refuse("has no memory: leave it out, its threshold is what is sought", neuron=neuron)
    widths, depth = whole_numbers("width", width), integer("depth", depth, minimum=1)
    target = probability("survival_target", survival_target, open_ends=True)
    fixed = None if isinstance(gain, str) else positive_number("gain", gain)
    rules: dict[Any, Callable[[float], float]] = {
        "preserving": lambda t: float(preserving_gain(threshold=t)),
        "best": lambda t: LIMIT * max(t, 1.0),
    }
    rule = rules[choice("gain", gain, rules)] if fixed is None else lambda t: fixed

    def solve(n: float) -> float:
        whole = int(n)
        lack = lambda t: target - survival_at(t, rule(t), whole, depth)  # noqa: E731
        if lack(1e-6) > 0:
            why = f"is not attainable at width {whole}, depth {depth}: for θ → 0 survival is {target - lack(1e-6):.4g}"
            raise DomainError("survival_target", target, why)
        return root_from_above(lack, 0.7, ACCURACY)

    return _vectorised(solve, widths)


def smallest_width(
    *,
    threshold: Any = None,
    depth: int,
    survival_target: float = 0.99,
    gain: float | None = None,
    neuron: Any = None,
    steps: int | None = None,
    alive: str | None = None,
    drive: Drive | None = None,
    networks: int = 2000,
    seed: int = 0,
    progress: Progress = False,
) -> Any:
    """The smallest width with which networks reach a survival at layer ``depth``, ``min{n: P(K_L > 0) ≥ P*}``.

    Parameters
    ----------
    threshold : float, array or frozen scipy.stats distribution
        ``θ``, or its distribution over neurons.
    depth, survival_target
        As in :func:`varflow.corrected_gain`.
    gain : float, optional
        By default the preserving gain, per threshold. A neuron with memory needs one above its critical gain.
    neuron, steps, alive, drive, networks, seed, progress
        In place of a threshold, as in :func:`varflow.corrected_gain`.

    Returns
    -------
    int or ndarray; for a neuron with memory an Estimate

    Raises
    ------
    DomainError
        If no width up to 10⁸ (4096 with memory) suffices: gain below the critical one, or drive below an unstable fixed point.

    Notes
    -----
    **Assumes** that survival rises with the width. **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.smallest_width(threshold=[0.5, 1.0], depth=100).tolist()
    [34, 1206]
    """
    threshold = aimed(threshold, 1, depth, survival_target, "normal", neuron, steps, alive, drive, networks, seed, progress)
    if isinstance(threshold, Aim):
        need(f"is missing for a neuron with memory: {ABOVE}", gain=gain)
        return threshold.width(positive_number("gain", gain))
    (theta, _), depth = thresholds(threshold), integer("depth", depth, minimum=1)
    target = probability("survival_target", survival_target, open_ends=True)
    fixed = None if gain is None else positive_number("gain", gain)

    def solve(t: Threshold) -> float:
        g = float(preserving_gain(threshold=t)) if fixed is None else fixed
        enough = lambda n: survival_at(t, g, n, depth) >= target  # noqa: E731
        hi = 1
        while hi < WIDEST and not enough(hi):
            hi = min(2 * hi, WIDEST)
        if hi == WIDEST and not enough(hi):
            rule = f"leaves no survival at gain {g:.4g} and any width up to 1e8: raise the gain above the critical √γ_c·θ"
            raise DomainError("threshold", t, rule)
        between = range(hi // 2 + 1, hi)
        return between.start + bisect_left(between, True, key=enough)

    answer = _vectorised(solve, theta)
    return int(answer) if np.ndim(answer) == 0 else answer if np.isnan(answer).any() else answer.astype(int)


def sparsest_rate(*, width: Any, depth: int, survival_target: float = 0.99, weights: Any = "normal") -> Any:
    r"""The smallest stationary firing rate with which networks of a width reach a survival at layer ``depth``.

    .. math:: p = P(x > z), \qquad g = \frac{θ}{z\,p^{1/α}}

    at the largest stable ``z`` that reaches the target, which drives layer 1. For weights with a variance ``x`` is normal,
    ``α = 2`` and ``p ≥ 0.1169`` at infinite width; :func:`varflow.weights.stable` ones of ``α ≤ 1`` have no least rate there.

    Parameters
    ----------
    width, depth, survival_target
        As in :func:`varflow.largest_threshold`.
    weights : str or distribution
        As in :class:`varflow.Network`, shifted to mean 0.

    Returns
    -------
    float or ndarray

    Raises
    ------
    DomainError
        If not even a rate near 1/2 suffices.

    Examples
    --------
    >>> import varflow as vf
    >>> [round(vf.sparsest_rate(width=1000, depth=100, weights=law), 4) for law in ("normal", vf.weights.cauchy())]
    [0.1619, 0.1037]
    """
    from scipy.special import ndtri

    widths, depth = whole_numbers("width", width), integer("depth", depth, minimum=1)
    target, law = probability("survival_target", survival_target, open_ends=True), weight_law(weights)
    core = law.core if law.core.index < 2 else NormalWeights()
    last = highest(lambda z: z**core.index * core.tails(z)[0], np.geomspace(0.05, 1e6, 400), rounds=6)
    rate = lambda x: float(core.tails(np.array([1 / x]))[0][0])  # noqa: E731

    def solve(n: float) -> float:
        def excess(x: float) -> float:
            if x <= 1 / last:
                return -target
            gain, drive = x / rate(x) ** (1 / core.index), currents(-1 / float(ndtri(rate(x))))
            network = Network(width=int(n), depth=depth, gain=gain, weights=law, mean_gain=0.0, drive=drive)
            return SpikeChain(network, rare=0.0).survival() - target

        if (lack := -excess(LIMIT / 100)) > 0:
            rule = f"is not attainable at width {int(n)}, depth {depth}: at rate 1/2 survival is {target - lack:.4g}"
            raise DomainError("survival_target", target, rule)
        return rate(root_from_above(excess, 1.1 / last, ACCURACY))

    return _vectorised(solve, widths)


def _positive_thresholds(threshold: Any) -> Any:
    """Checked thresholds, or their distribution over neurons."""
    theta, _ = thresholds(threshold)
    if isinstance(theta, OverNeurons):
        if theta.smallest < 0:
            raise DomainError("threshold", theta, "must be positive in all neurons: below 0 they fire at any gain")
    elif np.any(theta <= 0):
        raise DomainError("threshold", float(theta[theta <= 0].flat[0]), "must be positive: at θ ≤ 0 any gain will do")
    return theta


def whole_numbers(name: str, values: Any) -> np.ndarray:
    """Positive integers, of any shape."""
    array = real_array(name, values)
    for value in np.unique(array).tolist():
        integer(name, int(value) if value.is_integer() else value, minimum=1)
    return array


def _logit_excess(survival: float, target: float) -> float:
    """``logit(survival) - logit(target)``: nearly linear in gains and thresholds."""
    S = min(max(survival, 1e-300), 1 - 1e-16)
    excess = math.log(S / (1 - S)) - math.log(target / (1 - target))
    return max(excess, 0.0) if survival >= target else min(excess, -1e-300)


def _vectorised(solve: Callable[[Any], float], values: Any) -> Any:
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
