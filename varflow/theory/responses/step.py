r"""One step of a neuron, and its derivatives: all that theory knows of the dynamics of a neuron.

.. math:: H' = \beta (1 - kS) H - \varrho a \theta S + (1 - g_S S) c, \qquad S = 1(H > \theta), \qquad
          D_t = \frac{\partial H_{t+1}}{\partial H_t} = \beta (1 - k S_t) - \psi_t\, (\beta k H_t + \varrho a \theta +
          g_S c_{t+1})

with ``ψ_t = ψ(H_t - θ)`` in place of the derivative of the spikes. A detached reset has the first term of ``D`` only. Where the
bound ``lowest`` holds, the membrane part of ``D`` is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtr

from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons
from varflow.model.resets import Reset

__all__ = ["Population", "admitted", "bounded", "membrane", "refractory", "slopes", "spikes"]


@dataclass(frozen=True, slots=True)
class Population:
    """Neurons with a threshold and a decay each: the sampling points of a layer. One number if all are equal."""

    threshold: Any
    decay: Any
    reset_rule: Reset
    strict: bool
    input_scale: float = 1.0
    synaptic_decay: float = 0.0

    @classmethod
    def of(cls, neuron: Neuron, normals: np.ndarray) -> Population:
        """Without input scale and synaptic filter. ``normals``: a row of sampling points for each parameter that differs."""
        rows = iter(ndtr(normals.astype(np.float64)))

        def drawn(parameter: float | OverNeurons) -> Any:
            return parameter.quantile(next(rows)).astype(normals.dtype) if isinstance(parameter, OverNeurons) else parameter

        return cls(drawn(neuron.threshold), drawn(neuron.decay), neuron.reset_rule, neuron.strict)

    def of_points(self, points: slice) -> Population:
        def kept(parameter: Any) -> Any:
            return parameter[..., points] if np.shape(parameter)[-1:] > (1,) else parameter

        return replace(self, threshold=kept(self.threshold), decay=kept(self.decay))


def membrane(neuron: Neuron | Population, h: np.ndarray, s: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The next membrane at the spike test, ``β (1 - kS) H - ϱ a θ S + (1 - g_S S) c`` (see :class:`varflow.resets.Reset`)."""
    rule, kept = neuron.reset_rule, neuron.decay * h
    if rule.membrane:
        kept *= _left(rule.membrane, s)
    if rule.threshold:
        kept -= (1.0 if rule.delayed else neuron.decay) * rule.threshold * neuron.threshold * s
    if rule.lowest is not None:
        kept = np.maximum(kept, neuron.decay * rule.lowest * neuron.threshold)
    kept += _left(rule.input, s) * c if rule.input else c
    return kept


def _left(fraction: float, s: np.ndarray) -> np.ndarray:
    return 1 - s if fraction == 1 else 1 - fraction * s


def admitted(neuron: Neuron | Population, s: np.ndarray) -> Any:
    """``1 - gS``: the fraction of the next current that enters after spikes ``s``."""
    return _left(neuron.reset_rule.input, s) if neuron.reset_rule.input else 1.0


def spikes(neuron: Neuron | Population, h: np.ndarray) -> np.ndarray:
    """Spikes of a membrane, in the same floating-point type."""
    if neuron.reset_rule.counts:
        return np.maximum(np.floor(h / neuron.threshold), 0.0)
    return (h > neuron.threshold if neuron.strict else h >= neuron.threshold).astype(h.dtype)


def bounded(neuron: Population, h: np.ndarray, s: np.ndarray, lowest: float) -> np.ndarray:
    """True where this bound on the next membrane holds."""
    rule = neuron.reset_rule
    return (1 - rule.membrane * s) * h - rule.threshold * neuron.threshold * s < lowest * neuron.threshold


def slopes(
    neuron: Population,
    H: np.ndarray,
    S: np.ndarray,
    c: np.ndarray,
    psi: np.ndarray,
    bound: np.ndarray | None,
    detached: bool,
) -> np.ndarray:
    """``D_t``, shape (probes, t, points)."""
    rule, beta = neuron.reset_rule, neuron.decay
    D = beta * (1 - rule.membrane * S)
    if not detached:
        D -= psi * (beta * rule.membrane * H + (1.0 if rule.delayed else beta) * rule.threshold * neuron.threshold)
    if bound is not None:
        D[bound] = 0
    if rule.input and not detached:
        D[:, :-1] -= rule.input * psi[:, :-1] * c[:, 1:]
    return D


def refractory(neuron: Neuron) -> bool:
    """True if a neuron cannot spike twice in a row: a spike removes membrane and next input, and the rest does not fire."""
    neuron = neuron.members(1)[0][1]
    gated = neuron.reset_rule.input == neuron.reset_rule.membrane == 1
    return gated and not spikes(neuron, membrane(neuron, np.zeros(1), np.ones(1), np.zeros(1))).any()
