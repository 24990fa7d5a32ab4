"""Neurons of stork."""

from __future__ import annotations

import math

from varflow._checks import positive_number
from varflow.model.neurons import Neuron


def stork_lif(tau_mem: float = 10e-3, tau_syn: float = 5e-3, time_step: float = 1e-3) -> Neuron:
    """``stork.nodes.LIFGroup``: ``H' = (β H + (1 - β) i)(1 - S)`` with ``β = exp(-time_step/τ_mem)`` and threshold 1.

    Parameters
    ----------
    tau_mem, tau_syn, time_step : float
        In seconds.

    Raises
    ------
    DomainError
        For times that are not positive.

    Notes
    -----
    A spike affects the next layer's spikes 3 steps later: the connection, the membrane (which uses the previous synaptic
    current) and the spike test (which uses the previous membrane) each take one step. This is the ``delay`` between layers;
    a layer driven by currents has none.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.stork_lif().delay
    3
    """
    step = positive_number("time_step", time_step)
    decay = math.exp(-step / positive_number("tau_mem", tau_mem))
    filtered = math.exp(-step / positive_number("tau_syn", tau_syn))
    return Neuron(1.0, decay=decay, input_scale=1 - decay, reset="gate", synaptic_decay=filtered, delay=3, detach_reset=True)
