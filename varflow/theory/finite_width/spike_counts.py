r"""The chain of spike counts of a network at finite width: which count is drawn from which, and how.

=====================  ==========================================
spikes                 count
=====================  ==========================================
a layer of neurons     ``K' | K ~ Bin(n', π_K)``
``and`` merge, x y     ``K' | K, J ~ Bin(K, π_J)``
``iand``, x (1 - y)    ``K' | K, J ~ Bin(K, 1 - π_J)``
=====================  ==========================================

Sums of one and ``BatchNorm`` with given statistics are folded into the weights before them and the threshold after them.

``J`` is the count that the last neurons ``y`` of the branch receive: ``K`` itself, or that of the branch's layer before. Given
``J`` the ``y`` are i.i.d., since rows of weights are independent, and so independent of which ``K`` of the ``x`` are spikes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from varflow._checks import DomainError
from varflow.model.drives import Inputs, Spikes
from varflow.model.extensions import map_of, missing
from varflow.model.graph import Node, graph_of
from varflow.model.layers import BatchNorm, Conv, LayerNorm, Linear, Pool, Product, Spike, Sum
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.model.signals import Layer as Operation
from varflow.model.sources import Source
from varflow.theory.layer import driven_variances, layer_of, layers, one_step
from varflow.theory.signals.counted import Count, Counted, CountedCurrents, Counts, Normal, changed

__all__ = ["CountChain", "counts_of"]

SAMPLED = "vf.simulate(network, engine='conditional') samples its distribution exactly"


class CountChain(NamedTuple):
    """The driven layer, all counts, each after those it depends on, and the place of that of the spikes that leave."""

    start: Normal
    counts: list[Count]
    leaving: int


def counts_of(network: Network) -> CountChain:
    """The chain of counts of a network; DomainError if there is none."""
    one_step(network)
    if isinstance(network.drive, Spikes):
        rule = "is not supported at finite width: all neurons of layer 1 see the same random trains; use vf.mean_field"
        raise DomainError("drive", network.drive, rule)
    if network.layers is not None:
        return _walked(network)
    law, neuron = network.weight_law, network.neuron
    if isinstance(network.drive, Inputs) and not (law.approximate or law.normal_given_spikes):
        rule = "is not supported for weights that are not normal; drive with vf.drives.currents()"
        raise DomainError("drive", network.drive, rule)
    variance = driven_variances(network)
    start = Normal(neuron.threshold, np.zeros_like(variance), variance, neuron.strict)
    chain = [Count(layer.width, number, layer) for number, layer in enumerate(layers(network))]
    return CountChain(start, [Count(int(network.widths[0])), *chain], len(chain))


def _walked(network: Network) -> CountChain:
    """Every node in order; a signal is a count of spikes, or currents behind them."""
    graph, counts = graph_of(network), Counts(network)
    sent: list[Any] = []
    for node in graph:
        count = map_of("count", COUNT, node.operation) or _not_counted
        sent.append(count(node.operation, tuple(sent[source] for source in node.inputs), counts, node))
    assert counts.start is not None
    return CountChain(counts.start, counts.gathered, sent[graph.leaving].place)


def _source(operation: Source, inputs: tuple[()], counts: Counts, node: Node) -> CountedCurrents:
    if len(operation.sends.shape) > 1:
        rule = f"sends maps: positions share filters and depend on each other: no chain of spike counts is known; {SAMPLED}"
        raise DomainError("drive", counts.network.drive, rule)
    return CountedCurrents(None, None, operation.sends.size)


def _weighted(linear: Linear, inputs: tuple[Any], counts: Counts, node: Node) -> CountedCurrents:
    """Currents of the numbers of the drive, or of spikes times a factor."""
    (signal,), width = inputs, linear.width or node.width or 0
    if isinstance(signal, CountedCurrents):
        return CountedCurrents(linear, None, width)
    factor, constant = signal.affine
    if constant:
        raise _no_chain(node, f"receives spikes times {factor:g} plus {constant:g}")
    return CountedCurrents(_scaled(linear, factor, counts.width(signal)), signal.place, width)


def _fired(spike: Spike, inputs: tuple[CountedCurrents], counts: Counts, node: Node) -> Counted:
    """Neurons, given the count before the weights; recurrent weights act from the second step on."""
    (currents,) = inputs
    if currents.below is not None and currents.linear is not None:
        fan_in = counts.gathered[currents.below].width
        layer = layer_of(spike.neuron, currents.linear, fan_in, currents.width, currents.affine)
        return counts.add(Count(currents.width, currents.below, layer))
    if counts.start is not None:
        raise _no_chain(node, "is the second layer that the drive reaches")
    counts.start = _driven(counts.network, spike.neuron, currents, node)
    return counts.add(Count(currents.width))


def _summed(operation: Sum, inputs: tuple[Any, ...], counts: Counts, node: Node) -> Any:
    """``f x + c``; of several signals the number of spikes is not enough."""
    if len(inputs) == 1:
        return changed(inputs[0], operation.factors[0], operation.constant)
    if isinstance(inputs[0], Counted):
        raise _no_chain(node, "adds spikes, whose number alone does not say how they are distributed over neurons")
    raise _no_chain(node, "adds currents, of a membrane shortcut for instance, whose real numbers are no count")


def _multiplied(operation: Product, inputs: tuple[Counted, ...], counts: Counts, node: Node) -> Counted:
    """Spikes ``x`` and neurons ``y`` behind them: ``x y`` or ``x (1 - y)``."""
    x, y = inputs if len(inputs) == 2 else (None, None)
    if x is None or y is None or not counts.gathered[y.place].neurons or not _behind(counts, y.place, x.place):
        raise _no_chain(node, "must end its branch with a Spike, which spikes of the shortcut reach through layers of neurons")
    merge = {(1.0, 0.0): "and", (-1.0, 1.0): "iand"}.get(y.affine)
    if merge is None or x.affine != (1.0, 0.0):
        raise _no_chain(node, f"merges spikes times {(x if merge else y).affine[0]:g}")
    return counts.add(Count(counts.width(x), x.place, None, merge, y.place))


def _behind(counts: Counts, place: int | None, first: int) -> bool:
    """True if a count is drawn from the count ``first``, directly or through others."""
    while place is not None and place > first:
        place = counts.gathered[place].below
    return place == first


def _normalised(operation: BatchNorm, inputs: tuple[CountedCurrents], counts: Counts, node: Node) -> CountedCurrents:
    """``γ (u - mean)/√(variance + ε) + β`` with given statistics."""
    if operation.statistics is None:
        raise _no_chain(node, "gives all inputs one normaliser, so that they depend on each other")
    mean, variance = operation.statistics
    scale = operation.gamma / (variance + operation.eps) ** 0.5
    return changed(inputs[0], scale, operation.beta - scale * mean)


def _not_counted(operation: Operation, inputs: tuple[Any, ...], counts: Counts, node: Node) -> Any:
    if isinstance(operation, LayerNorm):
        raise _no_chain(node, "gives all neurons one normaliser, so that they depend on each other")
    if isinstance(operation, (Conv, Pool)):
        raise _no_chain(node, "acts on maps: positions share filters and depend on each other")
    raise DomainError(node.name, operation, missing(operation, "count"))


COUNT: dict[type[Operation], Callable[..., Any]] = {
    Source: _source,
    Linear: _weighted,
    Spike: _fired,
    Sum: _summed,
    Product: _multiplied,
    BatchNorm: _normalised,
}


def _scaled(linear: Linear, factor: float, fan_in: int) -> Linear:
    """Weights of spikes times a factor."""
    if factor == 1:
        return linear
    if factor == 0 or (factor < 0 and not linear.law.normal_given_spikes):
        rule = "must be positive for weights that are not normal" if factor else "leaves no spikes: no chain counts them"
        raise DomainError("factor", factor, rule)
    mean = None if factor > 0 and linear.mean_gain is None else factor * linear.mean_gain_of(fan_in)
    return replace(linear, gain=abs(factor) * linear.gain, mean_gain=mean)


def _driven(network: Network, neuron: Neuron, currents: CountedCurrents, node: Node) -> Normal:
    """The driven layer: currents of the drive, or its numbers through first weights."""
    linear = currents.linear
    if linear is None:
        mean, variance = np.zeros(network.drive.kinds), network.drive.current_variances
    else:
        assert isinstance(network.drive, Inputs)
        if not linear.law.normal_given_spikes or linear.rows == "standardised":
            raise _no_chain(
                node, f"receives the drive through {linear!r}: the first layer must have normal weights, not standardised"
            )
        x = network.drive.frames(1).reshape(network.drive.kinds, -1)
        first, second = x.mean(axis=-1), np.mean(x**2, axis=-1)
        square = second - first**2 if linear.rows == "centred" else second
        mean, variance = linear.mean_gain_of(x.shape[-1]) * first, linear.gain**2 * square + linear.bias_std**2
    factor, shift = (neuron.input_scale * value for value in currents.affine)
    return Normal(neuron.threshold, factor * mean + shift, factor**2 * variance, neuron.strict)


def _no_chain(node: Node, reason: str) -> DomainError:
    return DomainError(node.name, node.operation, f"{reason}: no chain of spike counts is known for it; {SAMPLED}")
