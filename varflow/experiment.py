"""A sweep predicted, simulated, compared and drawn: where theory and simulation meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from varflow._checks import DomainError, nothing_if_nan, probability, require
from varflow.compare import Comparison, compare
from varflow.init.gains import gain as preserving_gain
from varflow.model.drives import Currents, Inputs
from varflow.model.network import Network
from varflow.model.neurons import Neuron
from varflow.results import Ensemble, Profile
from varflow.simulation import Interrupted, simulate
from varflow.theory.finite_width import finite_width

__all__ = ["PAPER_THRESHOLDS", "Curve", "Experiment", "validate"]

PAPER_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.85, 1.0)
GAINS = {"preserving": lambda theta: float(preserving_gain(threshold=theta)), "kaiming": lambda theta: 2**0.5}


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One network of the sweep: predicted, simulated, judged. ``rule`` names the gain: preserving, kaiming or a number."""

    rule: str
    profile: Profile
    ensemble: Ensemble
    comparison: Comparison

    @property
    def network(self) -> Network:
        return self.profile.network

    @property
    def threshold(self) -> float:
        return self.network.neuron.threshold

    @property
    def survival_per_input(self) -> np.ndarray | None:
        """For a drive of inputs: the exact probability that each keeps the last layer active."""
        survival = self.profile.per_input.get("survival")
        return None if survival is None else survival[:, -1]

    def to_dict(self) -> dict[str, Any]:
        theory = self.profile.to_dict()
        theory.pop("per_input", None)  # batch × depth numbers; the last layer's survival stays
        network = {"threshold": self.threshold, "rule": self.rule, "gain": self.network.gain}
        measured = {"theory": theory, "simulation": self.ensemble.mean().to_dict(), "comparison": self.comparison.to_dict()}
        return network | measured | {"survival_per_input": nothing_if_nan(self.survival_per_input)}


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """A sweep and its verdict.

    Attributes
    ----------
    curves : tuple of Curve
    false_alarm : float
        Of the whole experiment; shared out among the curves.
    requested_repeats : int
        Networks asked for; fewer are in ``curves`` after an interruption.
    """

    curves: tuple[Curve, ...]
    false_alarm: float
    requested_repeats: int

    @property
    def passed(self) -> bool:
        return all(curve.comparison.passed for curve in self.curves)

    @property
    def repeats(self) -> int:
        return self.curves[0].ensemble.repeats

    @property
    def complete(self) -> bool:
        return self.repeats == self.requested_repeats

    @property
    def reading(self) -> list[str]:
        """What a reader should see in the figure, one sentence for each gain rule."""
        rules = dict.fromkeys(curve.rule for curve in self.curves)
        return [_sentence(rule, [curve for curve in self.curves if curve.rule == rule]) for rule in rules]

    def to_dict(self) -> dict[str, Any]:
        from varflow import __version__

        first = self.curves[0]
        setting = {
            "width": first.network.width,
            "depth": first.network.depth,
            "drive": repr(first.network.drive),
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
        """The figure: variance over layers, one panel per gain rule, survival beneath. Returns a matplotlib Figure."""
        return require("plot", "varflow.plots").plot_experiment(self)

    def __repr__(self) -> str:
        first = self.curves[0].network
        title = f"Experiment: {self.repeats} networks of width {first.width}, {first.depth} layers (false alarm {self.false_alarm:g})"
        lines = [title, f"{'gain':>11} {'θ':>6} {'g':>8}  {'Var u_L exact':>14} {'simulated':>10}  {'p':>9}  verdict"]
        for curve in self.curves:
            exact, seen = curve.profile.variance[-1], curve.ensemble.mean().variance[-1]
            verdict = "holds" if curve.comparison.passed else "REJECTED"
            lines.append(
                f"{curve.rule:>11} {curve.threshold:>6g} {curve.network.gains[-1]:>8.4f}  {exact:>14.4g} {seen:>10.4g}  "
                f"{curve.comparison.p_value:>9.3g}  {verdict}"
            )
        return "\n".join([*lines, *self.reading])


def validate(
    *,
    threshold: float | Sequence[float] = PAPER_THRESHOLDS,
    gain: str | float | Sequence[str | float] = ("preserving", "kaiming"),
    width: int = 1000,
    depth: int = 100,
    repeats: int = 20,
    seed: int = 0,
    drive: Currents | Inputs | None = None,
    device: str = "cpu",
    false_alarm: float = 1e-3,
    progress: Any = False,
) -> Experiment:
    """Predict, simulate and compare a sweep over thresholds; without arguments, the paper's 100-layer experiment.

    Parameters
    ----------
    threshold : float or sequence of float
        Thresholds of the sweep.
    gain : str, float or a sequence of them
        Gain rules: ``"preserving"`` (the paper's), ``"kaiming"`` (``√2``) or a number; one panel each.
    width, depth, repeats, seed, device, progress
        As in :class:`varflow.Network` and :func:`varflow.simulate`.
    drive : drives.currents(...) or drives.inputs(...), optional
        Of layer 1.
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
    Interrupted
        On Ctrl-C before the first network is finished.

    Examples
    --------
    >>> import varflow as vf
    >>> experiment = vf.validate(threshold=[0.5, 1.0], width=100, depth=10, repeats=5)
    >>> experiment.passed
    True
    """
    probability("false_alarm", false_alarm, open_ends=True)
    rules = [_rule(item) for item in (gain if isinstance(gain, (list, tuple)) else [gain])]
    thresholds = np.atleast_1d(np.asarray(threshold, dtype=object)).tolist()
    if not rules or not thresholds:
        raise DomainError("threshold" if rules else "gain", [], "must name at least one value")
    networks = [
        Network(width=width, depth=depth, gain=gain_of(theta), neuron=Neuron(theta), drive=drive)
        for _, gain_of in rules
        for theta in thresholds
    ]
    profiles = [finite_width(network) for network in networks]
    try:
        ensembles = simulate(networks, repeats=repeats, seed=seed, device=device, progress=progress)
    except Interrupted as stop:
        if not stop.ensembles or not stop.ensembles[0].repeats:
            raise
        ensembles = stop.ensembles
    each = float(-np.expm1(np.log1p(-false_alarm) / len(networks)))
    names = [name for name, _ in rules for _ in thresholds]
    curves = [
        Curve(name, profile, ensemble, compare(profile, ensemble, false_alarm=each))
        for name, profile, ensemble in zip(names, profiles, ensembles, strict=True)
    ]
    return Experiment(tuple(curves), false_alarm, repeats)


def _rule(gain: Any) -> tuple[str, Any]:
    """Name of a gain rule, and the gain it gives a threshold."""
    if isinstance(gain, str):
        if gain in GAINS:
            return gain, GAINS[gain]
        try:
            gain = float(gain)
        except ValueError:
            raise DomainError("gain", gain, "must be a number or one of " + ", ".join(GAINS)) from None
    return f"g = {gain:g}" if isinstance(gain, (int, float)) else repr(gain), partial(lambda value, theta: value, gain)


def _sentence(rule: str, curves: list[Curve]) -> str:
    """The plain reading of one panel, from the exact law."""
    depth, width = curves[0].network.depth, curves[0].network.widths[-1]
    title = {"preserving": "This gain, g² = 1/P(u > θ)", "kaiming": "Kaiming's gain, g² = 2"}.get(rule, f"The gain {rule}")
    dead = [c for c in curves if c.profile.survival[-1] < 0.005]
    flat = [c for c in curves if c not in dead and c.profile.survival[-1] > 0.995 and _drift(c) < 0.02]
    parts = []
    if flat:
        parts.append(f"the variance stays within 2 % of the drive's for {_thetas(flat)}")
    for c in curves:
        if c in dead or c in flat:
            continue
        silent, mean = 1 - c.profile.survival[-1], f"{c.profile.variance[-1]:.3g}"
        leak = f"leaks to a mean of {mean}, {100 * silent:.2g} % of the networks being silent"
        parts.append(f"at θ = {c.threshold:g} it {leak if silent > 5e-4 else f'goes to {mean}'}")
    if dead:
        layers = sorted(int(np.argmax(c.profile.survival < 0.5)) + 1 for c in dead)
        when = f"layer {layers[0]}" if layers[0] == layers[-1] else f"layers {layers[0]} to {layers[-1]}"
        parts.append(f"activity dies for {_thetas(dead)}, half the networks being silent by {when}")
    return f"{title}, exact law at width {width}, layer {depth}: " + "; ".join(parts) + "." + _inputs_sentence(curves)


def _drift(curve: Curve) -> float:
    return abs(curve.profile.variance[-1] / curve.profile.variance[0] - 1)


def _inputs_sentence(curves: list[Curve]) -> str:
    """How differently the inputs fare, at the largest threshold."""
    last = max(curves, key=lambda curve: curve.threshold)
    survival = last.survival_per_input
    if survival is None:
        return ""
    quantiles = ", ".join(f"{value:.3g}" for value in np.quantile(survival, [0, 0.5, 1]))
    return f" At θ = {last.threshold:g} the {len(survival)} inputs survive with probability {quantiles} (lowest, median, highest)."


def _thetas(curves: list[Curve]) -> str:
    values = [f"{curve.threshold:g}" for curve in curves]
    return "θ = " + (values[0] if len(values) == 1 else ", ".join(values[:-1]) + " and " + values[-1])
