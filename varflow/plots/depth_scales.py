"""Depth scales over threshold or width, and gain."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import instance, require
from varflow.plots.style import ALARM, colours, new_figure
from varflow.results import DepthScales

GAIN, ROWS = "gain $g$", {"threshold": "threshold θ", "width": "width of the surrogate, $a$"}
PANELS = (
    ("firing_rate", "firing rate", False),
    ("variance_depth", r"of the variance, $\xi_V$", True),
    ("overlap_depth", r"of the overlap, $\xi_c$", False),
    ("gradient_depth", r"of gradients, $\xi_\nabla$", True),
)


def plot_depth_scales(scales: DepthScales) -> Any:
    """Four maps: firing rate and three depth scales in layers; white where only silence is stable, red where ``χ = 1``.

    Lines over the gain if there is one threshold or width, and over that if there is one gain.
    """
    name, _, values = instance("scales", scales, DepthScales).rows
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
    ax.spines[["top", "right"]].set_visible(False)
