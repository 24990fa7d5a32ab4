"""Neurons of Norse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from varflow._checks import choice, real_number
from varflow.model.neurons import Neuron
from varflow.model.preset_arguments import at_rest, leak, of_neurons


def norse_lif_box(
    tau_mem_inv: float = 100.0,
    v_leak: float = 0.0,
    v_th: float = 1.0,
    v_reset: float = 0.0,
    reset_method: Any = "reset_value",
    dt: float = 1e-3,
) -> Neuron:
    """``norse.torch.LIFBoxCell``: ``H = (1 - dt/τ) V + (dt/τ) x``.

    Parameters
    ----------
    tau_mem_inv : float
        ``1/τ`` of the membrane, per second.
    v_leak, v_reset : float
        Resting and reset potential; both 0.
    v_th : float or array
        Threshold.
    reset_method : str or function
        ``reset_value`` (to 0) or ``reset_subtract`` (by the threshold), or Norse's function of that name.
    dt : float
        Time step in seconds, at most ``1/tau_mem_inv``.

    Raises
    ------
    DomainError
        For values outside these domains; another leak or reset potential.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.norse_lif_box(reset_method="reset_subtract")
    Neuron(threshold=1, decay=0.9, input_scale=0.1, reset='subtract')
    """
    at_rest("v_leak", v_leak, "v_th - v_leak")
    name = choice("reset_method", getattr(reset_method, "__name__", reset_method), ("reset_value", "reset_subtract"))
    if name == "reset_value":
        at_rest("v_reset", v_reset, "v_th - v_reset")
    lost = leak("tau_mem_inv", tau_mem_inv, dt)
    reset = "zero" if name == "reset_value" else "subtract"
    return Neuron(of_neurons("v_th", v_th, real_number), decay=1 - lost, input_scale=lost, reset=reset)


def norse_lif(
    tau_syn_inv: float = 200.0,
    tau_mem_inv: float = 100.0,
    v_leak: float = 0.0,
    v_th: float = 1.0,
    v_reset: float = 0.0,
    dt: float = 1e-3,
) -> Neuron:
    """``norse.torch.LIFCell``: ``H = (1 - dt/τ) V + (dt/τ) i`` with the current ``i`` decaying by ``1 - dt/τ_syn`` a step.

    Parameters
    ----------
    tau_syn_inv, tau_mem_inv : float
        ``1/τ`` of the synaptic current and of the membrane, per second.
    v_leak, v_reset : float
        Resting and reset potential; both 0.
    v_th : float or array
        Threshold.
    dt : float
        Time step in seconds, at most the shorter of the two time constants.

    Raises
    ------
    DomainError
        For values outside these domains; another leak or reset potential.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.norse_lif()
    Neuron(threshold=1, decay=0.9, input_scale=0.1, reset='zero', synaptic_decay=0.8)
    """
    filtered = norse_lif_box(tau_mem_inv, v_leak, v_th, v_reset, dt=dt)
    return replace(filtered, synaptic_decay=1 - leak("tau_syn_inv", tau_syn_inv, dt))
