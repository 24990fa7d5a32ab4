"""Neurons of SpikingJelly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import DomainError, flag, integer, positive_number, probability, real_array, real_number
from varflow.model.neurons import Neuron
from varflow.model.preset_arguments import at_rest, below_one, checked, of_all_neurons, of_neurons
from varflow.model.resets import Reset


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


def spikingjelly_cubalif(
    c_decay: float = 0.5, v_decay: float = 0.75, v_threshold: float = 0.5, v_reset: float | None = 0.0
) -> Neuron:
    """``spikingjelly.activation_based.neuron.CUBALIFNode``: ``c' = α c + x``, ``H = β V + c'``, a spike at ``H ≥ θ``.

    Parameters
    ----------
    c_decay, v_decay : float
        ``α`` of the synaptic current, below 1, and ``β`` of the membrane.
    v_threshold : float or array
    v_reset : float, optional
        0: a spike sets the membrane to 0; None: it subtracts the threshold.

    Raises
    ------
    DomainError
        For values outside these domains; another ``v_reset``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.spikingjelly_cubalif()
    Neuron(threshold=0.5, decay=0.75, reset='zero', strict=False, synaptic_decay=0.5)
    """
    plain = spikingjelly_if(v_threshold, v_reset)
    return replace(plain, decay=of_neurons("v_decay", v_decay, probability), synaptic_decay=below_one("c_decay", c_decay))


def spikingjelly_klif(
    tau: float = 2.0,
    decay_input: bool = True,
    scale_reset: bool = False,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    detach_reset: bool = False,
    k: float = 1.0,
) -> Neuron:
    """``spikingjelly.activation_based.neuron.KLIFNode``: a leak as of :func:`spikingjelly_lif`, then ``H = max(k V, 0)``.

    Parameters
    ----------
    tau, decay_input, v_reset, detach_reset
        As of :func:`spikingjelly_lif`.
    scale_reset : bool
        Whether ``H`` is divided by ``k`` before the next leak.
    v_threshold : float or array
        Positive.
    k : float
        The learned factor, positive; without ``scale_reset`` at most ``1/(1 - 1/τ)``, as membranes may grow without bound.

    Raises
    ------
    DomainError
        For values outside these domains.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.spikingjelly_klif(k=1.5, v_reset=None).reset
    Reset(threshold=1.0, lowest=0.0, rectified=True)
    """
    plain, k = spikingjelly_lif(tau, decay_input, v_threshold, v_reset, detach_reset), positive_number("k", k)
    decay = plain.decay if flag("scale_reset", scale_reset) else k * plain.decay
    if np.max(decay) > 1:
        raise DomainError("k", k, f"must be at most {1 / np.max(plain.decay):g}, or membranes may grow without bound")
    rule = replace(plain.reset_rule, lowest=0.0, rectified=True)
    return replace(plain, decay=decay, input_scale=k * plain.input_scale, reset=rule)


def spikingjelly_ilif(
    tau: float = 4 / 3, v_threshold: float = 1.0, max_spike_count: int = 4, detach_reset: bool = False
) -> Neuron:
    """``spikingjelly.activation_based.neuron.ILIFNode``: ``H' = (1 - 1/τ)(H - θ S) + x``, ``S = round(H/θ)`` from 0 to a limit.

    The first spike comes at half of this threshold, which is therefore the neuron's ``threshold``.

    Parameters
    ----------
    tau : float or array
        Time constant of the membrane in steps, above 1.
    v_threshold : float
        Positive.
    max_spike_count : int
        The most spikes of one step.
    detach_reset : bool
        Whether gradients ignore the reset.

    Raises
    ------
    DomainError
        For values outside these domains.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.spikingjelly_ilif(tau=2.0)
    Neuron(threshold=0.5, decay=0.5, reset=Reset(threshold=2.0, counts=True, spacing=2.0, most=4), strict=False)
    """
    decay = spikingjelly_lif(tau, decay_input=False).decay
    half = positive_number("v_threshold", v_threshold) / 2
    rule = Reset(threshold=2.0, counts=True, spacing=2.0, most=integer("max_spike_count", max_spike_count, minimum=1))
    return Neuron(half, decay=decay, reset=rule, strict=False, detach_reset=detach_reset)


def spikingjelly_psn(weight: Any, bias: Any = -1.0) -> Neuron:
    """``spikingjelly.activation_based.neuron.PSN`` and its kin: ``H = W x + b`` over all steps, a spike at ``H ≥ 0``, no reset.

    Parameters
    ----------
    weight : array
        ``W`` over (step, step) of PSN; masked, of MaskedPSN; weights of the last ``k`` currents, the present one last, of
        SlidingPSN.
    bias : float, or array over steps
        ``b``, negative: ``-b`` is the threshold. Where it differs, rows of ``W`` are scaled to one threshold, which leaves
        spikes as they are; a surrogate then is wider, in the units of that step, where the threshold was higher.

    Raises
    ------
    DomainError
        For weights of another shape, and a bias that is not negative.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.spikingjelly_psn([0.25, 0.5, 1.0])
    Neuron(threshold=1, strict=False, kernel=<3 weights>)
    """
    W, thresholds = real_array("weight", weight), -np.ravel(real_array("bias", bias))
    if thresholds.min(initial=1.0) <= 0 or len(thresholds) not in {1, len(W) if W.ndim == 2 else 1}:
        raise DomainError("bias", bias, "must be one negative number, or one for each step of a matrix: thresholds are -bias")
    theta = float(thresholds.mean())
    kernel = W[::-1] if W.ndim == 1 else W * np.reshape(theta / thresholds, (-1, 1))
    return Neuron(theta, kernel=kernel, strict=False)


def _spikingjelly_reset(v_reset: float | None) -> str:
    if v_reset is None:
        return "subtract"
    at_rest("v_reset", v_reset, "v_threshold - v_reset")
    return "zero"
