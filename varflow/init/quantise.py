"""Integer weights: the smallest step that keeps networks alive, by the chain of spike counts."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from varflow._checks import DomainError, frozen, integer, positive, probability
from varflow.init.inverse import corrected_gain, whole_numbers
from varflow.model.rounded_weights import largest_integer, least_error_clip
from varflow.model.weights import WeightLaw, quantised, weight_law
from varflow.results.quantisation import FORMS, Quantisation
from varflow.theory.finite_width.chain import chain_of


def quantise(
    *,
    threshold: Any,
    width: Any,
    depth: int,
    bits: Any = 8,
    survival_target: float = 0.99,
    clip: float | None = None,
    base: Any = "normal",
) -> Quantisation:
    r"""The smallest step of integer weights with which the wanted fraction of networks is alive at layer ``depth``.

    Weights are ``Δ i`` with integers ``i`` of :func:`varflow.weights.quantised`. A neuron fires if their sum over active inputs
    is at least ``k = ⌊θ/Δ⌋ + 1``, and nothing else depends on ``Δ``. The answer is the largest ``k`` that reaches the target,

    .. math:: k \approx \Bigl\lfloor \frac{θ \sqrt{n \operatorname{Var}[i]}}{g} + \frac12 \Bigr\rfloor, \qquad
              Δ = \frac{θ}{k - 1/2}

    with ``g`` the corrected gain of unrounded weights: a neuron with integer sums and threshold ``k`` behaves most like one
    with continuous sums and threshold ``k - ½``. The exact chain confirms or changes this first ``k``.

    Parameters
    ----------
    threshold : float or array
        ``θ > 0``.
    width, bits : int or array
        Neurons per layer, which are the inputs of each neuron, and bits of a weight, 2 to 12. Arrays are broadcast. Layers of
        different widths each have the step of their own width.
    depth, survival_target
        As in :func:`varflow.corrected_gain`; at least two layers, since the first has no such weights.
    clip : float, optional
        As in :func:`varflow.weights.quantised`; by default that of the smallest mean squared error.
    base : str or distribution
        Distribution of the weights before rounding, of mean 0.

    Returns
    -------
    Quantisation
        ``.step .integer_threshold .weight_std .clip .gain .price .variance .firing_rate .survival .survival_above``

    Raises
    ------
    DomainError
        If even ``k = 1`` does not reach the target; in arrays such cells have ``k = 1`` and the survival that it gives.

    Notes
    -----
    **Assumes** equal layers, memoryless neurons, currents of standard deviation 1 into layer 1, no bias.
    **Accuracy**: survival as of :func:`varflow.finite_width`, to a relative 1e-11. It falls with ``k``: the answer is unique.
    The first ``k`` tried is the answer in 16 of 16 cells (2, 3, 4 and 8 bits, two clips each, widths 100 and 256).
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.quantise(threshold=1.0, width=100, depth=100, bits=[2, 3, 4, 8])
    >>> found.integer_threshold
    array([  3,   5,  10, 113])
    >>> found.step.round(4)
    array([0.4   , 0.2222, 0.1053, 0.0089])
    >>> found.survival.round(4), found.survival_above.round(4)
    (array([0.9975, 1.    , 0.9985, 0.9935]), array([0.    , 0.8862, 0.7315, 0.9894]))
    """
    given = positive("threshold", threshold), whole_numbers("width", width), whole_numbers("bits", bits)
    theta, widths, numbers = np.broadcast_arrays(*given)
    depth, target = integer("depth", depth, minimum=2), probability("survival_target", survival_target, open_ends=True)
    law = weight_law(base, "base")
    if law.own_mean != 0:
        raise DomainError("base", law, "must have mean 0: weights of another mean shift all potentials")
    normal = cache(lambda t, n: float(corrected_gain(threshold=[t], width=n, depth=depth, survival_target=target)[0]))
    asked = [theta, widths.astype(int), numbers.astype(int)]
    cells = [
        _cell(t, n, depth, target, quantised(b, clip, law), clip or least_error_clip(law, M), M, normal(t, n))
        for t, n, b in zip(*(column.ravel().tolist() for column in asked), strict=True)
        for M in (largest_integer(b),)
    ]
    found = zip(*cells, strict=True) if cells else [()] * (len(FORMS) - len(asked))
    columns = [*asked, *(np.reshape(column, theta.shape) for column in found)]
    if theta.ndim:
        return Quantisation(depth, target, *(frozen(column.copy(), column.dtype) for column in columns))
    one = Quantisation(depth, target, *(column.item() for column in columns))
    if one.survival < target:
        rule = f"is not attainable with {bits} bits at width {width}, depth {depth}: the highest survival is "
        raise DomainError("survival_target", target, f"{rule}{one.survival:.4g}")
    return one


def _cell(
    theta: float, width: int, depth: int, target: float, law: WeightLaw, clip: float, largest: int, normal: float
) -> tuple[float, ...]:
    """Columns of :class:`varflow.Quantisation`, from ``clip`` on; at ``k = 1`` if no ``k`` reaches the target."""
    size = math.sqrt(width) * law.std
    chain = cache(lambda k: chain_of(theta, size * theta / (k - 0.5), width, depth, law))
    # the effective gain is at least the corrected one
    k = max(math.floor(size * theta / normal + 0.5), 1) if normal > 0 else 1
    while k > 1 and chain(k).survival() < target:
        k -= 1
    while chain(k + 1).survival() >= target:
        k += 1
    step, rate = theta / (k - 0.5), chain(k).propagate()[-1].firing_rate
    gain, alive, above = size * step, chain(k).survival(), chain(k + 1).survival()
    return clip, k, step, step * largest / clip, gain, (gain / normal) ** 2, gain**2 * rate, rate, alive, above
