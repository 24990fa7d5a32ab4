"""The variance map with its fixed points, and critical gains in time over leak and reset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from varflow._checks import DomainError, instance, positive_number, several
from varflow.plots.style import GREY, axes, colours
from varflow.results import FixedPoints, TemporalCriticalGain


def plot_fixed_points(points: FixedPoints, ax: Any = None, *, start: float = 1.0) -> Any:
    """The map ``V → F(V)`` with its fixed points, filled if stable, two-cycles, and the cobweb of layers driven at ``start``.

    ``points`` are from ``vf.fixed_points``; those of blocks, of ``vf.reference`` and of ``vf.certified`` have no map to draw.
    """
    following = instance("points", points, FixedPoints).map
    if following is None:
        raise DomainError("points", points, "have no map: take those of vf.fixed_points for one layer")
    first = positive_number("start", start)
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


def plot_temporal_critical_gain(results: Sequence[TemporalCriticalGain], ax: Any = None) -> Any:
    """Critical gains over the decay, a colour per reset: all steps alive (solid) and the late half of them (dashed).

    ``results`` are from ``vf.temporal_critical_gain`` for several neurons with the same steps and depth. Gains are squared, in
    units of ``θ/λ``; in the grey area, below the memoryless critical gain, the first step dies. Neurons with ``θ ≤ 0`` never
    fall silent and are drawn at 0.
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
