"""Which modules of a model are neurons: those of known classes, and those that the user names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from varflow._checks import DomainError
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.library_neurons import Spiking, recognise
from varflow.model.neurons import Neuron

__all__ = ["Neurons", "holds_weights", "input_weights", "spiking_modules"]

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
    """Whether a module, or one inside, has parameters of more than one axis."""
    return any(parameter.dim() > 1 for parameter in module.parameters())
