"""Which modules of a model are neurons, those of known classes and those that the user names; their weights and surrogates.

Surrogates are recognised by the attributes in which libraries keep them; nothing is imported from the libraries. A function
that ``vf.surrogates`` does not know is differentiated by torch wherever it is asked for.
"""

from __future__ import annotations

import copy
import math
import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from varflow._checks import DomainError
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.library_neurons import Spiking, plain_value, recognise
from varflow.model.neurons import Neuron
from varflow.model.recognised_surrogates import by_method, recognised
from varflow.model.surrogate import Surrogate
from varflow.model.surrogates import own

__all__ = ["Neurons", "holds_weights", "input_weights", "set_surrogate", "spiking_modules", "surrogate_of_module"]

RANDOM = {"SSO", "PoissonPass"}  # surrogates that draw random numbers
HOLDERS = ("spike_grad", "surrogate_function", "surrogate_grad_fn")  # of surrogates: snnTorch, SpikingJelly and sinabs
RECURRENT = re.compile(r"(^|[._])rec|_hh", re.IGNORECASE)  # names of parameters

# Neurons of modules, by class, name or module; None for those to be measured only.
Neurons = Mapping[Any, Neuron | Spiking | None]


def spiking_modules(names: dict[Any, str], neurons: Neurons) -> dict[str, tuple[Any, Spiking]]:
    """Modules that spike, by name; DomainError for a key of ``neurons`` that is no module of the model."""
    found, used = {}, set()
    for module, name in names.items():
        keys = [key for key in (module, name, type(module)) if key in neurons]
        used.update(keys)
        known = _as_given(neurons[keys[0]]) if keys else recognise(name, module)
        if known is not None:
            found[name] = module, known
    for key in neurons:
        if key not in used:
            rule = f"names no module of the model, whose modules are {', '.join(filter(None, list(names.values())[:8]))}, …"
            raise DomainError("neurons", getattr(key, "__name__", key), rule)
    return found


def _as_given(neuron: Any) -> Spiking:
    if neuron is None:
        return Spiking(None, reason="is measured only, as asked")
    return neuron if isinstance(neuron, Spiking) else Spiking(as_neuron(neuron))


def input_weights(module: Any, shape: tuple[int, ...]) -> list[Any]:
    """The parameters by which a cell multiplies inputs of this shape: the first matrix of this size that is not named as a
    recurrent one; all matrices if there is none, since that of the inputs is then a part of one.
    """
    matrices = [(name, each) for name, each in module.named_parameters() if sum(size > 1 for size in each.shape) > 1]
    fitting = [each for name, each in matrices if _fits(each, shape) and not RECURRENT.search(name)]
    return fitting[:1] or [each for _, each in matrices]


def _fits(weight: Any, shape: tuple[int, ...]) -> bool:
    features = shape[max(1 - weight.dim(), -len(shape))]
    return features == weight.shape[1] or (weight.dim() == 2 and features == weight.shape[0])


def holds_weights(module: Any) -> bool:
    """True if a module, or one inside, has parameters of more than one axis."""
    return any(parameter.dim() > 1 for parameter in module.parameters())


def surrogate_of_module(module: Any) -> Surrogate | None:
    """``ψ`` of a spiking module of snnTorch, SpikingJelly, Norse or sinabs; None if it has none, or a random one."""
    try:
        return _of_function(module) or _norse(module) or _sinabs(module)
    except DomainError:  # parameters outside the domain, or values that are not finite
        return None


def _of_function(module: Any) -> Surrogate | None:
    """snnTorch's ``spike_grad`` and SpikingJelly's ``surrogate_function``, functions of ``v``."""
    spike = getattr(module, "spike_grad", getattr(module, "surrogate_function", None))
    if spike is None or getattr(module, "surrogate_disable", False) or not getattr(spike, "spiking", True):
        return None
    random = {type(spike).__name__, getattr(spike, "__qualname__", "").partition(".")[0]} & RANDOM
    return recognised(spike) or (None if random else _differentiated(spike))


def _norse(module: Any) -> Surrogate | None:
    parameters: Any = getattr(module, "p", None)
    method = getattr(parameters, "method", None)
    return None if method is None else by_method("norse", method, {"alpha": parameters.alpha})


def _sinabs(module: Any) -> Surrogate | None:
    function = getattr(module, "surrogate_grad_fn", None)
    threshold = plain_value(getattr(module, "spike_threshold", 1.0))
    if function is None or np.ndim(threshold):
        return None
    return recognised(function, threshold) or own(
        lambda v: function(torch.as_tensor(v) + threshold, torch.as_tensor(threshold)).numpy()
    )


@lru_cache(maxsize=16)  # layers with the same function have the same surrogate
def _differentiated(spike: Callable[[Any], Any]) -> Surrogate:
    """``ψ`` by torch: the derivative of the sum of spikes."""

    def psi(v: np.ndarray) -> np.ndarray:
        with torch.enable_grad():
            x = torch.tensor(v, dtype=torch.float64, requires_grad=True)
            return torch.autograd.grad(spike(x).sum(), x)[0].numpy()

    return own(psi)


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
