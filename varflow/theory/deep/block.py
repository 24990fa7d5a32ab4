r"""Fixed points of a block: the layers between two like signals, repeated over depth, in one step and at infinite width.

The state is the variance ``V`` of the currents that enter the block, or the rate ``p`` of the spikes, which is that of the
spikes that leave it, behind its merges. With a BatchNorm, inputs are independent of each other, as every BatchNorm leaves them:
covariance 0 of currents, second moment ``p²`` of spikes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from varflow._checks import DomainError, several
from varflow.model.build import of_layers
from varflow.model.graph import Graph, covered, independent
from varflow.model.layers import Layer, Residual, Spike
from varflow.model.over_neurons import size_of
from varflow.model.signals import Signal
from varflow.results import FixedPoint, FixedPoints
from varflow.theory.memoryless.variance_map import depth_scale
from varflow.theory.operations.visit import IN_INDEX, INFINITE, Batching, Effort, Walk
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.roots import highest, rising_root, scan
from varflow.theory.signals.moments import Currents, Spikes
from varflow.theory.signals.places import Grid
from varflow.theory.walks.signals import signals_walk

WIDTH = 1000  # of layers without their own: it matters for weights with a fixed in-degree or a mean only
LARGEST = 1e8  # variance in units of the squared threshold where the growth of a block is measured
LEAST = 1e-20  # smallest state searched, in units of the largest, or of the one before if layers fire there
FLOOR = 1e-200  # where that ends
ANY = 1e10  # gain in units of the threshold at which the sign of a response is that of all larger gains
FAINT = 1e-12  # rates below which a state changes by its shortcuts only, which have no fixed point of their own
STEP = 0.02  # of the scan in the logarithm of the state
TINY = 1e-5  # gain in units of the threshold: with a threshold of 0 its fixed point is still above the smallest state
NUDGE = 1e-5  # relative change for the multiplier: its error is of second order


@dataclass(frozen=True, eq=False)
class RepeatedBlock:
    """The map of the state through a block.

    Attributes
    ----------
    layers : sequence of Layer
    graph : Graph
        The same from a signal of currents or spikes on, which the block receives and sends.
    """

    layers: Sequence[Layer]
    graph: Graph

    def __post_init__(self) -> None:
        *_, sent = self.graph.shapes()
        if (sent.kind, sent.shape) != (self.received.kind, self.received.shape):
            raise DomainError("block", self.layers, f"must return the {self.received} that it receives, not {sent}")
        if not self.graph.in_a_row:
            object.__setattr__(self, "graph", independent(self.graph))
        covered(self.graph[1:], "forward")

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> RepeatedBlock:
        """The block of layers in a row."""
        layers = several("block", layers, Layer)
        width = next((w for layer in reversed(layers) if (w := getattr(layer, "width", None))), WIDTH)
        return cls(layers, of_layers(layers, Signal(_kind(layers), (width,), weighted=True), width))

    @property
    def received(self) -> Signal:
        """The signal that the block receives and sends."""
        return self.graph[0].operation.after()

    @property
    def kind(self) -> str:
        """``currents`` or ``spikes``."""
        return self.received.kind

    @cached_property
    def spiking(self) -> list[Spike]:
        found = [node.operation for node in self.graph if isinstance(node.operation, Spike)]
        if not found:
            raise DomainError("block", self.layers, "must have at least one Spike")
        return found

    def for_one_step(self) -> RepeatedBlock:
        """The block itself, if one step describes it; else DomainError."""
        for layer in self.spiking:
            if layer.recurrent or layer.neuron.reset_rule.counts or layer.neuron.longer_filter:
                raise DomainError("block", layer, "acts over several steps: fixed points of a block are for one step")
        return self

    @property
    def reader(self) -> Spike:
        """The layer of neurons that reads the block's currents, or sends its spikes."""
        return self.spiking[0 if self.kind == "currents" else -1]

    def __call__(self, state: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
        """The state after the block, for each of many. ``other``: that of all other inputs, if this one differs."""
        return self.passed(state, other)[0]

    def most(self, state: np.ndarray) -> np.ndarray:
        """The largest rate of any layer in the block."""
        return np.max([at.firing_rate[0, :, 0] for at in self._walked(state, None)[1]], axis=0)

    def passed(self, state: np.ndarray, other: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The state after the block, the rate of the neurons that read it or of the spikes that leave, and the variance of
        those neurons, or of the last.
        """
        after, states = self._walked(state, other)
        if isinstance(after, Spikes):
            return after.moments[0, :, 0, 0], after.mean[0, :, 0], states[-1].variance[0, :, 0]
        if np.any(after.mean):
            raise DomainError("block", self.layers, "gives currents a mean: its state is more than a variance")
        return after.covariance[0, :, 0, 0], states[0].firing_rate[0, :, 0], states[0].variance[0, :, 0]

    def _walked(self, state: np.ndarray, other: np.ndarray | None) -> tuple[Currents | Spikes, list[LayerState]]:
        inputs = [state]  # of a batch, two stand for all, besides one that differs
        if self.graph.over_batch:
            inputs += [state] if other is None else [other, other]
        own = np.stack(inputs, axis=-1)[None]  # (replicas, states, inputs)
        grid, eye = Grid(len(inputs), 1, 1, 1), np.eye(len(inputs))
        signal: Currents | Spikes
        if self.kind == "currents":
            signal = Currents(np.zeros_like(own), own[..., None] * eye, grid, self.received.size)
        else:
            apart = own[..., :, None] * own[..., None, :]
            signal = Spikes(own, apart + eye * (own - own**2)[..., None], grid, self.received.size)
        return self._through(signal, INFINITE)

    def _through(self, signal: Currents | Spikes, batching: Batching = IN_INDEX) -> tuple[Any, list[LayerState]]:
        """The signal after the block, and the state of each of its layers of neurons."""
        effort = Effort(Responses(points=2, scrambles=2, seed=0))  # through one step: nothing is sampled
        visits = signals_walk(self.graph, signal, Walk(effort, batching), keep=True)
        return visits[-1].sent, [visit.kept["state"] for visit in visits if visit.node.operation.spikes]

    @property
    def free(self) -> tuple[str, float]:
        """Name and value that set the block's activity: the last layer's gain, or such a field of a layer after it."""
        layer = next(filter(_is_free, (node.operation for node in reversed(self.graph))), None)
        if layer is None:
            raise DomainError("block", self.layers, "must have a layer with weights")
        return layer.free, getattr(layer, layer.free)

    def with_free(self, value: float) -> RepeatedBlock:
        """The block with another :attr:`free` value."""
        return RepeatedBlock.of(_with_free(self.layers, value))

    @cached_property
    def units(self) -> tuple[float, float]:
        """The smallest and the largest threshold, in units of the input; 1 if all are 0."""
        sizes = [size_of(layer.neuron.threshold) / layer.neuron.input_scale for layer in self.spiking]
        return min(filter(None, sizes), default=1.0), max(sizes) or 1.0

    @cached_property
    def ends(self) -> tuple[float, float]:
        """States between which fixed points are searched: below them every layer is silent, unless some fire at any state."""
        hi = LARGEST * self.units[1] ** 2 if self.kind == "currents" else 1.0
        lo = LEAST * hi
        while lo > FLOOR and self.most(np.array([lo]))[0] > FAINT:
            lo *= LEAST
        return lo, hi

    @cached_property
    def binary(self) -> bool:
        """True if spikes stay 0 or 1."""
        if self.kind == "currents" or self.graph.over_batch:
            return True
        after = self.of_equal(1.0)
        return isinstance(after, Spikes) and np.allclose(after.mean[0, 0, 0], after.moments[0, 0, 0, 0], rtol=1e-12, atol=0)

    def of_equal(self, spikes: float) -> Any:
        """The signal after the block if all that enters is the same number of spikes."""
        moments = np.full((1, 1, 1), spikes), np.full((1, 1, 1, 1), spikes**2)
        return self._through(Spikes(*moments, Grid(1, 1, 1, 1), self.received.size))[0]

    def described(self, states: Sequence[float]) -> tuple[FixedPoint, ...]:
        """These fixed points, in one walk."""
        y = np.array(states)
        step = np.where(y > 0, NUDGE * y, self.ends[0])
        near, about = np.concatenate([y + step, np.where(y > 0, y - step, 0.0), y]), np.tile(y, 3)
        after, rates, variances = self.passed(near, about if self.graph.over_batch else None)
        above, below, image = after.reshape(3, -1)
        multipliers = (above - below) / (near[: len(y)] - near[len(y) : -len(y)])
        shown = y if self.kind == "currents" else variances[-len(y) :]
        return tuple(
            FixedPoint(float(V), float(p), float(m), bool(abs(m) < 1), depth_scale(float(m)) + 0.0, float(error))
            for V, p, m, error in zip(shown, rates[-len(y) :], multipliers, image - y, strict=True)
        )


def _is_free(layer: Layer) -> bool:
    """True for a layer with weights or a normalisation with a factor; statistics of a running BatchNorm are not its input's."""
    return bool(layer.free) and getattr(layer, "statistics", None) is None


def _with_free(layers: Sequence[Layer], value: float) -> tuple[Layer, ...]:
    """The layers with another free field of the last one that has it, within a branch or not; empty if none has."""
    for place, layer in reversed(list(enumerate(layers))):
        if isinstance(layer, Residual) and (branch := _with_free(layer.branch, value)):
            return (*layers[:place], Residual(*branch, merge=layer.merge, keep=layer.keep), *layers[place + 1 :])
        if _is_free(layer):
            return (*layers[:place], replace(layer, **{layer.free: value}), *layers[place + 1 :])  # pyright: ignore
    return ()


def _kind(layers: Sequence[Layer]) -> str:
    """The kind of signal that the first layer with a preference receives."""
    for layer in layers:
        if layer.branch:
            return _kind(layer.branch)
        if len(kinds := {"currents", "spikes"} & set(layer.accepts)) == 1:
            return kinds.pop()
    raise DomainError("block", layers, "must have at least one Spike")


def fixed_points_of_block(block: RepeatedBlock) -> FixedPoints:
    """Every state that a block reproduces, with its stability; see :func:`varflow.fixed_points`."""
    block = block.for_one_step()
    if not block.binary:
        silence = FixedPoint(0.0, 0.0, 1.0, False, np.inf, 0.0)
        return FixedPoints((silence,), False, None, 0.0, note=_growth_of_sums(block))
    grid = np.geomspace(*block.ends, 256)
    hi = float(grid[-1])
    active = np.flatnonzero(block.most(grid) > FAINT)
    lo = float(grid[max(active[0] - 1, 0)]) if len(active) else hi
    excess = lambda y: block(y) - y  # noqa: E731
    found = scan(excess, lo, hi, STEP) if len(active) else []
    quiet, most = block(np.array([0.0, hi])).tolist()
    states: list[float] = sorted({*([0.0] if quiet == 0 else [quiet] if quiet < lo else []), *found})
    points = block.described(states)
    top, note = most - hi, ""
    if block.kind == "currents" and top > 0:
        note = (
            f"Large variances grow by {top:.4g} per block: after many blocks l, V is about {top:.4g} l. "
            "Scale the branch by 1/√depth, or choose keep < 1."
        )
    if len(points) == 1 and points[0].multiplier == 1 and not note:
        note = "Activity decays towards silence, but ever more slowly: the faintest activity changes by nothing in a block."
    dies = quiet == 0 and len(points) == 1 and top < 0
    inside = (1 - NUDGE) * np.array(states)
    falls = block(inside) < inside  # just below a state: activity there decays
    edges = [point.variance for point, fall in zip(points, falls, strict=True) if fall]
    edge = np.inf if dies else edges[0] if edges else 0.0
    return FixedPoints(points, False, STEP, edge, note=note)


def critical_gain_of_block(layers: Sequence[Layer]) -> float:
    """The gain of a block's last layer with weights at which its active fixed points begin or, where it falls with it, end."""
    block = RepeatedBlock.of(layers).for_one_step()
    name, start = block.free
    if name != "gain":
        raise DomainError("block", block.layers, "is normalised after its last weights: no gain of theirs is critical")
    if not block.binary or bool(block(np.zeros(1))[0]):
        return 0.0

    def most(gain: float) -> float:
        """The largest ``F(y)/y - 1``."""
        trial = block.with_free(gain)
        ratio = lambda y: trial(y) / y - 1  # noqa: E731
        return float(ratio(np.array([highest(ratio, np.geomspace(*trial.ends, 1024), rounds=6)]))[0])

    least, largest = most(TINY * block.units[0]), most(ANY * block.units[1])
    if least >= 0:  # shortcuts alone keep activity, or the threshold is 0
        return rising_root(lambda gain: -most(gain), start, 1e-13) if least > 0 > largest else 0.0
    return rising_root(most, start, 1e-13) if largest > 0 else np.inf


def _growth_of_sums(block: RepeatedBlock) -> str:
    rate = float(block.of_equal(LARGEST).mean[0, 0, 0]) - LARGEST
    return (
        f"Spikes are added and never removed: there is no active fixed point. Each block adds up to {rate:.3g} spikes per "
        f"neuron, so E x ≈ {rate:.3g} l and E x² ≈ {rate**2:.3g} l² after l blocks."
    )
