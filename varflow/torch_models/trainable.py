"""Gradients of a traced model by theory: the norm in every layer, and the surrogate with which it neither falls nor grows.

For chains of dense layers whose neurons have one surrogate: the flow of gradients at infinite width, over the same steps and
some of the inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from varflow._checks import DomainError
from varflow.model.surrogate import Surrogate
from varflow.results.audit import VANISHED
from varflow.theory.flow.neurons import Neurons
from varflow.theory.gradients.flow import ForwardPass
from varflow.theory.gradients.width import with_unit_growth
from varflow.torch_models.prediction import chain_of
from varflow.torch_models.traced import Trace
from varflow.torch_models.wiring import Moments

__all__ = ["ExpectedGradients", "expected_gradients", "readable"]

NEURONS = Neurons(points=2**10, scrambles=2, seed=0)
INPUTS = 8  # at most
WORK = 2**19  # inputs × layers × steps²: a few seconds
ACCURACY = 1e-2  # relative, of a width


@dataclass(frozen=True, slots=True)
class ExpectedGradients:
    """``norms`` of every layer, for a normal readout of the last spikes; ``surrogate``, the present one widened or narrowed
    until gradients neither fall nor grow, if they vanish or explode.
    """

    norms: list[float]
    surrogate: Surrogate | None = None


def expected_gradients(trace: Trace, moments: Mapping[str, Moments], surrogates: list[Surrogate | None]) -> ExpectedGradients:
    """The prediction for a chain of dense layers; NaN if the layers' surrogates differ or are not known."""
    inputs = min(INPUTS, WORK // (len(trace.layers) * trace.steps**2))
    psi, *others = dict.fromkeys(surrogates)
    if psi is None or others or not inputs:
        return ExpectedGradients([math.nan] * len(surrogates))
    network = chain_of(trace, moments, inputs)
    forward = ForwardPass.of(network, NEURONS)
    total = forward.gradients(psi).total
    vanished = total[0] < VANISHED**2 * total[-1] or total[-1] < VANISHED**2 * total[0]
    return ExpectedGradients(np.sqrt(network.widths[-1] * total).tolist(), _balanced(forward, psi) if vanished else None)


def _balanced(forward: ForwardPass, psi: Surrogate) -> Surrogate | None:
    try:
        found = with_unit_growth(psi, lambda wider: forward.gradients(wider).growth or 0.0, accuracy=ACCURACY)
    except DomainError:  # no width does
        return None
    return readable(found)


def readable(found: Surrogate) -> Surrogate:
    """The same surrogate with three digits in the argument that sets its width."""
    formula = found.formula
    if formula is None or formula.sets_width is None:
        return found
    arguments = dict(formula.arguments)
    arguments[formula.sets_width] = float(f"{arguments[formula.sets_width]:.3g}")
    return formula.function(**arguments)
