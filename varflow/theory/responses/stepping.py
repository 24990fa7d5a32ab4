"""Neurons stepped one by one: trajectories under given currents, and the state of layer 1 under them."""

from __future__ import annotations

import numpy as np

from varflow.model.drive_kinds import Given
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import SAMPLE, OverNeurons
from varflow.theory.responses.filters import synapse
from varflow.theory.responses.layer_state import LayerState, mixed
from varflow.theory.responses.step import NeuronState, Population, step

MEMBERS = 12  # values of a distribution over neurons in deterministic averages


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
    second_moments = S @ S.swapaxes(-1, -2) / width
    return LayerState(variance[None], H.mean(axis=-1)[None], S.mean(axis=-1)[None], second_moments[None])


def stepped(neuron: Neuron | Population, currents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Membranes at the spike test and spikes, from currents of shape (…, steps, width)."""
    H, S = np.empty(currents.shape), np.empty(currents.shape)
    decay = neuron.synaptic_decay
    if isinstance(neuron, Neuron) and neuron.longer_filter:
        currents, decay = synapse(neuron, currents.shape[-2]) @ currents, 0.0
    i = rest = np.zeros(currents[..., 0, :].shape)
    state = NeuronState(rest, rest)
    for t in range(currents.shape[-2]):
        i = decay * i + currents[..., t, :]
        state = step(neuron, state, neuron.input_scale * i)
        H[..., t, :], S[..., t, :] = state.h, state.s
    return H, S
