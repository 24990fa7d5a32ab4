"""The neuron's step, and neurons stepped through currents as they are: layer 1 under a drive of given currents, without a
Gaussian law.
"""

from __future__ import annotations

import numpy as np

from varflow.model.drive_kinds import Given
from varflow.model.neurons import Neuron
from varflow.theory.in_time.responses import LayerState

__all__ = ["driven_by", "membrane", "spikes", "stepped"]


def driven_by(drive: Given, neuron: Neuron) -> LayerState:
    """The state of layer 1, averaged over its own neurons; the variance with ddof = 1, as it is measured."""
    H, S = stepped(neuron, drive.currents)
    width = H.shape[-1]
    variance = H.var(axis=-1, ddof=1) if width > 1 else np.zeros(H.shape[:-1])  # one current for all: no spread
    coincidences = S @ S.swapaxes(-1, -2) / width
    return LayerState(variance[None], H.mean(axis=-1)[None], S.mean(axis=-1)[None], coincidences[None])


def stepped(neuron: Neuron, currents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Membranes at the spike test and spikes, from currents of shape (…, steps, width)."""
    H, S = np.empty(currents.shape), np.empty(currents.shape)
    i = h = s = np.zeros(currents[..., 0, :].shape)
    for t in range(currents.shape[-2]):
        i = neuron.synaptic_decay * i + currents[..., t, :]
        h = membrane(neuron, h, s, neuron.input_scale * i)
        s = spikes(neuron, h)
        H[..., t, :], S[..., t, :] = h, s
    return H, S


def membrane(neuron: Neuron, h: np.ndarray, s: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The next membrane at the spike test."""
    beta, theta = neuron.decay, neuron.threshold
    match neuron.reset:
        case "none":
            return beta * h + c
        case "delayed_subtract":
            return beta * h - theta * s + c
        case "zero":
            return beta * h * (1 - s) + c
        case "gate":
            return (beta * h + c) * (1 - s)
        case _:  # subtract and multi_spike
            return beta * (h - theta * s) + c


def spikes(neuron: Neuron, h: np.ndarray) -> np.ndarray:
    """Spikes of this membrane, in its precision."""
    if neuron.reset == "multi_spike":
        return np.maximum(np.floor(h / neuron.threshold), 0.0)
    return (h > neuron.threshold if neuron.strict else h >= neuron.threshold).astype(h.dtype)
