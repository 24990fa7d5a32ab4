"""The modules of a model by what they are in a trace: weights, neurons, parts of neurons, or perhaps neurons."""

from __future__ import annotations

from typing import Any

import torch

from varflow._checks import DomainError
from varflow.torch_models.tracing.spiking_modules import Neurons, holds_weights, spiking_modules

__all__ = ["Modules"]

WEIGHTS = ("Linear", *(f"Conv{d}d" for d in (1, 2, 3)), *(f"ConvTranspose{d}d" for d in (1, 2, 3)))


class Modules:
    """Modules of one model.

    Attributes
    ----------
    names : dict of module to str
    spiking : dict of str to (module, Spiking)
        Neurons by name; those that are found by their spikes are added in the pass.
    parts : set of modules
        Those within neurons.
    weights : dict of str to module
        Linear and convolutional modules outside of neurons.
    """

    def __init__(self, model: Any, neurons: Neurons):
        self.names = {module: name for name, module in model.named_modules()}
        self.spiking = spiking_modules(self.names, neurons)
        self.parts = {part for module, _ in self.spiking.values() for part in module.modules() if part is not module}
        kinds = tuple(getattr(torch.nn, kind) for kind in WEIGHTS)
        outside = {module: name for module, name in self.names.items() if module not in self.parts}
        self.weights = {name: module for module, name in outside.items() if isinstance(module, kinds)}

    def may_spike(self, module: Any) -> bool:
        """True for modules that may be neurons without equations: of none of torch's classes, and without weights."""
        name = self.names[module]
        of_torch = type(module).__module__.startswith(("torch.", "varflow."))
        return bool(name) and not of_torch and name not in self.spiking and not holds_weights(module)

    def described(self, name: str) -> str:
        """A module by its name and class, in words."""
        return f"{name}, a {next(type(module).__name__ for module, other in self.names.items() if other == name)}"

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
