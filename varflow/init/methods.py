"""The methods of the catalogue: name, source, what each needs, what it ignores, and the weights it gives in a setting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from varflow._checks import DomainError
from varflow.init import published, rates
from varflow.init.inverse import raised_gain
from varflow.model.neurons import Neuron

__all__ = ["METHODS", "Method", "Setting", "Weights"]


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
    """

    key: str
    name: str
    weights: Callable[[Setting], Weights] | None
    ignores: str
    citation: str | None = None
    needs: str = "nothing"


def _corrected(s: Setting) -> Weights:
    if not s.neuron.memoryless:
        raise DomainError("neuron", s.neuron, "has no corrected gain: the finite-width law is of memoryless ones")
    theta = s.neuron.threshold
    found = raised_gain(theta, width=s.width, depth=s.depth, survival_target=s.survival_target)
    return Weights(found / s.neuron.input_scale)


def _soft_reset(s: Setting) -> Weights:
    if s.neuron.reset not in ("subtract", "delayed_subtract"):
        raise DomainError("reset", s.neuron.reset, "is not subtraction, for which the formula is made")
    return Weights(published.micheli_soft_reset_gain(s.neuron.threshold, s.neuron.decay))


def _ding(s: Setting) -> Weights:
    theta, decay, scale = _neuron(s)
    return Weights(published.ding_gain(theta, input_scale=scale), bias=published.ding_bias(theta, decay, input_scale=scale))


def _fluctuations(s: Setting) -> Weights:
    return Weights(rates.fluctuation_driven(1, s.rate, rates.step_filter(s.neuron), threshold=s.neuron.threshold).std)


def _spikeinit(s: Setting) -> Weights:
    theta, decay, scale = _neuron(s)
    return Weights(rates.spikeinit_gain(s.rate, threshold=theta, decay=decay, input_scale=scale))


def _neuron(s: Setting) -> tuple[float, float, float]:
    return s.neuron.threshold, s.neuron.decay, s.neuron.input_scale


def _xavier(s: Setting) -> Weights:
    return Weights(published.xavier_gain(s.fan_in, s.width))


NEURON = "threshold, leak and reset"

METHODS = (
    Method("kaiming", "Kaiming", lambda s: Weights(published.kaiming_gain()), NEURON, "he2015"),
    Method(
        "torch_default",
        "torch's default",
        lambda s: Weights(published.torch_gain(), bias_std=published.torch_bias_std(s.fan_in)),
        f"{NEURON}; a leak amplifies its biases",
    ),
    Method("xavier", "Xavier", _xavier, NEURON, "glorot2010"),
    Method("lecun", "LeCun", lambda s: Weights(published.lecun_gain()), NEURON, "lecun1998"),
    Method("orthogonal", "Orthogonal, gain 1", lambda s: Weights(1.0), f"{NEURON}; rows judged as independent", "saxe2013"),
    Method(
        "micheli",
        "Micheli",
        lambda s: Weights(published.micheli_gain(s.neuron.threshold)),
        "leak, width, stability",
        "micheli2024",
    ),
    Method(
        "micheli_finite_size",
        "Micheli, finite size",
        lambda s: Weights(published.micheli_finite_size_gain(s.neuron.threshold, s.fan_in)),
        "depth and stability; follows one random sample",
        "micheli2024",
    ),
    Method(
        "micheli_soft_reset",
        "Micheli, soft reset",
        _soft_reset,
        "the mean after resets, correlations in time",
        "micheli2024",
    ),
    Method("ding", "Ding, with bias", _ding, "fixed points of the variance, width", "ding2021"),
    Method("bellec", "LSNN", lambda s: Weights(published.bellec_gain()), f"{NEURON}; made for θ = 0.03", "bellec2018"),
    Method(
        "spytorch",
        "SpyTorch",
        lambda s: Weights(published.spytorch_gain(s.neuron.decay)),
        "threshold and depth; by hand",
        "zenke2019",
    ),
    Method("ikun", "IKUN", lambda s: Weights(published.ikun_gain()), NEURON, "chang2024"),
    Method("ikun_v2", "IKUN, version 2", lambda s: Weights(published.ikun_gain(s.fan_in, s.width)), NEURON, "chang2024"),
    Method(
        "fluctuation_driven",
        "Fluctuation-driven, ξ = 1",
        _fluctuations,
        "reset, correlations in time, the rate it leads to",
        "rossbroich2022",
        "firing rate",
    ),
    Method("spikeinit", "SpikeInit", _spikeinit, "correlations in time, stability; hard reset", "shi2026", "firing rate"),
    Method(
        "corrected",
        "varflow, corrected",
        _corrected,
        "raises the variance where it corrects",
        needs="width and depth",
    ),
    Method("lsuv", "LSUV", None, "stability, other data", "mishkin2016", "data"),
    Method("tdbn", "tdBN", None, "no weights: batch statistics in training", "zheng2021", "data"),
    Method("ei_init", "E-I Init", None, "needs its inhibitory circuit", "liu2025", "data"),
    Method("mp_init", "MP-Init", None, "no weights: potentials at step 0", "kook2025", "data"),
    Method("herranz_celotti", "Herranz-Celotti, Rouat", None, "recurrent weights; half of all fire", "herranz2022", "data"),
    Method("perez_nieves", "Perez-Nieves, Goodman", None, "not implemented: formulas not at hand", "perez2023", "firing rate"),
)
