"""A sweep predicted, simulated, compared and drawn: where theory and simulation meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from varflow._checks import (
    DomainError,
    frozen,
    integer,
    nothing_if_nan,
    probability,
    require,
)
from varflow._display import Shown, Table
from varflow.compare import Comparison, compare
from varflow.init.rules import RULES, gain_by_rule, number
from varflow.model.drives import Drive, Inputs
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.results import Ensemble, Profile
from varflow.simulation import Interrupted, simulate
from varflow.theory.finite_width import finite_width

__all__ = ["PAPER_THRESHOLDS", "Curve", "Experiment", "validate"]

PAPER_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.85, 1.0)
DEAD = 0.005  # survival below which a sentence says that activity dies


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One network of the sweep: predicted, simulated, judged.

    Attributes
    ----------
    rule : str
        Names the gain: preserving, kaiming or a number.
    profile, ensemble, comparison
        The exact law for the inputs that the simulated networks saw, what they did, and the verdict.
    survival_per_input : ndarray, shape (batch,), optional
        For a drive of inputs: the exact probability that each of them, seen or not, keeps the last layer active.
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
    def threshold(self) -> float:
        return self.network.neuron.threshold

    @property
    def width(self) -> int:
        return int(self.network.widths[-1])

    def to_dict(self) -> dict[str, Any]:
        theory = self.profile.to_dict()
        theory.pop("per_input", None)  # inputs × depth numbers; the last layer's survival stays
        network = {"threshold": self.threshold, "rule": self.rule, "gain": self.network.gain, "width": self.width}
        measured = {"theory": theory, "simulation": self.ensemble.mean().to_dict(), "comparison": self.comparison.to_dict()}
        return network | measured | {"survival_per_input": nothing_if_nan(self.survival_per_input)}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Experiment(Shown):
    """A sweep and its verdict.

    Attributes
    ----------
    curves : tuple of Curve
    drive : Drive
        As given, the whole batch.
    false_alarm : float
        Of the whole experiment; shared out among the curves.
    requested_repeats : int
        Networks asked for; fewer are in ``curves`` after an interruption.
    """

    curves: tuple[Curve, ...]
    drive: Drive
    false_alarm: float
    requested_repeats: int

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
        """The curves that belong together: those of one gain rule and width."""
        keys = dict.fromkeys((curve.rule, curve.width) for curve in self.curves)
        return {key: [curve for curve in self.curves if (curve.rule, curve.width) == key] for key in keys}

    @property
    def widths(self) -> list[int]:
        return list(dict.fromkeys(curve.width for curve in self.curves))

    @property
    def reading(self) -> list[str]:
        """What a reader should see in the figure, one sentence for each panel."""
        return [_sentence(rule, curves) for (rule, _), curves in self.panels.items()]

    def to_dict(self) -> dict[str, Any]:
        from varflow import __version__

        first = self.curves[0]
        setting = {
            "width": self.widths if len(self.widths) > 1 else self.widths[0],
            "depth": first.network.depth,
            "drive": repr(self.drive),
            "seed": first.ensemble.seed,
            "device": first.ensemble.device,
            "dtype": first.ensemble.dtype,
            "repeats": self.repeats,
            "requested_repeats": self.requested_repeats,
            "false_alarm": self.false_alarm,
            "version": __version__,
        }
        verdict = {"passed": self.passed, "complete": self.complete, "reading": self.reading}
        return nothing_if_nan(verdict | setting | {"curves": [curve.to_dict() for curve in self.curves]})

    def plot(self) -> Any:
        """The figure: variance over layers, a panel per gain rule and width, survival beneath. Returns a matplotlib Figure."""
        from varflow.plots import plot_experiment

        return plot_experiment(self)

    def _table(self) -> Table:
        depth = self.curves[0].network.depth
        widths = " and ".join(map(str, self.widths))
        size = f"{_counted(self.repeats, 'network')} of width {widths}, {_counted(depth, 'layer')}"
        verdict = "the theory stands" if self.passed else "the theory is rejected"
        title = f"Experiment: {verdict} ({size}, drive {self.drive!r}; false alarm {self.false_alarm:g})"
        header = ("gain", "n", "θ", "g", "Var u_L exact", "simulated", "p", "verdict")
        layout = "{:>11} {:>6} {:>6} {:>8}  {:>14} {:>10}  {:>9}  {}"
        return Table(title, layout, [_row(curve) for curve in self.curves], header, self.reading)


def _row(curve: Curve) -> tuple[str, ...]:
    exact, seen = curve.profile.variance[-1], curve.ensemble.mean().variance[-1]
    verdict = "holds" if curve.comparison.passed else "REJECTED"
    setting = (curve.rule, str(curve.width), f"{curve.threshold:.4g}", f"{curve.network.gains[-1]:.4f}")
    return (*setting, f"{exact:.4g}", f"{seen:.4g}", f"{curve.comparison.p_value:.3g}", verdict)


def validate(
    *,
    threshold: float | Sequence[float] = PAPER_THRESHOLDS,
    gain: str | float | Sequence[str | float] = ("preserving", "kaiming"),
    width: int | Sequence[int] = 1000,
    depth: int = 100,
    repeats: int = 20,
    seed: int = 0,
    drive: Drive | None = None,
    device: str = "cpu",
    false_alarm: float = 1e-3,
    progress: Any = False,
) -> Experiment:
    """Predict, simulate and compare a sweep over thresholds; without arguments, the paper's 100-layer experiment.

    Parameters
    ----------
    threshold : float or sequence of float
        Thresholds of the sweep. Here, in ``gain`` and in ``width`` what is named twice counts once.
    gain : str, float or a sequence of them
        Gain rules: ``"preserving"`` (the paper's), ``"kaiming"`` (``√2``) or a number; one panel each.
    width : int or sequence of int
        Neurons in a layer; one panel each, as in the paper's figure 4 (``micheli2024``).
    depth, repeats, seed, device, progress
        As in :class:`varflow.Network` and :func:`varflow.simulate`.
    drive : drives.currents(...) or drives.inputs(...), optional
        Of layer 1. Of a batch larger than ``repeats`` the simulated networks see ``repeats`` inputs, evenly spread over it,
        and are judged by the exact law of those; ``Curve.survival_per_input`` is of the whole batch.
    false_alarm : float
        Probability that a true theory is rejected anywhere in the experiment (Šidák's correction over the curves, which
        share weights: the true rate is at most this).

    Returns
    -------
    Experiment
        After Ctrl-C, of the networks finished until then; ``.complete`` is False.

    Raises
    ------
    DomainError
        For arguments outside their domain.
    MissingExtraError
        Without torch.
    Interrupted
        On Ctrl-C before the first network is finished.

    Examples
    --------
    >>> import numpy as np
    >>> import varflow as vf
    >>> experiment = vf.validate(threshold=[0.5, 1.0], width=100, depth=10, repeats=5)
    >>> experiment.passed
    True

    Width against threshold:

    >>> experiment = vf.validate(threshold=1.0, gain="preserving", width=[50, 200], depth=20, repeats=5)
    >>> [round(float(curve.profile.survival[-1]), 3) for curve in experiment.curves]
    [0.288, 0.788]

    Your own data, one input vector a row:

    >>> data = np.random.default_rng(0).random((50, 30))
    >>> experiment = vf.validate(threshold=1.0, width=100, depth=10, repeats=5, drive=vf.drives.inputs(data))
    >>> experiment.curves[0].survival_per_input.shape
    (50,)
    """
    probability("false_alarm", false_alarm, open_ends=True)
    integer("repeats", repeats, minimum=1)
    require("torch", "torch")
    axes = (_named("gain", gain), _named("width", width), _named("threshold", threshold))
    sweep = [(rule, n, theta) for rule in axes[0] for n in axes[1] for theta in axes[2]]
    asked = [
        Network(width=n, depth=depth, gain=gain_by_rule(rule, theta), neuron=Neuron(theta), drive=drive)
        for rule, n, theta in sweep
    ]
    networks = [_seen(network, repeats) for network in asked]
    profiles = [finite_width(network) for network in networks]
    try:
        ensembles = simulate(networks, repeats=repeats, seed=seed, device=device, progress=progress)
    except Interrupted as stop:
        ensembles = stop.ensembles
        if not ensembles or not all(ensemble.repeats for ensemble in ensembles):
            raise
        finished = zip(networks, ensembles, strict=True)
        profiles = [finite_width(_driven_by(network, slice(ensemble.repeats))) for network, ensemble in finished]
    each = float(-np.expm1(np.log1p(-false_alarm) / len(networks)))
    curves = [
        Curve(_title(rule), profile, ensemble, compare(profile, ensemble, false_alarm=each), _survival_per_input(network))
        for (rule, *_), network, profile, ensemble in zip(sweep, asked, profiles, ensembles, strict=True)
    ]
    return Experiment(tuple(curves), asked[0].drive, false_alarm, repeats)


def _named(argument: str, value: Any) -> list[Any]:
    """One value or several, each once."""
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    listed = list(value) if isinstance(value, (list, tuple)) else [value]
    if not listed:
        raise DomainError(argument, value, "must name at least one value")
    return [item for place, item in enumerate(listed) if item not in listed[:place]]


def _title(rule: Any) -> str:
    return rule if rule in RULES else f"g = {number(rule):g}"


def _seen(network: Network, repeats: int) -> Network:
    """The network with the inputs that ``repeats`` simulated ones see, one row each."""
    row, batch = np.arange(repeats), network.drive.kinds
    return _driven_by(network, row * batch // repeats if batch > repeats else row % batch)


def _driven_by(network: Network, rows: Any) -> Network:
    return replace(network, drive=network.drive.of_rows(rows))


def _survival_per_input(network: Network) -> np.ndarray | None:
    if not isinstance(network.drive, Inputs):
        return None
    return frozen(finite_width(network).per_input["survival"][:, -1])


def _sentence(rule: str, curves: list[Curve]) -> str:
    """The plain reading of one panel, from the exact law."""
    depth, width = curves[0].network.depth, curves[0].network.widths[-1]
    title = {"preserving": "Preserving gain, g² = 1/P(u > θ)", "kaiming": "Kaiming's gain, g² = 2"}.get(
        rule, f"The gain {rule}"
    )
    dead = [c for c in curves if c.profile.survival[-1] < DEAD]
    flat = [c for c in curves if c.profile.survival[-1] > 0.995 and _drift(c) < 0.02]
    parts = []
    if flat:
        parts.append(f"the variance stays within 2 % of the drive's for {_thetas(flat)}")
    for c in curves:
        if c in dead or c in flat:
            continue
        silent, mean = 1 - c.profile.survival[-1], f"goes to {c.profile.variance[-1]:.3g}"
        leak = f" in the mean, {_percent(silent)} of the networks being silent" if silent > 5e-4 else ""
        parts.append(f"at θ = {c.threshold:.4g} it {mean}{leak}")
    if dead:
        layers = sorted(int(np.argmax(c.profile.survival < 0.5)) + 1 for c in dead)
        when = f"layer {layers[0]}" if layers[0] == layers[-1] else f"layers {layers[0]} to {layers[-1]}"
        parts.append(f"activity dies for {_thetas(dead)}, half the networks being silent by {when}")
    return f"{title}, exact law at width {width}, layer {depth}: " + "; ".join(parts) + "." + _inputs_sentence(curves)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _drift(curve: Curve) -> float:
    """The largest relative deviation of any layer's variance from the driven one's."""
    first = curve.profile.variance[0]
    return float(np.max(np.abs(curve.profile.variance - first))) / first if first > 0 else np.inf


def _percent(share: float) -> str:
    """Two digits of what is small, be it the share or what is missing from the whole."""
    return f"{100 * share:.2g} %" if share < 0.9 else f"{100 - float(f'{100 * (1 - share):.2g}'):g} %"


def _inputs_sentence(curves: list[Curve]) -> str:
    """How differently the inputs fare, at the largest threshold."""
    last = max(curves, key=lambda curve: curve.threshold)
    survival = last.survival_per_input
    if survival is None or survival.max() < DEAD:
        return ""
    if len(survival) == 1:
        return f" At θ = {last.threshold:.4g} the input survives with probability {survival[0]:.3g}."
    low, middle, high = (f"{value:.3g}" for value in np.quantile(survival, [0, 0.5, 1]))
    return f" At θ = {last.threshold:.4g} the {len(survival)} inputs survive with probability {low} to {high}, median {middle}."


def _thetas(curves: list[Curve]) -> str:
    values = [f"{curve.threshold:.4g}" for curve in curves]
    return "θ = " + (values[0] if len(values) == 1 else ", ".join(values[:-1]) + " and " + values[-1])
