"""Overlaps of inputs over layers, and how deep a readout reaches."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import instance
from varflow.plots.style import axes, colours, marker
from varflow.results import Flips, Kernel, ReadableDepth


def plot_kernel(kernel: Kernel, ax: Any = None) -> Any:
    """Raster overlap of different inputs over layers: the mean over pairs, and a band from the smallest to the largest."""
    instance("kernel", kernel, Kernel)
    ax, layer, colour = axes(ax), np.arange(1, kernel.depth + 1), colours(1)[0]
    mean, smallest, largest = np.transpose([kernel.between(number) for number in layer.tolist()])
    ax.fill_between(layer, smallest, largest, color=colour, alpha=0.2, lw=0, label="smallest to largest")
    ax.plot(layer, mean, color=colour, lw=1.4, marker=marker(layer), label="mean over pairs")
    ax.set(xlabel="layer", ylabel="overlap of different inputs, $R$", ylim=(0, 1.02))
    ax.legend(frameon=False)
    ax.set_title(f"{kernel.inputs} inputs, {_width(kernel.repeats)}", fontsize=10)
    return ax


def plot_readable_depth(found: ReadableDepth, ax: Any = None) -> Any:
    """Held-out accuracy of a linear readout over layers, ± one standard error, with the level half way to chance."""
    instance("found", found, ReadableDepth)
    ax, layer, colour = axes(ax), np.arange(1, len(found.accuracy) + 1), colours(1)[0]
    ax.errorbar(layer, found.accuracy, np.nan_to_num(found.error), color=colour, marker=".", lw=1.4, capsize=2)
    ax.axhline(found.chance, color="0.5", lw=0.9, ls=":", label="chance")
    ax.axhline(found.half, color="0.5", lw=0.9, ls="--", label="half way to chance")
    ax.plot([found.depth], [found.half], "o", color=colour, mfc="white")
    ax.set(xlabel="layer", ylabel="held-out accuracy of a linear readout", ylim=(0, 1.02))
    ax.legend(frameon=False)
    shown = f"at least {found.depth:.0f}" if found.throughout else f"{found.depth:.2f}"
    repeats = None if found.infinite_width else len(found.accuracies)
    ax.set_title(f"readable depth {shown} layers, {_width(repeats)}", fontsize=10)
    return ax


def plot_flips(flips: Flips, ax: Any = None) -> Any:
    """Flipped spikes over layers, ± one standard error; of sampled networks each as a thin line."""
    instance("flips", flips, Flips)
    ax, layer, colour = axes(ax), np.arange(1, len(flips.flips) + 1), colours(1)[0]
    for sample in () if flips.samples is None else flips.samples:
        ax.plot(layer, sample, color="0.8", lw=0.6)
    ax.errorbar(layer, flips.flips, np.nan_to_num(flips.error), color=colour, marker=".", lw=1.4, capsize=2)
    ax.set(xlabel="layer", ylabel="flipped spikes, $r$", ylim=(0, 1.02))
    ax.set_title(f"{flips.kind} change, {_width(None if flips.samples is None else len(flips.samples))}", fontsize=10)
    return ax


def _width(repeats: int | None) -> str:
    if repeats is None:
        return "infinite width: only an upper bound"
    return f"{repeats} sampled network{'s' * (repeats > 1)} of finite width"
