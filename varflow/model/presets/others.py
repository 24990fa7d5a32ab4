"""Neurons of stork, and of papers."""

from __future__ import annotations

import math

from varflow._checks import positive_number, real_number
from varflow.model.neurons import Neuron
from varflow.model.resets import Adaptation, Reset


def se_adlif(tau_u: float, tau_w: float, a: float, b: float, q: float = 60.0, threshold: float = 1.0) -> Neuron:
    r"""adLIF in the stable (symplectic Euler) discretisation: spikes and the membrane raise a current that is taken from it.

    .. math:: H_t = \alpha u_{t-1} + (1 - \alpha)(I_t - w_{t-1}), \qquad u_t = (1 - S_t) H_t, \qquad
              w_t = \rho w_{t-1} + (1 - \rho)\, q\, (a u_t + b S_t)

    Parameters
    ----------
    tau_u, tau_w : float
        Time constants in steps, ``α = exp(-1/τ_u)`` and ``ρ = exp(-1/τ_w)``.
    a, b, q : float
        The same for all neurons; in the paper ``a`` and ``b`` differ between them, from 0 to 1 and to 2.
    threshold : float
        Positive.

    Raises
    ------
    DomainError
        For values outside these domains, and where membranes are not stable.

    Notes
    -----
    Gradients ignore the reset, as in the authors' code. **Source**: ``baronig2025``, equation 6.

    Examples
    --------
    >>> import varflow as vf
    >>> neuron = vf.neurons.se_adlif(20.0, 100.0, a=0.5, b=1.0)
    >>> round(neuron.reset.adaptation.coupling, 6)
    0.014558
    """
    alpha, rho = (math.exp(-1 / positive_number(name, tau)) for name, tau in (("tau_u", tau_u), ("tau_w", tau_w)))
    scale, theta = (1 - alpha) * (1 - rho) * real_number("q", q), positive_number("threshold", threshold)
    current = Adaptation(decay=rho, jump=scale * real_number("b", b) / theta, coupling=scale * real_number("a", a))
    return Neuron(theta, decay=alpha, input_scale=1 - alpha, reset=Reset(membrane=1.0, adaptation=current), detach_reset=True)


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
