"""The modules of a model by what they are in a trace: weights, neurons, parts of neurons, or perhaps neurons; and what neurons
hold, weights and surrogates.

Neurons are those of known classes and those that the user names. Surrogates are recognised by the attributes in which libraries
keep them; nothing is imported from the libraries. A function that ``vf.surrogates`` does not know is differentiated by torch
wherever it is asked for.
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
from varflow.model.extensions import READS
from varflow.model.library_neurons import Spiking, plain_value, recognise
from varflow.model.library_surrogates import by_method, recognised
from varflow.model.neurons import Neuron
from varflow.model.surrogate import Surrogate
from varflow.model.surrogates import own

WEIGHTS = ("Linear", *(f"Conv{d}d" for d in (1, 2, 3)), *(f"ConvTranspose{d}d" for d in (1, 2, 3)))


class Modules:
    """Modules of one model.

    Attributes
    ----------
    names : dict of module to str
    spiking : dict of str to (module, Spiking)
        Neurons by name; those that are found by their spikes are added in the pass.
    inside : set of modules
        Those within neurons, and within modules with a reader.
    readers : dict of str to callable
        Readers of modules that users have registered: each is one operation.
    weights : dict of str to module
        Linear and convolutional modules outside of these.
    """

    def __init__(self, model: Any, neurons: Neurons):
        self.names = {module: name for name, module in model.named_modules()}
        self.spiking = spiking_modules(self.names, neurons)
        others = ((name, _reader_of(module)) for module, name in self.names.items() if name not in self.spiking)
        self.readers = {name: reader for name, reader in others if reader is not None}
        single = [module for module, name in self.names.items() if name in self.spiking or name in self.readers]
        self.inside = {inner for module in single for inner in module.modules() if inner is not module}
        classes = tuple(getattr(torch.nn, name) for name in WEIGHTS)
        outside = {name: module for module, name in self.names.items() if module not in self.inside}
        weights = {name: module for name, module in outside.items() if isinstance(module, classes)}
        self.weights = {name: module for name, module in weights.items() if name not in self.readers}

    def may_spike(self, module: Any) -> bool:
        """True for modules that may be neurons without equations: of none of torch's classes, and without weights."""
        name = self.names[module]
        of_torch = type(module).__module__.startswith(("torch.", "varflow."))
        return bool(name) and not of_torch and name not in self.spiking and not holds_weights(module)

    def none_spikes(self, unweighted: dict[str, str]) -> DomainError:
        """The error for a pass without a layer of neurons; ``unweighted``: classes of modules that return spikes but follow no
        weight module, by name.
        """
        if self.spiking:
            return DomainError("model", ", ".join(self.spiking), "did not run: its forward calls no spiking layer")
        rule = (
            "has no spiking layer that is known by its class or by its spikes: name it in neurons={module: vf.Neuron(…)}, "
            "with None if the module also holds weights; a function that makes the spikes is found once it is the forward "
            "of a module of its own behind Linear or Conv modules"
        )
        for name, kind in unweighted.items():
            rule = f"has no weight module before {name}, which returns spikes: for a neuron give neurons={{{kind}: None}}"
        return DomainError("model", type(next(iter(self.names))).__name__, rule)


def _reader_of(module: Any) -> Callable[[Any], Any] | None:
    """The reader that is registered for a module's class or the nearest above it."""
    return next((READS[kind] for kind in type(module).__mro__ if kind in READS), None)


RANDOM = {"SSO", "PoissonPass"}  # surrogates that draw random numbers
HOLDERS = ("spike_grad", "surrogate_function", "surrogate_grad_fn")  # of surrogates: snnTorch, SpikingJelly and sinabs
RECURRENT = re.compile(r"(^|[._])rec|_hh", re.IGNORECASE)  # names of parameters

# Neurons of modules, by class, name or module; None for those to be measured only.
Neurons = Mapping[Any, Neuron | Spiking | None]


def spiking_modules(names: dict[Any, str], neurons: Neurons) -> dict[str, tuple[Any, Spiking]]:
    """Modules that spike, by name; DomainError for a key of ``neurons`` that is no module of the model."""
    spiking, used = {}, set()
    for module, name in names.items():
        keys = [key for key in (module, name, type(module)) if key in neurons]
        used.update(keys)
        neuron = _as_given(neurons[keys[0]]) if keys else recognise(name, module)
        if neuron is not None:
            spiking[name] = module, neuron
    for key in neurons:
        if key not in used:
            rule = f"names no module of the model, whose modules are {', '.join(filter(None, list(names.values())[:8]))}, …"
            raise DomainError("neurons", getattr(key, "__name__", key), rule)
    return spiking


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
    if hasattr(spike, "max_spike_count"):  # a function of H/θ, the first spike at 1/2
        theta, counted = module.v_threshold, _differentiated(spike)
        return own(lambda v: counted(v / theta + 0.5) / theta, kinks=(-theta / 2, (spike.max_spike_count - 0.5) * theta))
    random = {type(spike).__name__, getattr(spike, "__qualname__", "").partition(".")[0]} & RANDOM
    return recognised(spike) or (None if random else _differentiated(spike))


def _norse(module: Any) -> Surrogate | None:
    parameters: Any = getattr(module, "p", None)
    method = getattr(parameters, "method", None)
    return None if method is None else by_method("norse", method, {"alpha": parameters.alpha})


def _sinabs(module: Any) -> Surrogate | None:
    function = getattr(module, "surrogate_grad_fn", None)
    if hasattr(module, "b0"):  # ALIF, of which a surrogate is known that does not depend on the threshold, which moves
        fixed, other = (None if function is None else recognised(function, threshold) for threshold in (1.0, 2.0))
        return fixed if fixed == other else None
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
    after = surrogate_of_module(module)
    if after is None or not math.isclose(after.width, psi.width, rel_tol=1e-6):
        raise DomainError("surrogate", psi, f"cannot be set in {type(module).__name__}, which has {after}")


def _at(function: Any, name: str, value: float) -> Any:
    """A function of a library with another argument: an object's attribute, or in snnTorch a variable of a closure."""
    if hasattr(function, "__code__"):
        make = getattr(sys.modules[function.__module__], function.__qualname__.partition(".")[0])
        return make(**{name: value})
    other = copy.deepcopy(function)
    setattr(other, name, value)
    return other
