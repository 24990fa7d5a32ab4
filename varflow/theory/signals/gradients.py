"""Gradients as a signal that goes backwards: second moments over the index ``i = (input, row, column, step)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from varflow.model.layers import ALL_STEPS
from varflow.theory.signals.moments import Signal, at_each_position, means_at, outer
from varflow.theory.signals.places import Grid, aligned

BALANCED = np.ones((1, 1, 1, 1))  # factors of gradients directly below a BatchNorm


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    r"""``G_ij = E[∂L/∂x_i ∂L/∂x_j]`` of one neuron (channel), of mean 0; leading axes (replicas, groups).

    ``balanced``: the factors by which they were multiplied since they passed a BatchNorm, below which their sum over the batch
    is 0: a constant added to all its currents makes no difference (``balanced_at`` "each step", also to those of one step).
    ``routed``: more of them, by maxima of spikes; the neurons below decide where they go (``maps.maxima``). ``split``: of
    maxima of currents, by the currents of each
    window, as neurons send them back. ``pairs``: of positions that are followed each on its own, ``G(p, p + d)`` for offsets
    ``d > (0, 0)``, 0 where ``p + d`` lies outside; pools alone give different positions gradients that are correlated.

    Examples
    --------
    >>> import numpy as np, varflow as vf
    >>> from varflow.theory.signals.places import Grid
    >>> grid = Grid(inputs=1, height=1, width=1, steps=2)
    >>> above = vf.theory.Gradients(np.ones((1, 1, 2, 2)), grid, channels=100)
    >>> above.rescaled(np.array([1.0, 2.0])).moments[0, 0]
    array([[1., 2.],
           [2., 4.]])
    """

    moments: np.ndarray
    grid: Grid
    channels: int
    balanced: np.ndarray | None = None
    balanced_at: str = ALL_STEPS
    routed: tuple[Any, ...] = ()
    split: np.ndarray | None = None
    pairs: Mapping[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def with_moments(self, moments: np.ndarray, *, pairs: Mapping[tuple[int, int], np.ndarray], **other: Any) -> Gradients:
        """Gradients with other moments, everywhere where they stand."""
        return replace(self, moments=moments, pairs=pairs, split=None, **other)

    def times(self, factor: Any, between: Callable[[tuple[int, int]], Any] | None = None) -> Gradients:
        """Gradients with moments times factors, each by its own; ``between``: those at ``p`` and ``p + d``, if not a number."""
        routed = tuple(each.times(factor) for each in self.routed)
        of_pair = between or (lambda offset: factor)
        pairs = {d: _product(G, of_pair(d)) for d, G in self.pairs.items()}
        balanced = _product(self.balanced, factor) if self.balanced is not None and np.ndim(factor) else self.balanced
        return self.with_moments(_product(self.moments, factor), pairs=pairs, routed=routed, balanced=balanced)

    def rescaled(self, scale: float | np.ndarray) -> Gradients:
        """Gradients by what is multiplied by ``s_i``: ``s_i s_j G_ij``."""
        of_groups = 1, *self.moments.shape[1:-1]  # the scale may have replicas too, in another number
        scale = np.broadcast_to(scale, np.broadcast_shapes(np.shape(scale), of_groups))
        return self.times(outer(scale, scale), lambda offset: outer(*means_at(scale, offset, self.grid)))

    def __add__(self, other: Gradients) -> Gradients:
        """The sum with uncorrelated gradients."""
        total = np.add(*aligned(self.moments, other.moments))
        both = {d: np.add(*aligned(G, other.pairs[d])) for d, G in self.pairs.items() if d in other.pairs}
        pairs, routed = {**self.pairs, **other.pairs, **both}, self.routed + other.routed
        alike = self.balanced is other.balanced and self.balanced_at == other.balanced_at
        return self.with_moments(total, pairs=pairs, balanced=self.balanced if alike else None, routed=routed)

    def positions_together(self) -> Gradients:
        """Gradients of all positions in one index, different ones uncorrelated."""
        grid = self.grid
        if not grid.per_position:
            return self
        each = self.moments.reshape(len(self.moments), -1, grid.positions, grid.steps, grid.steps)
        in_one_index = np.einsum("rgxst,xy->rgxsyt", each, np.eye(grid.positions))
        size = grid.positions * grid.steps
        moments = in_one_index.reshape(*in_one_index.shape[:2], size, size)
        return replace(self, moments=moments, grid=replace(grid, per_position=False))

    def per_position(self) -> Gradients:
        """Gradients at each position of a map on their own."""
        if self.grid.per_position or self.grid.positions == 1:
            return self
        return replace(self, moments=at_each_position(self.moments, self.grid), grid=replace(self.grid, per_position=True))

    def on_map(self, grid: Grid, channels: int) -> Gradients:
        """Gradients by what a map of this grid sends; of a flattened map, the same for all its numbers."""
        if self.grid.positions == 1 < grid.positions and self.channels == channels * grid.positions:
            return Gradients(np.repeat(self.moments, grid.positions, axis=1), grid, channels)
        return self if self.grid == grid else replace(self, grid=grid)

    def earlier(self, delay: int) -> Gradients:
        """``delay`` steps earlier; 0 in the last steps, whose signals arrive too late."""
        if delay == 0:
            return self
        step = np.arange(self.grid.size)
        before = step[step % self.grid.steps < self.grid.steps - delay]

        def moved(moments: np.ndarray) -> np.ndarray:
            sooner = np.zeros_like(moments)
            sooner[..., before[:, None], before] = moments[..., (before + delay)[:, None], before + delay]
            return sooner

        pairs = {d: moved(G) for d, G in self.pairs.items()}
        return replace(self, moments=moved(self.moments), pairs=pairs)

    @property
    def over_steps(self) -> np.ndarray:
        """``E[δ_t·δ_t']`` of a whole layer: summed over neurons, mean over inputs; (replicas, groups, steps, steps)."""
        grid = self.grid
        if grid.per_position:
            each = self.moments.reshape(len(self.moments), -1, grid.positions, grid.steps, grid.steps)
            return each.sum(axis=2) * (self.channels / grid.inputs)
        folded = self.moments.reshape(*self.moments.shape[:-2], grid.sequences, grid.steps, grid.sequences, grid.steps)
        return np.einsum("...xsxt->...st", folded) * (self.channels / grid.inputs)


def _product(moments: np.ndarray, factor: Any) -> np.ndarray:
    """Element by element; ``factor`` has replicas too, unless it is a number."""
    return np.multiply(*aligned(moments, factor)) if np.ndim(factor) else moments * factor


def readout(signal: Signal, kind: str, *, same_for_inputs: bool) -> Gradients:
    """Gradients of ``Σ_t v·x_t``: weights ``v`` of mean square 1/n, the same at all steps if ``kind`` is "shared", else
    independent.

    With ``same_for_inputs`` all inputs have the same, else independent ones; those of different positions are independent.
    """
    grid, moments = signal.grid, np.ones((1, 1))
    positions = 1 if grid.per_position else grid.positions
    for size, same in ((grid.inputs, same_for_inputs), (positions, False), (grid.steps, kind == "shared")):
        moments = np.kron(moments, np.ones((size, size)) if same else np.eye(size))
    moments = moments / (signal.channels * grid.positions)
    return Gradients(np.broadcast_to(moments, (1, signal.mean.shape[1], *moments.shape)), grid, signal.channels)
