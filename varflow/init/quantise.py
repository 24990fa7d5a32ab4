"""Integer weights: the smallest step that keeps networks alive, by the chain of spike counts."""

from __future__ import annotations

import math
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np

from varflow._checks import DomainError, frozen, integer, positive, probability
from varflow.init.inverse import corrected_gain, whole_numbers
from varflow.model.rounded_weights import largest_integer, least_error_step
from varflow.model.weights import WeightLaw, quantised, weight_law
from varflow.results.quantisation import Quantisation
from varflow.theory.finite_width.chain import SpikeChain, chain_of

COLUMNS = tuple(field.name for field in fields(Quantisation)[5:])  # of a cell


def integer_threshold(weights: WeightLaw, fan_in: int, gain: float) -> int:
    r"""The largest ``k``, at least 1, whose effective gain ``√n Std[i]/(k - ½)`` is ``gain`` or more, in thresholds.

    A neuron that fires if a sum of integers is ``k`` or more is nearest to one with a continuous sum and threshold ``k - ½``.
    """
    return max(math.floor(math.sqrt(fan_in) * weights.std / gain + 0.5), 1)


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
    r"""The smallest step of integer weights with which networks reach a survival at layer ``depth``.

    Weights are ``Δ i`` with integers ``i`` of :func:`varflow.weights.quantised`. A neuron fires if their sum over active inputs
    is at least ``k = ⌊θ/Δ⌋ + 1``, and nothing else depends on ``Δ``. The answer is the largest ``k`` that reaches the target,

    .. math:: k \approx \Bigl\lfloor \frac{θ \sqrt{n \operatorname{Var}[i]}}{g} + \frac12 \Bigr\rfloor, \qquad
              Δ = \frac{θ}{k - 1/2}

    with ``g`` the corrected gain of weights that are not rounded: the first ``k`` tried, which the exact chain confirms.

    Parameters
    ----------
    threshold : float or array
        ``θ > 0``.
    width, bits : int or array
        Neurons per layer, which are the inputs of each neuron, and bits of a weight, 2 to 12. Arrays are broadcast. Of layers
        that differ, each has the step of its own width.
    depth, survival_target
        As in :func:`varflow.corrected_gain`.
    clip : float, optional
        As in :func:`varflow.weights.quantised`; by default that of the smallest mean squared error.
    base : str or distribution
        Of weights before rounding, of mean 0.

    Returns
    -------
    Quantisation
        ``.step .integer_threshold .weight_std .clip .gain .price .firing_rate .variance .survival .survival_above``

    Raises
    ------
    DomainError
        If even ``k = 1`` does not reach the target; in arrays such cells are NaN.

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
    asked = positive("threshold", threshold), whole_numbers("width", width), whole_numbers("bits", bits)
    theta, widths, numbers = np.broadcast_arrays(*asked)
    depth, target = integer("depth", depth, minimum=1), probability("survival_target", survival_target, open_ends=True)
    law = weight_law(base, "base")
    if law.own_mean != 0:
        raise DomainError("base", law, "must have mean 0: weights of another mean shift all potentials")
    corrected = cache(lambda t, n: corrected_gain(threshold=t, width=n, depth=depth, survival_target=target))

    def cell(t: float, n: float, b: float) -> dict[str, Any]:
        return _cell(t, int(n), int(b), depth, target, clip, law, corrected(t, int(n)))

    cells = []
    for values in zip(theta.ravel().tolist(), widths.ravel().tolist(), numbers.ravel().tolist(), strict=True):
        try:
            cells.append(cell(*values))
        except DomainError as error:
            if theta.ndim == 0 or error.argument != "survival_target":
                raise
            cells.append(dict.fromkeys(COLUMNS, np.nan))
    columns = {name: np.array([one[name] for one in cells]).reshape(theta.shape) for name in COLUMNS}
    columns |= {"threshold": theta, "width": widths.astype(int), "bits": numbers.astype(int)}
    shown = {name: frozen(column.copy(), column.dtype) if theta.ndim else column.item() for name, column in columns.items()}
    return Quantisation(depth=depth, survival_target=target, **shown)


def _cell(
    theta: float, width: int, bits: int, depth: int, target: float, clip: float | None, base: WeightLaw, corrected: float
) -> dict[str, Any]:
    law, largest = quantised(bits, clip, base), largest_integer(bits)
    size = math.sqrt(width) * law.std

    @cache
    def chain(k: int) -> SpikeChain:
        return chain_of(theta, size * theta / (k - 0.5), width, depth, law)

    k = integer_threshold(law, width, corrected / theta) if corrected else 1
    while k > 1 and chain(k).survival() < target:
        k -= 1
    if chain(k).survival() < target:
        rule = f"is not attainable with {bits} bits at width {width}, depth {depth}: the highest survival is "
        raise DomainError("survival_target", target, f"{rule}{chain(1).survival():.4g}")
    while chain(k + 1).survival() >= target:
        k += 1
    step, used = theta / (k - 0.5), least_error_step(base, largest) * largest if clip is None else clip
    return {
        "clip": used,
        "integer_threshold": k,
        "step": step,
        "weight_std": step * largest / used,
        "gain": size * step,
        "corrected_gain": corrected,
        "firing_rate": chain(k).propagate()[-1].firing_rate,
        "survival": chain(k).survival(),
        "survival_above": chain(k + 1).survival(),
    }
