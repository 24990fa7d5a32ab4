"""Figures of the training experiments from their JSON files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import varflow as vf
from validation.training.experiments import GAINS, SLOPES
from validation.training.networks import Design
from validation.training.predictors import LATER, PREDICTORS, agreement, contrast_of, revival_depth
from varflow.plots.style import new_figure

__all__ = ["FIGURES", "WEIGHTS", "accuracy", "grouped"]

Runs = Sequence[Mapping[str, Any]]
SCORES = Path(__file__).parent / "results" / "scores.json"
CHANCE = 0.1
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # of Okabe and Ito
NAMES = {
    "membrane_shortcut": "membrane shortcut",
    "sew_add": "SEW add",
    "batch_norm": "batch normalisation",
    "centred": "centred rows",
    "convolutional": "convolutions",
}
WEIGHTS = {
    "torch": "torch's default",
    "kaiming": "Kaiming",
    "xavier": "Xavier",
    "micheli": "Micheli",
    "corrected": "corrected gain",
    "in_time": "gain in time",
    "spikeinit": "SpikeInit",
    "identity": "W = (θ/β) 1",
}
"""Initialisations as they are called in tables and figures."""


def accuracy(run: Mapping[str, Any]) -> float:
    """On the test images, after the last epoch."""
    return run["epochs"][-1]["accuracy"]


def grouped(runs: Runs, key: Callable[[Mapping[str, Any]], Any]) -> dict[Any, list[Mapping[str, Any]]]:
    """The runs by a key, in order of appearance."""
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def design_of(setting: str) -> Callable[[Mapping[str, Any]], Any]:
    """The value of one setting of a run's design."""
    return lambda run: run["design"][setting]


def mean_and_error(runs: Runs) -> tuple[float, float]:
    """Mean accuracy over seeds and its standard error."""
    values = [accuracy(run) for run in runs]
    return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else math.nan


def name(run: Mapping[str, Any]) -> str:
    """A design in a few words, without its depth."""
    design = run["design"]
    weights = WEIGHTS[design["initialisation"]] if design["gain"] is None else f"g² = {design['gain'] ** 2:.3g}"
    if design["structure"] != "plain":
        return f"{NAMES[design['structure']]}, {weights}"
    steps = "" if design["steps"] == 4 else f", {design['steps']} steps"
    return f"plain, {weights}, {surrogate_name(design)}{steps}"


def surrogate_name(design: Mapping[str, Any]) -> str:
    """The surrogate without the names of its parameters, unless it has two."""
    two = re.sub(r"Surrogate\('(.*)', peak=(.*), width=(.*)\)", r"\1 of peak \2 and width \3", design["surrogate"])
    return re.sub(r"\(\w+=([^,]*)\)", r"(\1)", two)


def by_gain_and_slope(runs: Runs) -> Figure:
    """Accuracy over gain and slope, with what theory says."""
    depths = sorted({run["design"]["depth"] for run in runs})
    figure, image = new_figure(figsize=(5.2 * len(depths), 4.4), dpi=130, layout="constrained"), None
    for ax, depth in zip(np.atleast_1d(figure.subplots(1, len(depths), sharey=True)), depths, strict=True):
        cells = grouped(
            [run for run in runs if run["design"]["depth"] == depth],
            lambda run: (run["design"]["gain"], run["design"]["surrogate"]),
        )
        found = np.array([[_cell(cells, gain2, slope) for gain2 in GAINS] for slope in SLOPES])
        image = ax.imshow(100 * found, origin="lower", cmap="viridis", vmin=10, vmax=85, aspect="auto")
        for (row, column), value in np.ndenumerate(found):
            if np.isfinite(value):
                ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color="white" if value < 0.55 else "black")
        ax.set(title=f"{depth} layers", xlabel="gain², g²", xticks=range(len(GAINS)), xticklabels=[f"{g:g}" for g in GAINS])
        ax.set(yticks=range(len(SLOPES)), yticklabels=[f"{s:g}" for s in SLOPES])
        _theory(ax, depth)
    figure.axes[0].set_ylabel("slope of fast_sigmoid")
    assert image is not None
    figure.colorbar(image, ax=figure.axes, label="test accuracy, %")
    told = "dotted: critical gain; white: gradients in time keep their size; pink: contrast of the tangent kernel"
    figure.suptitle(told, fontsize=10)
    return figure


def _cell(cells: Mapping[Any, Runs], gain2: float, slope: float) -> float:
    found = [
        run
        for (gain, surrogate), runs in cells.items()
        for run in runs
        if math.isclose(gain**2, gain2, rel_tol=1e-9) and surrogate == str(vf.surrogates.fast_sigmoid(slope))
    ]
    return mean_and_error(found)[0] if found else math.nan


def _theory(ax: Any, depth: int) -> None:
    """The critical gain, where gradients in time keep their size, and the contrast of the tangent kernel."""
    critical = vf.critical_gain(threshold=1.0) ** 2
    ax.axvline(float(np.interp(math.log(critical), np.log(GAINS), range(len(GAINS)))), color="white", ls=":", lw=1.6)
    growth, contrast = (np.empty((len(SLOPES), len(GAINS))) for _ in range(2))
    for column, gain2 in enumerate(GAINS):
        network = vf.Network(width=100, depth=depth, gain=gain2**0.5, neuron=vf.neurons.snntorch_leaky(0.5), steps=4)
        for row, slope in enumerate(SLOPES):
            psi = vf.surrogates.fast_sigmoid(slope)
            growth[row, column] = math.log(max(vf.gradient_flow(network, psi).growth or 0.0, 1e-12))
            contrast[row, column] = contrast_of(network, psi)
    ax.contour(growth, levels=[0.0], colors="white", linewidths=1.6)
    lines = ax.contour(contrast, levels=[0.05, 0.15, 0.25], colors="#FF5CB0", linewidths=1.4)
    ax.clabel(lines, fmt="%.2f", fontsize=8)


def errorbars(ax: Any, runs: Runs, setting: str, **style: Any) -> None:
    """Mean accuracy and its standard error over seeds, against one setting of the design."""
    points = {value: mean_and_error(some) for value, some in sorted(grouped(runs, design_of(setting)).items())}
    mean, error = (100 * np.nan_to_num(part) for part in zip(*points.values(), strict=True))
    ax.errorbar([*points], mean, error, marker="o", ms=4, capsize=3, **style)


def by_depth(runs: Runs) -> Figure:
    """Accuracy against depth for each structure, mean and standard error over seeds."""
    figure = new_figure(figsize=(6.6, 4.2), dpi=130, layout="constrained")
    ax = figure.subplots()
    for colour, (label, group) in zip(COLOURS, grouped(runs, name).items(), strict=False):
        errorbars(ax, group, "depth", color=colour, label=label)
    ax.axhline(100 * CHANCE, color="0.6", lw=0.8)
    ax.set(xscale="log", xlabel="layers", ylabel="test accuracy, %", ylim=(0, 92))
    depths = sorted({run["design"]["depth"] for run in runs})
    ax.set_xticks(depths, [str(depth) for depth in depths])
    ax.set_xticks([], minor=True)
    ax.legend(frameon=False, fontsize=8)
    return figure


def by_epoch(runs: Runs) -> Figure:
    """Accuracy after every epoch, mean over seeds, for each design and depth."""
    depths = sorted(grouped(runs, design_of("depth")))
    figure = new_figure(figsize=(9.6, 3.6), dpi=130, layout="constrained")
    axes = figure.subplots(1, len(depths), sharey=True, squeeze=False)[0]
    for ax, depth in zip(axes, depths, strict=True):
        some = [run for run in runs if run["design"]["depth"] == depth]
        for colour, (label, group) in zip(COLOURS, grouped(some, name).items(), strict=False):
            curves = 100 * np.array([[epoch["accuracy"] for epoch in run["epochs"]] for run in group])
            ax.plot(curves.mean(0), color=colour, lw=1.6, label=label)
        ax.set(title=f"{depth} layers", xlabel="epoch", ylim=(0, 102))
    axes[0].set_ylabel("test accuracy, %")
    axes[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def silent(runs: Runs) -> Figure:
    """Networks that begin silent: accuracy against depth for two values of Adam's ε, with the depths predicted to revive."""
    figure = new_figure(figsize=(6.6, 4.0), dpi=130, layout="constrained")
    ax = figure.subplots()
    key = lambda run: (run["design"]["initialisation"], run["schedule"]["epsilon"])  # noqa: E731
    for (weights, epsilon), group in grouped(runs, key).items():
        colour, style = COLOURS[weights == "kaiming"], "-" if epsilon > 1e-10 else "--"
        errorbars(ax, group, "depth", color=colour, ls=style, label=f"{WEIGHTS[weights]}, Adam's ε = {epsilon:g}")
        ax.axvline(revival_depth(Design(initialisation=weights), epsilon), color=colour, ls=style, lw=1, alpha=0.5)
    ax.axhline(100 * CHANCE, color="0.6", lw=0.8)
    ax.set(xlabel="layers", ylabel="test accuracy, %", ylim=(0, 92), xticks=sorted({run["design"]["depth"] for run in runs}))
    ax.set_title("vertical lines: deepest network that should revive", fontsize=9)
    ax.legend(framealpha=1, edgecolor="none", fontsize=8)
    return figure


def of_networks(runs: Runs) -> list[list[Mapping[str, Any]]]:
    """The runs of each design, one per seed."""
    return [*grouped(runs, lambda run: json.dumps(run["design"])).values()]


def scores_and_accuracies(runs: Runs) -> tuple[dict[str, list[float]], list[float]]:
    """Every score of the held-out networks, those of before and those of ``scores.json``, and their accuracies over seeds."""
    later = {json.dumps(each["design"]): each["scores"] for each in json.loads(SCORES.read_text())}
    networks = of_networks(runs)
    each = [some[0]["predicted"] | later[json.dumps(some[0]["design"])] for some in networks]
    return {key: [one[key] for one in each] for key in each[0]}, [mean_and_error(some)[0] for some in networks]


LOGARITHMIC = {"gradients": 1.0, "contrast": 1e-3, "near contrast": 1e-2, "persistence": 1e-2}
"""Predictors that span decades, with the value around 0 below which their axis is linear."""


def contest(runs: Runs) -> Figure:
    """Accuracy of the held-out networks, mean over seeds, against each predictor."""
    figure = new_figure(figsize=(12, 6.4), dpi=120, layout="constrained")
    scores, values = scores_and_accuracies(runs)
    axes = figure.subplots(2, 4, sharey=True)
    for ax, predictor in zip(axes.flat, PREDICTORS | LATER, strict=True):
        found = agreement(scores[predictor], values)
        ax.plot(scores[predictor], 100 * np.array(values), "o", color=COLOURS[0], ms=4, alpha=0.7)
        if predictor in LOGARITHMIC:
            ax.set_xscale("symlog", linthresh=LOGARITHMIC[predictor])
        told = f"Spearman {found['spearman']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
        when = ", scored later" if predictor in LATER else ""
        ax.set_title(f"{predictor}{when}\n{told}", fontsize=9)
    for ax in axes[:, 0]:
        ax.set_ylabel("test accuracy, %")
    return figure


def robust(runs: Runs) -> Figure:
    """One setting changed at a time, with the gain for a rate and with Kaiming's."""
    figure = new_figure(figsize=(11, 3.2), dpi=120, layout="constrained")
    names = {"threshold": "threshold θ", "decay": "decay β", "steps": "steps T", "width": "width n"}
    base = {"threshold": 1.0, "decay": 0.5, "steps": 4, "width": 100}
    for ax, setting in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
        for colour, weights in zip(COLOURS, ("in_time", "kaiming"), strict=False):
            some = [
                run
                for run in runs
                if run["design"]["initialisation"] == weights
                and all(run["design"][other] == base[other] for other in names if other != setting)
            ]
            errorbars(ax, some, setting, color=colour, label=WEIGHTS[weights])
        ax.set(xlabel=names[setting], ylim=(0, 102))
        if setting in ("steps", "width"):
            values = sorted({run["design"][setting] for run in runs})
            ax.set(xscale="log")
            ax.set_xticks(values, [str(value) for value in values])
            ax.set_xticks([], minor=True)
    figure.axes[0].set_ylabel("test accuracy on digits, %")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


FIGURES: Mapping[str, Callable[[Runs], Figure]] = {
    "quick": by_epoch,
    "map": by_gain_and_slope,
    "depth": by_depth,
    "silence": silent,
    "held_out": contest,
    "robustness": robust,
}
"""By experiment."""
