"""Gradients of a traced model by theory: the norm in every layer, and the surrogates with which it differs least.

At infinite width, over the same steps and some of the inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from varflow._checks import DomainError
from varflow.init.surrogate_width import with_smallest_range, with_unit_growth
from varflow.model.graph import Node
from varflow.model.layers import Unknown
from varflow.model.signals import numbers_of
from varflow.model.surrogate import Surrogate
from varflow.theory.operations.visit import Visit, WayBack
from varflow.theory.signals.gradients import Gradients
from varflow.theory.walks.gradients import gradients_walk
from varflow.torch_models.prediction.signals import FEW_INPUTS, WORK, InfiniteWidth, Prediction, evaluated
from varflow.torch_models.tracing.origins import INPUT
from varflow.torch_models.tracing.read import ReadModel
from varflow.torch_models.tracing.traced import Trace, TracedLayer
from varflow.torch_models.tracing.weights import Moments

ACCURACY = 1e-2  # relative, of a width


@dataclass(frozen=True, slots=True)
class ExpectedGradients:
    """``norms`` of every layer, for a normal readout of the last spikes, NaN where they are not known; ``surrogate``, the
    present one widened or narrowed until gradients neither fall nor grow; ``uncovered``: what theory does not follow gradients
    through.
    """

    norms: list[float]
    surrogate: Surrogate | None = None
    uncovered: tuple[str, ...] = ()


def expected_gradients(
    trace: Trace, moments: Mapping[str, Moments], predicted: Prediction, surrogates: list[Surrogate | None], mend: bool
) -> ExpectedGradients:
    """The prediction for a model with these surrogates of its layers, and if asked for the one that would ``mend`` it."""
    infinite = predicted.infinite
    if not predicted.at_width and FEW_INPUTS * len(trace.layers) * trace.steps**2 > WORK:
        infinite = evaluated(trace, moments)
    if infinite is None or not any(surrogates):
        return ExpectedGradients([math.nan] * len(surrogates))
    norms, uncovered = norms_of(infinite, surrogates)
    psi, *others = dict.fromkeys(surrogates)
    mendable = mend and _growth(norms) is not None
    suited = _balanced(infinite, psi) if mendable and psi is not None and not others else None
    return ExpectedGradients(norms, suited, tuple(dict.fromkeys(uncovered)))


def norms_of(infinite: InfiniteWidth, surrogates: Sequence[Surrogate | None]) -> tuple[list[float], list[str]]:
    """``√(Σ_t Σ_j δ²)`` of every layer, root mean square over inputs, for a normal readout of the last spikes, NaN where
    theory does not know it; and names of what gradients cannot be followed through although the signals below are known.
    """
    model, trace = infinite.model, infinite.trace
    by_number = dict(zip(model.neurons, surrogates, strict=True))
    way = WayBack(infinite.visits[0].walk, by_number.get, per_position=True, scatter=False, norms=False, gaps={})
    readouts = {infinite.visit(layer).node_number: _readout(infinite.visit(layer)) for layer in trace.last}
    readouts |= {infinite.visit(layer).node_number: None for layer in trace.layers if not _complete(trace, layer)}
    gradients_walk(infinite.visits, readouts, way)
    returned = [way.layers.get(number) for number in model.neurons]
    used = [x.shape[1] for node in model.graph if (x := numbers_of(node.operation)) is not None]
    uncovered = [_words(model, model.graph[number], by_number.get(number)) for number in way.gaps or ()]
    return [math.nan if each is None else _norm(each[0], used[-1]) for each in returned], list(filter(None, uncovered))


def _readout(visit: Visit) -> Gradients | None:
    """Gradients by the spikes of a layer of a normal readout, the same at all steps."""
    if "state" not in visit.kept:
        return None
    received, state = visit.kept["received"], visit.kept["state"]
    grid = replace(received.grid, per_position=received.grid.positions > 1)
    groups = state.firing_rate[0].size // grid.steps
    return Gradients(np.ones((1, groups, grid.steps, grid.steps)), grid, received.channels)


def _complete(trace: Trace, layer: TracedLayer) -> bool:
    """True if all that a layer receives, the same at all steps, comes from layers before it."""
    earlier = trace.layers[: trace.layers.index(layer)]
    before = {INPUT, *(each.neuron_name for each in earlier), *trace.received}
    origins = [layer.origin, *(origin for received in layer.received for origin in received.origins)]
    senders = set().union(*(origin.senders for origin in origins if origin is not None))
    return senders <= before and all(len(received.origins) == 1 for received in layer.received)


def _words(model: ReadModel, node: Node, surrogate: Surrogate | None) -> str:
    """Name of what gradients cannot be followed through; empty for what the audit names as unknown to theory."""
    if node.operation.spikes:
        return "" if surrogate else f"the surrogate of {node.name}"
    named = not isinstance(node.operation, Unknown) or node.operation.words in model.dependent
    return node.name if named else ""


def _norm(gradients: Gradients, inputs: int) -> float:
    energy = np.trace(gradients.over_steps, axis1=-2, axis2=-1)  # (replicas, groups)
    return math.sqrt(float(energy.mean()) * max(energy.shape[1] / inputs, 1.0))


def with_least_range(infinite: InfiniteWidth, surrogates: Sequence[Surrogate]) -> tuple[list[Surrogate], tuple[str, ...]]:
    """These surrogates of all layers, of one formula, at the width with which gradient norms differ least between the layers
    that theory knows; and what it does not follow gradients through. DomainError if it knows fewer than two layers.
    """
    norms, uncovered = norms_of(infinite, surrogates)
    predicted = np.isfinite(norms)
    if predicted.sum() < 2:
        raise DomainError("model", ", ".join(uncovered), "leaves fewer than two layers whose gradients are predicted")

    def energies(wider: Surrogate) -> np.ndarray:
        return np.square(norms_of(infinite, [psi.widened(wider.width) for psi in surrogates])[0])[predicted]

    width = with_smallest_range(surrogates[0], energies, accuracy=ACCURACY).width
    return [_readable(psi.widened(width)) for psi in surrogates], tuple(dict.fromkeys(uncovered))


def _growth(norms: list[float]) -> float | None:
    """The norm of the first layer over that of the last, of those that are known; None of fewer than two."""
    predicted = [norm for norm in norms if math.isfinite(norm)]
    return predicted[0] / predicted[-1] if len(predicted) > 1 and predicted[-1] else None


def _balanced(infinite: InfiniteWidth, psi: Surrogate) -> Surrogate | None:
    layers = len(infinite.trace.layers)

    def growth(wider: Surrogate) -> float:
        return (_growth(norms_of(infinite, [wider] * layers)[0]) or 0.0) ** (2 / max(layers - 1, 1))

    try:
        return _readable(with_unit_growth(psi, growth, accuracy=ACCURACY))
    except DomainError:  # no width does
        return None


def _readable(psi: Surrogate) -> Surrogate:
    """A surrogate with three digits in the argument that sets its width."""
    formula = psi.formula
    if formula is None or formula.sets_width is None:
        return psi
    arguments = dict(formula.arguments)
    arguments[formula.sets_width] = float(f"{arguments[formula.sets_width]:.3g}")
    return formula.function(**arguments)
