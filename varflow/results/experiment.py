"""Experiment: a sweep over thresholds, gains and widths, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._checks import nan_to_none
from varflow._display import Shown, Table, several
from varflow._figures import draw
from varflow.model.drive_kinds import Drive
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import written
from varflow.results.curve import Curve
from varflow.results.export import dataset, named, records
from varflow.results.layout import QUANTITIES, axes_of, late_steps, over_layers
from varflow.results.summary import sentence


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Experiment(Shown):
    """A sweep and its verdict.

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

    def plot(self) -> Any:
        """A panel per gain rule and width: variance over layers, with survival below. Returns a matplotlib Figure.

        Over several steps: late variance and firing rate; for a single curve also every layer and step.
        """
        return draw(self)

    def _table(self) -> Table:
        depth = self.curves[0].network.depth
        widths = " and ".join(map(str, self.widths))
        size = f"{several(self.repeats, 'network')} of width {widths}, {several(depth, 'layer')}"
        verdict = "the theory stands" if self.passed else "the theory is rejected"
        if self.steps > 1:
            size = f"{size}, {self.steps} steps of {_without_threshold(self.curves[0].network.neuron)}"
        title = f"Experiment: {verdict} ({size}, drive {self.drive!r}; false alarm {self.false_alarm:g})"
        longest = max(6, *(len(f"{curve.threshold:.4g}") for curve in self.curves))
        start, layout = ("gain", "n", "θ", "g"), f"{{:>11}} {{:>6}} {{:>{longest}}} {{:>8}}  "
        if self.steps == 1:
            header = (*start, "Var u_L exact", "simulated", "p", "verdict")
            layout += "{:>14} {:>10}  {:>9}  {}"
        else:
            header = (*start, "Var H_L theory", "simulated", "rate theory", "simulated", "p", "verdict")
            layout += "{:>14} {:>10}  {:>12} {:>10}  {:>9}  {}"
        return Table(title, layout, [_row(curve) for curve in self.curves], header, self.reading)


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
