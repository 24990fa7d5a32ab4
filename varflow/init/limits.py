"""How high a threshold, how narrow a layer and how sparse a code may be, for networks of finite width to stay alive.

All use the chain of ``finite_width`` with currents of standard deviation 1, equal layers and no bias, as ``inverse`` does for
gains; neurons with memory are those of ``inverse_in_time``.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from varflow._checks import DomainError, choice, integer, positive_number, probability, real_array
from varflow.init.gains import gain as preserving_gain
from varflow.init.inverse import LIMIT, Threshold, smallest, survival_at, vectorised
from varflow.init.inverse_in_time import Aim, InTime, aimed
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import mean_of
from varflow.theory.finite_width.chain import SpikeChain
from varflow.theory.memoryless.variance_map import thresholds

WIDEST = 10**8  # largest width tried


def largest_threshold(
    *,
    width: Any,
    depth: int,
    survival_target: float = 0.99,
    gain: Any = "preserving",
    **in_time: Unpack[InTime],
) -> Any:
    """The largest threshold at which networks of a width reach a survival at layer ``depth``.

    Parameters
    ----------
    width : int or array of int
    depth : int
    survival_target : float
    gain : str, or float for a neuron with memory
        ``"preserving"``: the paper's gain at each threshold. ``"best"``: the limit of large gains, with the highest survival,
        limited only by the spikes of layer 1.
    **in_time
        A neuron with memory, whose threshold is changed, and the rest as in :func:`varflow.corrected_gain`.

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
    if in_time:
        aim = aimed(None, width, depth, survival_target, **in_time)
        if not isinstance(aim, Aim):
            raise DomainError("neuron", in_time["neuron"], "has no memory: leave it out, its threshold is what is sought")
        return aim.threshold(_given_gain(gain), mean_of(as_neuron(in_time["neuron"]).threshold))
    widths, depth = _whole("width", width), integer("depth", depth, minimum=1)
    target = probability("survival_target", survival_target, open_ends=True)
    rules: dict[str, Callable[[float], float]] = {
        "preserving": lambda t: float(preserving_gain(threshold=t)),
        "best": lambda t: LIMIT * max(t, 1.0),
    }
    rule = rules[choice("gain", gain, rules)]

    def solve(n: float) -> float:
        whole = int(n)
        lack = lambda t: target - survival_at(t, rule(t), whole, depth)  # noqa: E731
        if lack(1e-6) > 0:
            why = f"is not attainable at width {whole}, depth {depth}: for θ → 0 survival is {target - lack(1e-6):.4g}"
            raise DomainError("survival_target", target, why)
        return smallest(lack, 0.7)

    return vectorised(solve, widths)


def smallest_width(
    *,
    threshold: Any = None,
    depth: int,
    survival_target: float = 0.99,
    gain: float | None = None,
    **in_time: Unpack[InTime],
) -> Any:
    """The smallest width with which networks reach a survival at layer ``depth``.

    Parameters
    ----------
    threshold : float, array or frozen scipy.stats distribution
        ``θ``, or its distribution over neurons.
    depth : int
    survival_target : float
    gain : float, optional
        By default the paper's, per threshold; a neuron with memory needs one.
    **in_time
        In place of a threshold a neuron, and the rest as in :func:`varflow.corrected_gain`.

    Returns
    -------
    int or ndarray; for a neuron with memory an Estimate

    Raises
    ------
    DomainError
        If no width up to 10⁸ suffices (4096 with memory): the gain is below the critical one, or the drive below an unstable
        fixed point.

    Notes
    -----
    **Assumes** that survival rises with the width. **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.smallest_width(threshold=[0.5, 1.0], depth=100).tolist()
    [34, 1206]
    """
    if in_time:
        aim = aimed(threshold, 1, depth, survival_target, **in_time)
        if isinstance(aim, Aim):
            return aim.width(_given_gain(gain))
        threshold = aim
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

    answer = vectorised(solve, theta)
    return int(answer) if np.ndim(answer) == 0 else answer if np.isnan(answer).any() else answer.astype(int)


def sparsest_rate(*, width: Any, depth: int, survival_target: float = 0.99) -> Any:
    r"""The smallest stationary firing rate with which networks of a width reach a survival at layer ``depth``.

    If the drive has the variance of the fixed point, everything depends on ``θ/g``; the result is ``p = Q(z)`` at the smallest
    ``g/θ`` that reaches the target. At infinite width it is ``Q(z_c) = 0.1169``.

    Parameters
    ----------
    width : int or array of int
    depth : int
    survival_target : float

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
    >>> round(vf.sparsest_rate(width=1000, depth=100), 4)
    0.1619
    """
    from varflow.model.drives import currents
    from varflow.theory.memoryless.fixed_points import critical_gain
    from varflow.theory.memoryless.stable import stable_variance

    widths, depth = _whole("width", width), integer("depth", depth, minimum=1)
    target = probability("survival_target", survival_target, open_ends=True)
    lowest = float(critical_gain(threshold=1.0))

    def solve(n: float) -> float:
        whole = int(n)

        def excess(g: float) -> float:
            if g <= lowest:
                return -target
            drive = currents(math.sqrt(stable_variance(threshold=1.0, gain=g)))
            network = Network(width=whole, depth=depth, gain=g, neuron=Neuron(1.0), drive=drive)
            return SpikeChain(network, rare=0.0).survival() - target

        if excess(LIMIT) < 0:
            rule = f"is not attainable at width {whole}, depth {depth}: at rate 1/2 survival is {excess(LIMIT) + target:.4g}"
            raise DomainError("survival_target", target, rule)
        g = smallest(excess, 1.1 * lowest)
        return float(stable_variance(threshold=1.0, gain=g)) / g**2

    return vectorised(solve, widths)


def _given_gain(gain: Any) -> float:
    if gain is None or isinstance(gain, str):
        raise DomainError("gain", gain, "must be a number for a neuron with memory; vf.gain_for_rate finds one")
    return positive_number("gain", gain)


def _whole(name: str, values: Any) -> np.ndarray:
    """Positive integers, of any shape."""
    array = real_array(name, values)
    for value in np.unique(array).tolist():
        integer(name, int(value) if value.is_integer() else value, minimum=1)
    return array
