"""The variance map with its fixed points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from varflow._checks import DomainError, instance, positive_scale, scalar
from varflow.plots.style import GREY, axes, colours
from varflow.results import FixedPoints


def plot_fixed_points(points: FixedPoints, ax: Any = None, *, start: float = 1.0) -> Any:
    """The map ``V → F(V)`` with its fixed points, filled if stable, two-cycles, and the cobweb of layers driven at ``start``.

    ``points`` are from ``vf.fixed_points``; those of blocks, of ``vf.reference`` and of ``vf.certified`` have no map to draw.
    """
    following = instance("points", points, FixedPoints).map
    if following is None:
        raise DomainError("points", points, "have no map: take those of vf.fixed_points for one layer")
    first = scalar("start", positive_scale("start", start))
    ax, colour = axes(ax), colours(1)[0]
    top = 1.3 * max(first, *(point.variance for point in points), *(cycle.variances[1] for cycle in points.cycles))
    V = top * np.linspace(0, 1, 400) ** 2
    ax.plot([0, top], [0, top], color="0.6", lw=0.9)
    ax.plot(*_cobweb(following, first), color=GREY, lw=0.8, label=f"layers driven at $V$ = {first:.4g}")
    ax.plot(V, following(V), color=colour, lw=1.6, label="map $F(V)$")
    for point in points:
        kind = "stable" if point.stable else "unstable"
        named = {"label": kind} if kind not in ax.get_legend_handles_labels()[1] else {}
        filled = colour if point.stable else "white"
        ax.plot(point.variance, point.variance, "o", color=colour, mfc=filled, ms=7, clip_on=False, **named)
    for cycle in points.cycles:
        ax.plot(cycle.variances, cycle.variances[::-1], "s", color=colour, mfc=colour if cycle.stable else "white", ms=5)
    ax.set(xlabel="variance $V$ of a layer", ylabel="variance $F(V)$ of the next layer", xlim=(0, top), ylim=(0, top))
    ax.set_aspect("equal")
    ax.legend(frameon=False, loc="upper left")
    return ax


def _cobweb(following: Callable[[Any], Any], start: float) -> np.ndarray:
    """Corners of the line up to the map and across to the diagonal; shape (2, corners)."""
    corners, V = [(start, 0.0)], start
    for _ in range(60):
        last, V = V, float(following(V))
        corners += [(last, V), (V, V)]
    return np.array(corners).T
