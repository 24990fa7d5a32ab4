"""A sweep over thresholds, gains and widths: its curves, its verdict, and its main findings as sentences.

The findings are those of exact theory at one step, and of infinite width over several.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import nan_to_none
from varflow._display import Drawn, Shown, Table, percent, several
from varflow.model.drive_kinds import Drive
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons, mean_of, written
from varflow.results.export import QUANTITIES, axes_of, dataset, late_steps, named, over_layers, records
from varflow.results.profile import Comparison, Ensemble, Profile

DEAD = 0.005  # survival, or spikes per step, below which activity is said to die: rounds to 0 in per cent
TITLES = {"preserving": "Preserving gain, g² = 1/P(u > θ)", "kaiming": "Kaiming's gain, g² = 2"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Curve(Shown):
    """One network of the sweep: predicted, simulated, judged.

    Attributes
    ----------
    rule : str
        The gain rule: preserving, kaiming or a number.
    profile, ensemble, comparison
        The prediction for the inputs that the simulated networks saw (exact at one step, infinite width over several), the
        measurement, and the verdict.
    survival_per_input : ndarray, shape (batch,), optional
        For a drive of inputs at one step: the exact probability that the last layer is alive, for each input of the batch.

    Examples
    --------
    >>> import varflow as vf
    >>> curve = vf.validate(threshold=1.0, gain="preserving", width=30, depth=5, repeats=10).curves[0]
    >>> curve.rule, curve.threshold, curve.comparison.passed
    ('preserving', 1.0, True)
    """

    rule: str
    profile: Profile
    ensemble: Ensemble
    comparison: Comparison
    survival_per_input: np.ndarray | None = None

    @property
    def network(self) -> Network:
        return self.profile.network

    @property
    def threshold(self) -> float | OverNeurons:
        """The number, or the distribution over neurons."""
        return self.network.neuron.threshold

    @property
    def width(self) -> int:
        return int(self.network.widths[-1])

    def to_dict(self) -> dict[str, Any]:
        theory = self.profile.to_dict()
        theory.pop("per_input", None)  # inputs × depth numbers; the last layer's survival stays
        network = {"threshold": written(self.threshold), "rule": self.rule, "gain": self.network.gain, "width": self.width}
        measured = {"theory": theory, "simulation": self.ensemble.mean().to_dict(), "comparison": self.comparison.to_dict()}
        return network | measured | {"survival_per_input": nan_to_none(self.survival_per_input)}


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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Experiment(Drawn):
    """A sweep that was predicted and simulated, and its verdict.

    Attributes
    ----------
    curves : tuple of Curve
    drive : Drive
        As given, the whole batch.
    false_alarm : float
        Of the whole experiment, divided among the curves.
    requested_repeats : int
        Networks requested; after an interruption ``curves`` have fewer.
    bias : float or dict, optional
        Allowed error of the theory of infinite width, as in :func:`varflow.compare`.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.validate(threshold=1.0, gain="preserving", width=30, depth=5, repeats=10)
    >>> found.passed, len(found.curves)
    (True, 1)
    """

    curves: tuple[Curve, ...]
    drive: Drive
    false_alarm: float
    requested_repeats: int
    bias: Any = None

    @property
    def passed(self) -> bool:
        return all(curve.comparison.passed for curve in self.curves)

    @property
    def repeats(self) -> int:
        return min(curve.ensemble.repeats for curve in self.curves)

    @property
    def complete(self) -> bool:
        return self.repeats == self.requested_repeats

    @property
    def panels(self) -> dict[tuple[str, int], list[Curve]]:
        """The curves of each gain rule and width."""
        keys = dict.fromkeys((curve.rule, curve.width) for curve in self.curves)
        return {key: [curve for curve in self.curves if (curve.rule, curve.width) == key] for key in keys}

    @property
    def widths(self) -> list[int]:
        return list(dict.fromkeys(curve.width for curve in self.curves))

    @property
    def steps(self) -> int:
        return self.curves[0].network.steps

    @property
    def reading(self) -> list[str]:
        """The main findings of the figure, one sentence per panel."""
        return [sentence(rule, curves) for (rule, _), curves in self.panels.items()]

    def to_dict(self) -> dict[str, Any]:
        from varflow import __version__

        first = self.curves[0]
        setting = {
            "width": self.widths if len(self.widths) > 1 else self.widths[0],
            "depth": first.network.depth,
            "steps": self.steps,
            "neuron": repr(first.network.neuron),
            "drive": repr(self.drive),
            **named(first.ensemble, "engine", "seed", "device", "dtype"),
            **named(self, "repeats", "requested_repeats", "false_alarm", "bias"),
            "version": __version__,
        }
        return nan_to_none(named(self, "passed", "complete", "reading") | setting | {"curves": self.curves})

    def to_xarray(self) -> Any:
        """An ``xarray.Dataset`` over ``curve``, ``layer`` and ``step``: theory, means over the simulated networks, deviations.

        ``experiment.curves[i].ensemble.to_xarray()`` has the networks one by one.
        """
        seen = [curve.ensemble.mean() for curve in self.curves]
        names = (*QUANTITIES, "variance_std", "firing_rate_std")
        arrays = {name: [getattr(curve.profile, name) for curve in self.curves] for name in names}
        arrays |= {f"simulated_{name}": [getattr(mean, name) for mean in seen] for name in names}
        judged = self.curves[0].comparison.z
        arrays |= {f"z_{name}": [curve.comparison.z[name] for curve in self.curves] for name in judged}
        variables = over_layers({name: np.array(rows) for name, rows in arrays.items()}, "curve")
        verdicts = records([curve.comparison for curve in self.curves], ("p_value", "passed"), "curve")
        axes = records(self.curves, ("rule", "width"), "curve") | axes_of(self.curves[0].network)
        axes["threshold"] = ("curve", [written(curve.threshold) for curve in self.curves])
        return dataset(variables | verdicts, axes, **named(self, "drive", "repeats", "false_alarm", "passed"))

    def _table(self) -> Table:
        depth = self.curves[0].network.depth
        widths = " and ".join(map(str, self.widths))
        size = f"{several(self.repeats, 'network')} of width {widths}, {several(depth, 'layer')}"
        verdict = "the theory stands" if self.passed else "the theory is rejected"
        if self.steps > 1:
            size = f"{size}, {self.steps} steps of {_without_threshold(self.curves[0].network.neuron)}"
        title = f"Experiment: {verdict} ({size}, drive {self.drive!r}; false alarm {self.false_alarm:g})"
        exact, of_time = ("exact Var u_L", "simulated"), ("Var H_L", "simulated Var", "rate", "simulated rate")
        header = ("gain", "n", "θ", "g", *(exact if self.steps == 1 else of_time), "p", "verdict")
        return Table(title, [_row(curve) for curve in self.curves], header, self.reading, dispensable=("g",))


def _row(curve: Curve) -> tuple[str, ...]:
    verdict = "holds" if curve.comparison.passed else "REJECTED"
    setting = (curve.rule, str(curve.width), f"{curve.threshold:.4g}", f"{curve.network.gains[-1]:.4f}")
    return (*setting, *_last_layer(curve), f"{curve.comparison.p_value:.3g}", verdict)


def _last_layer(curve: Curve) -> list[str]:
    """Predicted and simulated variance, and over several steps the late rate."""
    seen, steps = curve.ensemble.mean(), curve.network.steps
    if steps == 1:
        return [f"{of.variance[-1]:.4g}" for of in (curve.profile, seen)]
    quantities = ("variance", "firing_rate")
    return [f"{getattr(of, name)[-1, late_steps(steps)].mean():.4g}" for name in quantities for of in (curve.profile, seen)]


def _without_threshold(neuron: Neuron) -> str:
    """``Neuron(decay=0.5, reset='zero')``; the thresholds are in the table."""
    return repr(neuron).replace(f"threshold={neuron.threshold:g}", "").replace("(, ", "(")
