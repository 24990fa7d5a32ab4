r"""Maxima of Gaussian currents over the windows of a map, and neurons that receive them, at sampled points.

Within a window all pairs of positions and steps are followed, different windows each on its own; windows of like currents
respond alike. A maximum is not Gaussian, so that membranes are stepped at points. Each class of windows has points of its own:
averages over a map then have less noise than each of them.

Max pools backwards: the gradient of each window goes to its maximum, at each step alone; to the first one among equals.

Of spikes, which one is the maximum depends on the membranes below, so that the choice enters the average over the sampled
points of the neurons. With ``m_i(w)`` 1 where number ``i`` is the maximum of window ``w``,

.. math:: G^\delta(i, j) = \sum_{w, w', t, t'} G(w t, w' t')\, \mathrm{E}[J_{t i}\, m_t(w)\, m_{t'}(w')\, J_{t' j}]

and gradients from above are independent of the choice, since weights are. On large maps each window is followed on its own,
and two of them where gradients from above are correlated. Neurons that receive maxima of currents send gradients back to the
current that was the largest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from varflow._shared import one_thread
from varflow.model.layers import Spike
from varflow.theory.maps import positions
from varflow.theory.maps.positions import IN_WINDOWS, PAIRS, VarianceClasses
from varflow.theory.responses.back_propagation import Sampling
from varflow.theory.responses.filters import synapse
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses, points_within
from varflow.theory.responses.step import NUMBERS, Population, carried_back, carried_back_alone, stepped
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.moments import Currents, Spikes
from varflow.theory.signals.places import ALL_PAIRS, Grid, Offset, PairMoments, Window, known_pairs, replicated, under_tap
from varflow.theory.threads import in_threads

FEWER = 4  # factor by which pairs of windows have fewer points: the next layer averages over many distances


@dataclass(frozen=True, slots=True, eq=False)
class WindowedCurrents:
    """Currents within windows, with the groups ``(input, window)`` and the index ``(tap, step)``; ``grid`` is that
    of the windows, each on its own. ``between``: covariances with those of windows ``w + d``, where both lie on the map.
    """

    currents: Currents
    grid: Grid
    between: Callable[[Offset], np.ndarray] | None = None

    @classmethod
    def of(cls, signal: Currents, window: Window) -> WindowedCurrents:
        """Windows of a map whose positions are followed each on its own."""
        places, grid = window.places(signal.grid), window.smaller(signal.grid)

        def between(offset: Offset) -> np.ndarray:
            if offset is ALL_PAIRS:
                return np.tile(signal.between(ALL_PAIRS), (places.shape[1],) * 2)
            here, there = known_pairs(offset, grid.shape)
            return positions.covariance_of_windows(signal, places[here], places[there])

        return cls(positions.at_places(signal, places), grid, between)

    @property
    def on_map(self) -> Currents:
        """The currents as those of the positions of a map."""
        return replace(self.currents, grid=self.grid)

    @property
    def channels(self) -> int:
        return self.currents.channels

    def fire(self, layer: Spike, number: int, responses: Responses) -> tuple[LayerState, Spikes]:
        """Layer ``number`` of neurons, which receive the maxima: the state over all windows, and spikes as they arrive."""
        at_points = drawn_windows(layer, self, number, responses)
        H, S = map(np.stack, zip(*map(stepped, at_points.neurons, at_points.largest), strict=True))
        state = LayerState.at_points(H, S).of_groups(at_points.classes.which)
        pairs = None
        if self.between is not None:
            pairs = PairMoments(self.grid.shape, partial(_between, layer, self, state.firing_rate, number, responses))
        spikes = Spikes(state.firing_rate, state.second_moments, self.grid, self.channels, pairs=pairs)
        return state, spikes.later(layer.neuron.delay)

    def back(self, layer: Spike, gradients: Gradients, sampling: Sampling) -> Gradients:
        """Gradients by maxima of currents, and, in ``split``, by the currents of each window, of shape (replicas, groups, taps,
        steps, steps).
        """
        at_points = drawn_windows(layer, self, sampling.number, sampling.responses)
        largest, which = at_points.largest, at_points.currents.argmax(axis=2)
        replicas, number, steps, points = largest.shape
        taps = self.currents.grid.positions
        G = replicated(at_points.classes.of_classes(gradients.earlier(layer.neuron.delay).moments), replicas)

        def one(at: int) -> np.ndarray:
            returned = np.zeros((1 + taps, number, steps, steps))
            for part, J, _ in sampling.jacobians(layer.neuron, at_points.neurons[at], largest[at]):
                returned[0] += carried_back_alone(J, G[at % len(G)])
                for tap in range(taps):
                    chosen = (which[at, ..., part] == tap)[:, None]
                    returned[1 + tap] += carried_back_alone(J * chosen, G[at % len(G)])
            return returned / points

        of_windows = np.stack(in_threads(one, replicas))[:, :, at_points.classes.which]
        return Gradients(of_windows[:, 0], self.grid, self.channels, split=of_windows[:, 1:].swapaxes(1, 2))


@dataclass(frozen=True, slots=True, eq=False)
class DrawnWindows:
    """Currents within windows at sampled points, and neurons that receive them, in each replica.

    Attributes
    ----------
    neurons : list of Population
    currents : ndarray, shape (replicas, classes, taps, steps, points)
    synapse : ndarray, shape (steps, steps)
        The synaptic filter, times the input scale.
    classes : VarianceClasses
        The classes of windows.
    """

    neurons: list[Population]
    currents: np.ndarray
    synapse: np.ndarray
    classes: VarianceClasses

    @property
    def largest(self) -> np.ndarray:
        """The maximum of each window, past the synapse."""
        return self.synapse @ self.currents.max(axis=2)


def drawn(layer: Spike, currents: Currents, classes: VarianceClasses, number: int, responses: Responses) -> DrawnWindows:
    """Sampled currents for layer ``number`` of neurons, from those of each class, index ``(tap, step)``."""
    neuron, steps = layer.neuron, currents.grid.steps
    with one_thread():
        parameters, sampled = positions.drawn_currents(neuron, currents.mean, currents.covariance, responses, number)
    within = sampled.reshape(*sampled.shape[:2], -1, steps, responses.points)
    K = neuron.input_scale * synapse(neuron, steps)
    return DrawnWindows([Population.of(neuron, each) for each in parameters], within, K.astype(np.float32), classes)


def drawn_windows(layer: Spike, windows: WindowedCurrents, number: int, responses: Responses) -> DrawnWindows:
    """Currents and neurons of windows, drawn in classes of like currents."""
    classes = VarianceClasses.of(windows.on_map, responses.scrambles, responses.seed)
    currents = classes.currents(windows.currents)
    most = points_within(IN_WINDOWS, responses.scrambles * currents.mean[0].size)
    return drawn(layer, currents, classes, number, responses.at_most(most))


def _between(
    layer: Spike, windows: WindowedCurrents, rate: np.ndarray, number: int, responses: Responses, offset: Offset
) -> np.ndarray:
    """``M_d`` of the spikes: their covariance in classes of pairs of windows, and the means that are known."""
    assert windows.between is not None
    steps, between = windows.grid.steps, windows.between(offset)
    inputs = windows.currents.mean.shape[1] // windows.grid.positions
    classes, two = positions.classes_of_pairs(
        windows.on_map, offset, between, max(PAIRS // inputs, 1), responses.scrambles, responses.seed
    )
    at_points = drawn(layer, two, classes, number, responses.at_most(max(responses.points // FEWER, 2)))
    replicas, number_of_classes, places, _, points = at_points.currents.shape
    I = at_points.currents.reshape(replicas, number_of_classes, 2, places // 2, steps, points)
    largest = at_points.synapse @ I.max(axis=3)
    S = np.stack([stepped(own, each)[1] for own, each in zip(at_points.neurons, largest, strict=True)])
    S -= S.mean(axis=-1, keepdims=True)
    covariance = S[:, :, 0] @ S[:, :, 1].swapaxes(-1, -2) / (points - 1)
    return positions.with_means(covariance[:, classes.which], rate, offset, windows.grid)


@dataclass(frozen=True, slots=True, eq=False)
class Routed:
    """Gradients by the maxima over windows of spikes, before the choice.

    Attributes
    ----------
    above : Gradients
    window : Window
    taps : ndarray of int, shape (replicas, groups, i, points)
        The tap of each window that is its maximum, at every sampled point of the neurons below.
    """

    above: Gradients
    window: Window
    taps: np.ndarray

    def times(self, factor: float) -> Routed:
        return replace(self, above=self.above.times(factor))

    def back(self, layer: Spike, received: Currents, sampling: Sampling) -> Gradients:
        """Gradients by the currents of a layer, from those received, past the input scale."""
        neuron, grid = layer.neuron, received.grid
        z, currents = sampling.responses.currents_at_points(neuron, received, sampling.number)
        replicas, groups, size, points = currents.shape
        pairs = [under_tap(self.window, tap, grid) for tap in self.window.taps]
        below, above = (np.concatenate(side) for side in zip(*pairs, strict=True))
        tap = np.repeat(np.arange(len(pairs)), [len(inside) for inside, _ in pairs])[:, None]
        G = replicated(self.above.positions_together().moments, replicas)[..., above[:, None], above]
        G = np.broadcast_to(G, (replicas, groups, *G.shape[2:]))

        def one(index: int) -> np.ndarray:
            at, group = divmod(index, groups)
            each, returned = currents[at, group].reshape(-1, grid.steps, points).astype(np.float32), np.zeros(G.shape[2:])
            for part, J, _ in sampling.jacobians(neuron, Population.of(neuron, z[at, size:]), each):
                kept = self.taps[at, group][above, part] == tap
                arriving = _later(J, neuron.delay)[below[:: grid.steps] // grid.steps]
                returned += carried_back(arriving * kept.reshape(-1, grid.steps, 1, J.shape[-1]), G[at, group])
            moments = np.zeros((size, size))
            np.add.at(moments, (below[:, None], below), returned / points)
            return moments

        moments = np.reshape(in_threads(one, replicas * groups), (replicas, groups, size, size))
        return Gradients(moments, grid, received.channels)


def maximum_back(window: Window, gradients: Gradients, spikes: Spikes, draw: Callable[..., np.ndarray]) -> Gradients:
    """Gradients by the spikes below a max pool, from those drawn: all positions together or, on a large map, each
    window on its own, and each two whose gradients are correlated.
    """
    grid = spikes.grid
    nothing = np.zeros((1, *spikes.moments.shape[1:]))
    if not grid.per_position:
        x = draw()
        x = x - (x.min() - 1)  # above the zeros of the padding
        taps = np.argmax([window.at(tap, x, grid, -2) for tap in window.taps], axis=0).astype(np.uint16)
        return Gradients(nothing, grid, spikes.channels, routed=(Routed(gradients, window, taps),))
    places, smaller, chosen = window.places(grid), window.smaller(grid), []
    correlated = {offset: G for offset, G in gradients.pairs.items() if G.any()}
    for offset, G in {(0, 0): gradients.moments, **correlated}.items():
        windows = known_pairs(offset, smaller.shape)[: 1 + any(offset)].T  # (groups, windows followed together)
        x = draw(places[windows].reshape(len(windows), -1))
        x = x.reshape(*x.shape[:2], windows.shape[1], places.shape[1], grid.steps, -1)
        G = G.reshape(len(G), -1, smaller.positions, *G.shape[2:])[:, :, windows[:, 0]]
        chosen.append(RoutedPerWindow(G.reshape(len(G), -1, *G.shape[3:]), places[windows], x.argmax(axis=3).astype(np.uint16)))
    return Gradients(nothing, grid, spikes.channels, routed=tuple(chosen))


@dataclass(frozen=True, slots=True, eq=False)
class RoutedPerWindow:
    """Gradients by the maxima over windows of a large map, in groups of one window or two, before the choice.

    Attributes
    ----------
    above : ndarray, shape (replicas, groups, steps, steps)
        Gradients by the maximum of the window, or between those of both.
    places : ndarray of int, shape (groups, windows, taps)
        Positions on the map below.
    taps : ndarray of int, shape (replicas, inputs × groups, windows, steps, points)
        Which is the maximum, at every sampled point of the neurons below.
    """

    above: np.ndarray
    places: np.ndarray
    taps: np.ndarray

    def times(self, factor: float) -> RoutedPerWindow:
        return replace(self, above=self.above * factor)

    def back(self, layer: Spike, received: Currents, sampling: Sampling) -> Gradients:
        """Gradients by the currents of a layer, from those received, past the input scale."""
        neuron, steps = layer.neuron, received.grid.steps
        places = self.places.reshape(len(self.places), -1)
        parameters, currents = positions.currents_in_windows(neuron, received, sampling.number, sampling.responses, places)
        replicas, groups, _, points = currents.shape
        shape = (-1, *self.places.shape[1:], steps, steps)
        together = max(NUMBERS // (currents[0, 0].size * steps), 1)  # groups whose Jacobians stay in the cache
        G = np.broadcast_to(replicated(self.above, replicas), (replicas, groups, steps, steps))
        tap_pairs = self._tap_pairs()

        def one(at: int) -> np.ndarray:
            found = np.zeros((len(tap_pairs), groups, steps, steps))
            for some in (slice(first, first + together) for first in range(0, groups, together)):
                each = currents[at, some].reshape(-1, steps, points)
                for part, J, _ in sampling.jacobians(neuron, Population.of(neuron, parameters[at]), each):
                    J, taps = _later(J, neuron.delay).reshape(*shape, J.shape[-1]), self.taps[at, some, ..., part]
                    chosen = taps[:, :, None] == np.arange(J.shape[2])[:, None, None]
                    kept = np.moveaxis(J * chosen[..., :, None, :], 0, 2)  # (windows, taps, groups, …)
                    for n, (a, b) in enumerate(tap_pairs):
                        found[n, some] += carried_back_alone(kept[0, a], G[at, some], kept[-1, b])
            return found / points

        return self._joined(tap_pairs, np.stack(in_threads(one, replicas)), received)

    def _tap_pairs(self) -> list[tuple[int, int]]:
        """Pairs of taps, those of one window in one order."""
        _, windows, taps = self.places.shape
        return [(a, b) for a in range(taps) for b in range(0 if windows == 2 else a, taps)]

    def _joined(self, tap_pairs: list[tuple[int, int]], split: np.ndarray, received: Currents) -> Gradients:
        """The sum over windows, of moments (replicas, pairs of taps, inputs × groups, steps, steps)."""
        grid, steps, pairs = received.grid, received.grid.steps, {}
        split = split.reshape(*split.shape[:2], -1, len(self.places), steps, steps)
        nothing = np.zeros((len(split), split.shape[2], grid.positions, steps, steps))
        for (a, b), values in zip(tap_pairs, np.moveaxis(split, 1, 0), strict=True):
            place, other = self.places[:, 0, a], self.places[:, -1, b]
            rows, columns = np.array(np.divmod(other, grid.width)) - np.array(np.divmod(place, grid.width))
            for y, x in set(zip(rows.tolist(), columns.tolist(), strict=True)):
                at, turned = np.flatnonzero((rows == y) & (columns == x)), (y, x) < (0, 0)
                offset = (-y, -x) if turned else (y, x)
                whole = pairs.setdefault(offset, nothing.copy())
                M = values[:, :, at].swapaxes(-1, -2) if turned else values[:, :, at]
                twice = offset == (0, 0) and (self.places.shape[1] == 2 or a != b)
                of_position = whole.swapaxes(0, 2)  # a view
                np.add.at(
                    of_position, (other if turned else place)[at], (M + M.swapaxes(-1, -2) if twice else M).swapaxes(0, 2)
                )
        moments = pairs.pop((0, 0), nothing).reshape(len(split), -1, steps, steps)
        between = {d: M.reshape(len(split), -1, steps, steps) for d, M in pairs.items()}
        return Gradients(moments, grid, received.channels, pairs=between)


def maxima_joined(window: Window, split: np.ndarray, grid: Grid, channels: int) -> Gradients:
    """Gradients by the currents below a max pool, from those by the currents of each window, which are uncorrelated."""
    places, steps = window.places(grid), grid.steps
    split = split.reshape(len(split), -1, *places.shape, steps, steps)
    moments = np.zeros((grid.positions, *split.shape[:2], steps, steps))
    np.add.at(moments, places, np.moveaxis(split, (2, 3), (0, 1)))
    return Gradients(np.moveaxis(moments, 0, 2).reshape(len(split), -1, steps, steps), grid, channels)


def _later(J: np.ndarray, delay: int) -> np.ndarray:
    """Jacobians of the spikes that arrive ``delay`` steps later."""
    if not delay:
        return J
    return np.concatenate([np.zeros_like(J[:, :delay]), J[:, :-delay]], axis=1)
