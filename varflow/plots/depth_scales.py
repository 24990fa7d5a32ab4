"""Maps of the depth scales over threshold or width, and gain."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import instance, require
from varflow.results import DepthScales

__all__ = ["plot_depth_scales"]

LEAST, MOST = 0.3, 30.0  # layers, where logarithmic colours of depth scales end
PANELS = (
    ("firing_rate", "firing rate", False),
    ("variance_depth", r"of the variance, $\xi_V$", True),
    ("overlap_depth", r"of the overlap, $\xi_c$", False),
    ("gradient_depth", r"of gradients, $\xi_\nabla$", True),
)


def plot_depth_scales(scales: DepthScales) -> Any:
    """Four maps: firing rate and three depth scales in layers; white where only silence is stable, red where ``χ = 1``."""
    instance("scales", scales, DepthScales)
    name, _, values = scales.rows
    figure = require("plot", "matplotlib.figure").Figure(figsize=(15, 3.7), dpi=130, layout="constrained")
    alive = scales.firing_rate > 0
    colours = require("plot", "matplotlib.colors")
    for ax, (quantity, title, logarithmic) in zip(figure.subplots(1, len(PANELS), sharey=True), PANELS, strict=True):
        shown = np.ma.array(getattr(scales, quantity), mask=~alive)
        norm = colours.LogNorm(LEAST, MOST) if logarithmic else None
        mesh = ax.pcolormesh(scales.gains, values, shown, cmap="viridis", norm=norm, shading="nearest", rasterized=True)
        figure.colorbar(mesh, ax=ax, extend="both" if logarithmic else "neither")
        if min(scales.gradient_gain.shape) > 1 and alive.any():
            with np.errstate(divide="ignore"):
                growth = np.ma.array(np.log(scales.gradient_gain), mask=~alive)
            if growth.min() < 0 < growth.max():
                ax.contour(scales.gains, values, growth, levels=[0.0], colors="#D55E00", linewidths=1.4)
        ax.set(xlabel="gain $g$", title=title if quantity == "firing_rate" else f"depth scale {title}")
        if name == "width":
            ax.set_yscale("log")
    figure.axes[0].set_ylabel("threshold θ" if name == "threshold" else "width of the surrogate, $a$")
    figure.suptitle(f"infinite width, {scales.surrogate}; red: gradients keep their variance, χ = 1", fontsize=10)
    return figure
