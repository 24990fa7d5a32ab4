"""Energy of gradients over layers and steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import instance
from varflow.plots.style import colours, draw_map, new_figure
from varflow.results import GradientFlow


def plot_gradient_flow(flow: GradientFlow) -> Any:
    """Energy of every layer (left), in total and at single steps, and the fraction of it at every step (right)."""
    energy, total = instance("flow", flow, GradientFlow).energy, flow.total
    depth, steps = energy.shape
    figure = new_figure(figsize=(10.5 if steps > 1 else 5.2, 3.8), dpi=150, layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, 2 if steps > 1 else 1))
    layer = np.arange(1, depth + 1)
    axes[0].semilogy(layer, total, "-", color="0.2", lw=2, label="all steps" if steps > 1 else "theory")
    if "energy" in flow.error:
        off = np.sqrt((flow.error["energy"] ** 2).sum(axis=1))
        axes[0].fill_between(layer, np.maximum(total - off, total / 10), total + off, color="0.2", alpha=0.2, lw=0)
    # at most 6 steps are drawn one by one
    shown_steps = np.unique(np.linspace(0, steps - 1, min(steps, 6)).round().astype(int)) if steps > 1 else []
    for t, colour in zip(shown_steps, colours(len(shown_steps)), strict=True):
        axes[0].semilogy(layer, energy[:, t], color=colour, lw=1.1, label=f"step {t + 1}")
    if flow.spread is not None:
        low, high = (flow.typical * np.exp(sign * flow.spread) for sign in (-1, 1))
        axes[0].fill_between(layer, low, high, color="0.2", alpha=0.15, lw=0, label="two of three networks")
    axes[0].set(xlabel="layer", ylabel=r"energy of gradients, $E\|\delta\|^2$", title=f"surrogate {flow.surrogate}")
    beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if steps > 1 else {}
    axes[0].legend(frameon=False, fontsize=8, **beside)
    if steps > 1:
        fraction = np.divide(energy, total[:, None], out=np.zeros_like(energy), where=total[:, None] > 0)
        figure.colorbar(draw_map(axes[1], fraction), ax=axes[1]).outline.set_visible(False)
        axes[1].set(ylabel="layer", title="fraction of a layer's energy")
    axes[0].spines[["top", "right"]].set_visible(False)
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    return figure
