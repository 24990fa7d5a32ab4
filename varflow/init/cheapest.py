"""The cheapest networks that live: the inverse of :func:`varflow.cost` at finite width."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from varflow._checks import DomainError, integer, need, positive_number, refuse
from varflow.init.inverse import corrected_gain, largest_threshold, smallest_width
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.results import Cost
from varflow.theory.cost import cost


def cheapest(
    *,
    depth: int,
    width: int | None = None,
    threshold: float | None = None,
    gain: float | None = None,
    operations: float | None = None,
    survival_target: float = 0.99,
    weights: Any = "normal",
) -> Cost:
    r"""The network with the fewest synaptic operations that still lives, and its cost.

    What is left out is chosen:

    =========================  ================================================
    given                      chosen
    =========================  ================================================
    width, perhaps threshold   the smallest gain with which networks live
    width, gain                the largest threshold with which networks live
    gain, threshold            the smallest width at which networks live
    operations, no width       the largest width that can be had for them,
                               with the smallest gain, or largest threshold
    =========================  ================================================

    Parameters
    ----------
    depth : int
        Layers, 2 at least.
    width : int, optional
    threshold, gain : float, optional
        By default threshold 1 where the gain is chosen.
    operations : float, optional
        The budget: largest expected number of synaptic operations of one inference of one step.
    survival_target : float
        Probability to be alive in the last layer, strictly between 0 and 1.
    weights : str or distribution
        As in :class:`varflow.Network`; those that are not normal where the gain is chosen.

    Returns
    -------
    Cost
        ``.network`` has the gain, width and threshold.

    Raises
    ------
    DomainError
        If the budget is too small (with the operations that are needed), no network lives, or nothing is left out.

    Notes
    -----
    **Assumes** equal layers of memoryless neurons, driven by currents of standard deviation 1, as in
    :func:`varflow.corrected_gain`. Operations and survival both rise with the gain in thresholds, so the cheapest network lives
    just so. **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.cheapest(width=300, depth=20)
    >>> print(f"gain {found.network.gain:.4f}, {found.operations:.4g} operations")
    gain 2.5000, 2.6e+05 operations
    >>> vf.cheapest(depth=20, operations=1e6).network.width
    600
    """
    depth, target = integer("depth", depth, minimum=2), {"depth": depth, "survival_target": survival_target}
    budget = None if operations is None else positive_number("operations", operations)
    if width is not None and None not in (threshold, gain):
        raise DomainError("width", width, "leaves nothing to choose: leave out width, threshold or gain")
    if gain is not None:
        refuse("must be 'normal' where the gain is given", weights=None if weights == "normal" else weights)

    def at(n: int) -> Cost:
        theta, g = 1.0 if threshold is None else threshold, gain
        if g is None:
            g = corrected_gain(threshold=theta, width=n, weights=weights, **target)
        elif threshold is None:
            theta = largest_threshold(width=n, gain=g, **target)
        return cost(Network(width=n, depth=depth, gain=g, neuron=Neuron(theta), weights=weights))

    if width is None and None in (threshold, gain):
        need("must be given, or operations=…, or a width, or gain and threshold", operations=budget)
        return at(_widest(lambda n: at(n).operations > budget, math.isqrt(int(budget / (depth - 1)))))
    found = at(smallest_width(threshold=threshold, gain=gain, **target) if width is None else width)
    if budget is not None and found.operations > budget:
        raise DomainError("operations", operations, f"is too few: the cheapest network needs {found.operations:.4g}")
    return found


def _widest(too_dear: Callable[[int], bool], affordable: int) -> int:
    """The largest width that is not too dear; this one is affordable even if every neuron spiked."""
    most = 2 * max(affordable, 1)
    while not too_dear(most):
        most *= 2
    return bisect_left(range(most), True, lo=affordable, key=too_dear) - 1
