r"""A network before and after a step of an optimiser: both in one index, ``i = (before or after, row, column, step)``.

Weights change by ``ΔW``, of which only the layer's own part of the change of its currents is given; the rest follows as spikes
below turn over. Random changes, independent of the weights and of relative size ``ε``, add ``ε² C`` to the covariance of their
currents after the step. Of a gradient the change of a current is nearly the same for all inputs and steps and has a random sign
for each neuron: it is shifted by ``± d √V``, ``V`` the mean variance of the currents before. Behind a shortcut such a shift
counts as a normal one, ``d² V`` in the covariance after the step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import erf

from varflow.model.graph import Graph, Node, Uncovered, enter
from varflow.model.layers import Layer, Measured, Spike
from varflow.model.signals import Source
from varflow.model.weighted_layers import Weighted
from varflow.theory.operations.spike import fire
from varflow.theory.operations.visit import Visit
from varflow.theory.responses.layer_state import mixed
from varflow.theory.signals.moments import PLACES, Currents, Signal, Spikes

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


def coherence(rate: float, overlap: float, active: float) -> float:
    r"""``κ`` with ``rms ΔI = η κ n p``: how alike the signs of a gradient over many inputs are for the inputs that are active.

    .. math:: \kappa_\infty^2 = E_Y\, \mathrm{erf}^2\!\Big(\frac{\rho Y}{\sqrt{2 p (1 - \rho + (\rho - p) Y^2)}}\Big), \qquad
              \kappa^2 = \kappa_\infty^2 + (1 - \kappa_\infty^2)/(n p), \qquad Y \sim N(0, 1)

    Rough, with the mean of a gradient over active inputs and its variance over all: signs of independent ``δ`` are a sixth less
    alike, those of real steps more, .66 for .60 at ``p = 0.2``, ``ρ = 0.44``.

    ``rate``: ``p``, mean spikes per neuron and step; ``overlap``: ``ρ`` of the rasters of two inputs; ``active``: ``n p``.
    """
    spread = 2 * rate * np.maximum(1 - overlap + (overlap - rate) * NODES**2, 1e-300)
    many = float(WEIGHTS @ erf(overlap * NODES / np.sqrt(spread)) ** 2 / WEIGHTS.sum())
    return (many + (1 - many) / active) ** 0.5


@dataclass(frozen=True, slots=True, repr=False)
class Changed(Layer):
    """Currents with changes that are normal: random ones of relative size, or shifts ``direct``, the same at all steps."""

    relative: float = 0.0
    direct: float = 0.0

    def after(self, signal: Any, width: int | None = None) -> Any:
        return signal


@dataclass(frozen=True, slots=True, repr=False, init=False)
class Shifted(Spike):
    """Neurons whose currents a step shifts by ``± direct`` standard deviations."""

    direct: float = 0.0

    def __init__(self, spike: Spike, direct: float):
        Spike.__init__(self, spike.neuron)
        object.__setattr__(self, "direct", direct)


def twofold(signal: Any) -> Signal:
    """The signal of the drive, before and after the step."""
    if not isinstance(signal, Currents | Spikes) or signal.grid.per_position:
        raise Uncovered(
            "network", signal, "must not be driven by currents given one by one, nor have maps too large for one index"
        )
    twice = signal.with_moments(np.tile(signal.mean, 2), np.tile(signal.second, (2, 2)), **dict.fromkeys(PLACES))
    return replace(twice, grid=replace(signal.grid, inputs=2))


def updated(graph: Graph, relative: np.ndarray, direct: np.ndarray) -> Graph:
    """The graph with the changes that a step makes to the currents of each layer of neurons, in order of execution."""
    nodes, number, passed = [], dict[int, int](), 0

    def add(operation: Layer, *inputs: int, like: Node) -> int:
        nodes.append(replace(like, operation=operation, inputs=inputs))
        return len(nodes) - 1

    shifts, sizes = direct.tolist(), relative.tolist()
    for place, node in enumerate(graph):
        operation, inputs = node.operation, tuple(number[source] for source in node.inputs)
        if operation.over_batch or isinstance(operation, Measured) or getattr(operation, "recurrent", False):
            raise Uncovered(node.name, operation, "is not covered: BatchNorm over a batch, recurrent weights, numbers measured")
        number[place] = add(
            Shifted(operation, shifts[passed]) if isinstance(operation, Spike) else operation, *inputs, like=node
        )
        if isinstance(operation, Spike):
            (source,) = node.inputs
            if shifts[passed] and graph.last_reader[source] > place:  # a shortcut keeps the shift
                number[source] = add(Changed(direct=shifts[passed]), *inputs, like=node)
            passed += 1
        elif passed < len(sizes) and sizes[passed] and (isinstance(operation, Weighted) or _sends_currents(operation)):
            number[place] = add(Changed(relative=sizes[passed]), number[place], like=node)
    return Graph(nodes)


def _sends_currents(operation: Layer) -> bool:
    """True for a drive of currents, whose weights are no node."""
    return isinstance(operation, Source) and operation.sends.kind == "currents"


def _later(currents: Currents) -> np.ndarray:
    """1 after the step, 0 before."""
    return np.repeat((0.0, 1.0), currents.grid.size // 2)


def _variance(currents: Currents) -> np.ndarray:
    """Mean variance over steps and positions before the step, (replicas, groups)."""
    return np.diagonal(currents.covariance, axis1=-2, axis2=-1)[..., : currents.grid.size // 2].mean(axis=-1)


def change(layer: Changed, received: tuple[Currents], visit: Visit) -> Currents:
    """``C + ε² C`` and ``C + d² V`` after the step."""
    (currents,) = received
    if not isinstance(currents, Currents):
        return currents
    after = np.outer(_later(currents), _later(currents))
    more = layer.relative**2 * currents.covariance + layer.direct**2 * _variance(currents)[..., None, None]
    rest = {name: getattr(currents, name, None) for name in PLACES - {"changes"}}
    return currents.with_moments(currents.mean, currents.covariance + after * more, changes=None, **rest)


def fire_shifted(layer: Shifted, received: tuple[Any], visit: Visit) -> Spikes:
    """Spikes before and after the step, half of the neurons shifted up and half of them down."""
    (currents,) = received
    if not isinstance(currents, Currents):
        raise Uncovered("layers", layer, "receives no currents")
    signs = (1, -1) if layer.direct else (0,)
    shift = layer.direct * np.sqrt(_variance(currents))[..., None] * _later(currents)
    half, grid = replace(currents, channels=max(currents.channels // len(signs), 1)), currents.grid
    first, responses = len(signs) * visit.layer_number, visit.walk.effort.responses
    states = [fire(layer, half.shifted(sign * shift), first + n, responses)[0] for n, sign in enumerate(signs)]
    state = mixed([(1 / len(signs), each) for each in states])
    visit.kept.update(state=state, received=currents)
    return Spikes(state.firing_rate, state.second_moments, grid, currents.channels).later(layer.neuron.delay)


enter(Changed, forward=change)
enter(Shifted, forward=fire_shifted)
