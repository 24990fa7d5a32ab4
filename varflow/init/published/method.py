"""What a published method is: its weights in a setting, what it needs and ignores, its source, its colour in figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from varflow.model.neurons import Neuron

__all__ = ["NEURON", "Method", "Setting", "Weights"]

NEURON = "threshold, leak and reset"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a method may know of the network."""

    neuron: Neuron
    fan_in: int
    width: int
    depth: int
    rate: float
    survival_target: float


@dataclass(frozen=True, slots=True)
class Weights:
    """Gain, the one value of all biases, and their spread."""

    gain: float
    bias: float = 0.0
    bias_std: float = 0.0


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the catalogue.

    Attributes
    ----------
    key, name : str
    weights : callable, optional
        From a setting; None where they depend on data.
    needs : str
        ``nothing`` but the setting, or ``firing rate``, ``width and depth``, ``data``.
    ignores : str
        What to mind.
    citation : str, optional
        Key of references.bib; None where no entry could be verified.
    colour : str
        Of its line in every figure, as matplotlib names it.
    """

    key: str
    name: str
    weights: Callable[[Setting], Weights] | None
    ignores: str
    citation: str | None = None
    needs: str = "nothing"
    colour: str = "0.4"
