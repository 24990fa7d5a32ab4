"""A sweep over layers: exact theory and simulation."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import require
from varflow.plots import style
from varflow.results import Curve, Experiment


def plot_experiment(experiment: Experiment) -> Any:
    """Variance over layers with survival below, a panel per gain rule and width, and the main findings in words.

    Bands and dots: simulated mean ± one standard deviation over networks. Lines: exact mean (solid) ± standard
    deviation (dotted). For a drive of several inputs the light band of the survival panel spans the inputs.
    """
    colours = style.colours_of(style.experiment_of(experiment, in_time=False))
    figure, grid = style.page(experiment, style.RIGHT + _columns(colours) - 1, tall=4.9, height_ratios=[3.2, 1])
    drawn = []
    for column, (key, curves) in enumerate(experiment.panels.items()):
        ax = figure.add_subplot(grid[0, column], sharey=drawn[0] if drawn else None)
        alive = figure.add_subplot(grid[1, column], sharex=ax)
        for curve in curves:
            _draw_variance(ax, curve, colours[curve.threshold])
            _draw_survival(alive, curve, colours[curve.threshold])
        ax.set_title(style.panel_title(experiment, *key), fontsize=11)
        for panel in (ax, alive):
            style.dress(panel, first=column == 0, last=panel is alive, depth=curves[0].network.depth)
        alive.set_ylim(-0.05, 1.08)
        if column == 0:
            ax.set_ylabel(r"variance of the potentials, $\mathrm{Var}[u_l]$")
            alive.set_ylabel("fraction of\nnetworks alive")
        drawn.append(ax)
    drawn[0].set_ylim(0, _ceiling(experiment))
    _legends(drawn[-1], colours, experiment)
    return figure


def _draw_variance(ax: Any, curve: Curve, colour: Any) -> None:
    style.band(ax, curve.ensemble, curve.profile, colour)
    died = np.flatnonzero(curve.profile.survival < 0.5)
    if len(died):
        ax.plot(died[0] + 1, curve.profile.variance[died[0]], "x", color=colour, ms=7, mew=2, clip_on=False, zorder=5)


def _draw_survival(ax: Any, curve: Curve, colour: Any) -> None:
    layer = style.layers(curve.profile)
    inputs = curve.profile.per_input.get("survival")
    if inputs is not None and len(inputs) > 1:
        ax.fill_between(layer, inputs.min(axis=0), inputs.max(axis=0), color=colour, alpha=0.2, lw=0)
    ax.plot(layer, curve.ensemble.mean().survival, ".", color=colour, ms=3)
    ax.plot(layer, curve.profile.survival, "-", color=colour, lw=1.4, marker=style.marker(layer))


def _ceiling(experiment: Experiment) -> float:
    """Upper limit of the axis: above every exact band and every simulated mean."""
    tops = [
        np.nanmax(np.r_[curve.profile.variance, curve.profile.variance + curve.profile.variance_std, simulated])
        for curve in experiment.curves
        for simulated in [curve.ensemble.mean().variance]
    ]
    return 1.12 * float(max(tops)) or 1.0


def _columns(colours: dict[float, Any]) -> int:
    return -(-len(colours) // 9)  # 9 rows a column


def _legends(ax: Any, colours: dict[float, Any], experiment: Experiment) -> None:
    """Thresholds and line styles, to the right of the last panel."""
    lines, patches = require("plot", "matplotlib.lines"), require("plot", "matplotlib.patches")
    thresholds = [lines.Line2D([], [], color=colour, lw=2.5, label=f"θ = {theta:.4g}") for theta, colour in colours.items()]
    spread = lines.Line2D([], [], color=style.GREY, ls=":", lw=1)
    styles = [*style.line_styles(experiment, "exact mean"), (spread, "exact mean ± std")]
    if any(np.any(curve.profile.survival < 0.5) for curve in experiment.curves):
        silent = lines.Line2D([], [], color=style.GREY, marker="x", ls="", ms=6, mew=1.8)
        styles.append((silent, "half the networks\nare silent"))
    if any(len(curve.profile.per_input.get("survival", ())) > 1 for curve in experiment.curves):
        styles.append((patches.Patch(color=style.GREY, alpha=0.25, lw=0), "below: lowest to\nhighest input"))
    ax.add_artist(
        ax.legend(handles=thresholds, bbox_to_anchor=(1.04, 1), loc="upper left", ncols=_columns(colours), **style.BESIDE)
    )
    ax.legend(*zip(*styles, strict=True), bbox_to_anchor=(1.04, 0), loc="lower left", **style.BESIDE)
