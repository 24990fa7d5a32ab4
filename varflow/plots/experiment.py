"""One comparison, and a sweep over layers: theory and simulation, exact at one step, of infinite width over several."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import DomainError, require
from varflow.plots.style import BESIDE, GREY, LINE, TEXT, TITLES, axes, colours, draws, marker, new_figure, wrapped
from varflow.results import Comparison, Curve, Experiment, late_steps

PANEL, LEFT, RIGHT = 4.7, 0.95, 2.3  # inches: width of a panel with its gap, margins
LETTERS = 16.6  # of the caption, per inch
LABELS = {
    "variance": r"variance of the membrane, $\mathrm{Var}[H]$",
    "firing_rate": "firing rate",
}


@draws(Comparison)
def plot_comparison(comparison: Comparison, ax: Any = None) -> Any:
    """Variance over layers (at the last step): measured and predicted mean, each with a band of ± one standard deviation.

    Examples
    --------
    >>> import varflow as vf
    >>> profile = vf.finite_width(vf.Network(width=100, depth=20, gain=2.51))
    >>> ax = vf.plots.plot_comparison(vf.compare(profile, profile.sample(20, seed=1)))
    """
    ax = axes(ax)
    band(ax, comparison.ensemble, comparison.profile, colours(1)[0], "simulated mean, ± std", "predicted mean, ± std")
    ax.set(xlabel="layer", ylabel=r"variance of the potentials, $\mathrm{Var}[u_l]$", ylim=(0, None))
    ax.legend()
    verdict = "holds" if comparison.passed else "rejected"
    ax.set_title(f"theory {verdict} (p = {comparison.p_value:.3g})", fontsize=10)
    return ax


@draws(Experiment)
def plot_experiment(experiment: Experiment) -> Any:
    """Variance over layers with survival below, a panel per gain rule and width, and the main findings in words.

    Bands and dots: simulated mean ± one standard deviation over networks. Lines: exact mean (solid) ± standard
    deviation (dotted). For a drive of several inputs the light band of the survival panel spans the inputs.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.validate(threshold=[0.7, 1.0], gain="preserving", width=100, depth=20, repeats=5)
    >>> figure = vf.plots.plot_experiment(found)
    """
    palette = colours_of(experiment_of(experiment, in_time=False))
    figure, (above, below) = page(experiment, RIGHT + _columns(palette) - 1, tall=4.9, height_ratios=[3.2, 1])
    for curves, ax, alive in zip(experiment.panels.values(), above, below, strict=True):
        for curve in curves:
            _draw_variance(ax, curve, palette[curve.threshold])
            _draw_survival(alive, curve, palette[curve.threshold])
    above[0].set(ylabel=r"variance of the potentials, $\mathrm{Var}[u_l]$", ylim=(0, None))
    below[0].set(ylabel="fraction of\nnetworks alive", ylim=(-0.05, 1.08))
    _legends(above[-1], palette, _styles(experiment))
    return figure


def _draw_variance(ax: Any, curve: Curve, colour: Any) -> None:
    band(ax, curve.ensemble, curve.profile, colour)
    died = np.flatnonzero(curve.profile.survival < 0.5)
    if len(died):
        ax.plot(died[0] + 1, curve.profile.variance[died[0]], "x", color=colour, ms=7, mew=2, clip_on=False, zorder=5)


def _draw_survival(ax: Any, curve: Curve, colour: Any) -> None:
    layer = np.arange(1, curve.network.depth + 1)
    inputs = curve.profile.per_input.get("survival")
    if inputs is not None and len(inputs) > 1:
        ax.fill_between(layer, inputs.min(axis=0), inputs.max(axis=0), color=colour, alpha=0.2, lw=0)
    ax.plot(layer, curve.ensemble.mean().survival, ".", color=colour, ms=3)
    ax.plot(layer, curve.profile.survival, "-", color=colour, lw=1.4, marker=marker(layer))


def _columns(palette: dict[float, Any]) -> int:
    return -(-len(palette) // 9)  # 9 rows a column


def _styles(experiment: Experiment) -> list[tuple[Any, str]]:
    lines, patches = require("plot", "matplotlib.lines"), require("plot", "matplotlib.patches")
    styles = [*line_styles(experiment, "exact mean"), (lines.Line2D([], [], color=GREY, ls=":", lw=1), "exact mean ± std")]
    if any(np.any(curve.profile.survival < 0.5) for curve in experiment.curves):
        silent = lines.Line2D([], [], color=GREY, marker="x", ls="", ms=6, mew=1.8)
        styles.append((silent, "half the networks\nare silent"))
    if any(len(curve.profile.per_input.get("survival", ())) > 1 for curve in experiment.curves):
        styles.append((patches.Patch(color=GREY, alpha=0.25, lw=0), "below: lowest to\nhighest input"))
    return styles


def _legends(ax: Any, palette: dict[float, Any], styles: list[tuple[Any, str]]) -> None:
    """Thresholds and line styles, to the right of the last panel."""
    line = require("plot", "matplotlib.lines").Line2D
    thresholds = [line([], [], color=colour, lw=2.5, label=f"θ = {theta:.4g}") for theta, colour in palette.items()]
    ax.add_artist(ax.legend(handles=thresholds, bbox_to_anchor=(1.04, 1), loc="upper left", ncols=_columns(palette), **BESIDE))
    ax.legend(*zip(*styles, strict=True), bbox_to_anchor=(1.04, 0), loc="lower left", **BESIDE)


@draws(Experiment)
def plot_experiment_in_time(experiment: Experiment) -> Any:
    """Variance and firing rate over layers, averaged over the late half of the steps, a panel per gain rule and width.

    Dots and bands: simulated mean ± one standard deviation over networks. Lines: infinite width. Maps over layers
    and steps are drawn by ``.plot()`` of a curve's ``profile`` and ``ensemble``.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.validate(threshold=1.0, gain=2.9, width=50, depth=8, repeats=4, steps=4, neuron=vf.Neuron(decay=0.5))
    >>> figure = vf.plots.plot_experiment_in_time(found)
    """
    palette = colours_of(experiment_of(experiment, in_time=True))
    figure, panels = page(experiment, RIGHT, tall=5.3)
    for row, (name, label) in zip(panels, LABELS.items(), strict=True):
        for curves, ax in zip(experiment.panels.values(), row, strict=True):
            for curve in curves:
                _draw(ax, curve, name, palette[curve.threshold])
        row[0].set(ylabel=label, ylim=(0, None))
    _legends(panels[0][-1], palette, line_styles(experiment, "infinite width"))
    return figure


def _draw(ax: Any, curve: Curve, name: str, colour: Any) -> None:
    late, layer = late_steps(curve.network.steps), np.arange(1, curve.network.depth + 1)
    seen = getattr(curve.ensemble, name)[..., late].mean(axis=-1)
    mean, spread = seen.mean(axis=0), seen.std(axis=0, ddof=1) if len(seen) > 1 else 0.0
    ax.fill_between(layer, np.maximum(mean - spread, 0), mean + spread, color=colour, alpha=0.2, lw=0)
    ax.plot(layer, mean, ".", color=colour, ms=3)
    ax.plot(layer, getattr(curve.profile, name)[:, late].mean(axis=1), "-", color=colour, lw=1.4, marker=marker(layer))


def page(experiment: Experiment, right: float, tall: float, **rows: Any) -> tuple[Any, Any]:
    """A figure with two rows of panels, ``tall`` inches, and a margin ``right`` of them; the caption says what to see."""
    width = PANEL * len(experiment.panels) + LEFT + right
    words = wrapped(experiment.reading, columns=int(LETTERS * (width - LEFT - 0.25)))
    text_height = 0.8 + LINE * len(words)
    height = tall + text_height
    figure = new_figure(figsize=(width, height), dpi=150)
    grid = figure.add_gridspec(2, len(experiment.panels), hspace=0.09, wspace=0.08, **rows)
    grid.update(left=LEFT / width, right=1 - right / width, bottom=text_height / height, top=1 - 0.4 / height)
    panels = grid.subplots(sharex="col", sharey="row", squeeze=False)
    for key, ax, lowest in zip(experiment.panels, *panels, strict=True):
        ax.set_title(panel_title(experiment, *key), fontsize=11)
        lowest.set(xlabel="layer", xlim=(0, experiment.curves[0].network.depth + 1))
    figure.text(LEFT / width, 0.15 / height, "\n".join(words), va="bottom", fontsize=TEXT, color="0.25", linespacing=1.35)
    return figure, panels


def line_styles(experiment: Experiment, predicted: str) -> list[tuple[Any, str]]:
    """Entries of a legend: what dots, bands and lines are."""
    lines, patches = require("plot", "matplotlib.lines"), require("plot", "matplotlib.patches")
    dots = lines.Line2D([], [], color=GREY, marker=".", ls="")
    return [
        (dots, f"mean of {experiment.repeats} network{'s' * (experiment.repeats > 1)}"),
        (patches.Patch(color=GREY, alpha=0.25, lw=0), "± std over them"),
        (lines.Line2D([], [], color=GREY, lw=1.4), predicted),
    ]


def experiment_of(experiment: Experiment, *, in_time: bool) -> Experiment:
    """The experiment; DomainError unless it has one step, or several with ``in_time``."""
    steps = experiment.steps
    if (steps > 1) != in_time:
        other = "plot_experiment" if in_time else "plot_experiment_in_time"
        raise DomainError("experiment", experiment, f"has steps={steps}: use vf.plots.{other}")
    return experiment


def panel_title(experiment: Experiment, rule: str, width: int) -> str:
    """The gain, the width if there are several, and the steps that are averaged."""
    gain, late = TITLES.get(rule, rule.replace("g = ", "$g$ = ")), late_steps(experiment.steps)
    words = [gain] * (len(experiment.widths) == 1 or len(experiment.panels) > len(experiment.widths))
    words += [f"width {width}"] * (len(experiment.widths) > 1)
    return ", ".join(words + [f"steps {late.start + 1} to {late.stop}"] * (late.stop > 1))


def colours_of(experiment: Experiment) -> dict[Any, Any]:
    """A colour for each threshold."""
    thresholds = list(dict.fromkeys(curve.threshold for curve in experiment.curves))
    return dict(zip(thresholds, colours(len(thresholds)), strict=True))


def band(ax: Any, ensemble: Any, profile: Any, colour: Any, measured: str = "", predicted: str = "") -> None:
    """Variance over depth, of the last step: networks as dots with one standard deviation shaded, theory as lines."""
    layer, last = np.arange(1, len(profile.variance) + 1), (..., -1) if profile.variance.ndim > 1 else ...
    mean, spread = ensemble.mean().variance[last], np.nan_to_num(ensemble.variance_std[last])
    ax.fill_between(layer, np.maximum(mean - spread, 0), mean + spread, color=colour, alpha=0.2, lw=0)
    ax.plot(layer, mean, ".", color=colour, ms=3, label=measured or None)
    variance, std = profile.variance[last], profile.variance_std[last]
    ax.plot(layer, variance, "-", color=colour, lw=1.4, marker=marker(layer), label=predicted or None)
    for sign in (-1, 1):
        ax.plot(layer, variance + sign * std, ":", color=colour, lw=0.9, marker=marker(layer))
