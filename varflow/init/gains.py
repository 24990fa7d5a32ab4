"""Gains of neurons without memory: the variance map and the chain, solved for ``g``, and the result that says what follows from
a gain, a fan-in and a multiplier: :class:`varflow.results.Initialization`, built here only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from varflow._checks import DomainError, integer, non_negative, positive_scale, probability, same_shape, scale, unwrap
from varflow._hints import hinting
from varflow.model.distributions import Distribution
from varflow.model.distributions import distribution as as_distribution
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons
from varflow.results import Initialization
from varflow.theory.memoryless.fixed_points import critical_gain, saddle_node
from varflow.theory.memoryless.stable import stable_variance
from varflow.theory.memoryless.variance_map import as_one_threshold, depth_scale, fired, multiplier, thresholds
from varflow.theory.roots import bisect


@hinting
def gain(
    *, threshold: Any, variance: Any = 1.0, distribution: Any = "normal", bias_std: Any = 0.0, mean_gain: Any = 0.0
) -> Any:
    r"""The gain that makes ``variance`` a fixed point of the layer map; the preserving gain at ``variance=1``.

    .. math:: g^2 = \frac{v - \sigma_b^2}{p}, \qquad p = Q\!\left(\frac{\theta - m_g p}{\sqrt v}\right)

    Parameters
    ----------
    threshold, variance, bias_std, mean_gain : float or array
        ``θ`` of any sign, ``v > σ_b²``, ``σ_b ≥ 0``, ``m_g = n E[w]``; arrays broadcast. A threshold may be a frozen
        scipy.stats distribution over neurons; ``p`` is then the average.
    distribution : str or object
        Of the standardised potential.

    Returns
    -------
    float or ndarray
        ``g = σ_w √n``.

    Raises
    ------
    DomainError
        If no gain does: ``v ≤ σ_b²``, or the threshold is above the support.

    Notes
    -----
    **Assumes** infinite width and memoryless neurons. The fixed point need not be stable: for the normal distribution it is
    unstable above ``θ = 1.190601 √v``, which :func:`varflow.lookup` reports.
    With a large positive ``mean_gain`` several rates are self-consistent; the smallest is used.
    **Accuracy**: that of the tail, a few ulp.
    **Source**: ``micheli2024`` for ``v = 1``, ``σ_b = m_g = 0``; at ``θ = 0`` it is Kaiming's ``√2``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.gain(threshold=[0.0, 0.5, 1.0]).round(6).tolist()
    [1.414214, 1.800305, 2.510573]
    """
    law = as_distribution(distribution)
    theta, shape = thresholds(threshold)
    whole, v, sigma_b, m_g = same_shape(
        threshold=shape,
        variance=positive_scale("variance", variance),
        bias_std=non_negative("bias_std", scale("bias_std", bias_std)),
        mean_gain=scale("mean_gain", mean_gain),
    )
    room = v - sigma_b**2
    if not np.all(room > 0):
        raise DomainError("variance", float(v[room <= 0].flat[0]), "must exceed bias_std², the variance due to the biases")
    rate = lambda mean: fired(law, theta, np.asarray(mean), np.sqrt(v))  # noqa: E731
    p = rate(np.zeros_like(v))
    if np.any(m_g != 0):
        p = _self_consistent_rate(lambda p: rate(m_g * p), v.shape)  # not Q(z): with a large mean, z is ill-conditioned
    with np.errstate(divide="ignore", over="ignore"):
        answer = np.sqrt(room / p)
        if not isinstance(theta, OverNeurons):
            z = (whole - m_g * p) / np.sqrt(v)
            answer = np.where(p > 1e-290, answer, np.sqrt(room) * np.exp(-0.5 * np.asarray(law.log_sf(z))))
    if not np.all(np.isfinite(answer)):
        worst = theta if isinstance(theta, OverNeurons) else float(whole[~np.isfinite(answer)].flat[0])
        raise DomainError("threshold", worst, "is so high that nothing fires at this variance; raise the variance")
    return unwrap(answer)


def _self_consistent_rate(image: Callable[[Any], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The smallest ``p`` with ``p = image(p)``."""
    fraction = np.linspace(0, 1, 257).reshape(-1, *([1] * len(shape)))
    rarest = np.maximum(image(np.zeros(shape)), 1e-300)
    steps = np.sort(np.concatenate([np.broadcast_to(fraction, (257, *shape)), rarest ** (1 - fraction)]), axis=0)
    passed = image(steps) <= steps
    first = np.maximum(np.argmax(passed, axis=0), 1)[None]  # the first step at or beyond the smallest root
    lo, hi = (np.take_along_axis(steps, index, axis=0)[0] for index in (first - 1, first))
    return bisect(lambda p: image(p) - p, np.maximum(lo, 1e-300), np.maximum(hi, 1e-300))


def memoryless_gain(rate: float, *, threshold: float | OverNeurons, distribution: Any = "normal") -> float:
    """The gain whose fixed point has firing rate ``rate``: ``z = S⁻¹(p)``, ``g = θ/(z √p)``. For ``θ > 0``."""
    law = as_distribution(distribution)
    if isinstance(threshold, OverNeurons):
        law, threshold = as_one_threshold(law, threshold)
    ceiling = float(law.sf(0.0))
    if threshold <= 0:
        raise DomainError("rate", rate, "cannot be chosen at threshold ≤ 0: give a gain")
    if not 0 < rate < ceiling:
        raise DomainError("rate", rate, f"must lie between 0 and {ceiling:g}, the fraction of potentials above their mean")
    edge = law.upper if np.isfinite(law.upper) else 1e6
    z = float(bisect(lambda z: law.sf(z) - rate, np.array(1e-300), np.array(edge)))
    return float(threshold / (z * math.sqrt(rate)))


ONLY_WITH_MEMORY = "is for neurons with memory, whose steps differ: give neuron=…"


def without_memory(neuron: Neuron, steps: int | None) -> bool:
    """True if every step is as the first, which nothing precedes."""
    return neuron.memoryless or (
        steps == 1 and not (neuron.reset_rule.counts or neuron.reset_rule.register or neuron.longer_filter)
    )


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
        g = float(gain(threshold=level, variance=variance, distribution=potential))
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
