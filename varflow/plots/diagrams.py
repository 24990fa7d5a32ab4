"""Maps over two settings: depth scales over threshold or width and gain, survival over threshold and width; critical gains over
the decay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from varflow._checks import require, several
from varflow.plots.style import ALARM, LINE, TEXT, TITLES, axes, colours, draws, new_figure, wrapped
from varflow.results import DepthScales, PhaseDiagram, TemporalCriticalGain

GAIN, ROWS = "gain $g$", {"threshold": "threshold θ", "width": "width of the surrogate, $a$"}
PANELS = (
    ("firing_rate", "firing rate", False),
    ("variance_depth", r"of the variance, $\xi_V$", True),
    ("overlap_depth", r"of the overlap, $\xi_c$", False),
    ("gradient_depth", r"of gradients, $\xi_\nabla$", True),
)
CONTOURS = {0.01: ("1 %", "white"), 0.5: ("50 %", "white"), 0.99: ("99 %", "0.1")}  # survival: label and colour
FINE = 200  # interpolated points per axis


@draws(DepthScales)
def plot_depth_scales(scales: DepthScales) -> Any:
    """Four maps: firing rate and three depth scales in layers; white where only silence is stable, red where ``χ = 1``.

    Lines over the gain if there is one threshold or width, and over that if there is one gain.

    Examples
    --------
    >>> import varflow as vf
    >>> scales = vf.depth_scales(threshold=[0.4, 0.6, 0.8, 1.0, 1.2], gain=[1.5, 2.0, 2.5, 3.0, 3.5])
    >>> figure = vf.plots.plot_depth_scales(scales)
    """
    name, _, values = scales.rows
    figure = new_figure(figsize=(15, 3.7), dpi=130, layout="constrained")
    lines = 1 in scales.firing_rate.shape
    for ax, (quantity, title, logarithmic) in zip(figure.subplots(1, len(PANELS), sharey=not lines), PANELS, strict=True):
        shown = np.ma.array(getattr(scales, quantity), mask=scales.firing_rate <= 0)
        (_line if lines else _map)(ax, scales, shown, logarithmic)
        ax.set_title(title if quantity == "firing_rate" else f"depth scale {title}, in layers", fontsize=11)
    if not lines:
        figure.axes[0].set_ylabel(ROWS[name])
    single = f"{ROWS[name]} = {values[0]:.4g}, " if len(values) == 1 else ""
    limit = "" if lines else "; red: gradients keep their variance, χ = 1"
    figure.suptitle(f"infinite width, {single}{scales.surrogate}{limit}", fontsize=10)
    return figure


def _map(ax: Any, scales: DepthScales, shown: Any, logarithmic: bool) -> None:
    name, _, values = scales.rows
    norm = require("plot", "matplotlib.colors").LogNorm(0.3, 30.0) if logarithmic else None
    mesh = ax.pcolormesh(scales.gains, values, shown, cmap="viridis", norm=norm, shading="nearest", rasterized=True)
    ax.figure.colorbar(mesh, ax=ax, extend="both" if logarithmic else "neither")
    with np.errstate(divide="ignore"):
        growth = np.ma.array(np.log(scales.gradient_gain), mask=np.ma.getmaskarray(shown))
    if not growth.mask.all() and growth.min() < 0 < growth.max():
        ax.contour(scales.gains, values, growth, levels=[0.0], colors=ALARM, linewidths=1.4)
    ax.set(xlabel=GAIN, yscale="log" if name == "width" else "linear")


def _line(ax: Any, scales: DepthScales, shown: Any, logarithmic: bool) -> None:
    name, _, values = scales.rows
    over_gain = len(scales.gains) > 1 or len(values) == 1
    ax.plot(scales.gains if over_gain else values, shown.ravel(), ".-", ms=3, color=colours(1)[0])
    ax.set(xlabel=GAIN if over_gain else ROWS[name], yscale="log" if logarithmic else "linear")


@draws(PhaseDiagram)
def plot_phase_diagram(diagram: PhaseDiagram) -> Any:
    """A map of survival over threshold and width, with contours at 1, 50 and 99 %.

    The logit of survival is interpolated between grid points.

    Examples
    --------
    >>> import varflow as vf
    >>> diagram = vf.phase_diagram(threshold=[0.5, 0.7, 0.9, 1.1], width=[20, 50, 100, 200], depth=20)
    >>> figure = vf.plots.plot_phase_diagram(diagram)
    """
    thetas = np.linspace(diagram.thresholds[0], diagram.thresholds[-1], FINE)
    widths = np.geomspace(diagram.widths[0], diagram.widths[-1], FINE)
    survival = 1 / (1 + np.exp(-diagram.logit(thetas, widths).T))
    if len(diagram.widths) == 1:  # a band, for an axis needs a length
        widths = np.geomspace(widths[0] / 1.1, widths[0] * 1.1, FINE)
    words = wrapped(diagram.reading, columns=116)
    text_height = 0.7 + LINE * len(words)
    width, height = 7.4, 4.9 + text_height
    figure = new_figure(figsize=(width, height), dpi=150)
    ax = figure.add_axes((0.78 / width, text_height / height, 5.45 / width, 4.45 / height))
    mesh = ax.pcolormesh(thetas, widths, survival, cmap="viridis", vmin=0, vmax=1, shading="gouraud", rasterized=True)
    ax.set_yscale("log")
    _draw_contours(ax, thetas, widths, survival)
    bar = figure.colorbar(mesh, cax=figure.add_axes((6.4 / width, text_height / height, 0.17 / width, 4.45 / height)))
    bar.set_label(f"fraction of networks alive at layer {diagram.depth}, {diagram.alive or 'exact'}")
    bar.outline.set_visible(False)
    title = TITLES.get(str(diagram.gain), f"gain $g$ = {diagram.gain}")
    ax.set_title(f"{title}, {diagram.depth} layers", fontsize=11)
    ax.set(xlabel="threshold θ", ylabel="width $n$")
    ax.yaxis.set_major_locator(require("plot", "matplotlib.ticker").LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(lambda n, _: f"{n:g}")
    ax.minorticks_off()
    figure.text(0.2 / width, 0.12 / height, "\n".join(words), va="bottom", fontsize=TEXT, color="0.25", linespacing=1.35)
    return figure


def _draw_contours(ax: Any, thetas: np.ndarray, widths: np.ndarray, survival: np.ndarray) -> None:
    if survival.shape[0] < 2 or np.ptp(thetas) == 0:
        return
    reached = [level for level in CONTOURS if survival.min() < level < survival.max()]
    if reached:
        lines = ax.contour(
            thetas, widths, survival, levels=reached, colors=[CONTOURS[level][1] for level in reached], linewidths=1.3
        )
        ax.clabel(lines, fmt={level: CONTOURS[level][0] for level in reached}, fontsize=9)


def plot_temporal_critical_gain(results: Sequence[TemporalCriticalGain], ax: Any = None) -> Any:
    """Critical gains over the decay, a colour per reset: all steps alive (solid) and the late half of them (dashed).

    ``results`` are from ``vf.temporal_critical_gain`` for several neurons with the same steps and depth. Gains are squared, in
    units of ``θ/λ``; in the grey area, below the memoryless critical gain, the first step dies. Neurons with ``θ ≤ 0`` never
    fall silent and are drawn at 0.

    Examples
    --------
    >>> import varflow as vf
    >>> neurons = [vf.Neuron(1.0, decay=beta) for beta in (0.0, 0.5, 0.9)]
    >>> options = {"steps": 3, "depth": 10, "points": 2**8, "scrambles": 2}
    >>> ax = vf.plots.plot_temporal_critical_gain([vf.temporal_critical_gain(each, **options) for each in neurons])
    """
    results, ax = several("results", results, TemporalCriticalGain), axes(ax)
    resets = list(dict.fromkeys(result.neuron.reset for result in results))
    for reset, colour in zip(resets, colours(len(resets)), strict=True):
        of_reset = sorted((r for r in results if r.neuron.reset == reset), key=lambda r: r.neuron.decay)
        decays = [r.neuron.decay for r in of_reset]
        units = np.array([r.neuron.input_scale / r.neuron.threshold if r.neuron.threshold > 0 else 0.0 for r in of_reset])
        for name, style, label in (("gain", "-", str(reset).replace("_", " ")), ("late_gain", "--", None)):
            gains = np.array([getattr(r, name) for r in of_reset]) * units
            errors = np.array([r.error[name] for r in of_reset]) * units
            ax.plot(decays, gains**2, style, color=colour, marker=".", ms=4, lw=1.4, label=label)
            ax.fill_between(decays, (gains - errors) ** 2, (gains + errors) ** 2, color=colour, alpha=0.25, lw=0)
    # critical gain² of neurons without memory, in units of θ²
    ax.axhline(6.034397946968073, color="0.6", lw=0.8, ls=":", zorder=0)
    steps, depth = results[0].steps, results[0].depth
    ax.set_title(f"alive at layer {depth}: all {steps} steps (solid), late half (dashed)", fontsize=10)
    ax.set(xlabel="decay β", ylabel=r"critical gain$^2$, in $(\theta/\lambda)^2$")
    ax.legend(frameon=False, fontsize=8.5)
    return ax
