"""Neurons of SpikingJelly."""

from __future__ import annotations

import numpy as np

from varflow._checks import DomainError, flag, real_number
from varflow.model.neurons import Neuron
from varflow.model.preset_arguments import at_rest, checked, of_all_neurons, of_neurons


def spikingjelly_lif(
    tau: float = 2.0,
    decay_input: bool = True,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    detach_reset: bool = False,
) -> Neuron:
    """``spikingjelly.activation_based.neuron.LIFNode``: ``H = (1 - 1/τ) V + x/τ``, a spike at ``H ≥ θ``.

    Parameters
    ----------
    tau : float, or array with ``decay_input=False``
        Time constant of the membrane in steps, above 1.
    decay_input : bool
        Whether the input is divided by ``tau`` too.
    v_threshold : float or array
    v_reset : float, optional
        0: a spike sets the membrane to 0; None: it subtracts the threshold.
    detach_reset : bool
        Whether gradients ignore the reset.

    Raises
    ------
    DomainError
        For values outside these domains; another ``v_reset``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.spikingjelly_lif()
    Neuron(threshold=1, decay=0.5, input_scale=0.5, reset='zero', strict=False)
    """
    taus = checked("tau", tau, real_number)
    if np.min(taus) <= 1:
        raise DomainError("tau", tau, "must be greater than 1")
    scale = 1 / of_all_neurons("tau", taus) if flag("decay_input", decay_input) else 1.0
    threshold, reset = of_neurons("v_threshold", v_threshold, real_number), _spikingjelly_reset(v_reset)
    return Neuron(threshold, decay=1 - 1 / taus, input_scale=scale, reset=reset, strict=False, detach_reset=detach_reset)


def spikingjelly_if(v_threshold: float = 1.0, v_reset: float | None = 0.0, detach_reset: bool = False) -> Neuron:
    """``spikingjelly.activation_based.neuron.IFNode``: ``H = V + x``, a spike at ``H ≥ θ``.

    Parameters
    ----------
    v_threshold : float or array
    v_reset : float, optional
        0: a spike sets the membrane to 0; None: it subtracts the threshold.
    detach_reset : bool
        Whether gradients ignore the reset.

    Raises
    ------
    DomainError
        For another ``v_reset``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.spikingjelly_if(v_reset=None)
    Neuron(threshold=1, decay=1.0, reset='subtract', strict=False)
    """
    threshold = of_neurons("v_threshold", v_threshold, real_number)
    return Neuron(threshold, decay=1.0, reset=_spikingjelly_reset(v_reset), strict=False, detach_reset=detach_reset)


def _spikingjelly_reset(v_reset: float | None) -> str:
    if v_reset is None:
        return "subtract"
    at_rest("v_reset", v_reset, "v_threshold - v_reset")
    return "zero"
