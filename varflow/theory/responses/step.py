r"""One step of a neuron, its derivatives, and those of spikes by currents through time: back-propagation at sampled currents.

.. math:: H' = \beta (1 - kS) H - \varrho a \theta S + (1 - g_S S) c, \qquad S = 1(H > \theta), \qquad
          D_t = \frac{\partial H_{t+1}}{\partial H_t} = \beta (1 - k S_t) - \psi_t\, (\beta k H_t + \varrho a \theta +
          g_S c_{t+1})

with ``ψ_t = ψ(H_t - θ)`` in place of the derivative of the spikes. A detached reset has the first term of ``D`` only. Where the
bound ``lowest`` holds, the membrane part of ``D`` is 0. An adaptation makes ``D`` a matrix, of ``(H, w)``. Through time

.. math:: J_{ts} = \frac{\partial S_t}{\partial c_s} = \psi_t\, D_{t-1} \cdots D_s\, (1 - g_S S_{s-1})

and with a synaptic filter ``c_t = α_s c_{t-1} + λ I_t`` also ``∂S_t/∂I_s = λ J_ts + α_s ∂S_t/∂I_{s+1}``.

Trajectories under given currents are stepped one by one; layer 1 under them has a state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

from varflow.model.drive_kinds import Given
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import SAMPLE, OverNeurons
from varflow.model.resets import ROUNDED, Reset
from varflow.model.surrogate import Surrogate
from varflow.theory.responses.filters import synapse
from varflow.theory.responses.layer_state import LayerState, mixed

NUMBERS = 2**19  # of a Jacobian at a block of points: it then stays in the cache


@dataclass(frozen=True, slots=True)
class Population:
    """Neurons with a threshold and a decay each: the sampling points of a layer. One number if all are equal. ``filter``: the
    neuron whose synapse it is, where that is no exponential.
    """

    threshold: Any
    decay: Any
    reset_rule: Reset
    strict: bool
    input_scale: float = 1.0
    synaptic_decay: float = 0.0
    filter: Neuron | None = None

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


class NeuronState(NamedTuple):
    """Membranes at the spike test, spikes, and adaptation of neurons, or steps for which they are still held; at rest all 0."""

    h: np.ndarray
    s: np.ndarray
    w: Any = 0.0


def step(neuron: Neuron | Population, state: NeuronState, c: np.ndarray) -> NeuronState:
    """The state after one more current ``c``."""
    rule, adaptation = neuron.reset_rule, neuron.reset_rule.adaptation
    h, w = membrane(neuron, state.h, gate(neuron, state), c), state.w
    if adaptation is not None:
        subtracted = (0.0 if rule.delayed else rule.threshold) * neuron.threshold * state.s
        remaining = (1 - rule.membrane * state.s) * state.h - subtracted
        w = adaptation.decay * w + adaptation.jump * neuron.threshold * state.s + adaptation.coupling * remaining
        h = h - w
        if adaptation.moves_threshold:
            h = h + neuron.decay * _moved(neuron, state.s) * state.w
    s = spikes(neuron, h)
    if rule.refractory:
        w = np.where(s > 0, rule.refractory, np.maximum(w - 1, 0)).astype(h.dtype)
    return NeuronState(h, s, w)


def gate(neuron: Neuron | Population, state: NeuronState) -> np.ndarray:
    """Spikes to which the reset of the next step belongs; 1 as long as a neuron is refractory."""
    return np.sign(np.broadcast_to(state.w, state.s.shape)) if neuron.reset_rule.refractory else state.s


def _moved(neuron: Neuron | Population, s: np.ndarray) -> np.ndarray:
    """The fraction of the threshold's moving part that the reset leaves in the membrane, as ``membrane = H + w``."""
    rule = neuron.reset_rule
    subtracted = rule.threshold if rule.adaptation is not None and rule.adaptation.reset_moves else 0.0
    return 1 - (rule.membrane + subtracted) * s


def membrane(neuron: Neuron | Population, h: np.ndarray, s: np.ndarray, c: Any) -> np.ndarray:
    """The next membrane at the spike test, ``β (1 - kS) H - ϱ a θ S + (1 - g_S S) c`` (see :class:`varflow.resets.Reset`)."""
    rule = neuron.reset_rule
    if (register := rule.register) is not None:
        unit = neuron.threshold / register.threshold
        integers = np.rint(left_in_register(neuron, np.rint(h / unit), s) + admitted(neuron, s) * c / unit)
        # in this order the threshold's own integer becomes exactly the threshold
        return integers.clip(-register.end, register.end - 1) / register.threshold * neuron.threshold
    left = neuron.decay * h
    if rule.membrane:
        left *= _left(rule.membrane, s)
    if rule.threshold:
        left -= (1.0 if rule.delayed else neuron.decay) * rule.threshold * neuron.threshold * s
    if rule.lowest is not None:
        left = np.maximum(left, neuron.decay * rule.lowest * neuron.threshold)
    left += _left(rule.input, s) * c if rule.input else c
    return left


def left_in_register(neuron: Neuron | Population, v: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Integers that leak, which is rounded, and reset leave of ``v``."""
    rule, register = neuron.reset_rule, neuron.reset_rule.register
    late = rule.threshold if rule.delayed else 0.0  # subtracted after the leak
    before = replace(rule, register=None, threshold=rule.threshold - late, delayed=False)
    left = membrane(Population(register.threshold, neuron.decay, before, neuron.strict), v, s, 0.0)  # pyright: ignore
    return getattr(np, ROUNDED[register.rounding])(left) - late * register.threshold * s  # pyright: ignore


def _left(fraction: float, s: np.ndarray) -> np.ndarray:
    return 1 - s if fraction == 1 else 1 - fraction * s


def admitted(neuron: Neuron | Population, s: np.ndarray) -> Any:
    """``1 - gS``: the fraction of the next current that enters after spikes ``s``."""
    return _left(neuron.reset_rule.input, s) if neuron.reset_rule.input else 1.0


def spikes(neuron: Neuron | Population, h: np.ndarray) -> np.ndarray:
    """Spikes of a membrane, in the same floating-point type."""
    if neuron.reset_rule.counts:
        return np.clip(np.floor(levels(neuron, h)), 0.0, neuron.reset_rule.most)
    return (h > neuron.threshold if neuron.strict else h >= neuron.threshold).astype(h.dtype)


def levels(neuron: Neuron | Population, h: np.ndarray) -> np.ndarray:
    """Membranes in units in which a neuron that counts spikes ``k`` times from ``k`` on."""
    spacing = neuron.reset_rule.spacing
    return h / neuron.threshold if spacing == 1 else (h / neuron.threshold - 1) / spacing + 1


def slopes(neuron: Population, H: np.ndarray, S: np.ndarray, c: np.ndarray, psi: np.ndarray, detached: bool) -> np.ndarray:
    """``D_t``, shape (sequences, t, points)."""
    rule, beta, theta = neuron.reset_rule, neuron.decay, neuron.threshold
    D = beta * (1 - rule.membrane * S)
    if not detached:
        D -= psi * (beta * rule.membrane * H + (1.0 if rule.delayed else beta) * rule.threshold * theta)
    if rule.lowest is not None:  # 0 where this bound on the next membrane holds
        D[(1 - rule.membrane * S) * H - rule.threshold * theta * S < rule.lowest * theta] = 0
    if rule.input and not detached:
        D[:, :-1] -= rule.input * psi[:, :-1] * c[:, 1:]
    return D


def adapting_slopes(
    neuron: Population, H: np.ndarray, S: np.ndarray, W: np.ndarray, D: np.ndarray, psi: np.ndarray, detached: bool
) -> tuple[np.ndarray, ...]:
    """``∂H'/∂H``, of which ``D`` is the part without adaptation, ``∂w'/∂H``, ``∂H'/∂w`` and ``∂w'/∂w``, shapes as of ``D``."""
    rule, left = neuron.reset_rule, _moved(neuron, S)
    of: Any = rule.adaptation
    remaining = 1 - rule.membrane * S
    raised = of.jump * neuron.threshold * psi  # by the spike
    reset = D - neuron.decay * remaining
    if not detached:
        raised -= of.coupling * psi * (rule.membrane * H + (0.0 if rule.delayed else rule.threshold) * neuron.threshold)
        reset += of.moves_threshold * neuron.decay * psi * (_moved(neuron, np.ones_like(S)) - 1) * W
    by_spike = reset - raised
    by_h = neuron.decay * remaining - of.coupling * remaining + by_spike
    by_w = of.moves_threshold * neuron.decay * left - of.decay + of.detached * by_spike
    return by_h, of.coupling * remaining + raised, by_w, of.decay + of.detached * raised


def held_steps(neuron: Neuron) -> int:
    """Steps after a spike without another: where it removes membrane and next input, and the rest does not fire."""
    neuron = neuron.members(1)[0][1]
    gated = neuron.reset_rule.input == neuron.reset_rule.membrane == 1
    silent = gated and not spikes(neuron, membrane(neuron, np.zeros(1), np.ones(1), np.zeros(1))).any()
    return max(neuron.reset_rule.refractory, 1) if silent else 0


# Through time.


def jacobians(
    neuron: Population, currents: np.ndarray, surrogate: Surrogate, *, detached: bool
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """``∂S_t/∂I_s`` (sequences, t, s, points) and ``λ ψ`` (sequences, t, points) at currents ``c`` (sequences, t, points) past
    the synapse, block by block of points: which, first.
    """
    steps, points = currents.shape[-2:]
    size = max(NUMBERS // (len(currents) * steps**2), 1)
    for part in (slice(start, start + size) for start in range(0, points, size)):
        yield part, *_jacobian(neuron.of_points(part), currents[..., part], surrogate, detached)


def with_input(neuron: Neuron, population: Population) -> Population:
    """Neurons with the input scale and synapse, which sampled currents have passed and gradients have not."""
    longer = neuron if neuron.longer_filter else None
    decay = 0.0 if longer else neuron.synaptic_decay
    return replace(population, input_scale=neuron.input_scale, synaptic_decay=decay, filter=longer)


def _jacobian(neuron: Population, c: np.ndarray, surrogate: Surrogate, detached: bool) -> tuple[np.ndarray, np.ndarray]:
    sequences, steps, points = c.shape
    rule = neuron.reset_rule
    H, S, W = np.empty_like(c), np.empty_like(c), np.empty_like(c) if rule.lasting else c
    state = NeuronState(np.zeros_like(c[:, 0]), np.zeros_like(c[:, 0]))
    for t in range(steps):
        state = step(neuron, state, c[:, t])
        H[:, t], S[:, t] = state.h, state.s
        if rule.lasting:
            W[:, t] = state.w
    psi = surrogate(H - neuron.threshold)
    if rule.rectified:
        psi = np.where(rule.lowest * neuron.threshold > H, 0.0, psi)
    D, admitting = slopes(neuron, H, S, c, psi, detached), S
    if rule.refractory:  # gradients pass the membrane that is held
        psi[:, 1:] *= W[:, :-1] == 0
        D, admitting = np.where(W > 0, 1.0, neuron.decay) * (1 - S - (0.0 if detached else psi * H)), np.sign(W)
    J = np.zeros((sequences, steps, steps, points), c.dtype)
    below = np.zeros((sequences, steps, points), c.dtype)  # ∂S_t/∂H_s for all t ≥ s
    adapting = adapting_slopes(neuron, H, S, W, D, psi, detached) if rule.adaptation else ()
    beside = np.zeros_like(below) if adapting else below  # ∂S_t/∂w_s
    for s in range(steps - 1, -1, -1):
        later = np.s_[:, s + 1 :]
        if adapting and s < steps - 1:
            h_by_h, w_by_h, h_by_w, w_by_w = (slope[:, s, None] for slope in adapting)
            by_h = h_by_h * below[later] + w_by_h * beside[later]
            below[later], beside[later] = by_h, h_by_w * below[later] + w_by_w * beside[later]
        elif s < steps - 1:
            below[later] *= D[:, s, None]
        below[:, s] = psi[:, s]
        if rule.adaptation and rule.adaptation.detached:
            beside[:, s] = psi[:, s]
        entering = np.asarray(admitted(neuron, admitting[:, s - 1]) if s else 1.0, c.dtype)
        J[:, s:, s] = below[:, s:] * (neuron.input_scale * (entering[:, None] if entering.ndim else entering))
        if neuron.synaptic_decay and s < steps - 1:
            J[:, s + 1 :, s] += neuron.synaptic_decay * J[:, s + 1 :, s + 1]
    if neuron.filter is not None:
        K = synapse(neuron.filter, steps).astype(c.dtype)
        J, psi = K.T @ J, np.diagonal(K)[:, None] * psi
    return J, neuron.input_scale * psi


def carried_back_alone(J: np.ndarray, gradient: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
    r"""``Σ_points J_pᵀ G_p K_p`` for each sequence, (sequences, steps, steps) as ``gradient``. ``K``: the other, or ``J``."""
    K, (sequences, steps) = J if other is None else other, J.shape[:2]
    unit = np.abs(gradient).max(axis=(1, 2), keepdims=True)  # single precision
    G = np.divide(gradient, unit, out=np.zeros_like(gradient), where=unit > 0).astype(J.dtype)
    weighted = (G @ K.reshape(sequences, steps, -1)).reshape(K.shape)  # (sequences, t, s', points)
    return unit * np.matmul(J, weighted.swapaxes(-1, -2)).sum(axis=1, dtype=float)


def carried_back(J: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    r"""``Σ_points J_pᵀ G_pq J_q`` for all pairs of sequences: shape of ``gradient``, (sequences × steps, sequences × steps)."""
    sequences, steps, _, points = J.shape
    unit = float(np.abs(gradient).max()) or 1.0  # single precision
    G = (gradient / unit).reshape(sequences, steps, sequences, steps).astype(J.dtype)
    back = np.zeros((sequences, steps, sequences, steps))
    for q in range(sequences):
        columns = J[q].reshape(steps, -1)
        for p in np.flatnonzero(G[: q + 1, :, q].any(axis=(1, 2))).tolist():
            weighted = (G[p, :, q] @ columns).reshape(steps, steps, points)  # (t, s', points)
            block = np.matmul(J[p], weighted.swapaxes(1, 2)).sum(axis=0, dtype=float)
            back[p, :, q], back[q, :, p] = block, block.T
    return unit * back.reshape(gradient.shape)


MEMBERS = 12  # values of a distribution over neurons in deterministic averages


def averaging_error(neuron: Neuron, replicas: int = 1) -> float:
    """Error of rates averaged by a Gauss rule over arrays of thresholds or decays; 0 where all their values are used.

    It is the same in all ``replicas``, whose mean has it too, and is given as if it were one of each.
    """
    arrays = (of for of in (neuron.threshold, neuron.decay) if isinstance(of, OverNeurons) and of.name == SAMPLE)
    # 1e-5: largest error measured; see vf.mean_field
    return 1e-5 * replicas**0.5 if any(len(array.rule()[0]) > MEMBERS for array in arrays) else 0.0


def driven_by(drive: Given, neuron: Neuron) -> LayerState:
    """The state of layer 1, averaged over its neurons; sample variance (ddof = 1), as in a simulation."""
    if neuron.heterogeneous:
        return mixed([(weight, driven_by(drive, member)) for weight, member in neuron.members(MEMBERS)])
    H, S = stepped(neuron, drive.currents)
    width = H.shape[-1]
    variance = H.var(axis=-1, ddof=1) if width > 1 else np.zeros(H.shape[:-1])  # the same current in all neurons
    second_moments = S @ S.swapaxes(-1, -2) / width
    return LayerState(variance[None], H.mean(axis=-1)[None], S.mean(axis=-1)[None], second_moments[None])


def stepped(neuron: Neuron | Population, currents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Membranes at the spike test and spikes, from currents of shape (…, steps, width)."""
    H, S = np.empty(currents.shape), np.empty(currents.shape)
    decay = neuron.synaptic_decay
    if isinstance(neuron, Neuron) and neuron.longer_filter:
        currents, decay = synapse(neuron, currents.shape[-2]) @ currents, 0.0
    i = rest = np.zeros(currents[..., 0, :].shape)
    state = NeuronState(rest, rest)
    for t in range(currents.shape[-2]):
        i = decay * i + currents[..., t, :]
        state = step(neuron, state, neuron.input_scale * i)
        H[..., t, :], S[..., t, :] = state.h, state.s
    return H, S
