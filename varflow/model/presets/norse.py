"""Neurons of Norse."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from varflow._checks import choice, positive_number, real_number
from varflow.model.neurons import Neuron
from varflow.model.preset_arguments import at_rest, leak, of_neurons
from varflow.model.resets import Adaptation, Reset


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


def norse_lsnn(
    tau_syn_inv: float = 200.0,
    tau_mem_inv: float = 100.0,
    tau_adapt_inv: float = 1 / 800,
    v_leak: float = 0.0,
    v_th: float = 1.0,
    v_reset: float = 0.0,
    beta: float = 1.8,
    dt: float = 1e-3,
) -> Neuron:
    """``norse.torch.LSNNCell``: as :func:`norse_lif`, with currents one step later, and a threshold ``b`` that spikes raise.

    Between spikes ``b`` returns to ``v_th``: ``b' - v_th = (1 - dt/τ)(b - v_th + β S)``.

    Parameters
    ----------
    tau_syn_inv, tau_mem_inv, tau_adapt_inv : float
        ``1/τ`` of the synaptic current, of the membrane and of the threshold, per second.
    v_leak, v_th, v_reset, dt
        As of :func:`norse_lif`.
    beta : float
        What a spike adds to the threshold.

    Raises
    ------
    DomainError
        For values outside these domains; another leak or reset potential.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.norse_lsnn(tau_adapt_inv=10.0, beta=0.5).reset.adaptation
    Adaptation(decay=0.99, jump=0.495, moves_threshold=True)
    """
    plain = norse_lif(tau_syn_inv, tau_mem_inv, v_leak, v_th, v_reset, dt)
    rho = 1 - leak("tau_adapt_inv", tau_adapt_inv, dt)
    jump = rho * real_number("beta", beta) / positive_number("v_th", v_th)
    moving = Adaptation(decay=rho, jump=jump, moves_threshold=True)
    return replace(plain, synaptic_delay=1, reset=Reset(membrane=1.0, adaptation=moving))


def norse_lif_refrac(
    tau_syn_inv: float = 200.0,
    tau_mem_inv: float = 100.0,
    v_leak: float = 0.0,
    v_th: float = 1.0,
    v_reset: float = 0.0,
    rho_reset: float = 5.0,
    dt: float = 1e-3,
) -> Neuron:
    """``norse.torch.LIFRefracCell``: as :func:`norse_lif`, with membranes held after a spike; currents go on.

    Gradients do not pass the gate; those of the library do, by a surrogate of its count of steps.

    Parameters
    ----------
    tau_syn_inv, tau_mem_inv, v_leak, v_th, v_reset, dt
        As of :func:`norse_lif`; ``v_th`` must be positive.
    rho_reset : float
        Steps, rounded up.

    Raises
    ------
    DomainError
        For values outside these domains; another leak or reset potential.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.norse_lif_refrac().reset
    Reset(membrane=1.0, input=1.0, refractory=5)
    """
    held = math.ceil(positive_number("rho_reset", rho_reset))
    plain = norse_lif(tau_syn_inv, tau_mem_inv, v_leak, positive_number("v_th", v_th), v_reset, dt)
    return replace(plain, reset=Reset(membrane=1.0, input=1.0, refractory=held))
