"""The one place that builds :class:`varflow.results.Initialization`: what follows from a gain, a fan-in and a multiplier.

Neurons without memory: their gain is a fixed point of the layer map, the same at every step and depth.
"""

from __future__ import annotations

import math
from typing import Any

from varflow._checks import DomainError, integer, probability
from varflow.init.gains import gain as preserving_gain
from varflow.init.gains import memoryless_gain
from varflow.model.distributions import Distribution
from varflow.model.distributions import distribution as as_distribution
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons
from varflow.results import Initialization
from varflow.theory.memoryless.fixed_points import critical_gain, saddle_node
from varflow.theory.memoryless.stable import stable_variance
from varflow.theory.memoryless.thresholds import as_one_threshold
from varflow.theory.memoryless.variance_map import depth_scale, multiplier


def without_memory(neuron: Neuron, steps: int | None) -> bool:
    """True if every step is as the first, which nothing precedes."""
    return neuron.memoryless or (steps == 1 and not (neuron.reset_rule.counts or neuron.longer_filter))


def steps_of(neuron: Neuron, steps: int | None) -> int:
    """The steps that are asked for; a neuron without memory needs none."""
    if steps is None and not neuron.memoryless:
        raise DomainError("steps", steps, "is missing: a neuron with memory (decay, reset or filter) has a gain for some steps")
    return 1 if steps is None else integer("steps", steps, minimum=1)


def initialization(
    gain: float, *, fan_in: int | None, multiplier: float | None, critical_gain: float | None = None, **known: Any
) -> Initialization:
    """The result for a gain; ``known``: its other fields. Without a multiplier the state is reached, and so is stable."""
    n = None if fan_in is None else integer("fan_in", fan_in, minimum=1)
    return Initialization(
        gain=gain,
        weight_std=None if n is None else gain / math.sqrt(n),
        weight_variance=None if n is None else gain**2 / n,
        multiplier=multiplier,
        stable=multiplier is None or abs(multiplier) < 1,
        depth_scale=None if multiplier is None else depth_scale(multiplier) + 0.0,
        critical_gain=critical_gain,
        margin=gain / critical_gain - 1 if critical_gain else None,
        fan_in=n,
        **{"distribution": "normal", "warnings": ()} | known,
    )


NARROW_MARGIN = 0.10  # relative distance from the critical gain below which a warning is given


def at_fixed_point(
    neuron: Neuron,
    *,
    fan_in: int | None,
    depth: int | None,
    rate: float | None = None,
    variance: float = 1.0,
    distribution: Any = "normal",
) -> Initialization:
    """The gain whose fixed point has a rate or else a variance; only threshold and input scale of the neuron matter.

    Without a depth a warning near the critical gain says how to see the survival.
    """
    law, theta, input_scale = as_distribution(distribution), neuron.threshold, neuron.input_scale
    potential, level = as_one_threshold(law, theta) if isinstance(theta, OverNeurons) else (law, theta)
    if rate is None:
        g = float(preserving_gain(threshold=level, variance=variance, distribution=potential))
    else:
        g = memoryless_gain(probability("rate", rate, open_ends=True), threshold=level, distribution=potential)
        variance = g**2 * rate
    std, critical = math.sqrt(variance), float(critical_gain(threshold=theta, distribution=law))
    m = multiplier(potential, level / std, std, g)
    return initialization(
        g / input_scale,
        fan_in=fan_in,
        multiplier=m,
        critical_gain=critical / input_scale,
        distribution=law.name,
        warnings=(*_stability_words(potential, level, g, m), *_margin_words(g, critical, depth)),
        firing_rate=float(potential.sf(level / std)),
        variance=variance,
        threshold=level,
        input_gain=std / input_scale,
    )


def _stability_words(law: Distribution, theta: float, g: float, m: float) -> list[str]:
    if abs(m) < 1:
        return []
    words = f"unstable: the fixed point has multiplier {m:.4g}"
    if m < 0:
        return [f"{words}; activity alternates from layer to layer"]
    if law.inflection is None:
        return [f"{words}; see vf.fixed_points for the stable states"]
    V = float(stable_variance(threshold=theta, gain=g, distribution=law))
    rate = float(law.sf(theta / math.sqrt(V)))
    return [
        f"{words}; slightly above it activity grows to V = {V:.4g} (rate {rate:.3g}), below it activity dies. "
        f"For the {law.name} distribution this holds for every threshold above {saddle_node(law)[0]:.4f} standard deviations."
    ]


def _margin_words(g: float, critical: float, depth: int | None) -> list[str]:
    if critical <= 0 or g / critical - 1 >= NARROW_MARGIN:
        return []
    return [
        f"close to the edge: the gain is only {100 * (g / critical - 1):.1f} % above the critical gain, below which only "
        "silence is stable; narrow networks fall silent by chance"
        + (" (give width and depth to see the survival)" if depth is None else "")
    ]
