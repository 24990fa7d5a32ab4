r"""Gradients of every layer and step of a network, from the readout back to the first layer.

For infinitely many steps, with a leak ``D = β`` through which alone gradients pass from step to step, the layer map acts on a
stationary ``G(τ) = E[δ_t δ_{t+τ}]`` as a linear operator; the growth per layer is the top of its spectrum,

.. math:: \Lambda\, G(\tau) = \frac{\lambda^2 g^2}{1 - \beta^2} \sum_\sigma \beta^{|\tau - \sigma|} K_\psi(\sigma)\, G(\sigma),
          \qquad K_\psi(\sigma) = E[\psi_t \psi_{t+\sigma}]

either an eigenvalue or, for ``G`` spread over long times, ``λ² g² K_ψ(∞)/(1 - β)²``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from varflow._checks import choice, flag, instance
from varflow._progress import Progress, Report, beyond, check_progress, reporter, unreported
from varflow.model.graph import covered, wrong_return
from varflow.model.layers import Sum
from varflow.model.network import Network
from varflow.model.surrogate import Surrogate
from varflow.model.surrogates import surrogate_of
from varflow.results import GradientFlow
from varflow.theory.operations.visit import Effort, Visit, WayBack
from varflow.theory.responses.back_propagation import Slopes, fluctuations, scattered
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.neurons import Responses
from varflow.theory.signals.gradients import Gradients
from varflow.theory.signals.gradients import readout as readout_of
from varflow.theory.signals.places import aligned, standard_error
from varflow.theory.walks.signals import Blocks, signals_walk

READOUTS = ("shared", "independent")
POINTS = 2**12


def gradients_walk(visits: Sequence[Visit], readouts: Mapping[int, Gradients | None], way: WayBack) -> None:
    """Gradients back through these nodes, from those by what some of them send; kept in ``way``.

    Gradients that meet are added, since they come through different weights; below what is not known, none is known.
    """
    arrived: dict[int, list[Gradients | None]] = {number: [gradients] for number, gradients in readouts.items()}
    for visit in reversed(visits):
        if visit.node_number not in arrived:
            continue
        gradients = reduce(_sum, arrived.pop(visit.node_number))
        for source, returned in zip(visit.node.inputs, _returned(visit, gradients, way), strict=True):
            arrived.setdefault(source, []).append(returned)


def _sum(one: Gradients | None, other: Gradients | None) -> Gradients | None:
    return None if one is None or other is None else one + other


def _returned(visit: Visit, gradients: Gradients | None, way: WayBack) -> Sequence[Gradients | None]:
    """Gradients by all that a node receives; None if theory does not know them."""
    unknown = [None] * len(visit.node.inputs)
    needed = not isinstance(visit.node.operation, Sum)  # the derivative of a sum does not depend on what is added
    if gradients is None or (needed and visit.sent is None and any(each is None for each in visit.received)):
        return unknown
    found = visit.passed("backward", way.gaps, gradients, visit, way)
    if visit.node_number in (way.gaps or ()):
        return unknown
    if not isinstance(found, (list, tuple)) or len(found) != len(unknown):
        several = (
            "the gradients by what it received"
            if len(unknown) == 1
            else f"{len(unknown)} gradients, by each signal that it received"
        )
        raise wrong_return("backward", visit.node, found, f"a list of {several}")
    return found


def gradient_flow(
    network: Network,
    surrogate: Any = "atan",
    *,
    detach_reset: bool | None = None,
    readout: str = "shared",
    points: int = POINTS,
    scrambles: int = 8,
    seed: int = 0,
    progress: Progress = False,
) -> GradientFlow:
    r"""Energy of surrogate gradients in every layer and step at infinite width, through depth and time.

    With ``e_t = ∂L/∂S_t``, ``δ_t = ∂L/∂I_t`` and the Jacobian ``J_ts = ∂S_t/∂I_s`` of a neuron through its leak and reset,

    .. math:: G^\delta_l(s, s') = \sum_{t \ge s,\, t' \ge s'} \mathrm{E}[J_{ts} J_{t's'}]\, G^e_l(t, t'), \qquad
              G^e_l = g^2\, \frac{n_{l+1}}{n_l}\, G^\delta_{l+1}

    and ``J`` follows from the membrane of :class:`varflow.resets.Reset`, ``ψ_t = ψ(H_t - θ)``:

    .. math:: J_{ts} = \lambda\, \psi_t\, D_{t-1} \cdots D_s\, (1 - g_S S_{s-1}), \qquad
              D_t = \beta (1 - k S_t) - \psi_t\, (\beta k H_t + \varrho a \theta + g_S c_{t+1})

    with ``g_S`` the fraction of input that a spike blocks. The second term of ``D`` is absent where the reset is detached.

    Parameters
    ----------
    network : Network
        A plain chain, or any layers of ``vf.layers``; a max pool must receive spikes, or sums of spikes.
    surrogate : str, Surrogate or callable
        ``ψ``: one of ``vf.surrogates``, the name of one, or a function of ``H - θ``.
    detach_reset : bool, optional
        Whether gradients ignore resets, in all layers; by default as each neuron says (``Neuron.detach_reset``).
    readout : str
        The loss is ``Σ_t v_t·x_t`` with ``x`` what the last layer sends and random ``v``: ``shared``, the same at all steps, or
        ``independent``. Those of different inputs are independent.
    points, scrambles, seed : int
        Of quasi-Monte Carlo, as in :func:`varflow.mean_field`, by default 2¹² points; on large maps at most 2¹⁰ per position.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in layers, forward and backward.

    Returns
    -------
    GradientFlow

    Raises
    ------
    DomainError
        For values outside their domain, a surrogate whose values are not finite, and layers that are not covered: products and
        pools just below a maximum, more than 2048 positions × steps with a BatchNorm over the batch, and what
        :func:`varflow.mean_field` refuses.

    Notes
    -----
    **Assumes** infinite width, where gradients are independent of the forward weights, and a readout of mean 0 that is
    independent of the network. Batch normalisation subtracts a mean of gradients over the batch and their component along the
    activity, and variances of channels differ; all this vanishes for infinitely many inputs with independent losses, and is
    taken to the first order in 1/N for given ones, N inputs × positions × steps (eight inputs: energies within 4 %). Maps of
    more than 400 positions × steps are followed position by position, except with a BatchNorm over the batch; pools alone give
    different positions correlated gradients, which are followed for every two of them.
    ``tests/theory/maps/test_pools_on_large_maps.py``: within 1.4 % and the numerical error of all positions together, on
    16 × 16 maps within 5 % and the standard error of real networks.
    **Accuracy**: ``error``, numerically. 16 networks of 20 layers, width 1000, 8 steps (snnTorch's neuron, β = 0.5, g² = 8)
    grew by 1.226 ± 0.006 per layer under autograd, here 1.228; layers 30 to 50, at the forward fixed point of β = 0.9 and
    g² = 6.303, by 1.179 ± 0.002 (160 networks), here 1.178. Gradients of one network scatter about the mean as a log-normal
    variable, with a variance of order depth/width: ``spread``. One step: to the first order in 1/width, with the fluctuation of
    spike counts; variances of 300 to 800 networks of width 1000 to 4000 were within 10 % and the sampling error, but 4 to 7
    times as large at width 2000 and 0.7 % above the critical gain, where networks begin to die. In time without that
    fluctuation, 5 % too large to 15 % too small (five neurons of 8 steps, 400 networks of 12 layers and width 300 each), and
    ``typical_growth`` within 1 %. ``tests/theory/walks/test_gradient_flow.py``
    compares every reset and layer.
    **Source**: derived here; one step: ``schoenholz2017``, with shortcuts ``yang2017``, quantised ``blumenfeld2019``; recurrent
    networks: ``chen2018``, ``gilboa2019``; detached resets: ``zenke2021``; log-normal scatter: ``hanin2020``.

    Examples
    --------
    >>> import varflow as vf
    >>> neuron = vf.neurons.snntorch_leaky(0.5)
    >>> network = vf.Network(width=1000, depth=20, gain=8**0.5, neuron=neuron, steps=8)
    >>> flow = vf.gradient_flow(network, "atan")
    >>> print(f"{flow.growth:.2f} {flow.instantaneous[-1]:.2f}")
    1.23 0.89
    """
    kind, psi = choice("readout", readout, READOUTS), surrogate_of(surrogate)
    detached = None if detach_reset is None else flag("detach_reset", detach_reset)
    check_progress(progress)
    responses, depth = Responses(points, scrambles, seed), instance("network", network, Network).depth
    blocks = Blocks.of(network, Effort(responses))
    with reporter(progress, 2 * depth * len(blocks), "layers") as report:
        solved = ForwardPass.of(blocks, report)
        return solved.gradients(psi, kind, detached, beyond(report, depth * len(blocks)))


@dataclass(frozen=True, slots=True, eq=False)
class ForwardPass:
    """A walk for each block of inputs of a network, from which gradients of any surrogate follow."""

    network: Network
    visits: list[list[Visit]]

    @classmethod
    def of(cls, blocks: Blocks, report: Report = unreported) -> ForwardPass:
        visits, network = [], blocks.network
        covered(blocks.graph.behind_last, "backward")
        for n, (start, batching) in enumerate(blocks):
            walk = blocks.walk(batching, beyond(report, n * network.depth), record=lambda *_: None)
            visits.append(signals_walk(blocks.graph, start, walk, keep=True))
        return cls(network, visits)

    @property
    def states(self) -> list[LayerState]:
        """The state of every layer of neurons, for each block."""
        return [visit.kept["state"] for visits in self.visits for visit in visits if "state" in visit.kept]

    def gradients(
        self,
        surrogate: Surrogate,
        readout: str = "shared",
        detached: bool | None = None,
        report: Report = unreported,
        *,
        scatter: bool = True,
    ) -> GradientFlow:
        """The flow of gradients back through the network; without ``scatter`` in half the time."""
        ways = []
        for n, visits in enumerate(self.visits):
            told = beyond(report, n * self.network.depth)
            way = WayBack(visits[-1].walk, lambda _: surrogate, detached, scatter=scatter, report=told)
            gradients_walk(visits, {visits[-1].node_number: readout_of(visits[-1].sent, readout, same_for_inputs=False)}, way)
            ways.append(way)
        return _described(self.network, ways, surrogate, readout, detached)


def _described(
    network: Network, ways: list[WayBack], surrogate: Surrogate, readout: str, detached: bool | None
) -> GradientFlow:
    """Means over inputs and replicas, the first layer first."""
    blocks = [[gradients.over_steps for gradients, _ in reversed(way.layers.values())] for way in ways]
    moments = _of_layers(blocks)  # (replicas, depth, steps, steps)
    energy = np.diagonal(moments, axis1=-2, axis2=-1)
    norms = [[np.diagonal(norm, axis1=-2, axis2=-1).mean(axis=-1) for norm in reversed(way.weights)] for way in ways]
    energy, weights = aligned(energy, _of_layers(norms) if norms[0] else energy[:, :0, 0])
    replicas = {"energy": energy, "growth": _growth(energy.sum(axis=-1)), "weight_norms": weights}
    measured = {name: values for name, values in replicas.items() if values is not None}
    error = {name: standard_error(values) for name, values in measured.items()} if len(energy) > 1 else {}
    return GradientFlow(
        network,
        str(surrogate),
        readout,
        energy.mean(axis=0),
        moments.mean(axis=0),
        growth=_number(_growth(energy.mean(axis=0).sum(axis=-1))),
        weight_norms=weights.mean(axis=0),
        error=error,
        **(_of_chain(network, ways, surrogate, energy, detached) if network.layers is None else {}),
    )


def _of_layers(blocks: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Means over inputs of all layers, from those of every block of inputs; shape (replicas, layers, …)."""
    return np.stack(aligned(*(_over_inputs(layer) for layer in zip(*blocks, strict=True))), axis=1)


def _over_inputs(groups: tuple[np.ndarray, ...]) -> np.ndarray:
    """Mean over the groups of all blocks, for each replica."""
    return np.concatenate(aligned(*groups), axis=1).mean(axis=1)


def _number(value: np.ndarray | None) -> float | None:
    return None if value is None else float(value)


def _growth(total: np.ndarray) -> np.ndarray | None:
    """Mean factor per layer towards the first, from energies (…, depth)."""
    first, last, depth = total[..., 0], total[..., -1], total.shape[-1]
    if depth == 1 or not np.all(last > 0):
        return None
    return (first / last) ** (1 / (depth - 1))


def _of_chain(
    network: Network, ways: list[WayBack], surrogate: Surrogate, energy: np.ndarray, detached: bool | None
) -> dict[str, Any]:
    """Answers for plain chains only: growth of infinitely many layers or steps, and the scatter between networks."""
    slopes = [[slopes for _, slopes in reversed(way.layers.values()) if slopes is not None] for way in ways]
    second = np.stack([_over_inputs(tuple(s.second for s in layer)).mean(axis=0) for layer in zip(*slopes, strict=True)])
    diagonal = np.diagonal(second, axis1=-2, axis2=-1).reshape(network.depth, -1, network.steps).mean(axis=1)
    squared = (network.gains[1:] ** 2) * network.widths[1:] / network.widths[:-1]
    answers: dict[str, Any] = {"instantaneous": squared * diagonal[:-1].max(axis=-1)}
    neuron = network.neuron
    rule, attached = neuron.reset_rule, not (neuron.reset_detached if detached is None else detached)
    bounded = rule.lowest is not None or rule.adaptation is not None
    leak_only = rule.membrane == rule.input == 0 and not bounded and not (attached and rule.threshold)
    if (
        leak_only
        and network.steps >= FEWEST_STEPS
        and network.depth > 1
        and isinstance(neuron.decay, float)
        and not neuron.filters
    ):
        answers["long_time_rate"] = long_time_rate(neuron.decay, float(squared[-1]) * second[-1])
    variance, mean = _scatter(network, surrogate, slopes)
    if np.isfinite(variance).all() and len(variance):
        answers["spread"] = np.sqrt(variance)
        answers["typical"] = energy.mean(axis=0).sum(axis=-1) * np.exp(mean)
        answers["typical_growth"] = _number(_growth(answers["typical"]))
    return answers


def _scatter(network: Network, surrogate: Surrogate, slopes: list[list[Slopes]]) -> tuple[np.ndarray, np.ndarray]:
    """Variance of ``ln‖δ‖²`` between networks for each layer, and its mean less the logarithm at infinite width; or nothing."""
    layers = list(zip(*slopes, strict=True))
    if network.steps == 1 and all(s.potentials for layer in layers for s in layer):
        constant = (network.neuron.input_scale * network.bias_std) ** 2
        potentials = (np.concatenate([np.reshape(s.potentials, (2, -1)) for s in layer], axis=1) for layer in layers)
        pairs = zip(potentials, network.widths.tolist(), strict=True)
        each = [fluctuations(network.neuron, mean, variance, constant, n, surrogate) for (mean, variance), n in pairs]
        return tuple(values.mean(axis=-1) for values in scattered(each))
    scatters = [[s.scatter for s in layer if s.scatter is not None] for layer in layers]
    if any(len(layer) < len(slopes) for layer in scatters):
        return np.empty(0), np.empty(0)
    scatter = np.array([_over_inputs(tuple(layer)).mean() for layer in scatters])
    variance = np.cumsum((scatter / network.widths)[::-1])[::-1]
    return variance, -variance / 2


FEWEST_STEPS = 16
SPAN = 8  # of the lags kept, in steps of the network or memories 1/(1 - β) of the leak, whichever is longer


def long_time_rate(decay: float, second: np.ndarray) -> float:
    """``Λ``, from ``λ² g² E[ψ_t ψ_t']`` of a deep layer (steps, steps), whose late half counts as stationary."""
    if decay == 1:
        return np.inf
    steps = len(second)
    late = second[steps // 2 :, steps // 2 :]
    by_lag = np.array([np.diagonal(late, lag).mean() for lag in range(len(late) // 2 + 1)])
    far = by_lag[-1]
    lag = np.arange(-(reach := int(SPAN * max(steps, 1 / (1 - decay)))), reach + 1)
    root = np.sqrt(np.maximum(by_lag[np.minimum(np.abs(lag), len(by_lag) - 1)], 0.0))
    kernel = decay ** np.abs(lag[:, None] - lag) / (1 - decay**2)
    top = np.linalg.eigvalsh(root[:, None] * kernel * root)[-1]
    return float(max(top, far / (1 - decay) ** 2))
