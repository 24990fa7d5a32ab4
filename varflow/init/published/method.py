"""The description of a published method: its weights, what it needs and ignores, its source, its colour in figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from varflow.model.neurons import Neuron

NEURON = "threshold, leak and reset"


@dataclass(frozen=True, slots=True)
class Setting:
    """The network and targets that a method may use."""

    neuron: Neuron
    fan_in: int
    width: int
    depth: int
    rate: float
    survival_target: float
    steps: int = 1
    alive: str | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """Gain, common value of all biases, and their standard deviation."""

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
        A function from a Setting to Weights; None if they depend on data.
    needs : str
        ``nothing`` beyond the setting, or ``firing rate``, ``width and depth``, ``data``.
    ignores : str
        What the method does not account for.
    citation : str, optional
        Key of references.bib; None if no entry could be verified.
    colour : str
        Line colour in figures, a matplotlib name.
    """

    key: str
    name: str
    weights: Callable[[Setting], Weights] | None
    ignores: str
    citation: str | None = None
    needs: str = "nothing"
    colour: str = "0.4"
