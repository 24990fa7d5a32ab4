"""The map of a layer, of the variance or of the overlap of two inputs, with its fixed points and the cobweb of layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from varflow._checks import DomainError, positive_number
from varflow.plots.style import GREY, axes, colours, draws
from varflow.results import CorrelationFixedPoints, FixedPoints
from varflow.theory.memoryless.depth_scales import correlation_map

SYMBOLS = {"threshold": "θ", "gain": "g", "bias_std": r"$\sigma_b$", "mean_gain": "$m_g$"}


@draws(FixedPoints)
def plot_fixed_points(points: FixedPoints, ax: Any = None, *, start: float = 1.0) -> Any:
    """The map ``V → F(V)`` with its fixed points, filled if stable, two-cycles, and the cobweb of layers driven at ``start``.

    ``points`` are from ``vf.fixed_points``; those of blocks, of ``vf.reference`` and of ``vf.certified`` have no map to draw.

    Examples
    --------
    >>> import varflow as vf
    >>> ax = vf.plots.plot_fixed_points(vf.fixed_points(threshold=1.0, gain=2.6), start=2.0)
    """
    following = points.map
    if following is None:
        raise DomainError("points", points, "have no map: take those of vf.fixed_points for one layer")
    first = positive_number("start", start)
    ax, colour = axes(ax), colours(1)[0]
    top = 1.3 * max(first, *(point.variance for point in points), *(cycle.variances[1] for cycle in points.cycles))
    V = top * np.linspace(0, 1, 400) ** 2
    ax.plot(*_cobweb(following, first), color=GREY, lw=0.8, label=f"layers driven at $V$ = {first:.4g}")
    _draw_layer_map(ax, V, following(V), [(point.variance, point.stable) for point in points], "map $F(V)$")
    for cycle in points.cycles:
        ax.plot(cycle.variances, cycle.variances[::-1], "s", color=colour, mfc=colour if cycle.stable else "white", ms=5)
    ax.set(xlabel="variance $V$ of a layer", ylabel="variance $F(V)$ of the next layer", xlim=(0, top), ylim=(0, top))
    ax.set_aspect("equal")
    ax.legend(loc="upper left")
    settings = getattr(following, "keywords", {})
    numbers = {name: settings.get(name) for name in SYMBOLS if isinstance(settings.get(name), float | int)}
    ax.set_title(", ".join(f"{SYMBOLS[name]} = {number:.4g}" for name, number in numbers.items() if number), fontsize=9)
    return ax


@draws(CorrelationFixedPoints)
def plot_overlap_map(points: CorrelationFixedPoints, ax: Any = None) -> Any:
    """The overlap of two inputs behind a layer over that before it, with its fixed points, filled if stable, and the cobweb of
    inputs that begin almost equal.

    Examples
    --------
    >>> import varflow as vf
    >>> ax = vf.plots.plot_overlap_map(vf.correlation_fixed_points(threshold=1.0))
    """
    ax, rho = axes(ax), np.linspace(0, 1, 400)
    following = partial(correlation_map, threshold=points.threshold, variance=points.variance)
    ax.plot(*_cobweb(following, 0.99), color=GREY, lw=0.8, label="layers behind inputs of overlap 0.99")
    _draw_layer_map(ax, rho, following(rho), [(point.overlap, point.stable) for point in points], "map")
    ax.set(xlabel="overlap ρ of two inputs", ylabel="overlap in the next layer", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set_title(f"θ = {points.threshold:g}, V = {points.variance:g}", fontsize=9)
    ax.legend(loc="upper left")
    return ax


def _draw_layer_map(ax: Any, x: np.ndarray, after: np.ndarray, points: list[tuple[float, bool]], label: str) -> None:
    """The map of a layer, the diagonal, and fixed points on it, filled if stable."""
    colour = colours(1)[0]
    ax.plot(x[[0, -1]], x[[0, -1]], color="0.6", lw=0.9)
    ax.plot(x, after, color=colour, lw=1.6, label=label)
    for place, stable in points:
        kind = "stable" if stable else "unstable"
        named = {"label": kind} if kind not in ax.get_legend_handles_labels()[1] else {}
        ax.plot(place, place, "o", color=colour, mfc=colour if stable else "white", ms=7, clip_on=False, **named)


def _cobweb(following: Callable[[Any], Any], start: float) -> np.ndarray:
    """Corners of the line up to the map and across to the diagonal; shape (2, corners)."""
    corners, V = [(start, 0.0)], start
    for _ in range(60):
        last, V = V, float(following(V))
        corners += [(last, V), (V, V)]
    return np.array(corners).T
