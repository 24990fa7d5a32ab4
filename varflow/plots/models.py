"""Networks of a user: an audit, measured and predicted layer by layer, and activity during a training."""

from __future__ import annotations

from typing import Any

import numpy as np

from varflow._checks import DomainError, instance
from varflow.plots.style import ALARM, BESIDE, GREY, colours, new_figure
from varflow.results import AuditReport
from varflow.results.training import TOTAL, TrainingHistory


def plot_audit(report: AuditReport) -> Any:
    """Measured and predicted late rate, and variance, over layers; a dotted line marks the first dead one, open dots the
    layers that are not healthy. Lines are predicted, dots measured.
    """
    instance("report", report, AuditReport)
    figure = new_figure(figsize=(7, 5), dpi=150, layout="constrained")
    layer, colour = np.arange(1, len(report.layers) + 1), colours(1)[0]
    rates, variances = figure.subplots(2, 1, sharex=True)
    predicted = np.array([audited.predicted_rate for audited in report.layers])
    spread = np.array([audited.predicted_std for audited in report.layers])
    rates.fill_between(layer, np.maximum(predicted - spread, 0), predicted + spread, alpha=0.2, lw=0, color=colour)
    spread_label = ", ± std" if np.isfinite(spread).any() else ""
    rates.plot(layer, predicted, "-", lw=1.4, color=colour, label=f"predicted: {report.method}{spread_label}")
    odd = np.array([audited.verdict != "healthy" for audited in report.layers])
    measured = np.array([audited.firing_rate for audited in report.layers])
    rates.plot(layer[~odd], measured[~odd], ".", color=colour, label="measured")
    if odd.any():
        rates.plot(layer[odd], measured[odd], "o", ms=4, mfc="none", color=ALARM, label="measured: weak, dead or saturated")
    rates.set(ylabel="late firing rate", ylim=(0, None))
    rates.legend(frameon=False)
    variances.plot(layer, [audited.predicted_variance for audited in report.layers], "-", lw=1.4, color=colour)
    variances.plot(layer, [audited.variance for audited in report.layers], ".", color=colour)
    variances.set(xlabel="layer", ylabel=r"late variance, $\mathrm{Var}[H]$", ylim=(0, None))
    every = -(-len(layer) // 24)  # of more than 24 layers every n-th is named
    names = [audited.label for audited in report.layers[::every]]
    variances.set_xticks(layer[::every], names, rotation=45 if max(map(len, names)) > 3 else 0, ha="right", fontsize=7)
    if report.first_dead is not None:
        rates.axvline(layer[report.layers.index(report[report.first_dead])], color="0.4", ls=":", lw=1)
    for ax in (rates, variances):
        ax.spines[["top", "right"]].set_visible(False)
    rates.set_title("; ".join(report.problems) or "healthy", fontsize=8, wrap=True)
    return figure


def plot_training(history: TrainingHistory) -> Any:
    """Late rate and fraction of dead neurons over training steps, and gradient norms where they were measured: a line for each
    layer, from dark (first) to light (last); all neurons together in grey, dashed.
    """
    instance("history", history, TrainingHistory)
    if not history.rows:
        raise DomainError("history", "Monitor", "has no measurement yet: call it in the training loop")
    panels = 3 if "gradient_norm" in history.quantities else 2
    figure = new_figure(figsize=(7.5, 2.5 * panels), dpi=150, layout="constrained")
    rates, dead, *norms = figure.subplots(panels, 1, sharex=True)
    layers, marker = history.layers, "." if len(history.steps) < 40 else ""
    every = -(-len(layers) // 12)  # of more than 12 layers every n-th is in the legend
    for place, (name, colour) in enumerate(zip(layers, colours(len(layers)), strict=True)):
        label = history.weights.get(name, name).replace("–", name) if place % every == 0 or place == len(layers) - 1 else None
        rates.plot(history.steps, history.values("firing_rate", name), color=colour, marker=marker, lw=1.2, label=label)
        dead.plot(history.steps, history.values("dead_fraction", name), color=colour, marker=marker, lw=1.2)
        for panel in norms:
            panel.plot(history.steps, history.values("gradient_norm", name), color=colour, marker=marker, lw=1.2)
    rates.plot(history.steps, history.values("firing_rate"), color=GREY, ls="--", lw=1.2, label=TOTAL)
    dead.plot(history.steps, history.values("dead_fraction"), color=GREY, ls="--", lw=1.2)
    rates.set(ylabel="late firing rate", ylim=(0, None))
    dead.set(ylabel="fraction of dead neurons", ylim=(-0.02, 1.02))
    for panel in norms:
        panel.set(ylabel="gradient norm", yscale="log")
    figure.axes[-1].set(xlabel="training step")
    dead.xaxis.get_major_locator().set_params(integer=True)
    rates.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), title="layer", **BESIDE)
    return figure
