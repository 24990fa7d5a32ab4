"""One comparison, and a sweep over layers: theory and simulation, exact at one step, of infinite width over several."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import DomainError, instance, require
from varflow.plots.style import BESIDE, GREY, LINE, TEXT, TITLES, axes, colours, draw_map, layers, marker, new_figure, wrapped
from varflow.results import Comparison, Curve, Experiment, late_steps

PANEL, LEFT, RIGHT, MAPS = 4.7, 0.95, 2.3, 5.6  # inches: width of a panel with its gap, margins; two maps of a single curve
LETTERS = 16.6  # of the caption, per inch
LABELS = {
    "variance": r"variance of the membrane, $\mathrm{Var}[H]$",
    "firing_rate": "firing rate",
}


def plot_comparison(comparison: Comparison, ax: Any = None) -> Any:
    """Variance over layers (at the last step): measured and predicted mean, each with a band of ± one standard deviation.

    Examples
    --------
    >>> import varflow as vf
    >>> profile = vf.finite_width(vf.Network(width=100, depth=20, gain=2.51))
    >>> ax = vf.plots.plot_comparison(vf.compare(profile, profile.sample(20, seed=1)))
    """
    instance("comparison", comparison, Comparison)
    ax = axes(ax)
    band(ax, comparison.ensemble, comparison.profile, colours(1)[0], "simulated mean, ± std", "predicted mean, ± std")
    ax.set(xlabel="layer", ylabel=r"variance of the potentials, $\mathrm{Var}[u_l]$", ylim=(0, None))
    ax.legend(frameon=False)
    verdict = "holds" if comparison.passed else "rejected"
    ax.set_title(f"theory {verdict} (p = {comparison.p_value:.3g})", fontsize=10)
    return ax


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
    figure, grid = page(experiment, RIGHT + _columns(palette) - 1, tall=4.9, height_ratios=[3.2, 1])
    drawn = []
    for column, (key, curves) in enumerate(experiment.panels.items()):
        ax = figure.add_subplot(grid[0, column], sharey=drawn[0] if drawn else None)
        alive = figure.add_subplot(grid[1, column], sharex=ax)
        for curve in curves:
            _draw_variance(ax, curve, palette[curve.threshold])
            _draw_survival(alive, curve, palette[curve.threshold])
        ax.set_title(panel_title(experiment, *key), fontsize=11)
        for panel in (ax, alive):
            dress(panel, first=column == 0, last=panel is alive, depth=curves[0].network.depth)
        alive.set_ylim(-0.05, 1.08)
        if column == 0:
            ax.set_ylabel(r"variance of the potentials, $\mathrm{Var}[u_l]$")
            alive.set_ylabel("fraction of\nnetworks alive")
        drawn.append(ax)
    drawn[0].set_ylim(0, _ceiling(experiment))
    _legends(drawn[-1], palette, experiment)
    return figure


def _draw_variance(ax: Any, curve: Curve, colour: Any) -> None:
    band(ax, curve.ensemble, curve.profile, colour)
    died = np.flatnonzero(curve.profile.survival < 0.5)
    if len(died):
        ax.plot(died[0] + 1, curve.profile.variance[died[0]], "x", color=colour, ms=7, mew=2, clip_on=False, zorder=5)


def _draw_survival(ax: Any, curve: Curve, colour: Any) -> None:
    layer = layers(curve.profile)
    inputs = curve.profile.per_input.get("survival")
    if inputs is not None and len(inputs) > 1:
        ax.fill_between(layer, inputs.min(axis=0), inputs.max(axis=0), color=colour, alpha=0.2, lw=0)
    ax.plot(layer, curve.ensemble.mean().survival, ".", color=colour, ms=3)
    ax.plot(layer, curve.profile.survival, "-", color=colour, lw=1.4, marker=marker(layer))


def _ceiling(experiment: Experiment) -> float:
    """Upper limit of the axis: above every exact band and every simulated mean."""
    tops = [
        np.nanmax(np.r_[curve.profile.variance, curve.profile.variance + curve.profile.variance_std, simulated])
        for curve in experiment.curves
        for simulated in [curve.ensemble.mean().variance]
    ]
    return 1.12 * float(max(tops)) or 1.0


def _columns(palette: dict[float, Any]) -> int:
    return -(-len(palette) // 9)  # 9 rows a column


def _legends(ax: Any, palette: dict[float, Any], experiment: Experiment) -> None:
    """Thresholds and line styles, to the right of the last panel."""
    lines, patches = require("plot", "matplotlib.lines"), require("plot", "matplotlib.patches")
    thresholds = [lines.Line2D([], [], color=colour, lw=2.5, label=f"θ = {theta:.4g}") for theta, colour in palette.items()]
    spread = lines.Line2D([], [], color=GREY, ls=":", lw=1)
    styles = [*line_styles(experiment, "exact mean"), (spread, "exact mean ± std")]
    if any(np.any(curve.profile.survival < 0.5) for curve in experiment.curves):
        silent = lines.Line2D([], [], color=GREY, marker="x", ls="", ms=6, mew=1.8)
        styles.append((silent, "half the networks\nare silent"))
    if any(len(curve.profile.per_input.get("survival", ())) > 1 for curve in experiment.curves):
        styles.append((patches.Patch(color=GREY, alpha=0.25, lw=0), "below: lowest to\nhighest input"))
    ax.add_artist(ax.legend(handles=thresholds, bbox_to_anchor=(1.04, 1), loc="upper left", ncols=_columns(palette), **BESIDE))
    ax.legend(*zip(*styles, strict=True), bbox_to_anchor=(1.04, 0), loc="lower left", **BESIDE)


def plot_experiment_in_time(experiment: Experiment) -> Any:
    """Variance and firing rate over layers, averaged over the late half of the steps, a panel per gain rule and width.

    Dots and bands: simulated mean ± one standard deviation over networks. Lines: infinite width. For a single curve, maps
    show the firing rate of every layer and step, in theory and simulation on the same scale.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.validate(threshold=1.0, gain=2.9, width=50, depth=8, repeats=4, steps=4, neuron=vf.Neuron(decay=0.5))
    >>> figure = vf.plots.plot_experiment_in_time(found)
    """
    curves = experiment_of(experiment, in_time=True).curves
    only = curves[0] if len(curves) == 1 else None
    palette = colours_of(experiment)
    panels = list(experiment.panels.items())
    figure, grid = page(experiment, RIGHT + (MAPS if only else 0.0), tall=5.3)
    axes = [[figure.add_subplot(grid[row, column]) for column in range(len(panels))] for row in range(2)]
    for row, name in enumerate(LABELS):
        for column, (key, curves) in enumerate(panels):
            ax = axes[row][column]
            for curve in curves:
                _draw(ax, curve, name, palette[curve.threshold])
            dress(ax, first=column == 0, last=row == 1, depth=curves[0].network.depth)
            if column == 0:
                ax.set_ylabel(LABELS[name])
            if row == 0:
                late = late_steps(experiment.steps)
                ax.set_title(f"{panel_title(experiment, *key)}, steps {late.start + 1} to {late.stop}", fontsize=11)
        top = max(ax.get_ylim()[1] for ax in axes[row])
        for ax in axes[row]:
            ax.set_ylim(0, top)
    _legend(axes[0][-1], palette, experiment)
    if only:
        wide = figure.get_figwidth()
        _draw_maps(figure, only, (1 - (MAPS + 0.35) / wide, grid.bottom, MAPS / wide, grid.top - grid.bottom))
    return figure


def _draw(ax: Any, curve: Curve, name: str, colour: Any) -> None:
    late, layer = late_steps(curve.network.steps), np.arange(1, curve.network.depth + 1)
    seen = getattr(curve.ensemble, name)[..., late].mean(axis=-1)
    mean, spread = seen.mean(axis=0), seen.std(axis=0, ddof=1) if len(seen) > 1 else 0.0
    ax.fill_between(layer, np.maximum(mean - spread, 0), mean + spread, color=colour, alpha=0.2, lw=0)
    ax.plot(layer, mean, ".", color=colour, ms=3)
    ax.plot(layer, getattr(curve.profile, name)[:, late].mean(axis=1), "-", color=colour, lw=1.4, marker=marker(layer))


def _legend(ax: Any, palette: dict[float, Any], experiment: Experiment) -> None:
    line = require("plot", "matplotlib.lines").Line2D
    entries = [(line([], [], color=colour, lw=2.5), f"θ = {theta:.4g}") for theta, colour in palette.items()]
    entries += line_styles(experiment, "infinite width")
    ax.legend(*zip(*entries, strict=True), bbox_to_anchor=(1.04, 1), loc="upper left", **BESIDE)


def _draw_maps(figure: Any, curve: Curve, box: tuple[float, float, float, float]) -> None:
    """Firing rate of every layer and step, theory and simulation on the same scale."""
    theory, seen = curve.profile.firing_rate, curve.ensemble.mean().firing_rate
    top = max(theory.max(), seen.max()) or 1.0
    left, bottom, width, height = box
    mesh = None
    for place, (title, values) in enumerate({"infinite width": theory, "simulated": seen}.items()):
        ax = figure.add_axes((left + place * 0.46 * width, bottom, 0.41 * width, height))
        mesh = draw_map(ax, values, vmax=top)
        ax.set_title(f"{LABELS['firing_rate']}, {title}", fontsize=10)
        ax.tick_params(labelleft=place == 0)
        if place == 0:
            ax.set_ylabel("layer")
    bar = figure.colorbar(mesh, cax=figure.add_axes((left + 0.9 * width, bottom, 0.025 * width, height)))
    bar.outline.set_visible(False)


def page(experiment: Experiment, right: float, tall: float, **rows: Any) -> tuple[Any, Any]:
    """A figure for two rows of panels, ``tall`` inches, with a margin ``right`` of them; the caption says what to see."""
    width = PANEL * len(experiment.panels) + LEFT + right
    words = wrapped(experiment.reading, columns=int(LETTERS * (width - LEFT - 0.25)))
    text_height = 0.8 + LINE * len(words)
    height = tall + text_height
    figure = new_figure(figsize=(width, height), dpi=150)
    grid = figure.add_gridspec(2, len(experiment.panels), hspace=0.09, wspace=0.08, **rows)
    grid.update(left=LEFT / width, right=1 - right / width, bottom=text_height / height, top=1 - 0.4 / height)
    figure.text(LEFT / width, 0.15 / height, "\n".join(words), va="bottom", fontsize=TEXT, color="0.25", linespacing=1.35)
    return figure, grid


def dress(ax: Any, *, first: bool, last: bool, depth: int) -> None:
    """Axes over the layers of a panel, in its first column or not, in its last row or not."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlim(0, depth + 1)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.tick_params(labelleft=first, labelbottom=last)
    if last:
        ax.set_xlabel("layer")


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
    steps = instance("experiment", experiment, Experiment).steps
    if (steps > 1) != in_time:
        other = "plot_experiment" if in_time else "plot_experiment_in_time"
        raise DomainError("experiment", experiment, f"has steps={steps}: use vf.plots.{other}")
    return experiment


def panel_title(experiment: Experiment, rule: str, width: int) -> str:
    """The gain, and the width if there are several."""
    gain = TITLES.get(rule, rule.replace("g = ", "$g$ = "))
    if len(experiment.widths) == 1:
        return gain
    return f"width {width}" if len(experiment.panels) == len(experiment.widths) else f"{gain}, width {width}"


def colours_of(experiment: Experiment) -> dict[Any, Any]:
    """A colour for each threshold."""
    thresholds = list(dict.fromkeys(curve.threshold for curve in experiment.curves))
    return dict(zip(thresholds, colours(len(thresholds)), strict=True))


def band(ax: Any, ensemble: Any, profile: Any, colour: Any, measured: str = "", predicted: str = "") -> None:
    """Variance over depth, of the last step: networks as dots with one standard deviation shaded, theory as lines."""
    layer, last = layers(profile), (..., -1) if profile.variance.ndim > 1 else ...
    mean, spread = ensemble.mean().variance[last], np.nan_to_num(ensemble.variance_std[last])
    ax.fill_between(layer, np.maximum(mean - spread, 0), mean + spread, color=colour, alpha=0.2, lw=0)
    ax.plot(layer, mean, ".", color=colour, ms=3, label=measured or None)
    variance, std = profile.variance[last], profile.variance_std[last]
    ax.plot(layer, variance, "-", color=colour, lw=1.4, marker=marker(layer), label=predicted or None)
    for sign in (-1, 1):
        ax.plot(layer, variance + sign * std, ":", color=colour, lw=0.9, marker=marker(layer))
