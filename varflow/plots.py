"""Figures: what theory says, laid over what simulation measured. Uses public results only; returns matplotlib objects."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from varflow._checks import require

if TYPE_CHECKING:
    from varflow.compare import Comparison
    from varflow.experiment import Curve, Experiment
    from varflow.init.catalogue import Catalogue
    from varflow.phases import PhaseDiagram
    from varflow.results import TemporalCriticalGain

__all__ = [
    "colours_of",
    "panel_title",
    "plot_catalogue",
    "plot_comparison",
    "plot_experiment",
    "plot_phase_diagram",
    "plot_temporal_critical_gain",
    "wrapped",
]

TITLES = {"preserving": r"preserving gain, $g^2 = 1/P(u>\theta)$", "kaiming": r"Kaiming's gain, $g^2 = 2$"}
PANEL, LEFT, RIGHT = 4.7, 0.95, 2.3  # inches: width of a panel with its gap, margins
TEXT, LINE, LETTERS = 8.5, 0.165, 16.6  # of the words under the figure: size in points, height in inches, letters to an inch
LEGEND_ROWS = 9  # then another column, an inch wide
CONTOURS = {0.01: ("1 %", "white"), 0.5: ("50 %", "white"), 0.99: ("99 %", "0.1")}  # survival: label and colour
MEMORYLESS = 6.034397946968073  # critical gain² of neurons without memory, in units of θ²
FINE = 400  # points a side between those of the grid
PAPER = {
    (0.85, 100): "the paper: at width 100 activity\nis not conserved beyond θ = 0.85",
    (1.0, 600): "at 600 the effect is weaker",
}


def plot_experiment(experiment: Experiment) -> Any:
    """Variance over layers, a panel per gain rule and width; survival beneath; what to see in words under it.

    Bands and dots: simulated mean ± one standard deviation over networks. Lines: exact mean (solid) ± standard
    deviation (dotted). For a drive of several inputs the light band of the survival panel spans the inputs.
    """
    colours = colours_of(experiment)
    right = RIGHT + _columns(colours) - 1
    width = PANEL * len(experiment.panels) + LEFT + right
    words = wrapped(experiment.reading, columns=int(LETTERS * (width - LEFT - 0.25)))
    below = 0.8 + LINE * len(words)
    height = 4.9 + below
    figure = require("plot", "matplotlib.figure").Figure(figsize=(width, height), dpi=150)
    grid = figure.add_gridspec(2, len(experiment.panels), height_ratios=[3.2, 1], hspace=0.09, wspace=0.08)
    grid.update(left=LEFT / width, right=1 - right / width, bottom=below / height, top=1 - 0.4 / height)
    drawn = []
    for column, (key, curves) in enumerate(experiment.panels.items()):
        ax = figure.add_subplot(grid[0, column], sharey=drawn[0] if drawn else None)
        alive = figure.add_subplot(grid[1, column], sharex=ax)
        for curve in curves:
            _draw_variance(ax, curve, colours[curve.threshold])
            _draw_survival(alive, curve, colours[curve.threshold])
        ax.set_title(panel_title(experiment, *key), fontsize=11)
        _dress(ax, alive, first=column == 0, depth=curves[0].network.depth)
        drawn.append(ax)
    drawn[0].set_ylim(0, _ceiling(experiment))
    _legends(drawn[-1], colours, experiment)
    figure.text(LEFT / width, 0.15 / height, "\n".join(words), va="bottom", fontsize=TEXT, color="0.25", linespacing=1.35)
    return figure


def panel_title(experiment: Experiment, rule: str, width: int) -> str:
    """What tells the panels apart: the gain, and the width where there are several."""
    gain = TITLES.get(rule, rule.replace("g = ", "$g$ = "))
    if len(experiment.widths) == 1:
        return gain
    return f"width {width}" if len(experiment.panels) == len(experiment.widths) else f"{gain}, width {width}"


def plot_comparison(comparison: Comparison, ax: Any = None) -> Any:
    """One comparison's variance over layers, in time at the last step: measured mean and band, predicted mean and band."""
    if ax is None:
        ax = require("plot", "matplotlib.pyplot").subplots()[1]
    _band(ax, comparison.ensemble, comparison.profile, _colours(1)[0], "simulated mean, ± std", "predicted mean, ± std")
    ax.set(xlabel="layer", ylabel=r"variance of the potentials, $\mathrm{Var}[u_l]$", ylim=(0, None))
    ax.legend(frameon=False)
    verdict = "holds" if comparison.passed else "rejected"
    ax.set_title(f"theory {verdict} (p = {comparison.p_value:.3g})", fontsize=10)
    return ax


def plot_temporal_critical_gain(results: Sequence[TemporalCriticalGain], ax: Any = None) -> Any:
    """Critical gains over the decay, a colour per reset: all steps alive (solid) and the late half of them (dashed).

    ``results`` are those of ``vf.temporal_critical_gain`` for several neurons, of the same steps and depth. Gains are squared,
    in units of ``θ/λ``; grey: below the memoryless critical gain the first step dies.
    """
    if ax is None:
        ax = require("plot", "matplotlib.pyplot").subplots()[1]
    resets = list(dict.fromkeys(result.neuron.reset for result in results))
    for reset, colour in zip(resets, _colours(len(resets)), strict=True):
        of_reset = sorted((r for r in results if r.neuron.reset == reset), key=lambda r: r.neuron.decay)
        decays = [r.neuron.decay for r in of_reset]
        for name, style, label in (("gain", "-", reset.replace("_", " ")), ("late_gain", "--", None)):
            units = [r.neuron.input_scale / r.neuron.threshold for r in of_reset]
            gains = np.array([getattr(r, name) * unit for r, unit in zip(of_reset, units, strict=True)])
            errors = np.array([r.error[name] * unit for r, unit in zip(of_reset, units, strict=True)])
            ax.plot(decays, gains**2, style, color=colour, marker=".", ms=4, lw=1.4, label=label)
            ax.fill_between(decays, (gains - errors) ** 2, (gains + errors) ** 2, color=colour, alpha=0.25, lw=0)
    ax.axhline(MEMORYLESS, color="0.6", lw=0.8, ls=":", zorder=0)
    steps, depth = results[0].steps, results[0].depth
    ax.set_title(f"alive at layer {depth}: all {steps} steps (solid), late half (dashed)", fontsize=10)
    ax.set(xlabel="decay β", ylabel=r"critical gain$^2$, in $(\theta/\lambda)^2$")
    ax.legend(frameon=False, fontsize=8.5)
    return ax


def plot_phase_diagram(diagram: PhaseDiagram) -> Any:
    """A map of survival over threshold and width, with contours at 1, 50 and 99 %, and the paper's remarks on width.

    Between the points of the grid the logit of survival is interpolated.
    """
    thetas = np.linspace(diagram.thresholds[0], diagram.thresholds[-1], FINE)
    widths = np.geomspace(diagram.widths[0], diagram.widths[-1], FINE)
    survival = 1 / (1 + np.exp(-diagram.logit(thetas, widths).T))
    words = wrapped(diagram.reading, columns=116)
    below = 0.7 + LINE * len(words)
    width, height = 7.4, 4.9 + below
    figure = require("plot", "matplotlib.figure").Figure(figsize=(width, height), dpi=150)
    ax = figure.add_axes((0.78 / width, below / height, 5.45 / width, 4.45 / height))
    mesh = ax.pcolormesh(thetas, widths, survival, cmap="viridis", vmin=0, vmax=1, shading="gouraud", rasterized=True)
    ax.set_yscale("log")
    _draw_contours(ax, thetas, widths, survival)
    if diagram.gain == "preserving" and diagram.depth == 100:
        _draw_paper(ax, diagram)
    bar = figure.colorbar(mesh, cax=figure.add_axes((6.4 / width, below / height, 0.17 / width, 4.45 / height)))
    bar.set_label(f"share of networks alive at layer {diagram.depth}, exact")
    bar.outline.set_visible(False)
    title = TITLES.get(str(diagram.gain), f"gain $g$ = {diagram.gain}")
    ax.set_title(f"{title}, {diagram.depth} layers", fontsize=11)
    ax.set(xlabel="threshold θ", ylabel="width $n$")
    ax.yaxis.set_major_formatter(lambda n, _: f"{n:g}")
    figure.text(0.2 / width, 0.12 / height, "\n".join(words), va="bottom", fontsize=TEXT, color="0.25", linespacing=1.35)
    return figure


def _draw_contours(ax: Any, thetas: np.ndarray, widths: np.ndarray, survival: np.ndarray) -> None:
    if survival.shape[0] < 2 or np.ptp(thetas) == 0 or np.ptp(widths) == 0:
        return
    reached = [level for level in CONTOURS if survival.min() < level < survival.max()]
    if reached:
        lines = ax.contour(
            thetas, widths, survival, levels=reached, colors=[CONTOURS[level][1] for level in reached], linewidths=1.3
        )
        ax.clabel(lines, fmt={level: CONTOURS[level][0] for level in reached}, fontsize=9)


def _draw_paper(ax: Any, diagram: PhaseDiagram) -> None:
    """The two widths of the paper's figure 4, where they lie within the map."""
    for (theta, n), text in PAPER.items():
        inside = diagram.thresholds[0] <= theta <= diagram.thresholds[-1] and diagram.widths[0] <= n <= diagram.widths[-1]
        if not inside:
            continue
        alive = 1 / (1 + np.exp(-diagram.logit([theta], [n])[0, 0]))
        ax.axhline(n, color="white", lw=0.8, ls=(0, (4, 3)), alpha=0.8)
        ax.plot(theta, n, "o", color="white", mec="0.1", ms=7, zorder=5)
        label = {"textcoords": "offset points", "fontsize": 8.5, "color": "white", "va": "center", "zorder": 6}
        box = {"boxstyle": "round,pad=0.25", "fc": "0.15", "ec": "none"}
        ax.annotate(f"{100 * alive:.2g} % alive", (theta, n), (9, 0), bbox=box, **label)
        left = diagram.thresholds[0] + 0.02 * np.ptp(diagram.thresholds)
        ax.text(left, n * 1.07, text, fontsize=8.5, color="0.1", va="bottom", linespacing=1.3)


def wrapped(sentences: list[str], columns: int) -> list[str]:
    """Wrapped, with no break inside ``θ = 0.5`` or ``2 %``."""
    kept = [re.sub(r" (=|%)", "\u00a0\\1", sentence).replace("= ", "=\u00a0") for sentence in sentences]
    return [line for sentence in kept for line in textwrap.wrap(sentence, columns)]


def colours_of(experiment: Experiment) -> dict[float, Any]:
    """A colour for each threshold."""
    thresholds = list(dict.fromkeys(curve.threshold for curve in experiment.curves))
    return dict(zip(thresholds, _colours(len(thresholds)), strict=True))


def _colours(number: int) -> list[Any]:
    cmap = require("plot", "matplotlib").colormaps["viridis"]
    return [cmap(x) for x in np.linspace(0.05, 0.88, number)]


def _draw_variance(ax: Any, curve: Curve, colour: Any) -> None:
    _band(ax, curve.ensemble, curve.profile, colour)
    died = np.flatnonzero(curve.profile.survival < 0.5)
    if len(died):
        ax.plot(died[0] + 1, curve.profile.variance[died[0]], "x", color=colour, ms=7, mew=2, clip_on=False, zorder=5)


def _band(ax: Any, ensemble: Any, profile: Any, colour: Any, measured: str = "", predicted: str = "") -> None:
    layer, last = _layers(profile), (..., -1) if profile.variance.ndim > 1 else ...
    mean, spread = ensemble.mean().variance[last], np.nan_to_num(ensemble.variance_std[last])
    ax.fill_between(layer, np.maximum(mean - spread, 0), mean + spread, color=colour, alpha=0.2, lw=0)
    ax.plot(layer, mean, ".", color=colour, ms=3, label=measured or None)
    variance, std = profile.variance[last], profile.variance_std[last]
    ax.plot(layer, variance, "-", color=colour, lw=1.4, marker=_marker(layer), label=predicted or None)
    for sign in (-1, 1):
        ax.plot(layer, variance + sign * std, ":", color=colour, lw=0.9, marker=_marker(layer))


def _draw_survival(ax: Any, curve: Curve, colour: Any) -> None:
    layer = _layers(curve.profile)
    inputs = curve.profile.per_input.get("survival")
    if inputs is not None and len(inputs) > 1:
        ax.fill_between(layer, inputs.min(axis=0), inputs.max(axis=0), color=colour, alpha=0.2, lw=0)
    ax.plot(layer, curve.ensemble.mean().survival, ".", color=colour, ms=3)
    ax.plot(layer, curve.profile.survival, "-", color=colour, lw=1.4, marker=_marker(layer))


def _marker(layer: np.ndarray) -> str:
    return "_" if len(layer) == 1 else ""  # one layer makes no line


def _layers(profile: Any) -> np.ndarray:
    return np.arange(1, len(profile.variance) + 1)


def _dress(ax: Any, alive: Any, *, first: bool, depth: int) -> None:
    for each in (ax, alive):
        each.spines[["top", "right"]].set_visible(False)
        each.set_xlim(0, depth + 1)
        each.tick_params(labelleft=first)
    ax.tick_params(labelbottom=False)
    alive.xaxis.get_major_locator().set_params(integer=True)
    alive.set_ylim(-0.05, 1.08)
    alive.set_xlabel("layer")
    if first:
        ax.set_ylabel(r"variance of the potentials, $\mathrm{Var}[u_l]$")
        alive.set_ylabel("share of\nnetworks alive")


def _ceiling(experiment: Experiment) -> float:
    """Above every exact band and every simulated mean."""
    tops = [
        np.nanmax(np.r_[curve.profile.variance, curve.profile.variance + curve.profile.variance_std, simulated])
        for curve in experiment.curves
        for simulated in [curve.ensemble.mean().variance]
    ]
    return 1.12 * float(max(tops)) or 1.0


def _columns(colours: dict[float, Any]) -> int:
    return -(-len(colours) // LEGEND_ROWS)


def _legends(ax: Any, colours: dict[float, Any], experiment: Experiment) -> None:
    """Thresholds and line styles, to the right of the last panel."""
    lines, patches = require("plot", "matplotlib.lines"), require("plot", "matplotlib.patches")
    thresholds = [lines.Line2D([], [], color=colour, lw=2.5, label=f"θ = {theta:.4g}") for theta, colour in colours.items()]
    grey = "0.35"
    styles = [
        (
            lines.Line2D([], [], color=grey, marker=".", ls=""),
            f"mean of {experiment.repeats} network{'s' * (experiment.repeats > 1)}",
        ),
        (patches.Patch(color=grey, alpha=0.25, lw=0), "± std over them"),
        (lines.Line2D([], [], color=grey, ls="-", lw=1.4), "exact mean"),
        (lines.Line2D([], [], color=grey, ls=":", lw=1), "exact mean ± std"),
    ]
    if any(np.any(curve.profile.survival < 0.5) for curve in experiment.curves):
        silent = lines.Line2D([], [], color=grey, marker="x", ls="", ms=6, mew=1.8)
        styles.append((silent, "half the networks\nare silent"))
    if any(len(curve.profile.per_input.get("survival", ())) > 1 for curve in experiment.curves):
        styles.append((patches.Patch(color=grey, alpha=0.25, lw=0), "below: lowest to\nhighest input"))
    side = {"frameon": False, "fontsize": 8.5, "borderaxespad": 0.0}
    ax.add_artist(ax.legend(handles=thresholds, bbox_to_anchor=(1.04, 1), loc="upper left", ncols=_columns(colours), **side))
    ax.legend(*zip(*styles, strict=True), bbox_to_anchor=(1.04, 0), loc="lower left", **side)


def plot_catalogue(catalogue: Catalogue) -> Any:
    """Methods one below the other: their gains beside the critical one, and the rate of the last layer."""
    shown = [entry for entry in catalogue.methods if entry.gain is not None][::-1]
    figure = require("plot", "matplotlib.figure").Figure(figsize=(9, 1.2 + 0.3 * len(shown)), dpi=150, layout="constrained")
    gains, rates = figure.subplots(1, 2, sharey=True)
    looks = {True: ("o", "tab:blue"), False: ("x", "tab:red"), None: (".", "0.6")}
    for row, entry in enumerate(shown):
        marker, colour = looks[entry.survives]
        gains.plot(entry.gain, row, marker, color=colour)
        if entry.firing_rate is not None:
            rates.plot(entry.firing_rate, row, marker, color=colour)
    if catalogue.critical_gain == catalogue.critical_gain:
        gains.axvline(catalogue.critical_gain, color="0.4", linewidth=1, linestyle=":", label="critical gain")
        gains.legend(frameon=False, loc="lower right")
    gains.set_yticks(range(len(shown)), [entry.name for entry in shown])
    gains.set(xlabel=r"gain $g = \sigma_w \sqrt{n}$", xlim=(0, None))
    rates.set(xlabel=f"firing rate of layer {catalogue.depth}", xlim=(-0.02, None))
    figure.suptitle(
        f"dots: alive at layer {catalogue.depth}, width {catalogue.width}; crosses: not, or too seldom", fontsize=10
    )
    return figure
