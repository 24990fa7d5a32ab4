"""A layer whose currents have one random number per neuron, as under a constant drive: exact for every reset.

With currents ``c_t = μ_t + d_t z`` a membrane is piecewise linear in ``z``. The line is cut wherever a membrane meets the
threshold; each piece has one spike history, and its moments are those of a truncated normal number.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import special

from varflow.model.neurons import Neuron
from varflow.theory.in_time.responses import LayerState
from varflow.theory.in_time.stepping import membrane, spikes

__all__ = ["held", "held_layer", "single_direction"]

END = 40.0  # a standard normal number is never beyond it in double precision
ALIKE = 1e-12  # relative: what is left of a covariance of rank one is rounding below it
MOST = 10_000  # pieces


def held_layer(neuron: Neuron, mean: np.ndarray, covariance: np.ndarray) -> LayerState | None:
    """The state of a layer in which all kinds of input are such currents, one replica for all; else None."""
    if len(covariance) > 1 or len(mean) > 1:
        return None
    states = []
    for one_mean, one_covariance in zip(mean[0], covariance[0], strict=True):
        direction = single_direction(one_covariance)
        state = None if direction is None else held(neuron, one_mean, direction)
        if state is None:
            return None
        states.append(state)
    return LayerState(*(np.stack(column)[None] for column in zip(*states, strict=True)))


def single_direction(covariance: np.ndarray) -> np.ndarray | None:
    """``d`` with ``d dᵀ`` the covariance (steps, steps), if there is one."""
    variance = covariance.diagonal()
    largest = int(np.argmax(variance))
    if variance[largest] <= 0:
        return np.zeros(len(variance)) if not covariance.any() else None
    direction = covariance[largest] / np.sqrt(variance[largest])
    rest = np.abs(covariance - np.multiply.outer(direction, direction)).max()
    return direction if rest <= ALIKE * variance[largest] else None


def held(neuron: Neuron, mean: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, ...] | None:
    """Variance, mean, rate and coincidences; None where the line falls into too many pieces."""
    steps = len(mean)
    edges, fired = np.array([-END, END]), np.zeros((steps, 1))
    at_zero, slope, s = np.zeros(1), np.zeros(1), np.zeros(1)
    slopes = replace(neuron, reset=replace(neuron.reset_rule, threshold=0.0, delayed=False))  # nothing is subtracted from them
    potential, second = np.empty(steps), np.empty(steps)
    for t in range(steps):
        at_zero, slope = membrane(neuron, at_zero, s, mean[t]), membrane(slopes, slope, s, direction[t])
        mass, first, square = _moments(edges)
        potential[t] = at_zero @ mass + slope @ first
        second[t] = at_zero**2 @ mass + 2 * (at_zero * slope) @ first + slope**2 @ square
        edges, origin = _cut(edges, _crossings(neuron, edges, at_zero, slope))
        if len(edges) > MOST:
            return None
        at_zero, slope, fired = at_zero[origin], slope[origin], fired[:, origin]
        fired[t] = s = spikes(neuron, at_zero + slope * (edges[1:] + edges[:-1]) / 2)
    mass = _moments(edges)[0]
    return second - potential**2, potential, fired @ mass, (fired * mass) @ fired.T


def _crossings(neuron: Neuron, edges: np.ndarray, at_zero: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Where a membrane meets a threshold inside its piece."""
    levels = 1
    if neuron.reset_rule.counts:
        reach = np.maximum(at_zero + slope * edges[1:], at_zero + slope * edges[:-1]).max()
        levels = int(min(max(reach / neuron.threshold, 1), MOST))
    thresholds = neuron.threshold * np.arange(1, levels + 1)[:, None]
    moving = slope != 0
    z = (thresholds - at_zero[moving]) / slope[moving]
    return z[(z > edges[:-1][moving]) & (z < edges[1:][moving])]


def _cut(edges: np.ndarray, crossings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Refined edges, and which old piece each new one came from."""
    finer = np.union1d(edges, crossings)
    return finer, np.searchsorted(edges, (finer[1:] + finer[:-1]) / 2) - 1


def _moments(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``E[1]``, ``E[z]`` and ``E[z²]`` over each piece."""
    lower, upper = edges[:-1], edges[1:]
    mass = np.where(lower > 0, special.ndtr(-lower) - special.ndtr(-upper), special.ndtr(upper) - special.ndtr(lower))
    density = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
    return mass, density[:-1] - density[1:], mass - np.diff(edges * density)
