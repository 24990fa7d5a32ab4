"""Tables and figures of firing rates, learning rates and first steps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.training.figures import COLOURS, NAMES, design_of, errorbars, grouped, mean_and_error, surrogate_name
from validation.training.later import RULES
from varflow.plots.style import new_figure

__all__ = ["by_learning_rate", "by_rate", "of_first_steps", "of_learning_rates", "of_rates"]

Runs = Sequence[Mapping[str, Any]]
RESULTS = Path(__file__).parent / "results"


def computed(key: str) -> list[dict[str, Any]]:
    """What ``later.COMPUTED`` wrote."""
    return json.loads((RESULTS / f"{key}.json").read_text())


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def of_rates(runs: Runs) -> str:
    """Accuracy after the last epoch, and after the first in brackets, by structure and firing rate."""

    def cell(some: Runs) -> str:
        mean, error = mean_and_error(some)
        first = np.mean([run["epochs"][1]["accuracy"] for run in some])
        return f"{100 * mean:.1f} ± {100 * error:.1f} ({100 * first:.0f})"

    of_rate = {rate: f"{rate}" if rate else "torch's default" for rate in (0.05, 0.1, 0.2, 0.3, None)}
    rows = []
    for label, some in grouped(runs, _structure).items():
        cells = grouped(some, lambda run: run["design"]["rate"])
        rows.append([label, *(cell(cells[rate]) if rate in cells else "" for rate in of_rate)])
    return table(["design, steps", *of_rate.values()], rows)


def _structure(run: Mapping[str, Any]) -> str:
    design = run["design"]
    plain = design["structure"] == "plain"
    return f"{f'plain, {surrogate_name(design)}' if plain else NAMES[design['structure']]}, {design['steps']}"


# Learning rates.


def settings_of(runs: Runs) -> list[dict[str, Any]]:
    """Of every setting of the learning rates: its design and schedule, the rates with loss and accuracy, and the best rate."""
    settings = []
    for some in grouped(runs, lambda run: json.dumps([run["design"], run["schedule"] | {"learning_rate": 0}])).values():
        at_rate = sorted(grouped(some, lambda run: run["schedule"]["learning_rate"]).items())
        rates = np.array([rate for rate, _ in at_rate])
        losses = np.array([np.mean([math.log(run["epochs"][-1]["loss"]) for run in each]) for _, each in at_rate])
        values = np.array([mean_and_error(each)[0] for _, each in at_rate])
        best, inside = best_rate(rates, losses)
        settings.append(
            {"run": some[0], "rates": rates, "losses": losses, "accuracies": values, "best": best, "inside": inside}
        )
    return settings


def best_rate(rates: np.ndarray, losses: np.ndarray) -> tuple[float, bool]:
    """Minimum of the parabola through the least loss and its neighbours, over the logarithm of the rate; False at an end."""
    i = int(losses.argmin())
    if i in (0, len(rates) - 1):
        return float(rates[i]), False
    a, b, _ = np.polyfit(np.log2(rates[i - 1 : i + 2]), losses[i - 1 : i + 2], 2)
    return float(2 ** (-b / (2 * a))), True


def errors_of(settings: Sequence[Mapping[str, Any]], advice: Mapping[str, Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Of every rule: ``log₂`` of its rate over the best, and the accuracy lost against the best of the grid, by setting."""

    def of(rule: str, setting: Mapping[str, Any]) -> tuple[float, float]:
        rate = advice[key_of(setting["run"])][rule]
        at = np.interp(math.log(rate), np.log(setting["rates"]), setting["accuracies"])
        return math.log2(rate / setting["best"]), float(setting["accuracies"].max() - at)

    return {rule: np.array([of(rule, setting) for setting in settings]) for rule in RULES}


def key_of(run: Mapping[str, Any]) -> str:
    schedule = {name: run["schedule"][name] for name in ("epochs", "batch", "optimizer")}
    return json.dumps([run["design"], schedule, run["data"]])


def advice() -> dict[str, dict[str, float]]:
    """The rate by each rule, by setting: geometric mean over seeds."""
    each = grouped(computed("advice"), key_of)
    return {
        key: {rule: float(np.exp(np.mean([math.log(one["scores"][rule]) for one in some]))) for rule in RULES}
        for key, some in each.items()
    }


def of_learning_rates(runs: Runs) -> str:
    """The best rate of every setting with the advised one, and the errors of every rule."""
    settings, advised = settings_of(runs), advice()
    rows = []
    for setting in settings:
        ours, best = advised[key_of(setting["run"])]["D = 0.147"], setting["best"]
        found = f"{best:.2g}" if setting["inside"] else f"{best:.2g}, at an end"
        value = 100 * setting["accuracies"].max()
        rows.append([setting_name(setting["run"]), found, f"{ours:.2g}", f"{math.log2(ours / best):+.2f}", f"{value:.1f}"])
    of_rules = []
    for rule, errors in errors_of(settings, advised).items():
        octaves, lost = errors[:, 0], 100 * errors[:, 1]
        rms = np.sqrt(np.mean(octaves**2))
        of_rules.append([rule, f"{rms:.2f}", f"{octaves.mean():+.2f}", f"{lost.mean():.1f}", f"{lost.max():.1f}"])
    header = ["rule", "rms log₂ error", "mean", "accuracy lost, %", "worst"]
    of_settings = table(["setting", "best rate", "advised", "log₂ ratio", "best accuracy, %"], rows)
    return "\n\n".join([of_settings, table(header, of_rules), of_first_steps()])


def setting_name(run: Mapping[str, Any]) -> str:
    """Width × layers, and what differs from digits, β = 0.5, four steps, atan(2), Adam and six epochs."""
    design, schedule = run["design"], run["schedule"]
    differences = {
        f"β = {design['decay']:g}": design["decay"] != 0.5,
        f"θ = {design['threshold']:g}": design["threshold"] != 1.0,
        surrogate_name(design): "atan" not in design["surrogate"],
        f"{design['steps']} steps": design["steps"] != 4,
        "shortcuts": design["structure"] != "plain",
        "torch's biases": design["biases"],
        "AdamW": schedule["optimizer"] == "adamw",
        f"{schedule['epochs']} epochs": schedule["epochs"] == 20,
        "Fashion-MNIST": run["data"] != "digits",
    }
    return ", ".join([f"{design['width']} × {design['depth']}", *(words for words, given in differences.items() if given)])


def of_first_steps() -> str:
    """``D`` by formula over ``D`` measured: mean and standard deviation over networks of every setting."""
    rows, means = [], []
    for some in grouped(computed("first_steps"), lambda one: json.dumps([one["design"], one["data"]])).values():
        ratios = np.array([one["scores"]["formula"] / one["scores"]["measured"] for one in some])
        means.append(ratios.mean())
        run = {**some[0], "schedule": {"optimizer": "adam", "epochs": 6}}
        rows.append([setting_name(run), f"{ratios.mean():.3f}", f"{ratios.std(ddof=1) / len(ratios) ** 0.5:.3f}"])
    rows.append([f"mean of {len(means)}, sd", f"{np.mean(means):.3f}", f"{np.std(means, ddof=1):.3f}"])
    return table(["setting", "D by formula over D measured", "standard error"], rows)


def by_rate(runs: Runs) -> Figure:
    """Accuracy against the firing rate of all layers at the start, for each structure, with four steps and with eight."""
    figure = new_figure(figsize=(9.6, 3.8), dpi=130, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (steps, of_steps) in zip(axes, grouped(runs, design_of("steps")).items(), strict=True):
        kinds = grouped(of_steps, lambda run: _structure(run).rpartition(", ")[0])
        for colour, (label, some) in zip(COLOURS, kinds.items(), strict=False):
            scaled, default = ([run for run in some if bool(run["design"]["rate"]) == given] for given in (True, False))
            errorbars(ax, scaled, "rate", color=colour, label=label)
            if default:
                ax.axhline(100 * mean_and_error(default)[0], color=colour, ls=":", label=f"{label}, torch's default")
        ax.set(title=f"{steps} steps", xlabel="firing rate of all layers at the start", ylim=(50, 100))
    axes[0].set_ylabel("test accuracy, %")
    axes[1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def by_learning_rate(runs: Runs) -> Figure:
    """Training loss and accuracy of every setting against the learning rate over its best."""
    figure = new_figure(figsize=(11, 4.2), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, setting in enumerate(settings_of(runs)):
        style = {"color": COLOURS[i % len(COLOURS)], "ls": ("-", "--", ":")[i // len(COLOURS)], "marker": "o", "ms": 3}
        octaves = np.log2(setting["rates"] / setting["best"])
        left.plot(octaves, setting["losses"] - setting["losses"].min(), **style)
        right.plot(octaves, 100 * setting["accuracies"], label=setting_name(setting["run"]), **style)
    left.set(ylim=(0, 3), xlabel="log₂ of the learning rate over the best", ylabel="ln of the training loss, above its least")
    right.set(ylim=(0, 100), xlabel="log₂ of the learning rate over the best", ylabel="test accuracy, %")
    right.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
