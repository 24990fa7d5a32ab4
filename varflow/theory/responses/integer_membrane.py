r"""An integer membrane (:class:`varflow.resets.Register`) under independent currents: its finite Markov chain, exactly.

.. math:: P(v' = w \mid v) = F\left((w + \tfrac12 - \ell_v)\, θ/Θ\right) - F\left((w - \tfrac12 - \ell_v)\, θ/Θ\right)

with ``ℓ_v`` the integer that leak and reset leave of ``v``, and ``F`` the distribution of the currents, times the input scale
(and what the reset admits); the two ends of the register take the tails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import DomainError, integer
from varflow._display import Shown, Table
from varflow.model.neurons import Neuron, equal_neurons
from varflow.results.export import Exported, ReadOnly, evenly
from varflow.theory.responses.step import admitted, left_in_register, spikes

BITS = 12  # of registers whose transitions, 4^bits, are held


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IntegerMembrane(ReadOnly, Exported, Shown):
    """Distribution of an integer membrane and of its spikes, step by step.

    Attributes
    ----------
    neuron : Neuron
    integers : ndarray, shape (states,)
        All values that the register holds.
    probability : ndarray, shape (steps, states)
        Of each at the spike test.
    firing_rate : ndarray, shape (steps,)
    spike_counts : ndarray, shape (steps + 1,)
        Probability of each number of spikes in all steps together.

    Examples
    --------
    >>> import scipy.stats, varflow as vf
    >>> neuron = vf.Neuron(decay=1 - 2**-3, reset=vf.resets.Reset(membrane=1.0, register=vf.resets.Register(bits=6)))
    >>> round(vf.integer_membrane(neuron, scipy.stats.norm(0, 0.5), steps=20).firing_rate[-1].item(), 3)
    0.068
    """

    neuron: Neuron
    integers: np.ndarray
    probability: np.ndarray
    firing_rate: np.ndarray
    spike_counts: np.ndarray

    @property
    def saturation(self) -> np.ndarray:
        """Probability, at each step, that the register is at one of its ends."""
        return self.probability[:, [0, -1]].sum(axis=1)

    def _table(self) -> Table:
        rule: Any = self.neuron.reset_rule.register
        mean = self.probability @ self.integers
        std = np.sqrt(np.maximum(self.probability @ self.integers**2 - mean**2, 0))
        rows = [
            (f"{t + 1}", f"{mean[t]:.4g}", f"{std[t]:.4g}", f"{self.firing_rate[t]:.4g}", f"{self.saturation[t]:.2g}")
            for t in evenly(len(mean), 8)
        ]
        title = f"Integer membrane of {rule.bits} bits, threshold {rule.threshold}"
        return Table(title, rows, ("step", "mean", "std", "rate", "saturated"))


def integer_membrane(neuron: Neuron, currents: Any, *, steps: int) -> IntegerMembrane:
    r"""Distribution of a membrane in an integer register under independent currents, exactly.

    Parameters
    ----------
    neuron : Neuron
        Its reset has a :class:`varflow.resets.Register` of at most 12 bits; without synaptic filter.
    currents : frozen scipy.stats distribution
        Of the current of each step, before the input scale: continuous, or discrete with values that are no odd multiples of
        half a unit ``θ/Θ``.
    steps : int
        From a membrane of 0.

    Returns
    -------
    IntegerMembrane
        ``.integers .probability .firing_rate .spike_counts .saturation``.

    Raises
    ------
    DomainError
        For other neurons and currents.

    Notes
    -----
    **Assumes** independent currents. In a network they are correlated over steps, which :func:`varflow.mean_field` samples and
    :func:`varflow.simulate` draws. **Accuracy**: rounding; all paths of up to 8 steps agree within 1e-12. **Source**: derived
    here.

    Examples
    --------
    A shift rounds what is left of a membrane up, so that neurons of few bits fire more:

    >>> import scipy.stats, varflow as vf
    >>> def neuron(bits):
    ...     return vf.Neuron(decay=1 - 2**-3, reset=vf.resets.Reset(membrane=1.0, register=vf.resets.Register(bits=bits)))
    >>> [
    ...     round(vf.integer_membrane(neuron(b), scipy.stats.norm(0, 0.5), steps=20).firing_rate[-1].item(), 4)
    ...     for b in (6, 8, 12)
    ... ]
    [0.068, 0.0494, 0.042]
    """
    register: Any = equal_neurons(neuron, "vf.mean_field of a network").reset_rule.register
    if register is None or register.bits > BITS or neuron.filters:
        rule = f"must have a reset with a vf.resets.Register of at most {BITS} bits, and no synaptic filter"
        raise DomainError("neuron", neuron, rule)
    if not callable(getattr(currents, "cdf", None)):
        raise DomainError("currents", currents, "must be a frozen scipy.stats distribution, such as scipy.stats.norm(0, 1)")
    steps = integer("steps", steps, minimum=1)
    v = np.arange(-register.end, register.end, dtype=float)
    s = spikes(neuron, v / register.threshold * neuron.threshold)
    needed = (v[:-1] + 0.5 - left_in_register(neuron, v, s)[:, None]) * (neuron.threshold / register.threshold)
    transitions = _transitions(currents, needed / neuron.input_scale, np.broadcast_to(admitted(neuron, s), v.shape))
    joint = np.zeros((steps + 1, len(v)))  # of the number of spikes so far, and the membrane
    joint[0, register.end] = 1.0
    fired, probability = s > 0, np.empty((steps, len(v)))
    for t in range(steps):
        joint = joint @ transitions
        probability[t] = joint.sum(axis=0)
        joint[:, fired] = np.vstack([np.zeros(fired.sum()), joint[:-1, fired]])
    return IntegerMembrane(neuron, v.astype(int), probability, probability @ s, joint.sum(axis=1))


def _transitions(law: Any, currents: np.ndarray, entering: np.ndarray) -> np.ndarray:
    """Probabilities of the next integer for each, from the currents above which it is larger (states, states - 1)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # none enters: the next integer is what is left
        below = law.cdf(np.where(entering[:, None] > 0, currents / entering[:, None], np.sign(currents) * np.inf))
    return np.diff(below, axis=1, prepend=0.0, append=1.0)
