"""Activity of a network during a training."""

from __future__ import annotations

from typing import Any

from varflow._checks import DomainError, instance
from varflow.plots.style import BESIDE, GREY, colours, new_figure
from varflow.results.training import TOTAL, TrainingHistory


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
