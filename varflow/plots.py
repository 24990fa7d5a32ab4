"""Figures: what theory says, laid over what simulation measured. Uses public results only; returns matplotlib objects."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from varflow._checks import require

if TYPE_CHECKING:
    from varflow.compare import Comparison
    from varflow.experiment import Curve, Experiment

__all__ = ["plot_comparison", "plot_experiment"]

TITLES = {"preserving": r"this gain, $g^2 = 1/P(u>\theta)$", "kaiming": r"Kaiming's gain, $g^2 = 2$"}


def plot_experiment(experiment: Experiment) -> Any:
    """Variance over layers, a panel per gain rule; survival beneath; what to see in words under it.

    Bands and dots: simulated mean ± one standard deviation over networks. Lines: exact mean (solid) ± standard
    deviation (dotted).
    """
    figure_module = require("plot", "matplotlib.figure")
    rules = list(dict.fromkeys(curve.rule for curve in experiment.curves))
    thresholds = list(dict.fromkeys(curve.threshold for curve in experiment.curves))
    colours = dict(zip(thresholds, _colours(len(thresholds)), strict=True))
    text = "\n".join(textwrap.fill(line, 58 * len(rules) + 32) for line in experiment.reading)
    lines = text.count("\n") + 1
    height = 5.4 + 0.2 * lines
    figure = figure_module.Figure(figsize=(4.7 * len(rules) + 3.0, height), dpi=150)
    bottom = (0.62 + 0.19 * lines) / height
    grid = figure.add_gridspec(2, len(rules), height_ratios=[3.2, 1], hspace=0.09, wspace=0.08, bottom=bottom, top=0.93)
    grid.update(left=0.75 / figure.get_figwidth(), right=1 - 2.4 / figure.get_figwidth())
    top, axes = None, []
    for column, rule in enumerate(rules):
        ax = figure.add_subplot(grid[0, column], sharey=top)
        top = top or ax
        below = figure.add_subplot(grid[1, column], sharex=ax)
        chosen = [curve for curve in experiment.curves if curve.rule == rule]
        for curve in chosen:
            _draw_variance(ax, curve, colours[curve.threshold])
            _draw_survival(below, curve, colours[curve.threshold])
        ax.set_title(TITLES.get(rule, rule), fontsize=11)
        _dress(ax, below, first=column == 0, depth=chosen[0].network.depth)
        axes.append(ax)
    axes[0].set_ylim(0, _ceiling(experiment))
    _legends(axes[-1], colours)
    figure.text(0.5, 0.02, text, ha="center", va="bottom", fontsize=8.5, color="0.25", linespacing=1.35)
    return figure


def plot_comparison(comparison: Comparison, ax: Any = None) -> Any:
    """One comparison's variance over layers: measured mean and band, exact mean and band."""
    if ax is None:
        ax = require("plot", "matplotlib.pyplot").subplots()[1]
    colour = _colours(1)[0]
    _band(ax, comparison.ensemble, comparison.profile, colour, "simulated", "predicted")
    ax.set(xlabel="layer", ylabel="variance of u", ylim=(0, None))
    ax.legend(frameon=False)
    verdict = "holds" if comparison.passed else "rejected"
    ax.set_title(f"theory {verdict} (p = {comparison.p_value:.3g})", fontsize=10)
    return ax


def _colours(number: int) -> list[Any]:
    cmap = require("plot", "matplotlib").colormaps["viridis"]
    return [cmap(x) for x in np.linspace(0.05, 0.88, number)]


def _draw_variance(ax: Any, curve: Curve, colour: Any) -> None:
    _band(ax, curve.ensemble, curve.profile, colour)
    died = np.flatnonzero(curve.profile.survival < 0.5)
    if len(died):
        ax.plot(died[0] + 1, curve.profile.variance[died[0]], "x", color=colour, ms=7, mew=2, clip_on=False, zorder=5)


def _band(ax: Any, ensemble: Any, profile: Any, colour: Any, measured: str = "", predicted: str = "") -> None:
    layer = np.arange(1, len(profile.variance) + 1)
    mean, spread = ensemble.mean().variance, np.nan_to_num(ensemble.variance_std)
    ax.fill_between(layer, mean - spread, mean + spread, color=colour, alpha=0.22, lw=0)
    ax.plot(layer, mean, ".", color=colour, ms=3.5, label=measured or None)
    ax.plot(layer, profile.variance, "-", color=colour, lw=1.3, label=predicted or None)
    for sign in (-1, 1):
        ax.plot(layer, profile.variance + sign * profile.variance_std, ":", color=colour, lw=0.9)


def _draw_survival(ax: Any, curve: Curve, colour: Any) -> None:
    layer = np.arange(1, len(curve.profile.survival) + 1)
    ax.plot(layer, curve.ensemble.mean().survival, ".", color=colour, ms=3.5)
    ax.plot(layer, curve.profile.survival, "-", color=colour, lw=1.3)


def _dress(ax: Any, below: Any, *, first: bool, depth: int) -> None:
    for each in (ax, below):
        each.spines[["top", "right"]].set_visible(False)
        each.set_xlim(0, depth + 1)
        each.tick_params(labelleft=first)
    ax.tick_params(labelbottom=False)
    below.set_ylim(-0.05, 1.08)
    below.set_xlabel("layer")
    if first:
        ax.set_ylabel(r"variance of the potentials, $\mathrm{Var}[u_l]$")
        below.set_ylabel("networks\nalive")


def _ceiling(experiment: Experiment) -> float:
    tops = [np.nanmax(np.nan_to_num(c.profile.variance + c.profile.variance_std)) for c in experiment.curves]
    return 1.12 * float(max(tops))


def _legends(ax: Any, colours: dict[float, Any]) -> None:
    lines = require("plot", "matplotlib.lines")
    thresholds = [lines.Line2D([], [], color=colour, lw=2.5, label=f"θ = {theta:g}") for theta, colour in colours.items()]
    grey = "0.35"
    styles = [
        lines.Line2D([], [], color=grey, marker=".", ls="", label="simulated mean\n(band: ± std)"),
        lines.Line2D([], [], color=grey, ls="-", lw=1.3, label="exact mean"),
        lines.Line2D([], [], color=grey, ls=":", lw=1, label="exact mean ± std"),
        lines.Line2D([], [], color=grey, marker="x", ls="", ms=6, mew=1.8, label="half the networks\nare silent"),
    ]
    side = {"loc": "upper left", "frameon": False, "fontsize": 8.5, "borderaxespad": 0.0}
    ax.add_artist(ax.legend(handles=thresholds, bbox_to_anchor=(1.04, 1.0), **side))
    ax.legend(handles=styles, bbox_to_anchor=(1.04, 0.45), **side)
