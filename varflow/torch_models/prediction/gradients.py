"""Gradients of a traced model by theory: the norm in every layer, and the surrogates with which it differs least.

At infinite width, over the same steps and some of the inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from varflow._checks import DomainError
from varflow.model.surrogate import Surrogate
from varflow.theory.deep.surrogate_width import with_smallest_range, with_unit_growth
from varflow.torch_models.prediction.infinite_width import InfiniteWidth
from varflow.torch_models.prediction.predict import FEW_INPUTS, WORK, Expected, evaluated
from varflow.torch_models.tracing.traced import Trace
from varflow.torch_models.tracing.weights import Moments

__all__ = ["ExpectedGradients", "expected_gradients", "with_least_range"]

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
    trace: Trace, moments: Mapping[str, Moments], predicted: Expected, surrogates: list[Surrogate | None], mend: bool
) -> ExpectedGradients:
    """The prediction for a model with these surrogates of its layers, and if asked for the one that would ``mend`` it."""
    infinite = predicted.infinite
    if not predicted.plain and FEW_INPUTS * len(trace.layers) * trace.steps**2 > WORK:
        infinite = evaluated(trace, moments)
    if infinite is None or not any(surrogates):
        return ExpectedGradients([math.nan] * len(surrogates))
    norms, uncovered = infinite.gradients(surrogates)
    psi, *others = dict.fromkeys(surrogates)
    mendable = mend and _growth(norms) is not None
    suited = _balanced(infinite, psi) if mendable and psi is not None and not others else None
    return ExpectedGradients(norms, suited, tuple(dict.fromkeys(uncovered)))


def with_least_range(infinite: InfiniteWidth, surrogates: Sequence[Surrogate]) -> tuple[list[Surrogate], tuple[str, ...]]:
    """These surrogates of all layers, of one formula, at the width with which gradient norms differ least between the layers
    that theory knows; and what it does not follow gradients through. DomainError if it knows fewer than two layers.
    """
    norms, uncovered = infinite.gradients(surrogates)
    predicted = np.isfinite(norms)
    if predicted.sum() < 2:
        raise DomainError("model", ", ".join(uncovered), "leaves fewer than two layers whose gradients are predicted")

    def energies(wider: Surrogate) -> np.ndarray:
        return np.square(infinite.gradients([psi.widened(wider.width) for psi in surrogates])[0])[predicted]

    width = with_smallest_range(surrogates[0], energies, accuracy=ACCURACY).width
    return [_readable(psi.widened(width)) for psi in surrogates], tuple(dict.fromkeys(uncovered))


def _growth(norms: list[float]) -> float | None:
    """The norm of the first layer over that of the last, of those that are known; None of fewer than two."""
    predicted = [norm for norm in norms if math.isfinite(norm)]
    return predicted[0] / predicted[-1] if len(predicted) > 1 and predicted[-1] else None


def _balanced(infinite: InfiniteWidth, psi: Surrogate) -> Surrogate | None:
    layers = len(infinite.trace.layers)

    def growth(wider: Surrogate) -> float:
        return (_growth(infinite.gradients([wider] * layers)[0]) or 0.0) ** (2 / max(layers - 1, 1))

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
