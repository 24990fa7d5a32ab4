"""Neurons of sinabs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import DomainError, choice, flag, positive_number, real_number
from varflow.model.neurons import Neuron
from varflow.model.preset_arguments import checked, class_name, of_all_neurons, of_neurons
from varflow.model.resets import Adaptation, Reset


def sinabs_lif(
    tau_mem: float,
    tau_syn: float | None = None,
    spike_threshold: float = 1.0,
    spike_fn: Any = "MultiSpike",
    reset_fn: Any = "MembraneSubtract",
    min_v_mem: float | None = None,
    norm_input: bool = True,
) -> Neuron:
    """``sinabs.layers.LIF``: ``H' = β v + (1 - β) I``, ``v`` after the reset, ``β = exp(-1/τ)``; often several spikes a step.

    Parameters
    ----------
    tau_mem : float, or array with ``norm_input=False``
        Time constant of the membrane in steps; ``inf`` with ``norm_input=False`` is the layer ``IAF``.
    tau_syn : float, optional
        Time constant of the synaptic current, ``i' = α_s (i + I)``, ``α_s = exp(-1/τ_syn)``.
    spike_threshold : float
    spike_fn : str or class
        ``MultiSpike`` (``⌊H/θ⌋`` spikes) or ``SingleSpike`` (one, at ``H ≥ θ``), or Sinabs' class of that name; or its object
        ``MaxSpike(n)`` (at most ``n``).
    reset_fn : str or object
        ``MembraneSubtract`` (one threshold per spike) or, with single spikes, ``MembraneReset`` (to 0), or Sinabs'
        object of that class; its ``subtract_value`` may differ from the threshold.
    min_v_mem : float, optional
        Lower bound on the membrane after the reset, at most 0.
    norm_input : bool
        Whether the current is multiplied by ``1 - β``.

    Raises
    ------
    DomainError
        For values outside these domains; ``MembraneReset`` after several spikes.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.sinabs_lif(20.0, norm_input=False).reset
    'multi_spike'
    """
    single = choice("spike_fn", class_name(spike_fn), ("MultiSpike", "SingleSpike", "MaxSpike")) == "SingleSpike"
    subtract = choice("reset_fn", class_name(reset_fn), ("MembraneSubtract", "MembraneReset")) == "MembraneSubtract"
    if not (single or subtract):
        raise DomainError("reset_fn", reset_fn, "has no equivalent after several spikes a step: use spike_fn='SingleSpike'")
    perfect = isinstance(tau_mem, float) and tau_mem == math.inf  # an integrator without leak
    decay = 1.0 if perfect else np.exp(-1 / checked("tau_mem", tau_mem, positive_number))
    filtered = 0.0 if tau_syn is None else math.exp(-1 / positive_number("tau_syn", tau_syn))
    normalised = flag("norm_input", norm_input) and bool(of_all_neurons("tau_mem", tau_mem))
    scale = 1 - decay if normalised else 1.0
    if scale == 0:
        raise DomainError("tau_mem", tau_mem, "leaves no input with norm_input=True; set norm_input=False")
    threshold = of_neurons("spike_threshold", spike_threshold, positive_number)
    if getattr(reset_fn, "reset_value", 0.0) != 0:
        raise DomainError("reset_fn", reset_fn, "has no equivalent: Sinabs adds its reset_value to every neuron; use 0")
    taken = getattr(reset_fn, "subtract_value", None)
    fraction = 1.0 if taken is None else float(taken) / positive_number("spike_threshold", spike_threshold)
    lowest = None if min_v_mem is None else _lowest(min_v_mem, spike_threshold)
    reset = Reset(membrane=1.0, lowest=lowest)
    if subtract:
        most = getattr(spike_fn, "max_num_spikes_per_bin", None)
        reset = Reset(threshold=fraction, counts=not single, most=most, lowest=lowest)
    synapse: dict[str, Any] = {"input_scale": scale if tau_syn is None else scale * filtered, "synaptic_decay": filtered}
    return Neuron(threshold, decay=decay, reset=reset, strict=False, detach_reset=not subtract, **synapse)


def sinabs_alif(
    tau_mem: float,
    tau_adapt: float,
    tau_syn: float | None = None,
    adapt_scale: float = 1.8,
    spike_threshold: float = 1.0,
    spike_fn: Any = "SingleSpike",
    reset_fn: Any = "MembraneSubtract",
    min_v_mem: float | None = None,
    norm_input: bool = True,
) -> Neuron:
    """``sinabs.layers.ALIF``: as :func:`sinabs_lif`, with a threshold that spikes raise, ``θ + s b``, ``b' = ρ b + (1 - ρ) S``.

    With ``tau_syn`` and ``norm_input`` the synaptic current decays by ``(1 - β) α_s`` a step, as the library does it.

    Parameters
    ----------
    tau_mem, tau_syn, spike_threshold, reset_fn, norm_input
        As of :func:`sinabs_lif`; ``MembraneSubtract`` subtracts the raised threshold, unless it has a ``subtract_value``.
    tau_adapt : float
        Time constant of the threshold in steps, ``ρ = exp(-1/τ)``.
    adapt_scale : float
        ``s``.
    spike_fn : str or class
        ``SingleSpike``.
    min_v_mem : None
        Membranes must not be bounded.

    Raises
    ------
    DomainError
        For values outside these domains.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.sinabs_alif(20.0, 10.0).reset.adaptation.reset_moves
    True
    """
    choice("spike_fn", class_name(spike_fn), ("SingleSpike",))
    if min_v_mem is not None:
        raise DomainError("min_v_mem", min_v_mem, "is not supported with a threshold that moves")
    plain = sinabs_lif(tau_mem, tau_syn, spike_threshold, "SingleSpike", reset_fn, norm_input=norm_input)
    rho = math.exp(-1 / positive_number("tau_adapt", tau_adapt))
    jump = (1 - rho) * real_number("adapt_scale", adapt_scale) / positive_number("spike_threshold", spike_threshold)
    moves = plain.reset_rule.threshold > 0 and getattr(reset_fn, "subtract_value", None) is None
    moving = Adaptation(decay=rho, jump=jump, moves_threshold=True, reset_moves=moves, detached=True)
    # the scaled current is what the library stores, so that each step scales it again
    filtered = plain.input_scale if tau_syn is not None and norm_input else plain.synaptic_decay
    return replace(plain, synaptic_decay=filtered, reset=replace(plain.reset_rule, adaptation=moving))


def _lowest(min_v_mem: Any, spike_threshold: Any) -> float:
    """The lower bound in units of the threshold."""
    bound = real_number("min_v_mem", min_v_mem)
    if bound > 0:
        raise DomainError("min_v_mem", min_v_mem, "must not be positive: neurons start at 0")
    return bound / positive_number("spike_threshold", spike_threshold)
