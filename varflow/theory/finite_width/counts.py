r"""Grids for the distribution of a spike count: every integer, or, in wide layers, few points of a smooth function.

In ``y = arcsin √(K/n)`` a binomial count has the same standard deviation everywhere, ``1/(2√n)``. Above some hundred spikes its
probability, extended to real ``K``, is smooth on that scale, so sums over ``K`` become integrals over ``y``, for which the
trapezoidal rule on a uniform grid has spectral accuracy. Near 0 and ``n`` the integers are kept; a smooth step joins the parts.

The chain of spike counts of a network at finite width: which count is drawn from which, and how.

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

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from varflow._checks import DomainError, frozen
from varflow._display import Drawn, Listed
from varflow._memory import room
from varflow.model.build import graph_of
from varflow.model.drives import Inputs, SpikeTrains
from varflow.model.graph import covered
from varflow.model.network import Network
from varflow.model.signals import Source
from varflow.theory import operations  # noqa: F401  its maps of counts are looked up
from varflow.theory.layer import CountedLayer, driven_variances, layers, one_step, sample_variance_moments
from varflow.theory.signals.counted import SAMPLED, Count, CountedCurrents, Counts, Gaussian

EXACT_WIDTH = 10_000  # largest width at which every count is kept: a matrix of 10⁸ entries, banded
STEP = 0.5  # of the grid in y, in standard deviations of a binomial count; up to 0.8 moments change by less than 1e-13
INTEGERS = 700  # counts kept individually at either end of a wide layer: 9 JOIN_WIDTH beyond √JOIN
JOIN, JOIN_WIDTH = 300.0, 1.0  # count at which the grid replaces the integers, and width of the step in √K


@dataclass(frozen=True, slots=True, eq=False)
class CountGrid:
    """Counts at which a distribution is stored, with weights such that ``Σ_K f(K) = Σ_i weights_i f(counts_i)``.

    Attributes
    ----------
    width : int
    counts, weights : ndarray
        Ascending from 0; integers of weight 1 where ``exact``.
    exact : bool
    """

    width: int
    counts: np.ndarray
    weights: np.ndarray
    exact: bool

    def __len__(self) -> int:
        return len(self.counts)


@lru_cache(maxsize=8)
def count_grid(width: int, step: float = STEP, exact_width: int = EXACT_WIDTH) -> CountGrid:
    """Every count of a layer, or the grid of a layer wider than ``exact_width``."""
    if width <= exact_width:
        return CountGrid(width, frozen(np.arange(width + 1)), frozen(np.ones(width + 1)), exact=True)
    from scipy.special import erfc

    room("width", width, 8 * 8 * np.pi * np.sqrt(width) / step, "the spike counts of a layer")
    integers = np.arange(INTEGERS + 1.0)
    low = 0.5 * erfc((np.sqrt(integers) - np.sqrt(JOIN)) / JOIN_WIDTH)
    dy = step / (2 * np.sqrt(width))
    y = dy * np.arange(1, int(np.pi / 2 / dy) + 1)
    smooth = width * np.sin(y) ** 2
    to_low = 0.5 * erfc((np.sqrt(smooth) - np.sqrt(JOIN)) / JOIN_WIDTH)
    to_high = 0.5 * erfc((np.sqrt(width) * np.cos(y) - np.sqrt(JOIN)) / JOIN_WIDTH)
    weights = dy * width * np.sin(2 * y) * np.maximum(1 - to_low - to_high, 0.0)
    counts = np.concatenate([integers, smooth, width - integers])
    weights = np.concatenate([low, weights, low])
    order = np.argsort(counts)
    counts, weights = counts[order], weights[order]
    significant = weights > 1e-20
    return CountGrid(width, frozen(counts[significant]), frozen(weights[significant]), exact=False)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CountLaw(Listed, Drawn):
    """The distribution of a spike count: ``E[f(K)] = mass @ f(counts)``.

    Attributes
    ----------
    counts : ndarray
        Every count ``0 … n``; in layers wider than 10⁴ the points of a grid, not all integers.
    mass : ndarray
        Probability of each count, or of the cell around each grid point. Sums to 1.
    width : int

    Examples
    --------
    >>> import varflow as vf
    >>> law = vf.SpikeChain(vf.Network(width=30, depth=8, gain=3.0)).propagate()[-1]
    >>> f"{law.firing_rate:.3f} ± {law.firing_rate_std:.3f}, alive {law.survival:.3f}"
    '0.213 ± 0.111, alive 0.907'
    """

    counts: np.ndarray
    mass: np.ndarray
    width: int
    listed: ClassVar = {"width": "", "firing_rate": ".6g", "survival": ".6g"}

    @property
    def support(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and counts that carry any: in wide layers few points of the grid do."""
        some = self.mass != 0
        return self.mass[some], self.counts[some]

    @property
    def firing_rate(self) -> float:
        return self.rate_moments()[0]

    @property
    def firing_rate_std(self) -> float:
        return self.rate_moments()[1]

    @property
    def survival(self) -> float:
        """``P(K > 0)``."""
        return self.rate_moments()[2]

    def rate_moments(self) -> tuple[float, float, float]:
        """Mean and standard deviation of the firing rate, and survival."""
        mass, counts = self.support
        rates = counts / self.width
        # not ``mass @ rates``: BLAS threads take milliseconds to start on a busy machine
        mean = float(np.sum(mass * rates))
        return mean, float(np.sqrt(np.sum(mass * (rates - mean) ** 2))), min(float(mass[counts > 0].sum()), 1.0)

    def variance_moments(self, layer: CountedLayer) -> tuple[float, float]:
        """Mean and standard deviation of the sample variance of a layer that receives these spikes."""
        mass, counts = self.support
        return sample_variance_moments(mass, layer.conditional_variance(counts), layer.width, layer.excess_kurtosis(counts))


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
