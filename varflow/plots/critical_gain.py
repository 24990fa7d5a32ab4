"""Critical gains in time over leak and reset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from varflow._checks import several
from varflow.plots.style import axes, colours
from varflow.results import TemporalCriticalGain


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
