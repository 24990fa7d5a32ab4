"""Sizes, colours, titles, captions and bands common to all figures."""

from __future__ import annotations

import io
import re
import textwrap
from functools import cache
from typing import Any

import numpy as np

from varflow._checks import DomainError, instance, require
from varflow.results import Experiment

TITLES = {"preserving": r"preserving gain, $g^2 = 1/P(u>\theta)$", "kaiming": r"Kaiming's gain, $g^2 = 2$"}
PANEL, LEFT, RIGHT = 4.7, 0.95, 2.3  # inches: width of a panel with its gap, margins
GREY, BESIDE = "0.35", {"frameon": False, "fontsize": 8.5, "borderaxespad": 0.0}  # of legends right of a panel
ALARM = "#D55E00"  # of what needs attention: dead, unhealthy, a limit
TEXT, LINE, LETTERS = 8.5, 0.165, 16.6  # of the caption: font size in points, line height in inches, letters per inch


@cache
def _figure() -> Any:
    class Figure(require("plot", "matplotlib.figure").Figure):
        def _repr_png_(self) -> bytes:
            content = io.BytesIO()
            self.savefig(content, format="png", dpi=100)
            return content.getvalue()

    return Figure


def new_figure(**options: Any) -> Any:
    """A matplotlib Figure that Jupyter shows whether or not pyplot is loaded; pyplot does not know it."""
    return _figure()(**options)


def wrapped(sentences: list[str], columns: int) -> list[str]:
    """Wrapped, with no break inside ``θ = 0.5`` or ``2 %``."""
    unbroken = [re.sub(r" (=|%)", "\u00a0\\1", sentence).replace("= ", "=\u00a0") for sentence in sentences]
    return [line for sentence in unbroken for line in textwrap.wrap(sentence, columns)]


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


def colours(number: int) -> list[Any]:
    """Colours from dark to light, distinguishable in grey."""
    cmap = require("plot", "matplotlib").colormaps["viridis"]
    return [cmap(x) for x in np.linspace(0.05, 0.88, number)]


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


def draw_map(ax: Any, values: np.ndarray, **options: Any) -> Any:
    """A map of values over layers and steps, both counted from 1; ``options`` go to ``imshow``."""
    depth, steps = values.shape
    extent = (0.5, steps + 0.5, depth + 0.5, 0.5)
    ax.set_xlabel("step")
    for axis in (ax.xaxis, ax.yaxis):
        axis.get_major_locator().set_params(integer=True)
    return ax.imshow(values, aspect="auto", extent=extent, cmap="viridis", vmin=0, interpolation="nearest", **options)


def axes(ax: Any) -> Any:
    """The given axes, or new ones."""
    if ax is None:
        return require("plot", "matplotlib.pyplot").subplots()[1]
    if not isinstance(ax, require("plot", "matplotlib.axes").Axes):
        raise DomainError("ax", ax, "must be matplotlib axes, such as plt.subplots()[1]")
    return ax


def marker(layer: np.ndarray) -> str:
    """The marker of a line with a single point, which would be invisible."""
    return "_" if len(layer) == 1 else ""


def layers(profile: Any) -> np.ndarray:
    """Numbers of the layers, from 1."""
    return np.arange(1, len(profile.variance) + 1)
