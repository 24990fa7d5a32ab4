"""The :class:`varflow.Neuron` of what a user hands in: a description, a preset's name, or a module of a library."""

from __future__ import annotations

import inspect
from typing import Any

from varflow._checks import DomainError, instance, real_number
from varflow.model import presets
from varflow.model.library_neurons import recognise
from varflow.model.neurons import Neuron


def neuron(neuron: Any, **parameters: Any) -> Neuron:
    """The :class:`varflow.Neuron` of a torch module or of a preset's name; every argument called ``neuron`` takes these too.

    Parameters
    ----------
    neuron : torch module, str or Neuron
        A spiking module of snnTorch, SpikingJelly, Norse or sinabs, or of a class registered by ``vf.init.reads``; the name of
        one of ``vf.neurons``, with its parameters behind a colon; or a Neuron, which is returned.
    **parameters
        Of the preset, for a name.

    Raises
    ------
    DomainError
        For a name or module that is not known, one that does something beyond its preset, and one with recurrent weights,
        which is more than a neuron.

    Examples
    --------
    >>> import snntorch, varflow as vf
    >>> vf.neuron(snntorch.Leaky(beta=0.9, threshold=0.5))
    Neuron(threshold=0.5, decay=0.9, reset='delayed_subtract')
    >>> vf.neuron("snntorch_leaky:beta=0.9,threshold=0.5") == vf.neuron("snntorch_leaky", beta=0.9, threshold=0.5)
    True
    """
    if isinstance(neuron, str):
        return _named(neuron, parameters)
    for name, given in parameters.items():
        raise DomainError(name, given, "applies to a preset's name; here the neuron has its own parameters")
    if isinstance(neuron, type):
        raise DomainError("neuron", neuron.__name__, f"is a class: give one with its parameters, {neuron.__name__}(…)")
    return _of_module(neuron) if hasattr(neuron, "forward") else instance("neuron", neuron, Neuron)


def neuron_or_threshold(value: Any) -> Neuron:
    """The neuron of what a user hands in; a number is the threshold of a memoryless neuron."""
    if isinstance(value, (str, type, Neuron)) or hasattr(value, "forward"):
        return neuron(value)
    return Neuron(real_number("neuron", value))


def _of_module(module: Any) -> Neuron:
    spiking = recognise("neuron", module)
    if spiking is None:
        rule = "is no spiking module of snnTorch, SpikingJelly, Norse or sinabs, nor of vf.init.reads: give a vf.Neuron(…)"
        raise DomainError("neuron", module, rule)
    if spiking.neuron is None:
        raise DomainError("neuron", module, spiking.reason)
    if spiking.entry is not None or spiking.recurrent is not None:
        rule = "has recurrent weights, on which gains depend too: call vf.init.init_model with its whole model"
        raise DomainError("neuron", module, rule)
    return spiking.neuron


def _named(text: str, given: dict[str, Any]) -> Neuron:
    """A preset by its name, with parameters in the text, ``"snntorch_leaky:beta=0.9,reset_mechanism=zero"``, and ``given``."""
    name, _, arguments = text.partition(":")
    if name not in presets.__all__:
        raise DomainError("neuron", text, "is unknown; choose one of " + ", ".join(presets.__all__))
    preset = getattr(presets, name)
    taken = inspect.signature(preset).parameters
    pairs = (item.partition("=") for item in arguments.split(",") if item)
    parameters = {key.strip(): _value(value.strip()) for key, _, value in pairs} | given
    for key in parameters:
        if key not in taken:
            raise DomainError("neuron", text, f"has no parameter {key}; it takes " + ", ".join(taken))
    for key, parameter in taken.items():
        if parameter.default is parameter.empty and key not in parameters:
            raise DomainError("neuron", text, f"needs its {key}, as in {name}:{key}={20 if 'tau' in key else 0.9}")
    try:
        return preset(**parameters)
    except DomainError as error:
        if error.argument in given:
            raise
        raise DomainError("neuron", text, f"has a {error.argument} that {error.rule}") from None


def _value(text: str) -> Any:
    """A parameter written as text: a number, True, False, None, or a name."""
    words = {"True": True, "False": False, "None": None}
    try:
        return words[text] if text in words else float(text)
    except ValueError:
        return text
