"""Lookup: everything a practitioner needs to know about one layer's gain, in one call."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from varflow._checks import DomainError, integer, nothing_if_nan, probability, real_array, scalar, scale
from varflow.init.gains import corrected_gain, gain as preserving_gain, gain_for_rate
from varflow.model.distributions import Distribution, distribution as as_distribution
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.theory.finite_width import finite_width
from varflow.theory.fixed_points import critical_gain, saddle_node
from varflow.theory.maps import multiplier as map_multiplier
from varflow.theory.stable import stable_variance

__all__ = ["Initialization", "fan_in_of", "lookup"]

NARROW_MARGIN = 0.10  # a gain this close above the critical one is pointed out


@dataclass(frozen=True, slots=True, eq=False)
class Initialization:
    """How to initialise one layer, and what to expect of it.

    Attributes
    ----------
    gain, weight_std, weight_variance : float
        ``g``, ``g/√fan_in``, ``g²/fan_in``.
    firing_rate, variance : float
        At the fixed point the gain is made for.
    multiplier, stable, depth_scale
        Of that fixed point: ``m``, ``|m| < 1``, ``-1/ln|m|`` layers.
    critical_gain, margin : float
        Gain below which only silence is left, and ``gain/critical_gain - 1`` (None for ``θ ≤ 0``).
    survival : float, optional
        With width and depth: probability that the network is alive at its last layer, at ``gain``.
    corrected_gain, corrected_survival : float, optional
        The smallest gain whose survival reaches the target, and that survival. None where no gain does, or none is needed.
    input_gain : float, optional
        Standard deviation of layer 1's current, for neurons with memory.
    warnings : tuple of str
        What to mind, in words.
    threshold, fan_in, distribution, width, depth
        What was asked.
    """

    gain: float
    weight_std: float
    weight_variance: float
    firing_rate: float
    variance: float
    multiplier: float
    stable: bool
    critical_gain: float
    margin: float | None
    depth_scale: float
    warnings: tuple[str, ...]
    threshold: float
    fan_in: int
    distribution: str
    width: int | None = None
    depth: int | None = None
    survival: float | None = None
    corrected_gain: float | None = None
    corrected_survival: float | None = None
    input_gain: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return nothing_if_nan({field.name: getattr(self, field.name) for field in fields(self)})

    def __repr__(self) -> str:
        skipped = ("warnings", "threshold", "fan_in", "distribution", "width", "depth")
        lines = [f"Initialization for threshold {self.threshold:g}, fan-in {self.fan_in} ({self.distribution})"]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in skipped and value is not None:
                lines.append(f"  {field.name:<18} {value:.8g}" if isinstance(value, float) else f"  {field.name:<18} {value}")
        return "\n".join([*lines, *(f"  ! {warning}" for warning in self.warnings)])


def lookup(
    *,
    threshold: float | None = None,
    fan_in: int | None = None,
    layer: Any = None,
    distribution: Any = "normal",
    neuron: Neuron | None = None,
    rate: float | None = None,
    steps: int = 1,
    width: int | None = None,
    depth: int | None = None,
    survival_target: float = 0.99,
) -> Initialization:
    r"""The initialisation of one layer, with its fixed point, its margin and, at finite width, its survival.

    Parameters
    ----------
    threshold : float, optional
        ``θ``; by default the neuron's.
    fan_in, layer : int, or a weight shape or torch layer
        Exactly one of them. A shape is ``(out, in, *kernel)``.
    distribution : str or object
        Of the standardised potential.
    neuron : Neuron, optional
        Memoryless here; its input scale is taken into account.
    rate : float, optional
        Wanted firing rate; by default the gain keeps the variance at 1, the paper's choice.
    steps : int
        1 here.
    width, depth : int, optional
        With a depth, survival and the corrected gain are reported for a network of this width (default: ``fan_in``).
    survival_target : float
        Wanted probability of being alive at the last layer.

    Returns
    -------
    Initialization

    Raises
    ------
    DomainError
        For values outside their domain, contradictory or missing arguments.

    Notes
    -----
    **Assumes** infinite width for the fixed point; the exact chain of normal weights for survival.
    **Source**: ``micheli2024`` for the gain at variance 1; the rest derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> init = vf.lookup(threshold=1.0, fan_in=512)
    >>> print(f"{init.gain:.6f} {init.weight_std:.6f} {init.multiplier:.6f} {init.stable}")
    2.510573 0.110953 0.762568 True
    """
    theta, input_scale = _threshold_and_scale(threshold, neuron, integer("steps", steps, minimum=1))
    n = _fan_in(fan_in, layer)
    law = as_distribution(distribution)
    g, variance = _gain_and_variance(theta, law, rate)
    critical = float(critical_gain(threshold=theta, distribution=law))
    m = map_multiplier(law, variance, theta, g)
    finite = _finite(theta, g, n, width, depth, survival_target)
    warnings = [*_stability_words(law, theta, g, m), *_margin_words(g, critical), *_law_words(law), *finite.pop("words")]
    if finite.get("corrected_gain") is not None:
        finite["corrected_gain"] /= input_scale
    return Initialization(
        gain=g / input_scale,
        weight_std=g / input_scale / math.sqrt(n),
        weight_variance=(g / input_scale) ** 2 / n,
        firing_rate=float(law.sf(theta / math.sqrt(variance))),
        variance=variance,
        multiplier=m,
        stable=abs(m) < 1,
        critical_gain=critical / input_scale,
        margin=g / critical - 1 if critical > 0 else None,
        depth_scale=-1 / math.log(abs(m)) if abs(m) not in (0.0, 1.0) else (math.inf if m else 0.0),
        warnings=tuple(warnings),
        threshold=theta,
        fan_in=n,
        distribution=law.name,
        **finite,
    )


def _threshold_and_scale(threshold: float | None, neuron: Neuron | None, steps: int) -> tuple[float, float]:
    if neuron is None:
        if threshold is None:
            raise DomainError("threshold", threshold, "is missing: give a threshold or a neuron")
        return scalar("threshold", scale("threshold", threshold)), 1.0
    if not isinstance(neuron, Neuron):
        raise DomainError("neuron", neuron, "must be vf.Neuron(threshold)")
    if threshold is not None and threshold != neuron.threshold:
        raise DomainError("threshold", threshold, f"contradicts the neuron's {neuron.threshold:g}: give one of them")
    if not neuron.memoryless:
        raise DomainError("neuron", neuron, "has memory (decay, reset or filter); lookup is for memoryless neurons")
    if steps > 1:
        raise DomainError("steps", steps, "must be 1 for a memoryless neuron: every step repeats the first")
    return neuron.threshold, neuron.input_scale


def _fan_in(fan_in: int | None, layer: Any) -> int:
    if (fan_in is None) == (layer is None):
        raise DomainError("fan_in", fan_in, "or layer must be given, one of the two")
    return fan_in_of(layer) if fan_in is None else integer("fan_in", fan_in, minimum=1)


def fan_in_of(layer: Any) -> int:
    """Inputs summed by one neuron of a layer: of a shape ``(out, in, *kernel)`` or of a torch module with such a weight.

    A transposed convolution stores ``(in, out/groups, *kernel)``; there every output sums ``in/groups · kernel/stride``.
    """
    if hasattr(layer, "weight"):
        shape = getattr(layer.weight, "shape", None) if "Uninitialized" not in type(layer.weight).__name__ else None
        if shape is None:
            raise DomainError("layer", layer, "has no weight yet: run one batch through it first")
        if "Transpose" in type(layer).__name__:
            taps = math.prod(shape[2:]) / math.prod(layer.stride)
            return max(round(shape[0] / layer.groups * taps), 1)
    else:
        shape = layer
    sizes = real_array("layer", shape) if not isinstance(shape, str) else np.empty(0)
    if sizes.ndim != 1 or len(sizes) < 2 or np.any(sizes < 1) or np.any(sizes % 1):
        raise DomainError("layer", layer, "must be a weight shape (out, in, *kernel) of whole numbers, or a torch layer with a weight")
    return int(math.prod(sizes[1:]))


def _gain_and_variance(theta: float, law: Distribution, rate: float | None) -> tuple[float, float]:
    if rate is None:
        return float(preserving_gain(threshold=theta, distribution=law)), 1.0
    p = probability("rate", rate, open_ends=True)
    g = gain_for_rate(p, threshold=theta, distribution=law)
    return g, g**2 * p


def _stability_words(law: Distribution, theta: float, g: float, m: float) -> list[str]:
    if abs(m) < 1:
        return []
    V = float(stable_variance(threshold=theta, gain=g, distribution=law))
    z_c, _ = saddle_node(law)
    where = f"a little above it activity grows to V = {V:.4g} (rate {law.sf(theta / math.sqrt(V)):.3g}), below it dies" if V > 0 else ""
    return [
        f"unstable: the fixed point has multiplier {m:.4g}; {where}. "
        f"For the {law.name} distribution this holds for every threshold above {z_c:.4f} standard deviations."
    ]


def _margin_words(g: float, critical: float) -> list[str]:
    if critical <= 0 or g / critical - 1 >= NARROW_MARGIN:
        return []
    return [
        f"close to the edge: the gain is {100 * (g / critical - 1):.1f} % above the critical gain, below which only silence "
        "is left; a narrow network crosses it by chance (give width and depth to see the survival)"
    ]


def _law_words(law: Distribution) -> list[str]:
    if law.name == "normal":
        return []
    return [f"one dense layer makes potentials normal again: over depth only a structured layer keeps the {law.name} distribution"]


def _finite(theta: float, g: float, fan_in: int, width: int | None, depth: int | None, target: float) -> dict[str, Any]:
    """Survival at finite width and the gain that corrects it."""
    if depth is None:
        if width is not None:
            raise DomainError("width", width, "needs a depth beside it: survival is to a layer")
        return {"words": []}
    n = integer("width", fan_in if width is None else width, minimum=1)
    depth = integer("depth", depth, minimum=1)
    target = probability("survival_target", target, open_ends=True)
    survival = float(finite_width(Network(width=n, depth=depth, gain=g, neuron=Neuron(theta))).survival[-1])
    known = {"width": n, "depth": depth, "survival": survival}
    if depth == 1 or theta <= 0:
        return known | {"words": []}
    correction = corrected_gain(threshold=theta, width=n, depth=depth, survival_target=target)
    if correction.gain is None:
        words = [f"no gain keeps {100 * target:g} % of networks of width {n} alive to layer {depth}: at most {correction.survival:.3g}"]
        return known | {"words": words}
    corrected = {"corrected_gain": correction.gain, "corrected_survival": correction.survival}
    words = _survival_words(theta, survival, target, n, depth, correction.gain)
    return known | corrected | {"words": words}


def _survival_words(theta: float, survival: float, target: float, n: int, depth: int, corrected: float) -> list[str]:
    if survival >= target:
        return []
    V = float(stable_variance(threshold=theta, gain=corrected))
    return [
        f"finite width: {100 * survival:.3g} % of networks of width {n} are alive at layer {depth}; the corrected gain keeps "
        f"{100 * target:g} % and moves the variance: its fixed point is V = {V:.4g}"
    ]
