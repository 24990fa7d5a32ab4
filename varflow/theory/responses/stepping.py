"""The neuron's update, and layer 1 under given currents, stepped neuron by neuron."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtr

from varflow.model.drive_kinds import Given
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import SAMPLE, OverNeurons
from varflow.model.resets import Reset
from varflow.theory.responses.layer_state import LayerState, mixed

__all__ = ["MEMBERS", "Population", "admitted", "averaging_error", "driven_by", "membrane", "refractory", "spikes", "stepped"]

MEMBERS = 12  # values of a distribution over neurons in deterministic averages


@dataclass(frozen=True, slots=True)
class Population:
    """Neurons with a threshold and a decay each: the sampling points of a layer. One number if all are equal."""

    threshold: Any
    decay: Any
    reset_rule: Reset
    strict: bool
    input_scale: float = 1.0
    synaptic_decay: float = 0.0

    @classmethod
    def of(cls, neuron: Neuron, normals: np.ndarray) -> Population:
        """Without input scale and synaptic filter. ``normals``: a row of sampling points for each parameter that differs."""
        rows = iter(ndtr(normals.astype(np.float64)))

        def drawn(parameter: float | OverNeurons) -> Any:
            return parameter.quantile(next(rows)).astype(normals.dtype) if isinstance(parameter, OverNeurons) else parameter

        return cls(drawn(neuron.threshold), drawn(neuron.decay), neuron.reset_rule, neuron.strict)

    def of_points(self, points: slice) -> Population:
        def kept(parameter: Any) -> Any:
            return parameter[..., points] if np.shape(parameter)[-1:] > (1,) else parameter

        return replace(self, threshold=kept(self.threshold), decay=kept(self.decay))


def averaging_error(neuron: Neuron, replicas: int = 1) -> float:
    """Error of rates averaged by a Gauss rule over arrays of thresholds or decays; 0 where all their values are used.

    It is the same in all ``replicas``, whose mean has it too, and is given as if it were one of each.
    """
    arrays = (of for of in (neuron.threshold, neuron.decay) if isinstance(of, OverNeurons) and of.name == SAMPLE)
    # 1e-5: largest error measured; see vf.mean_field
    return 1e-5 * replicas**0.5 if any(len(array.rule()[0]) > MEMBERS for array in arrays) else 0.0


def driven_by(drive: Given, neuron: Neuron) -> LayerState:
    """The state of layer 1, averaged over its neurons; sample variance (ddof = 1), as in a simulation."""
    if neuron.heterogeneous:
        return mixed([(weight, driven_by(drive, member)) for weight, member in neuron.members(MEMBERS)])
    H, S = stepped(neuron, drive.currents)
    width = H.shape[-1]
    variance = H.var(axis=-1, ddof=1) if width > 1 else np.zeros(H.shape[:-1])  # the same current in all neurons
    coincidences = S @ S.swapaxes(-1, -2) / width
    return LayerState(variance[None], H.mean(axis=-1)[None], S.mean(axis=-1)[None], coincidences[None])


def stepped(neuron: Neuron | Population, currents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Membranes at the spike test and spikes, from currents of shape (…, steps, width)."""
    H, S = np.empty(currents.shape), np.empty(currents.shape)
    i = h = s = np.zeros(currents[..., 0, :].shape)
    for t in range(currents.shape[-2]):
        i = neuron.synaptic_decay * i + currents[..., t, :]
        h = membrane(neuron, h, s, neuron.input_scale * i)
        s = spikes(neuron, h)
        H[..., t, :], S[..., t, :] = h, s
    return H, S


def membrane(neuron: Neuron | Population, h: np.ndarray, s: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The next membrane at the spike test, ``β (1 - kS) H - ϱ a θ S + (1 - g_S S) c`` (see :class:`varflow.resets.Reset`)."""
    rule, kept = neuron.reset_rule, neuron.decay * h
    if rule.membrane:
        kept *= _left(rule.membrane, s)
    if rule.threshold:
        kept -= (1.0 if rule.delayed else neuron.decay) * rule.threshold * neuron.threshold * s
    if rule.lowest is not None:
        kept = np.maximum(kept, neuron.decay * rule.lowest * neuron.threshold)
    kept += _left(rule.input, s) * c if rule.input else c
    return kept


def _left(fraction: float, s: np.ndarray) -> np.ndarray:
    return 1 - s if fraction == 1 else 1 - fraction * s


def admitted(neuron: Neuron | Population, s: np.ndarray) -> Any:
    """``1 - gS``: the fraction of the next current that enters after spikes ``s``."""
    return _left(neuron.reset_rule.input, s) if neuron.reset_rule.input else 1.0


def spikes(neuron: Neuron | Population, h: np.ndarray) -> np.ndarray:
    """Spikes of a membrane, in the same floating-point type."""
    if neuron.reset_rule.counts:
        return np.maximum(np.floor(h / neuron.threshold), 0.0)
    return (h > neuron.threshold if neuron.strict else h >= neuron.threshold).astype(h.dtype)


def refractory(neuron: Neuron) -> bool:
    """Whether a neuron cannot spike twice in a row: a spike removes membrane and next input, and the rest does not fire."""
    neuron = neuron.members(1)[0][1]
    gated = neuron.reset_rule.input == neuron.reset_rule.membrane == 1
    return gated and not spikes(neuron, membrane(neuron, np.zeros(1), np.ones(1), np.zeros(1))).any()
