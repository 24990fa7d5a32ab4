"""Lookup: the gain of one layer and everything to expect with it, in one call."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from varflow._checks import DomainError, integer, need, probability, refuse
from varflow._display import percent
from varflow._hints import hinting
from varflow._progress import Progress, check_progress
from varflow.init.fans import fan_in as fan_in_of
from varflow.init.gains import ONLY_WITH_MEMORY, at_fixed_point, initialization, steps_of, without_memory
from varflow.init.gains import gain as preserving_gain
from varflow.model.as_neuron import neuron as as_neuron
from varflow.model.distributions import Distribution
from varflow.model.distributions import distribution as as_distribution
from varflow.model.drives import currents
from varflow.model.network import Network
from varflow.model.neurons import Neuron, one_threshold
from varflow.model.over_neurons import OverNeurons, mean_of, times
from varflow.results import Initialization, late_steps
from varflow.theory.memoryless.stable import stable_variance

LAYERS = 20  # of a network of neurons with memory, where none are named


@hinting
def lookup(
    *,
    threshold: Any = None,
    fan_in: int | None = None,
    layer: Any = None,
    distribution: Any = "normal",
    neuron: Any = None,
    rate: float | None = None,
    steps: int | None = None,
    width: int | None = None,
    depth: int | None = None,
    survival_target: float = 0.99,
    alive: str | None = None,
    surrogate: Any = None,
    progress: Progress = False,
) -> Initialization:
    r"""The gain of one layer, with its fixed point, its margin above the critical gain and, at finite width, its survival.

    Parameters
    ----------
    threshold : float or frozen scipy.stats distribution, optional
        ``θ``, or its distribution over neurons; by default the neuron's.
    fan_in, layer : int, or a weight shape or torch layer
        Exactly one of them. A shape is ``(out, in, *kernel)``.
    distribution : str or object
        Distribution of the standardised potential.
    neuron : Neuron, torch module or str, optional
        As :func:`varflow.neuron` takes it. Its input scale is included. A neuron with memory (leak, reset or filter) needs
        ``steps``, and ``rate`` for the result of :func:`varflow.gain_for_rate` or ``alive`` for that of
        :func:`varflow.corrected_gain`.
    rate : float, optional
        Wanted firing rate; by default the gain of a memoryless neuron preserves variance 1.
    steps : int, optional
        For a neuron with memory; without memory all steps are alike.
    width, depth : int, optional
        With a depth, survival and the corrected gain are given for a network of this width (default: ``fan_in``). For a
        neuron with memory the depth is that of the network (default 20); the width counts with ``alive``.
    survival_target : float
        Wanted probability of being alive at the last layer, strictly between 0 and 1; used with a depth.
    alive : str, optional
        For a neuron with memory: the steps that must be alive, as in :func:`varflow.survival`, under currents of standard
        deviation 1. Gains of common neurons are interpolated in a table; for others networks are simulated, in some seconds.
    surrogate : str or Surrogate, optional
        A surrogate derivative (``vf.surrogates``): adds the growth of gradients per layer and the best width of the surrogate,
        for a neuron with memory in a network of ``depth`` layers.
    progress : bool or callable
        For a neuron with memory, as in :func:`varflow.gain_for_rate`; otherwise nothing takes long.

    Returns
    -------
    Initialization

    Raises
    ------
    DomainError
        For values outside their domain, conflicting or missing arguments, rates that no gain gives.

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

    At width 100 hardly any network is alive at layer 100; with a larger gain 99 % are:

    >>> init = vf.lookup(threshold=1.0, fan_in=100, depth=100)
    >>> print(f"{init.survival:.4f} {init.corrected_gain**2:.5f} {init.corrected_survival:.4f}")
    0.0171 8.16387 0.9900

    A layer and the neuron after it, as they stand in a torch model:

    >>> import torch, snntorch
    >>> layer, neuron = torch.nn.Linear(512, 256), snntorch.Leaky(beta=0.5)
    >>> print(f"{vf.lookup(layer=layer, neuron=neuron, rate=0.2, steps=8, depth=20).gain:.2f}")
    2.87

    Narrow layers need a larger gain than at infinite width to stay alive in every late step:

    >>> init = vf.lookup(neuron=neuron, steps=8, fan_in=128, depth=20, alive="every late step")
    >>> print(f"{init.gain:.2f} {init.firing_rate:.2f}")
    2.86 0.20

    A surrogate with which gradients keep their variance:

    >>> init = vf.lookup(threshold=1.0, fan_in=512, surrogate="atan")
    >>> print(f"{init.gradient_growth:.4f} {init.surrogate}")
    0.7593 atan(alpha=2.62815)
    """
    check_progress(progress)
    neuron = _neuron(threshold, neuron)
    law, n, steps = as_distribution(distribution), _fan_in(fan_in, layer), steps_of(neuron, steps)
    if not without_memory(neuron, steps):
        depth = LAYERS if depth is None else depth
        if alive is not None:
            sizes = {"width": n if width is None else width, "depth": depth}
            found = _kept_alive(neuron, steps, n, alive, survival_target, rate, sizes)
        else:
            unused = {"width": width, "distribution": None if law.name == "normal" else law.name}
            found = _in_time(neuron, rate, steps, n, unused, {"depth": depth, "progress": progress})
        return found if surrogate is None else _with_surrogate(found, surrogate, neuron, steps, depth)
    refuse(ONLY_WITH_MEMORY, alive=alive)
    if width is not None and depth is None:
        raise DomainError("width", width, "needs a depth: survival is that of a layer")
    probability("survival_target", survival_target, open_ends=True)
    found = at_fixed_point(neuron, fan_in=n, depth=depth, rate=rate, distribution=law)
    n, g = n if width is None else integer("width", width, minimum=1), found.gain * neuron.input_scale
    finite = _finite(neuron.threshold, g, found.variance, n, depth, survival_target)
    warnings = (*found.warnings, *_law_words(law, finite), *finite.pop("words"))
    if finite.get("corrected_gain") is not None:
        finite["corrected_gain"] /= neuron.input_scale
    found = replace(found, input_gain=None if found.input_gain == 1 else found.input_gain, warnings=warnings, **finite)
    return found if surrogate is None else _with_surrogate(found, surrogate, neuron, 1, 2)


def _with_surrogate(found: Initialization, surrogate: Any, neuron: Neuron, steps: int, depth: int) -> Initialization:
    from varflow.init.surrogate_width import surrogate_beside_gain

    drive = currents(found.input_gain or 1.0)
    beside = surrogate_beside_gain(surrogate, found.gain, neuron, steps, depth, drive)
    return replace(found, warnings=(*found.warnings, *beside.pop("words")), **beside)


def _neuron(threshold: Any, neuron: Any) -> Neuron:
    """The neuron, or a memoryless one of this threshold."""
    if neuron is None:
        need("is missing: give a threshold or a neuron", threshold=threshold)
        return Neuron(one_threshold(threshold))
    neuron = as_neuron(neuron)
    if threshold is not None and one_threshold(threshold) != neuron.threshold:
        raise DomainError("threshold", threshold, f"conflicts with the neuron's {neuron.threshold:g}: give one of them")
    return neuron


def _in_time(
    neuron: Neuron, rate: Any, steps: int, fan_in: int, unused: dict[str, Any], deep: dict[str, Any]
) -> Initialization:
    """The answer for a neuron with memory: the gain of a late rate."""
    from varflow.init.in_time import gain_for_rate

    refuse("is not supported for neurons with memory, which are solved at infinite width", **unused)
    need("is missing: a neuron with memory needs one, such as 0.2; for a wanted variance use vf.gain_for_variance", rate=rate)
    return gain_for_rate(neuron, rate=rate, steps=steps, fan_in=fan_in, **deep)


def _kept_alive(
    neuron: Neuron, steps: int, fan_in: int, alive: str, target: float, rate: float | None, sizes: dict[str, Any]
) -> Initialization:
    """The gain with which as many networks of these sizes are alive, and the state at infinite width."""
    from varflow.init.kept_alive import gain_kept_alive
    from varflow.theory.mean_field import mean_field

    refuse("conflicts with alive=…: the gain that keeps networks alive sets the rate", rate=rate)
    found = gain_kept_alive(neuron, steps=steps, alive=alive, survival_target=target, **sizes)
    network = Network(gain=found.value, neuron=replace(neuron, delay=0), steps=steps, **sizes)
    profile = mean_field(network, points=2**10, scrambles=2)
    return initialization(
        found.value,
        fan_in=fan_in,
        multiplier=None,
        firing_rate=float(profile.firing_rate[-1, late_steps(steps)].mean()),
        variance=float(profile.variance[-1, late_steps(steps)].mean()),
        threshold=mean_of(neuron.threshold),
        error={"gain": found.error},
        window=(steps // 2 + 1, steps),
        warnings=(f"{percent(target)} of networks have {alive} alive in layer {sizes['depth']}: {found.method}",),
        **sizes,
    )


def _fan_in(fan_in: int | None, layer: Any) -> int:
    if fan_in is None and layer is None:
        raise DomainError("fan_in", fan_in, "is missing: give it or a layer, by its weight shape or as a torch layer")
    if fan_in is not None and layer is not None:
        raise DomainError("layer", layer, f"conflicts with fan_in={fan_in}: give one of the two")
    return fan_in_of(layer) if fan_in is None else integer("fan_in", fan_in, minimum=1)


def _law_words(law: Distribution, finite: dict[str, Any]) -> list[str]:
    if law.name == "normal":
        return []
    words = f"potentials become normal again after one dense layer; over depth only structured layers keep the {law.name} one"
    if "survival" not in finite:
        return [words]
    normal = "survival and the corrected gain" if "corrected_gain" in finite else "survival"
    return [f"{words}; {normal} are for normal potentials, gain, fixed point, critical gain and margin for {law.name} ones"]


def _finite(theta: float | OverNeurons, g: float, variance: float, n: int, depth: int | None, target: float) -> dict[str, Any]:
    """Survival at finite width and the corrected gain, for a network driven at ``variance``."""
    if depth is None:
        return {"words": []}
    from varflow.init.inverse import corrected_gain  # exact chains: a fifth of the start of ``varflow lookup``
    from varflow.theory.finite_width.chain import RARE, survival_at

    depth = integer("depth", depth, minimum=1)
    unit = math.sqrt(variance)  # of all potentials, so that the drive has variance 1
    inner = times(theta, 1 / unit)
    survival = survival_at(inner, g / unit, n, depth, rare=RARE)
    known = {"width": n, "depth": depth, "survival": survival, "words": []}
    if depth == 1:
        return known
    alive = f"finite width: {percent(survival, 3)} of networks of width {n} are alive at layer {depth}"
    if mean_of(theta) <= 0:
        rule = "at threshold 0 the gain has no effect" if theta == 0 else "below threshold 0 silence is not absorbing"
        return known | {"words": [f"{alive}; {rule}"] if survival < target else []}
    try:
        corrected = corrected_gain(threshold=inner, width=n, depth=depth, survival_target=target) * unit
    except DomainError as refusal:
        return known | {"words": [f"{alive}; {100 * target:g} % {refusal.rule}"]}
    if survival < target:
        V = float(stable_variance(threshold=theta, gain=corrected))
        moved = f"the corrected gain keeps {100 * target:g} % alive and changes the variance to V = {V:.4g}"
        known["words"] = [f"{alive}; {moved}; {_width_words(inner, g / unit, depth, target)}"]
    elif corrected < g:
        V = float(stable_variance(threshold=theta, gain=corrected))
        now = float(stable_variance(threshold=theta, gain=g))
        named = "the preserving gain" if g == float(preserving_gain(threshold=theta)) else "this gain"
        known["words"] = [
            f"{named} already keeps {100 * target:g} % of networks of width {n} alive at layer {depth}; the corrected gain, "
            f"the smallest that does, is lower and would lower the variance from {now:.4g} to {V:.4g}: no correction is needed"
        ]
    survival = survival_at(inner, corrected / unit, n, depth, rare=RARE)
    return known | {"corrected_gain": corrected, "corrected_survival": survival}


def _width_words(theta: float | OverNeurons, g: float, depth: int, target: float) -> str:
    """The width at which no correction would be needed."""
    from varflow.init.inverse import smallest_width

    try:
        width = smallest_width(threshold=theta, depth=depth, survival_target=target, gain=g)
    except DomainError as refusal:
        return "without it no width suffices" if refusal.argument == "threshold" else "without it a larger width is needed"
    return f"without it, width {width} would be needed"
