"""The description of a published method: its weights, what it needs and ignores, its source, its colour in figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from varflow.model.neurons import Neuron

NEURON = "threshold, leak and reset"


@dataclass(frozen=True, slots=True)
class Setting:
    """The network and targets that a method may use.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.Setting(vf.Neuron(1.0), fan_in=100, width=100, depth=20, rate=0.2, survival_target=0.99).steps
    1
    """

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
    """Gain, common value of all biases, and their standard deviation.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.init.published.Weights(1.2, bias=0.1).bias_std
    0.0
    """

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

    Examples
    --------
    >>> import varflow as vf
    >>> half = lambda setting: vf.init.published.Weights(0.5)
    >>> vf.init.published.Method("half", "half of LeCun's", half, ignores="all but the fan-in").weights(None)
    Weights(gain=0.5, bias=0.0, bias_std=0.0)
    """

    key: str
    name: str
    weights: Callable[[Setting], Weights] | None
    ignores: str
    citation: str | None = None
    needs: str = "nothing"
    colour: str = "0.4"
