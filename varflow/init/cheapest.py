"""The cheapest network that lives: the inverse of :func:`varflow.cost` at finite width."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

from varflow._checks import DomainError, integer, need, positive_number
from varflow.init.inverse import corrected_gain, largest_threshold
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.results import Cost
from varflow.theory.cost import cost


def cheapest(
    *,
    depth: int,
    width: int | None = None,
    operations: float | None = None,
    threshold: float = 1.0,
    gain: float | None = None,
    survival_target: float = 0.99,
    weights: Any = "normal",
) -> Cost:
    r"""The network that stays alive with the fewest synaptic operations, of a given width or the widest within a budget.

    Parameters
    ----------
    depth : int
        Layers, 2 at least.
    width : int, optional
        Neurons per layer; by default as many as can be had for ``operations``.
    operations : float, optional
        The budget: expected synaptic operations of one inference of one step.
    threshold : float
        ``θ``, for which the smallest gain is found with which networks live.
    gain : float, optional
        Given instead, the largest threshold is found.
    survival_target : float
        Probability to be alive in the last layer, strictly between 0 and 1.
    weights : str or distribution
        As in :class:`varflow.Network`, where the gain is found. Connections that are 0 cost nothing.

    Returns
    -------
    Cost
        ``.network`` has the gain, width and threshold.

    Raises
    ------
    DomainError
        If the budget is too small; the message has the operations that are needed. If no network lives.

    Notes
    -----
    **Assumes** equal dense layers of memoryless neurons, driven by currents of standard deviation 1, as in
    :func:`varflow.corrected_gain`. Operations and survival both rise with the gain in thresholds, so that the cheapest network
    of a width reaches the target just so; operations rise with the width. :func:`varflow.sparsest_rate` has the rate alone.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.cheapest(width=300, depth=20)
    >>> print(f"gain {found.network.gain:.4f}: {found.operations:.4g} operations")
    gain 2.5751: 2.907e+05 operations
    >>> network = vf.cheapest(depth=20, operations=1e6).network
    >>> print(f"width {network.width}, gain {network.gain:.4f}")
    width 581, gain 2.5170

    With a tenth of the connections:

    >>> f"{vf.cheapest(width=300, depth=20, weights=vf.weights.sparse(0.1)).operations:.4g}"
    '2.6e+04'
    """
    depth, budget = integer("depth", depth, minimum=2), math.inf
    if operations is not None:
        budget = positive_number("operations", operations)
    if gain is not None and not (isinstance(weights, str) and weights == "normal"):
        raise DomainError("weights", weights, "must be normal where the gain is given: leave it out")

    def of_width(n: int) -> Cost:
        g, theta, target = gain, threshold, {"width": n, "depth": depth, "survival_target": survival_target}
        if g is None:
            g = corrected_gain(threshold=theta, weights=weights, **target)
        else:
            theta = largest_threshold(gain=g, **target)
        return cost(Network(width=n, depth=depth, gain=g, neuron=Neuron(theta), weights=weights))

    if width is None:
        need("must be given, or a width", operations=operations)
        width = max(math.isqrt(int(budget / (depth - 1))), 1)  # within the budget even if every neuron spiked
        too_dear = lambda n: of_width(n).operations > budget  # noqa: E731
        while not too_dear(2 * width):
            width *= 2
        width = bisect_left(range(2 * width), True, lo=width + 1, key=too_dear) - 1
    found = of_width(width)
    if found.operations > budget:
        raise DomainError("operations", operations, f"is too few: the cheapest network needs {found.operations:.4g}")
    return found
