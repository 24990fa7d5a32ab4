r"""The chain of spike counts of a network at finite width: which count is drawn from which, and how.

=====================  ==========================================
spikes                 count
=====================  ==========================================
a layer of neurons     ``K' | K ~ Bin(n', π_K)``
``and`` merge, x y     ``K' | K, J ~ Bin(K, π_J)``
``iand``, x (1 - y)    ``K' | K, J ~ Bin(K, 1 - π_J)``
=====================  ==========================================

``Scale`` and ``BatchNorm`` with given statistics are folded into the weights before them and the threshold after them.

``J`` is the count that the last neurons ``y`` of the branch receive: ``K`` itself, or that of the branch's layer before. Given
``J`` the ``y`` are i.i.d., since rows of weights are independent, and so independent of which ``K`` of the ``x`` are spikes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from varflow._checks import DomainError
from varflow.model.drives import Inputs, Spikes
from varflow.model.layers import BatchNorm, LayerNorm, Linear, Residual, Scale, Spike
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.model.signals import Layer as Described
from varflow.model.signals import first_signal
from varflow.theory.layer import Layer, driven_variances, layer_of, layers, one_step

__all__ = ["Count", "Normal", "counts_of"]

SAMPLED = "vf.simulate(network, engine='conditional') samples its distribution exactly"


@dataclass(frozen=True, slots=True)
class Count:
    """A spike count, drawn from an earlier one.

    Attributes
    ----------
    width : int
    below : int, optional
        Which count it is drawn from; None for the driven layer.
    layer : Layer, optional
        The neurons; None for the driven layer and for merges.
    merge : str
        ``and`` or ``iand``.
    branch : int, optional
        The count of the neurons merged with the spikes ``below``.
    """

    width: int
    below: int | None = None
    layer: Layer | None = None
    merge: str = ""
    branch: int | None = None

    @property
    def neurons(self) -> bool:
        return self.branch is None


class Normal(NamedTuple):
    """Normal potentials of a layer, by input or by network: threshold, mean, variance, and whether ``>`` is strict."""

    threshold: Any
    mean: np.ndarray
    variance: np.ndarray
    strict: bool


class Pending(NamedTuple):
    """Currents ``a I + c``, ``affine = (a, c)``, with ``I`` from a count or, without ``below``, from the drive."""

    linear: Linear | None
    below: int | None
    width: int
    affine: tuple[float, float] = (1.0, 0.0)

    def changed(self, factor: float, shift: float = 0.0) -> Pending:
        a, c = self.affine
        return self._replace(affine=(factor * a, factor * c + shift))


class Counted(NamedTuple):
    """Spikes times a factor: the place of their count."""

    place: int
    factor: float = 1.0


def counts_of(network: Network) -> tuple[Normal, list[Count]]:
    """The driven layer, and all counts, each after those it depends on; DomainError if there is no chain."""
    one_step(network)
    if isinstance(network.drive, Spikes):
        rule = "is not supported at finite width: all neurons of layer 1 see the same random trains; use vf.mean_field"
        raise DomainError("drive", network.drive, rule)
    if network.layers is not None:
        return _Walk(network)._found()
    law, neuron = network.weight_law, network.neuron
    if isinstance(network.drive, Inputs) and not (law.approximate or law.normal_given_spikes):
        rule = "is not supported for weights that are not normal; drive with vf.drives.currents()"
        raise DomainError("drive", network.drive, rule)
    variance = driven_variances(network)
    start = Normal(neuron.threshold, np.zeros_like(variance), variance, neuron.strict)
    chain = [Count(layer.width, number, layer) for number, layer in enumerate(layers(network))]
    return start, [Count(int(network.widths[0])), *chain]


class _Walk:
    """Follows the layers of a network, from the drive on, and gathers its counts."""

    def __init__(self, network: Network):
        self.network, self.counts, self.start = network, [], None
        self.width = network.width if isinstance(network.width, int) else None

    def _found(self) -> tuple[Normal, list[Count]]:
        network, described = self.network, self.network.layers
        assert described
        signal = first_signal(network.drive, described, self.width, 1)
        if len(signal.shape) > 1:
            raise _no_chain(described[0], "sends maps: positions share filters and depend on each other")
        self.through(described, Pending(None, None, signal.size), self.width)
        assert self.start is not None
        return self.start, self.counts

    def through(self, described: Sequence[Described], at: Any, width: int | None) -> Any:
        """The currents or the counted spikes after these layers, from those before."""
        for layer in described:
            if isinstance(layer, Linear):
                at = self._weighted(layer, at, layer.width or width or 0)
            elif isinstance(layer, Spike):  # recurrent weights act from the second step on
                at = Counted(self._fired(layer.neuron, at))
            elif isinstance(layer, Scale):
                at = at.changed(layer.factor) if isinstance(at, Pending) else at._replace(factor=layer.factor * at.factor)
            elif isinstance(layer, BatchNorm) and layer.statistics is not None:
                mean, variance = layer.statistics
                scale = layer.gamma / (variance + layer.eps) ** 0.5
                at = at.changed(scale, layer.beta - scale * mean)
            elif isinstance(layer, Residual) and not isinstance(at, Pending) and layer.merge != "add":
                at = Counted(self.merged(layer, at))
            else:
                raise _no_chain(layer, _reason(layer))
        return at

    def _weighted(self, linear: Linear, at: Pending | Counted, width: int) -> Pending:
        if isinstance(at, Pending):  # numbers of the drive
            return Pending(linear, None, width)
        return Pending(_scaled(linear, at.factor, self.counts[at.place].width), at.place, width)

    def _fired(self, neuron: Neuron, currents: Pending) -> int:
        if currents.below is None:
            self.start = _driven(self.network, neuron, currents)
            self.counts.append(Count(currents.width))
        else:
            assert currents.linear is not None
            layer = layer_of(neuron, currents.linear, self.counts[currents.below].width, currents.width, currents.affine)
            self.counts.append(Count(currents.width, currents.below, layer))
        return len(self.counts) - 1

    def merged(self, layer: Residual, at: Counted) -> int:
        width = self.counts[at.place].width
        branch = self.through(layer.branch, at, width)
        if not isinstance(layer.branch[-1], Spike):
            raise _no_chain(layer, "must end its branch with a Spike")
        if at.factor != 1:
            raise _no_chain(layer, f"merges spikes times {at.factor:g}")
        self.counts.append(Count(width, at.place, None, layer.merge, branch.place))
        return len(self.counts) - 1


def _scaled(linear: Linear, factor: float, fan_in: int) -> Linear:
    """Weights of spikes times a factor."""
    if factor == 1:
        return linear
    if factor == 0 or (factor < 0 and not linear.law.normal_given_spikes):
        rule = "must be positive for weights that are not normal" if factor else "leaves no spikes: no chain counts them"
        raise DomainError("factor", factor, rule)
    mean = None if factor > 0 and linear.mean_gain is None else factor * linear.mean_gain_of(fan_in)
    return replace(linear, gain=abs(factor) * linear.gain, mean_gain=mean)


def _driven(network: Network, neuron: Neuron, currents: Pending) -> Normal:
    """The driven layer: currents of the drive, or its numbers through first weights."""
    linear = currents.linear
    if linear is None:
        mean, variance = np.zeros(network.drive.n_inputs), network.drive.current_variances
    else:
        assert isinstance(network.drive, Inputs)
        if not linear.law.normal_given_spikes or linear.rows == "standardised":
            raise _no_chain(linear, "must have normal weights and no standardised rows, as the first layer")
        x = network.drive.frames(1).reshape(network.drive.n_inputs, -1)
        first, second = x.mean(axis=-1), np.mean(x**2, axis=-1)
        square = second - first**2 if linear.rows == "centred" else second
        mean, variance = linear.mean_gain_of(x.shape[-1]) * first, linear.gain**2 * square + linear.bias_std**2
    factor, shift = (neuron.input_scale * value for value in currents.affine)
    return Normal(neuron.threshold, factor * mean + shift, factor**2 * variance, neuron.strict)


def _reason(layer: Described) -> str:
    if isinstance(layer, Residual):
        if layer.merge == "add" and layer.keep == 1 and _of_spikes(layer):
            return "adds spikes, whose number alone does not say how they are distributed over neurons"
        return "adds currents to a membrane shortcut, whose real numbers are no count"
    if isinstance(layer, LayerNorm):
        return "gives all neurons one normaliser, so that they depend on each other"
    if isinstance(layer, BatchNorm):
        return "gives all inputs one normaliser, so that they depend on each other"
    return "acts on maps: positions share filters and depend on each other"


def _of_spikes(layer: Residual) -> bool:
    first = layer.branch[0]
    return "currents" not in first.accepts or bool(first.branch and isinstance(first, Residual) and _of_spikes(first))


def _no_chain(layer: Described, reason: str) -> DomainError:
    return DomainError("layers", layer, f"{reason}: no chain of spike counts is known for it; {SAMPLED}")
