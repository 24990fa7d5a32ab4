"""The search behind the gains of neurons with memory: a coarse bracket of the gain, then a fine look at the deepest layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from varflow._checks import DomainError
from varflow.model.neurons import Neuron
from varflow.theory.in_time.fixed_point import leading_multiplier
from varflow.theory.in_time.many_gains import Descent, descend, driven, is_drawn, late, layer, sustained
from varflow.theory.in_time.responses import LayerState, Response

__all__ = ["Answer", "Question", "answered", "layers_above", "multiplier_at", "standard_error"]

GRID = 8  # gains at a time
LOWEST, HIGHEST = 0.05, 1e3  # gains, in units of θ/λ, between which an answer is looked for
STRENGTHS = np.geomspace(1e-2, 1e3, 61)  # of the drive, in the same units
NEAR = 1.04  # ratio of gains at which the coarse search ends
JUMP = 1.003  # a rate that jumps over the wanted one within this ratio is not to be had
SHALLOW = 24  # layers that the very first look goes down
SETTLING = 24  # layers of the fine look, the deepest ones
AVERAGED = 12  # last layers that are averaged

Reading = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of firing rates and variances (…, steps): what is wanted (…)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is wanted, of the neuron in its own units, under a drive of a unit second moment."""

    name: str
    wanted: float
    read: Reading
    neuron: Neuron
    shape: np.ndarray  # covariance of the drive, (steps, steps)
    depth: int
    coarse: Response
    fine: Response
    unit: float = 1.0  # of what is wanted, as the user counts

    def __call__(self, found: Descent) -> np.ndarray:
        """What the last layers have of it; (replicas, gains)."""
        return self.read(found.firing_rate, found.variance)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The gain and the strength of the drive, in units of θ/λ, and the deep layers there."""

    gain: float
    error: float  # standard error of ln gain
    strength: float
    found: Descent
    warnings: tuple[str, ...]


def answered(question: Question) -> Answer:
    """Under a drive that gives layer 1 what is wanted; where that one is so weak that steps fail to start, a stronger one."""
    strength, warnings = _strength(question)
    answer = _solve(question, strength, warnings)
    if answer is not None:
        return answer
    refusal, least, most = _out_of_reach(question, max(strength, 1.0))
    if strength < 1 and least <= question.wanted <= most:
        words = f"a drive that gives layer 1 this {question.name} is too weak to start every step: it is driven at θ/λ"
        answer = _solve(question, 1.0, (*warnings, words))
    if answer is None:
        raise refusal
    return answer


def _strength(question: Question) -> tuple[float, tuple[str, ...]]:
    """Standard deviation of a drive under which layer 1 has what is wanted."""
    grid = STRENGTHS
    for _ in range(4):
        state = driven(question.neuron, question.coarse, grid[:, None, None] ** 2 * question.shape)
        above = question.read(state.firing_rate, state.variance).mean(axis=0) >= question.wanted
        if not above.any():
            return 1.0, (f"no drive of this shape gives layer 1 the {question.name}: it is driven at θ/λ instead",)
        first = max(int(np.argmax(above)), 1)
        grid = np.geomspace(grid[first - 1], grid[first], 9)
    return float(np.sqrt(grid[0] * grid[-1])), ()


def _solve(question: Question, strength: float, warnings: tuple[str, ...]) -> Answer | None:
    """A parabola through three gains for each replica; None where activity does not last there."""
    between = _bracket(question, strength)
    if between is None:
        return None
    lo, hi, complete = between
    layers, first = question.depth - 1, _driven(question, strength)
    if complete and is_drawn(question.fine):  # where first steps are dead the next ones are dying: every layer counts
        layers = min(layers, SETTLING)
        above = question.depth - 1 - layers
        first = descend(question.neuron, question.coarse, first, np.array([hi]), layers=above).coincidences.mean(axis=0)[None]

    def down(gains: np.ndarray) -> Descent:
        options = {"layers": layers, "window": _window(layers), "above": question.depth - layers}
        return descend(question.neuron, question.fine, first, gains, **options)

    gains = np.geomspace(lo, hi, 3)
    each = [np.polyval(np.polyfit(values, np.log(gains), 2), question.wanted) for values in question(down(gains))]
    g = math.exp(np.mean(each))
    found = down(np.array([g]))
    return Answer(g, standard_error(np.array(each)), strength, found, warnings) if _lasting(question, found)[0] else None


def standard_error(replicas: np.ndarray) -> float:
    """Of the mean of independent replicas; 0 for one, of which it is not known."""
    return float(replicas.std(ddof=1) / math.sqrt(len(replicas))) if len(replicas) > 1 else 0.0


def _window(layers: int) -> int:
    return max(min(AVERAGED, layers // 2), 1)


def _driven(question: Question, strength: float) -> LayerState:
    return driven(question.neuron, question.coarse, strength**2 * question.shape[None])


def layers_above(question: Question, strength: float, gains: np.ndarray, depth: int) -> Descent:
    """A coarse look at the layers above a depth."""
    first = _driven(question, strength)
    return descend(question.neuron, question.coarse, first, gains, layers=depth - 1, window=_window(depth - 1))


def _lasting(question: Question, found: Descent) -> np.ndarray:
    """Whether the late half of the steps is alive in every replica, per gain."""
    return np.asarray(sustained(question.neuron, late(found.alive)).all(axis=(0, 2)))


def _bracket(question: Question, strength: float) -> tuple[float, float, bool] | None:
    """Two such gains, and whether all steps are alive there; None where there are none."""
    lo, hi, layers = 1.5, 4.0, min(SHALLOW, question.depth)
    while True:
        grid = np.geomspace(lo, hi, GRID + 1)
        found = layers_above(question, strength, grid, layers)
        below = np.flatnonzero(question(found).mean(axis=0) < question.wanted)
        if not len(below) or below[-1] == GRID:
            if layers < question.depth and hi / lo < 1.5:  # deeper down it is elsewhere: look there from the beginning
                lo, hi, layers = 1.5, 4.0, question.depth
            elif len(below):
                lo, hi = hi, 3 * hi
            else:
                lo, hi = lo / 3, lo
            if lo < LOWEST or hi > HIGHEST:
                return None
            continue
        cell, good = int(below[-1]), _lasting(question, found)
        lo, hi = float(grid[cell]), float(grid[cell + 1])
        if layers < question.depth:
            lo, hi, layers = lo / NEAR, hi * NEAR, question.depth
        elif hi / lo <= NEAR and good[cell] and good[cell + 1]:
            return lo, hi, bool(sustained(question.neuron, found.alive[:, cell : cell + 2]).all())
        elif hi / lo <= JUMP:
            return None


def _out_of_reach(question: Question, strength: float) -> tuple[DomainError, float, float]:
    """What can be had: from where the late half of the steps just survives to far above the threshold."""
    lo, hi = LOWEST, HIGHEST
    endless = not np.isfinite(question(layers_above(question, strength, np.array([HIGHEST]), question.depth))).all()
    fine = NEAR if endless else JUMP  # counts that grow without bound have no smallest lasting rate to be told
    while hi / lo > fine:
        grid = np.geomspace(lo, hi, GRID + 1)
        good = np.r_[False, _lasting(question, layers_above(question, strength, grid[1:-1], question.depth)), True]
        first = int(np.flatnonzero(~good)[-1])
        lo, hi = float(grid[first]), float(grid[first + 1])
    least, most = question(layers_above(question, strength, np.array([hi * fine, HIGHEST]), question.depth)).mean(axis=0)
    rule = f"is out of reach of this neuron in {len(question.shape)} steps and {question.depth} layers: "
    low, high = question.unit * least, question.unit * most
    if endless:
        rule += f"whatever the gain, counts of spikes die out or grow from layer to layer, and settle at no {question.name}"
    else:
        rule += f"gains sustain {question.name}s between about {low:.3g} and {high:.3g}, and below that activity dies"
    if question.wanted < least and question.depth > 2:  # where activity lingers before it dies
        rule += f"; fewer layers reach lower {question.name}s: name a smaller depth"
    return DomainError(question.name, question.unit * question.wanted, rule), float(least), float(most)


def multiplier_at(question: Question, g: float, found: Descent) -> float:
    """The leading multiplier of the layer map at the coincidences found."""

    def step(moments: tuple[np.ndarray, np.ndarray], number: int) -> tuple[np.ndarray, np.ndarray]:
        state = layer(question.neuron, question.fine, g**2 * moments[1], number)
        return state.firing_rate, state.coincidences

    M = found.coincidences[:, :1]
    return leading_multiplier(step, (np.diagonal(M, axis1=-2, axis2=-1), M), 1)[0]
