"""The surrogate that suits a plan, and its width set in a spiking module by the parameter of the module's own library."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from varflow._checks import DomainError
from varflow.init.surrogate_width import surrogate_width
from varflow.model.surrogate import Surrogate
from varflow.results import LayerPlan
from varflow.torch_models.prediction import chain_of, plain
from varflow.torch_models.surrogates import surrogate_of_module
from varflow.torch_models.traced import Trace
from varflow.torch_models.trainable import readable
from varflow.torch_models.wiring import Moments

__all__ = ["set_surrogate", "with_surrogates"]

INPUTS = 2  # of the batch: the width hardly depends on them
POINTS, SCRAMBLES = 2**10, 2
HOLDERS = ("spike_grad", "surrogate_function", "surrogate_grad_fn")  # of snnTorch, SpikingJelly and sinabs
LEFT = "surrogates are left as they are: "


def with_surrogates(traced: Trace, rows: Sequence[LayerPlan]) -> tuple[list[LayerPlan], list[str]]:
    """The rows with the surrogate recommended for the plan; or the rows as they are, and a note why."""
    psi, *others = dict.fromkeys(surrogate_of_module(layer.module) for layer in traced.layers)
    if not plain(traced):
        return list(rows), [f"{LEFT}the width is known for chains of dense layers"]
    if psi is None or others:
        return list(rows), [f"{LEFT}{'layers have different ones' if others else 'their formula is not known'}"]
    moments = {row.name: Moments(row.fan_in, row.weight_std) for row in rows if row.neuron_name}
    try:
        found = surrogate_width(chain_of(traced, moments, INPUTS), psi, points=POINTS, scrambles=SCRAMBLES)
    except DomainError as refusal:
        return list(rows), [f"{LEFT}{refusal}"]
    chosen = readable(found)
    return [replace(row, surrogate=chosen) if row.neuron_name else row for row in rows], []


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
