"""The surrogates with which gradients of a model differ least between layers, and their width set in spiking modules by the
parameter of the module's own library.
"""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from varflow._checks import DomainError
from varflow.model.surrogate import Surrogate
from varflow.results import ModelPlan
from varflow.torch_models.audit.evaluation import Evaluation
from varflow.torch_models.audit.refusals import followed, unlike_their_kind
from varflow.torch_models.audit.trainable import with_least_range
from varflow.torch_models.precision import full_precision
from varflow.torch_models.tracing.spiking_modules import Neurons
from varflow.torch_models.tracing.surrogates import surrogate_of_module
from varflow.torch_models.tracing.traced import Trace
from varflow.torch_models.tracing.wiring import Moments, noted

__all__ = ["set_surrogate", "with_surrogates"]

INPUTS = 2  # of the batch: with eight the width is the same within 2 %
HOLDERS = ("spike_grad", "surrogate_function", "surrogate_grad_fn")  # of snnTorch, SpikingJelly and sinabs


def with_surrogates(model: Any, inputs: Any, steps: int | None, neurons: Neurons | None, plan: ModelPlan) -> ModelPlan:
    """Give neurons their surrogates, when the weights are set; the plan with them, or with a note why they are left."""
    used: dict[str, Moments] = {}
    traced, *_ = followed(model, inputs, steps, neurons, note=partial(noted, used))
    unlike = unlike_their_kind(traced)
    try:
        own = _of_one_formula(traced)
        with full_precision():
            evaluation = Evaluation(traced, {name: of for name, of in used.items() if name not in unlike}, INPUTS)
            evaluation.states()
            chosen, uncovered = with_least_range(evaluation, own)
    except DomainError as refusal:
        return replace(plan, notes=(*plan.notes, f"surrogates are left as they are: {refusal}"))
    for layer, psi in zip(traced.layers, chosen, strict=True):
        set_surrogate(layer.module, psi)
    given = {layer.neuron_name: psi for layer, psi in zip(traced.layers, chosen, strict=True)}
    rows = tuple(replace(row, surrogate=given.get(row.neuron_name)) for row in plan.layers)
    words = (
        [f"surrogates suit the layers above {', '.join(uncovered)}: below, gradients are not predicted"] if uncovered else []
    )
    return replace(plan, layers=rows, notes=(*plan.notes, *words))


def _of_one_formula(traced: Trace) -> list[Surrogate]:
    """The surrogates of all layers; DomainError unless they differ in arguments only."""
    found = {layer.neuron_name: surrogate_of_module(layer.module) for layer in traced.layers}
    known = [psi for psi in found.values() if psi is not None]
    if len(known) < len(found):
        names = ", ".join(name for name, psi in found.items() if psi is None)
        raise DomainError("surrogate", None, f"has no known formula in {names}")
    if len({psi.formula.function if psi.formula else psi for psi in known}) > 1:
        raise DomainError("surrogate", ", ".join(map(repr, dict.fromkeys(known))), "differs between layers")
    return known


def set_surrogate(module: Any, psi: Surrogate) -> None:
    """Give a spiking module this surrogate, its own at another width, and check that it has it."""
    formula = psi.formula
    if formula is None or formula.sets_width is None:
        raise DomainError("surrogate", psi, "has no argument that sets its width")
    name, value = formula.sets_width, dict(formula.arguments)[formula.sets_width]
    holder = next((each for each in HOLDERS if getattr(module, each, None) is not None), None)
    if holder is not None:
        setattr(module, holder, _at(getattr(module, holder), name, value))
    elif hasattr(getattr(module, "p", None), "_replace"):  # Norse's parameters
        module.p = module.p._replace(**{name: torch.as_tensor(getattr(module.p, name)).new_tensor(value)})
    found = surrogate_of_module(module)
    if found is None or not math.isclose(found.width, psi.width, rel_tol=1e-6):
        raise DomainError("surrogate", psi, f"cannot be set in {type(module).__name__}, which has {found}")


def _at(function: Any, name: str, value: float) -> Any:
    """The same function of a library with another argument: an object's attribute, or in snnTorch a variable of a closure."""
    if hasattr(function, "__code__"):
        make = getattr(sys.modules[function.__module__], function.__qualname__.partition(".")[0])
        return make(**{name: value})
    other = copy.deepcopy(function)
    setattr(other, name, value)
    return other
