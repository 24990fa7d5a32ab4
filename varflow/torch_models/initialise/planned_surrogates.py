"""The surrogates with which gradients of a model differ least between layers, and their width set in spiking modules by the
parameter of the module's own library.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from varflow._checks import DomainError
from varflow.model.surrogate import Surrogate
from varflow.results import Learning, ModelPlan
from varflow.torch_models.prediction.gradients import with_least_range
from varflow.torch_models.prediction.signals import InfiniteWidth
from varflow.torch_models.tracing.measurements import trace_and_measure
from varflow.torch_models.tracing.modules import Neurons, set_surrogate, surrogate_of_module
from varflow.torch_models.tracing.passes import full_precision
from varflow.torch_models.tracing.traced import Trace

NEAR = 5.0  # factor between widths that train alike where gradients pass by shortcuts or normalisations, or few layers
SPARED = "with shortcuts, batch normalisation or few layers a change by less than a factor of 5 in width cost accuracy"
INPUTS = 4  # of the batch; of two, a step normalised by itself may be nearly silent


def with_surrogates(model: Any, inputs: Any, steps: int | None, neurons: Neurons | None, plan: ModelPlan) -> ModelPlan:
    """Give neurons their surrogates, when the weights are set; the plan with them, or with a note why they are left."""
    measured = trace_and_measure(model, inputs, steps, neurons)
    traced = measured.trace
    try:
        surrogates = _of_one_formula(traced)
        with full_precision():
            chosen, uncovered = with_least_range(InfiniteWidth.of(traced, measured.covered, INPUTS), surrogates)
    except DomainError as refusal:
        return replace(plan, notes=(*plan.notes, f"surrogates are left as they are: {refusal}"))
    if _gradients_pass(plan.learning) and all(
        1 / NEAR < new.width / old.width < NEAR for new, old in zip(chosen, surrogates, strict=True)
    ):
        return replace(plan, notes=(*plan.notes, f"surrogates are left as they are, not {chosen[0]!r}: {SPARED}"))
    for layer, psi in zip(traced.layers, chosen, strict=True):
        set_surrogate(layer.module, psi)
    by_neuron = {layer.neuron_name: psi for layer, psi in zip(traced.layers, chosen, strict=True)}
    rows = tuple(replace(row, surrogate=by_neuron.get(row.neuron_name)) for row in plan.layers)
    words = (
        [f"surrogates suit the layers above {', '.join(uncovered)}: below, gradients are not predicted"] if uncovered else []
    )
    return replace(plan, layers=rows, notes=(*plan.notes, *words))


def _gradients_pass(learning: Learning | None) -> bool:
    """True for networks whose accuracy hardly depends on the surrogate, unless it is far too narrow."""
    return learning is not None and (learning.shallow or learning.structure in {"shortcuts", "batch normalisation"})


def _of_one_formula(traced: Trace) -> list[Surrogate]:
    """The surrogates of all layers; DomainError unless they differ in arguments only."""
    surrogates = {layer.neuron_name: surrogate_of_module(layer.module) for layer in traced.layers}
    formulas = [psi for psi in surrogates.values() if psi is not None]
    if len(formulas) < len(surrogates):
        names = ", ".join(name for name, psi in surrogates.items() if psi is None)
        raise DomainError("surrogate", None, f"has no known formula in {names}")
    if len({psi.formula.function if psi.formula else psi for psi in formulas}) > 1:
        raise DomainError("surrogate", ", ".join(map(repr, dict.fromkeys(formulas))), "differs between layers")
    return formulas
