r"""Sums, products and concatenations of signals that are independent of each other (``model.graph.independent`` sees to that).

With means ``e_k`` and second moments ``M_k``,

================  ====================================================================================
sum of currents   ``μ = Σ f_k μ_k + c``, ``C = Σ f_k² C_k``
sum of spikes     ``e = Σ f_k e_k + c``, ``M = Σ f_k² M_k + Σ_{k≠l} f_k f_l e_k e_lᵀ + c (e 1ᵀ + 1 eᵀ) + c²``
product           ``e = Π e_k``, ``M = Π M_k``
concatenation     averages over its neurons: ``e = Σ (n_k/n) e_k``, ``M = Σ (n_k/n) M_k``
================  ====================================================================================

Backwards: a sum multiplies by ``f_k²``; a product by the second moments of the other factors; a concatenation sends to each
part the gradients of its own neurons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np

from varflow.model.graph import Node, Uncovered, enter
from varflow.model.layers import Concat, Product, Sum
from varflow.theory.operations.visit import Visit, WayBack
from varflow.theory.signals.counted import Count, Counted, Counts, changed, no_chain, uncounted
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.increments import Differences
from varflow.theory.signals.moments import Arrays, Currents, Signal, Spikes, elementwise, in_replicas


def add(layer: Sum, received: tuple[Signal, ...], visit: Visit) -> Signal:
    """The sum ``Σ f_k x_k + c`` of currents or of spikes."""
    return summed(_alike(layer, received, (Currents, Spikes)), layer.factors, layer.constant)


def summed(signals: Sequence[Signal], factors: Sequence[float], constant: float = 0.0) -> Any:
    """``Σ f_k x_k + c``.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> from varflow.theory.signals.places import Grid
    >>> grid = Grid(inputs=1, height=1, width=1, steps=2)
    >>> currents = vf.theory.Currents(np.zeros((1, 1, 2)), np.ones((1, 1, 2, 2)), grid, channels=100)
    >>> vf.theory.summed([currents, currents], [1.0, 2.0]).covariance[0, 0]
    array([[5., 5.],
           [5., 5.]])
    """
    if isinstance(signals[0], Currents):
        return _summed_currents([each for each in signals if isinstance(each, Currents)], factors, constant)

    def mean(e: Arrays) -> np.ndarray:
        total = reduce(np.add, (f * each for f, each in zip(factors, e, strict=True)))
        return total + constant if constant else total

    def second(M: Arrays, e: Arrays, other: Arrays) -> np.ndarray:
        terms = ((f**2 * each, f * one, f * two) for f, each, one, two in zip(factors, M, e, other, strict=True))
        total, one, two = reduce(with_term, terms)
        return constant**2 + constant * one + constant * two + total if constant else total

    return elementwise(
        signals, mean, second, sampled=_sampled(signals, lambda x: reduce(np.add, map(np.multiply, factors, x)) + constant)
    )


def with_term(total: Arrays, term: Arrays) -> Arrays:
    """Second moments, and means of both factors, of a sum with one term more."""
    (M, e, f), (A, q, r) = total, term
    return M + e * r + q * f + A, e + q, f + r


def _summed_currents(signals: Sequence[Currents], factors: Sequence[float], constant: float) -> Currents:
    most = max(len(each.mean) for each in signals)
    aligned = (in_replicas(each, most) for each in signals)
    scaled = [each if f == 1 else each.scaled(f) for f, each in zip(factors, aligned, strict=True)]
    if len(scaled) == 1:
        return replace(scaled[0], changes=None).shifted(constant) if constant else scaled[0]
    changes: Differences | None = None
    if scaled[-1].changes is not None and not constant:
        changes = reduce(Differences.plus, (each.increments for each in scaled))
    total = elementwise(scaled, lambda e: reduce(np.add, e), lambda C, *_: reduce(np.add, C), changes=changes)
    return total.shifted(constant) if constant else total


def _sampled(signals: Sequence[Any], joined: Any) -> Any:
    """Draws of what is made of these signals; None if one cannot be drawn."""
    draws = [each.sampled for each in signals]
    return None if None in draws else lambda *at, **how: joined([draw(*at, **how) for draw in draws])


def multiply(layer: Product, received: tuple[Signal, ...], visit: Visit) -> Spikes:
    """The product ``Π x_k`` of spikes."""
    spikes: Any = _alike(layer, _on_one_map(received), (Spikes,))
    product = partial(reduce, np.multiply)
    return elementwise(spikes, product, lambda M, *_: product(M), sampled=_sampled(spikes, product))


def _on_one_map(received: Sequence[Any]) -> tuple[Any, ...]:
    """Signals of which a mask, the same at all positions or for groups of channels, stands for each entry of the map."""
    largest = max(received, key=lambda each: each.neurons)
    return tuple(each if each.neurons == largest.neurons else _spread(each, largest) for each in received)


def _spread(mask: Spikes, over: Spikes) -> Spikes:
    """Spikes of a mask at every entry of a map; they are not drawn together with others."""
    grid = over.grid
    if mask.grid.positions == grid.positions:
        return replace(mask, channels=over.channels, sampled=None)
    at = np.arange(mask.grid.size).reshape(grid.inputs, 1, grid.steps).repeat(grid.positions, axis=1).ravel()
    joint = replace(grid, per_position=False)
    spread = Spikes(mask.mean[..., at], mask.moments[..., at[:, None], at], joint, over.channels)
    return spread.per_position() if grid.per_position else spread


def concatenate(layer: Concat, received: tuple[Signal, ...], visit: Visit) -> Spikes:
    """Neurons of all signals side by side."""
    spikes: Any = _alike(layer, received, (Spikes,))
    sizes = [each.channels for each in spikes]
    fractions = np.array(sizes) / sum(sizes)

    def average(values: Arrays, *_: Arrays) -> np.ndarray:
        return np.asarray(sum(f * each for f, each in zip(fractions, values, strict=True)))

    return replace(elementwise(spikes, average, average), channels=sum(sizes))


def _alike(layer: Any, received: tuple[Signal, ...], kinds: tuple[type, ...]) -> tuple[Signal, ...]:
    """The signals, if they are of one of these kinds and of one grid."""
    if len({(type(each), each.grid) for each in received}) > 1 or not isinstance(received[0], kinds):
        raise Uncovered("layers", layer, "joins signals of different kinds")
    return received


# Backwards.


def added_back(layer: Sum, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by each term: ``f_k² G``."""
    return [gradients.times(factor**2) for factor in layer.factors]


def multiplied_back(layer: Product, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by each factor: ``G`` times the second moments of the others."""
    settled(layer, gradients)
    own = [way.laid_out(each) for each in visit.received]
    x = _on_one_map(own)
    others = [x[:place] + x[place + 1 :] for place in range(len(x))]
    back = [reduce(lambda G, other: G.times(other.moments, other.between), each, gradients) for each in others]
    return [_gathered(G, *each) for G, each in zip(back, zip(own, x, strict=True), strict=True)]


def _gathered(gradients: Gradients, mask: Spikes, over: Spikes) -> Gradients:
    """Gradients by a mask, from those by its copies: sums over channels, which are independent, and over positions."""
    if mask is over:
        return gradients
    if mask.grid.positions == over.grid.positions:
        return replace(gradients.times(over.channels / mask.channels), channels=mask.channels)
    G, folded = gradients.positions_together().moments, (over.grid.inputs, over.grid.positions, over.grid.steps)
    total = G.reshape(*G.shape[:2], *folded, *folded).sum(axis=(3, 6))
    return Gradients(total.reshape(*G.shape[:2], *[mask.grid.size] * 2), mask.grid, mask.channels)


def concatenated_back(layer: Concat, gradients: Gradients, visit: Visit, way: WayBack) -> list[Gradients]:
    """Gradients by each part: those of its own neurons."""
    channels = sum(each.channels for each in visit.received)
    return [replace(gradients, channels=gradients.channels * each.channels // channels) for each in visit.received]


def settled(layer: Any, gradients: Gradients) -> Gradients:
    """Gradients, unless which spikes they go to depends on the membranes below."""
    if gradients.routed:
        rule = "must not stand directly below a max pool: which spike is the largest depends on membranes; put a Spike between"
        raise Uncovered("layers", layer, rule)
    return gradients


# Counts.


def sum_counted(layer: Sum, received: tuple[Any, ...], counts: Counts, node: Node) -> Any:
    """``f x + c``; of several signals the number of spikes is not enough."""
    if len(received) == 1:
        return changed(received[0], layer.factors[0], layer.constant)
    if isinstance(received[0], Counted):
        raise no_chain(node, "adds spikes, whose number alone does not say how they are distributed over neurons")
    raise no_chain(node, "adds currents, of a membrane shortcut for instance, whose real numbers are no count")


def product_counted(layer: Product, received: tuple[Counted, ...], counts: Counts, node: Node) -> Counted:
    """Spikes ``x`` and neurons ``y`` that follow them: ``x y`` or ``x (1 - y)``."""
    x, y = received if len(received) == 2 else (None, None)
    if x is None or y is None or not counts.gathered[y.place].of_neurons or not _behind(counts, y.place, x.place):
        raise no_chain(node, "must end its branch with a Spike, which spikes of the shortcut reach through layers of neurons")
    merge = {(1.0, 0.0): "and", (-1.0, 1.0): "iand"}.get(y.affine)
    if merge is None or x.affine != (1.0, 0.0):
        raise no_chain(node, f"merges spikes times {(x if merge else y).affine[0]:g}")
    return counts.add(Count(counts.width(x), x.place, None, merge, y.place))


def _behind(counts: Counts, place: int, first: int) -> bool:
    """True if a count is drawn from the count ``first``, directly or through others."""
    while place > first:
        place = counts.gathered[place].below
    return place == first


enter(Sum, forward=add, backward=added_back, count=sum_counted)
enter(Product, forward=multiply, backward=multiplied_back, count=product_counted)
SEVERAL = "lays spikes of several layers side by side, each with a count of its own"
enter(Concat, forward=concatenate, backward=concatenated_back, count=uncounted(SEVERAL))
