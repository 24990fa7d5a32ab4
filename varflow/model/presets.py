"""The neurons of simulators, by their own names and parameters, as :class:`varflow.Neuron`.

Each function takes the arguments of the class it is named after and returns the neuron with the same spikes for the same
currents, from rest; arguments without an equivalent raise DomainError. What a spike does to the next membrane, and when,
differs between the libraries even where the names agree. So does whether gradients pass through the reset: snnTorch (unless
``reset_delay=False``), stork and sinabs' ``MembraneReset`` detach it.

Thresholds and decays may be arrays or distributions (see :class:`varflow.Neuron`), if the input is not scaled by them.

====================  ================================  ===========================  ==================
preset                reset                             spike at                     current
====================  ================================  ===========================  ==================
snntorch_leaky        delayed_subtract, zero, none      ``H > θ``                    as it is
snntorch_synaptic     delayed_subtract, gate, none      ``H > θ``                    filtered
spikingjelly_lif      zero, subtract                    ``H ≥ θ``                    divided by τ
spikingjelly_if       zero, subtract                    ``H ≥ θ``                    as it is
norse_lif_box         zero, subtract                    ``H > θ``                    times dt/τ
norse_lif             zero                              ``H > θ``                    filtered, dt/τ
stork_lif             gate                              ``H > θ``, 3 steps late      filtered, 1 - β
sinabs_lif            multi_spike, subtract, zero       ``⌊H/θ⌋`` or ``H ≥ θ``       times 1 - β
====================  ================================  ===========================  ==================
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import DomainError, choice, flag, positive_number, probability, real_number
from varflow._lazy import names_of
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import over_neurons
from varflow.model.preset_arguments import at_rest, below_one, checked, class_name, leak, of_all_neurons, of_neurons
from varflow.model.resets import Reset


def snntorch_leaky(beta: float, threshold: float = 1.0, reset_mechanism: str = "subtract", reset_delay: bool = True) -> Neuron:
    """``snntorch.Leaky``: ``H' = β H + I - θ S``; the reset comes one step after the spike.

    Parameters
    ----------
    beta : float or array
        Decay of the membrane, in [0, 1].
    threshold : float or array
    reset_mechanism : str
        ``subtract`` (the reset called delayed_subtract here), ``zero`` (``H' = β H (1 - S) + I``) or ``none``.
    reset_delay : bool
        False gives the same neuron for ``none`` and ``zero``. With ``subtract`` it has no equivalent: snnTorch subtracts
        again from a membrane that is still above the threshold.

    Raises
    ------
    DomainError
        For values outside these domains, and for a negative threshold, where the library resets membranes that never spiked.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.snntorch_leaky(0.9)
    Neuron(threshold=1, decay=0.9, reset='delayed_subtract')
    """
    reset = _snntorch_reset(threshold, reset_mechanism, reset_delay, at_zero="zero")
    return Neuron(threshold, decay=of_neurons("beta", beta, probability), reset=reset, detach_reset=reset_delay)


def snntorch_synaptic(
    alpha: float, beta: float, threshold: float = 1.0, reset_mechanism: str = "subtract", reset_delay: bool = True
) -> Neuron:
    """``snntorch.Synaptic``: ``i' = α i + I``, ``H' = β H + i' - θ S``.

    Parameters
    ----------
    alpha : float
        Decay of the synaptic current, in [0, 1).
    beta : float or array
        Decay of the membrane, in [0, 1].
    threshold : float or array
    reset_mechanism : str
        ``subtract`` and ``none`` as in :func:`snntorch_leaky`; ``zero`` also drops the input of the step after a spike
        (the reset called gate here), unlike ``Leaky``.
    reset_delay : bool
        As in :func:`snntorch_leaky`; False with ``zero`` keeps the input.

    Raises
    ------
    DomainError
        As :func:`snntorch_leaky`.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.snntorch_synaptic(0.8, 0.9, reset_mechanism="zero")
    Neuron(threshold=1, decay=0.9, reset='gate', synaptic_decay=0.8, detach_reset=True)
    """
    reset = _snntorch_reset(threshold, reset_mechanism, reset_delay, at_zero="gate")
    decay = of_neurons("beta", beta, probability)
    return Neuron(threshold, decay=decay, reset=reset, synaptic_decay=below_one("alpha", alpha), detach_reset=reset_delay)


def _snntorch_reset(threshold: float, reset_mechanism: str, reset_delay: bool, at_zero: str) -> str:
    choice("reset_mechanism", reset_mechanism, ("subtract", "zero", "none"))
    if reset_mechanism == "none":
        return "none"
    if not over_neurons(threshold) and np.min(checked("threshold", threshold, real_number)) < 0:
        raise DomainError("threshold", threshold, "must not be negative: snnTorch then resets a membrane at rest")
    if flag("reset_delay", reset_delay):
        return {"subtract": "delayed_subtract", "zero": at_zero}[reset_mechanism]
    if reset_mechanism == "subtract":
        rule = (
            "has no equivalent for reset_mechanism='subtract': snnTorch then subtracts again from a membrane that stays above "
            "the threshold; vf.Neuron(threshold, decay=beta, reset='subtract') is the plain reset at the spike"
        )
        raise DomainError("reset_delay", reset_delay, rule)
    return "zero"


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
        ``MultiSpike`` (``⌊H/θ⌋`` spikes) or ``SingleSpike`` (one, at ``H ≥ θ``), or Sinabs' class of that name.
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
    single = choice("spike_fn", class_name(spike_fn), ("MultiSpike", "SingleSpike")) == "SingleSpike"
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
    reset = Reset(threshold=fraction, counts=not single, lowest=lowest) if subtract else Reset(membrane=1.0, lowest=lowest)
    synapse: dict[str, Any] = {"input_scale": scale if tau_syn is None else scale * filtered, "synaptic_decay": filtered}
    return Neuron(threshold, decay=decay, reset=reset, strict=False, detach_reset=not subtract, **synapse)


def _lowest(min_v_mem: Any, spike_threshold: Any) -> float:
    """The lower bound in units of the threshold."""
    bound = real_number("min_v_mem", min_v_mem)
    if bound > 0:
        raise DomainError("min_v_mem", min_v_mem, "must not be positive: neurons start at 0")
    return bound / positive_number("spike_threshold", spike_threshold)


__all__ = names_of(globals())  # pyright: ignore[reportUnsupportedDunderAll]
