"""Figures of networks of several steps: theory of infinite width and simulation."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import require
from varflow.plots import style
from varflow.results import Curve, Experiment, late_steps

MAPS = 5.6  # extra inches for the two maps of a single curve
LABELS = {
    "variance": r"variance of the membrane, $\mathrm{Var}[H]$",
    "firing_rate": "firing rate",
}


def plot_experiment_in_time(experiment: Experiment) -> Any:
    """Variance and firing rate over layers, averaged over the late half of the steps, a panel per gain rule and width.

    Dots and bands: simulated mean ± one standard deviation over networks. Lines: infinite width. For a single curve, maps
    show the firing rate of every layer and step, in theory and simulation on the same scale.
    """
    curves = style.experiment_of(experiment, in_time=True).curves
    only = curves[0] if len(curves) == 1 else None
    colours = style.colours_of(experiment)
    panels = list(experiment.panels.items())
    figure, grid = style.page(experiment, style.RIGHT + (MAPS if only else 0.0), tall=5.3)
    axes = [[figure.add_subplot(grid[row, column]) for column in range(len(panels))] for row in range(2)]
    for row, name in enumerate(LABELS):
        for column, (key, curves) in enumerate(panels):
            ax = axes[row][column]
            for curve in curves:
                _draw(ax, curve, name, colours[curve.threshold])
            style.dress(ax, first=column == 0, last=row == 1, depth=curves[0].network.depth)
            if column == 0:
                ax.set_ylabel(LABELS[name])
            if row == 0:
                late = late_steps(experiment.steps)
                ax.set_title(f"{style.panel_title(experiment, *key)}, steps {late.start + 1} to {late.stop}", fontsize=11)
        top = max(ax.get_ylim()[1] for ax in axes[row])
        for ax in axes[row]:
            ax.set_ylim(0, top)
    _legend(axes[0][-1], colours, experiment)
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
    ax.plot(layer, getattr(curve.profile, name)[:, late].mean(axis=1), "-", color=colour, lw=1.4, marker=style.marker(layer))


def _legend(ax: Any, colours: dict[float, Any], experiment: Experiment) -> None:
    line = require("plot", "matplotlib.lines").Line2D
    entries = [(line([], [], color=colour, lw=2.5), f"θ = {theta:.4g}") for theta, colour in colours.items()]
    entries += style.line_styles(experiment, "infinite width")
    ax.legend(*zip(*entries, strict=True), bbox_to_anchor=(1.04, 1), loc="upper left", **style.BESIDE)


def _draw_maps(figure: Any, curve: Curve, box: tuple[float, float, float, float]) -> None:
    """Firing rate of every layer and step, theory and simulation on the same scale."""
    theory, seen = curve.profile.firing_rate, curve.ensemble.mean().firing_rate
    top = max(theory.max(), seen.max()) or 1.0
    left, bottom, width, height = box
    mesh = None
    for place, (title, values) in enumerate({"infinite width": theory, "simulated": seen}.items()):
        ax = figure.add_axes((left + place * 0.46 * width, bottom, 0.41 * width, height))
        mesh = style.draw_map(ax, values, vmax=top)
        ax.set_title(f"{LABELS['firing_rate']}, {title}", fontsize=10)
        ax.tick_params(labelleft=place == 0)
        if place == 0:
            ax.set_ylabel("layer")
    bar = figure.colorbar(mesh, cax=figure.add_axes((left + 0.9 * width, bottom, 0.025 * width, height)))
    bar.outline.set_visible(False)
