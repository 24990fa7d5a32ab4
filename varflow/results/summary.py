"""The main findings of a sweep as sentences: exact theory at one step, infinite width over several."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from varflow._display import percent
from varflow.model.over_neurons import mean_of
from varflow.results.curve import Curve
from varflow.results.layout import late_steps

DEAD = 0.005  # survival, or spikes per step, below which activity is said to die: rounds to 0 in per cent
TITLES = {"preserving": "Preserving gain, g² = 1/P(u > θ)", "kaiming": "Kaiming's gain, g² = 2"}


def sentence(rule: str, curves: list[Curve]) -> str:
    """The main finding of one panel, from its theory."""
    return _exact(rule, curves) if curves[0].network.steps == 1 else _in_time(rule, curves)


def _title(rule: str) -> str:
    return TITLES.get(rule, f"The gain {rule}")


def _exact(rule: str, curves: list[Curve]) -> str:
    depth, width = curves[0].network.depth, curves[0].network.widths[-1]
    title = _title(rule)
    dead = [c for c in curves if c.profile.survival[-1] < DEAD]
    flat = [c for c in curves if c.profile.survival[-1] > 0.995 and _drift(c) < 0.02]
    parts = []
    if flat:
        parts.append(f"the variance stays within 2 % of the drive's for {_thetas(flat)}")
    for c in curves:
        if c in dead or c in flat:
            continue
        silent, mean = 1 - c.profile.survival[-1], f"goes to {c.profile.variance[-1]:.3g}"
        leak = f" on average, with {percent(silent)} of the networks silent" if silent > 5e-4 else ""
        parts.append(f"at θ = {c.threshold:.4g} it {mean}{leak}")
    if dead:
        when = _layers(np.argmax(c.profile.survival < 0.5) for c in dead)
        parts.append(f"activity dies for {_thetas(dead)}, half of the networks by {when}")
    return f"{title}, exact at width {width}, layer {depth}: " + "; ".join(parts) + "." + _inputs_sentence(curves)


def _in_time(rule: str, curves: list[Curve]) -> str:
    """The late half of the steps, theory and simulation."""
    network = curves[0].network
    late = late_steps(network.steps)
    parts, dead = [], [c for c in curves if _late_spikes(c)[-1] < DEAD]
    for c in curves:
        if c in dead:
            continue
        seen = c.ensemble.mean()
        theory, measured = ((of.variance[-1, late].mean(), of.firing_rate[-1, late].mean()) for of in (c.profile, seen))
        predicted = f"at θ = {c.threshold:.4g} variance {theory[0]:.3g} and rate {theory[1]:.3g}"
        alive = int(np.count_nonzero(c.profile.spikes[-1] >= 0.5))
        steps = "" if alive == network.steps else f", with only {alive} of {network.steps} steps alive"
        parts.append(f"{predicted} (simulated {measured[0]:.3g} and {measured[1]:.3g}){steps}")
    if dead:
        when = _layers(np.argmax(_late_spikes(c) < 0.5) for c in dead)
        parts.append(f"activity dies for {_thetas(dead)}: fewer than one spike in two steps from {when}")
    steps = f"steps {late.start + 1} to {network.steps}"
    return f"{_title(rule)}, infinite width, layer {network.depth}, {steps}: " + "; ".join(parts) + "."


def _late_spikes(curve: Curve) -> np.ndarray:
    """Expected spikes per step of each layer, over the late half of the steps."""
    return curve.profile.spikes[:, late_steps(curve.network.steps)].mean(axis=1)


def _drift(curve: Curve) -> float:
    """The largest relative deviation of any layer's variance from that of layer 1."""
    first = curve.profile.variance[0]
    return float(np.max(np.abs(curve.profile.variance - first))) / first if first > 0 else np.inf


def _inputs_sentence(curves: list[Curve]) -> str:
    """Survival per input at the largest threshold."""
    last = max(curves, key=lambda curve: mean_of(curve.threshold))
    survival = last.survival_per_input
    if survival is None or survival.max() < DEAD:
        return ""
    if len(survival) == 1:
        return f" At θ = {last.threshold:.4g} the input survives with probability {survival[0]:.3g}."
    low, middle, high = (f"{value:.3g}" for value in np.quantile(survival, [0, 0.5, 1]))
    return f" At θ = {last.threshold:.4g} the {len(survival)} inputs survive with probability {low} to {high}, median {middle}."


def _layers(indices: Iterable[np.intp]) -> str:
    """Layers from the first to the last of these indices, which count from 0."""
    numbers = sorted(int(index) + 1 for index in indices)
    return f"layer {numbers[0]}" if numbers[0] == numbers[-1] else f"layers {numbers[0]} to {numbers[-1]}"


def _thetas(curves: list[Curve]) -> str:
    values = [f"{curve.threshold:.4g}" for curve in curves]
    return "θ = " + (values[0] if len(values) == 1 else ", ".join(values[:-1]) + " and " + values[-1])
