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

from typing import Any, NamedTuple

import numpy as np

from varflow._checks import DomainError
from varflow.model.build import graph_of
from varflow.model.drives import Inputs, SpikeTrains
from varflow.model.graph import covered
from varflow.model.network import Network
from varflow.model.signals import Source
from varflow.theory import operations  # noqa: F401  its maps of counts are looked up
from varflow.theory.layer import driven_variances, layers, one_step
from varflow.theory.signals.counted import SAMPLED, Count, CountedCurrents, Counts, Gaussian


class CountChain(NamedTuple):
    """The driven layer, all counts, each after those it depends on, and the place of that of the spikes that leave."""

    start: Gaussian
    counts: list[Count]
    leaving: int


def counts_of(network: Network) -> CountChain:
    """The chain of counts of a network; DomainError if there is none."""
    one_step(network)
    if isinstance(network.drive, SpikeTrains):
        rule = "is not supported at finite width: all neurons of layer 1 see the same random trains; use vf.mean_field"
        raise DomainError("drive", network.drive, rule)
    if network.layers is not None:
        return _walked(network)
    law, neuron = network.weight_law, network.neuron
    if isinstance(network.drive, Inputs) and not (law.approximate or law.normal_given_spikes):
        rule = "is not supported for weights that are not normal; drive with vf.drives.currents()"
        raise DomainError("drive", network.drive, rule)
    variance = driven_variances(network)
    start = Gaussian(neuron.threshold, np.zeros_like(variance), variance, neuron.strict)
    chain = [Count(layer.width, number, layer) for number, layer in enumerate(layers(network))]
    return CountChain(start, [Count(int(network.widths[0])), *chain], len(chain))


def _walked(network: Network) -> CountChain:
    """Every node in order; a signal is a count of spikes, or the currents that they make."""
    graph, counts = graph_of(network), Counts(network)
    covered(graph[1:], "count")
    sent: list[Any] = [_from_drive(graph[0].operation, counts)]  # pyright: ignore[reportArgumentType]
    for node in graph[1:]:
        received = tuple(sent[source] for source in node.inputs)
        sent.append(node.map("count")(node.operation, received, counts, node))
    assert counts.start is not None
    return CountChain(counts.start, counts.gathered, sent[graph.leaving].place)


def _from_drive(operation: Source, counts: Counts) -> CountedCurrents:
    if len(operation.sends.shape) > 1:
        rule = f"sends maps: positions share filters and depend on each other: no chain of spike counts is known; {SAMPLED}"
        raise DomainError("drive", counts.network.drive, rule)
    return CountedCurrents(None, None, operation.sends.size)
