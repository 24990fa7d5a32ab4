"""Neurons stepped by the simulation under given currents."""

import numpy as np
import torch

from varflow.simulation.neurons import Cells, respond


def step_neurons(neuron, currents):
    """Potentials at the spike test, and spikes, (steps, neurons) as the currents; a delay acts between layers only."""
    given = torch.tensor(np.asarray(currents, dtype=np.float64))[None, None]
    membranes, spikes = respond(given, Cells.of([neuron], given.device), given.dtype)
    return membranes[0, 0].numpy(), spikes[0, 0].numpy()
