"""Neurons of snnTorch."""

from __future__ import annotations

import math

import numpy as np

from varflow._checks import DomainError, choice, flag, positive_number, probability, real_number
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import over_neurons
from varflow.model.preset_arguments import below_one, checked, of_neurons
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


def snntorch_lapicque(
    beta: float | None = None,
    R: float | None = None,
    C: float | None = None,
    time_step: float = 1.0,
    threshold: float = 1.0,
    reset_mechanism: str = "subtract",
) -> Neuron:
    """``snntorch.Lapicque``: ``H' = (1 - Δt/RC) H + (Δt/C) I - θ S``.

    Parameters
    ----------
    beta, R, C : float
        ``R`` and ``C``, or ``beta`` with one of them, or alone with ``R = 1``: ``RC = Δt/ln(1/β)``.
    time_step : float
        ``Δt``, at most ``RC``.
    threshold, reset_mechanism
        As of :func:`snntorch_leaky`; ``zero`` also drops the input of the step after a spike (the reset called gate here).

    Raises
    ------
    DomainError
        As :func:`snntorch_leaky`, and without ``beta`` or both of ``R`` and ``C``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.snntorch_lapicque(R=5.0, C=2.0)
    Neuron(threshold=1, decay=0.9, input_scale=0.5, reset='delayed_subtract')
    """
    dt = positive_number("time_step", time_step)
    given = {name: positive_number(name, value) for name, value in {"R": R, "C": C}.items() if value is not None}
    if beta is None and len(given) < 2:
        raise DomainError("beta", beta, "must be given, or both R and C")
    product = given["R"] * given["C"] if len(given) == 2 else -dt / math.log(probability("beta", beta, open_ends=True))
    if product < dt:
        raise DomainError("time_step", dt, f"must be at most RC, {product:g}")
    capacity = given.get("C", product / given.get("R", 1.0))
    reset = _snntorch_reset(threshold, reset_mechanism, True, at_zero="gate")
    return Neuron(threshold, decay=1 - dt / product, input_scale=dt / capacity, reset=reset, detach_reset=True)


def snntorch_leaky_parallel(beta: float, threshold: float = 1.0) -> Neuron:
    """``snntorch.LeakyParallel`` behind its weights: ``H = max(β H + I, 0)``, without reset.

    Parameters
    ----------
    beta : float or array
        Decay of the membrane, in [0, 1].
    threshold : float or array
        Positive.

    Raises
    ------
    DomainError
        For values outside these domains.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.neurons.snntorch_leaky_parallel(0.9)
    Neuron(threshold=1, decay=0.9, reset=Reset(lowest=0.0, rectified=True))
    """
    return Neuron(threshold, decay=of_neurons("beta", beta, probability), reset=Reset(lowest=0.0, rectified=True))


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
