"""A prediction over layers, or over layers and steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import instance
from varflow.plots.style import colours, draw_map, layers, marker, new_figure
from varflow.results import Profile


def plot_profile(profile: Profile) -> Any:
    """Variance ± one standard deviation over layers, with the fraction of networks alive below.

    Over several steps: maps of variance and firing rate over layers and steps. Returns a matplotlib Figure.
    """
    several = instance("profile", profile, Profile).variance.ndim > 1
    figure = new_figure(figsize=(8.6, 3.8) if several else (5.6, 4.6), dpi=150, layout="constrained")
    (_draw_maps if several else _draw_lines)(figure, profile)
    return figure


def _draw_lines(figure: Any, profile: Profile) -> None:
    upper_panel, lower_panel = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    layer, colour, std = layers(profile), colours(1)[0], np.nan_to_num(profile.variance_std, posinf=0.0)
    low, high = np.maximum(profile.variance - std, 0), profile.variance + std
    upper_panel.fill_between(layer, low, high, color=colour, alpha=0.2, lw=0, label="± std over networks")
    upper_panel.plot(layer, profile.variance, color=colour, lw=1.6, marker=marker(layer), label="mean")
    lower_panel.plot(layer, profile.survival, color=colour, lw=1.6, marker=marker(layer))
    upper_panel.set(ylabel=r"variance, $\mathrm{Var}[u_l]$", ylim=(0, None))
    upper_panel.legend(frameon=False)
    lower_panel.set(xlabel="layer", ylabel="fraction alive", ylim=(-0.05, 1.08))
    lower_panel.xaxis.get_major_locator().set_params(integer=True)
    for ax in (upper_panel, lower_panel):
        ax.spines[["top", "right"]].set_visible(False)


def _draw_maps(figure: Any, profile: Profile) -> None:
    drawn = {"variance of the potentials": profile.variance, "firing rate": profile.firing_rate}
    for ax, (title, values) in zip(figure.subplots(1, 2, sharey=True), drawn.items(), strict=True):
        figure.colorbar(draw_map(ax, values), ax=ax).outline.set_visible(False)
        ax.set_title(title, fontsize=10)
    figure.axes[0].set_ylabel("layer")
