"""Neurons of papers that no library has."""

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
