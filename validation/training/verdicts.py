"""What trains: thirty plain layers, and verdicts of the audit against accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.training.figures import (
    CHANCE,
    COLOURS,
    NAMES,
    accuracy,
    design_of,
    grouped,
    mean_and_error,
    name,
    of_networks,
)
from validation.training.predictors import agreement
from validation.training.rates import RESULTS, Runs, computed, table
from varflow.plots.style import new_figure

__all__ = ["by_coherence", "depth_rule", "of_boundary", "of_thirty", "of_verdicts"]

OUTCOMES = ["networks", "verdict", "number", "within 5 points of chance", "half of the best or more", "median accuracy, %"]
STUCK = CHANCE + 0.05  # accuracy below which a network has learned nothing


def of_thirty(runs: Runs) -> str:
    """Accuracy by design and schedule, and of every seed."""

    def row(run: Mapping[str, Any]) -> str:
        schedule = run["schedule"]
        rate = f"{schedule['rate'].replace('_', ' ')} to {schedule['learning_rate']:g}"
        return f"{name(run)}, {rate}"

    rows = []
    for label, some in grouped(runs, row).items():
        mean, error = mean_and_error(some)
        rows.append([label, f"{100 * mean:.1f} ± {100 * error:.1f}", ", ".join(f"{100 * accuracy(run):.0f}" for run in some)])
    return table(["30 layers, learning rate", "accuracy", "seeds"], rows)


# Verdicts.


def verdicts_of(runs: Runs) -> list[dict[str, Any]]:
    """What ``later.judged`` says of the network of each run."""
    known = {json.dumps([one["design"], one["seed"]]): one["scores"] for one in computed("verdicts")}
    return [known[json.dumps([run["design"], run["seed"]])] for run in runs]


def depth_rule(runs: Runs) -> int:
    """The depth up to which "learns" and above which "forgets" is least often wrong."""
    values = np.array([accuracy(run) for run in runs])
    depths = np.array([run["design"]["depth"] for run in runs])

    def errors(depth: int) -> int:
        return int(((depths <= depth) & (values < STUCK)).sum() + ((depths > depth) & (values > values.max() / 2)).sum())

    return min(sorted({*depths.tolist()}), key=errors)


def outcomes(label: str, said: Sequence[str], runs: Runs) -> list[list[Any]]:
    """By verdict: how many networks, how many stayed within five points of chance, how many reached half of the best."""
    best, rows = max(accuracy(run) for run in runs), []
    for verdict in ("learns", "unknown", "forgets", "dead"):
        values = np.array([accuracy(run) for run, each in zip(runs, said, strict=True) if each == verdict])
        if len(values):
            counts = [len(values), int((values < STUCK).sum()), int((values > best / 2).sum())]
            rows.append([label, verdict, *counts, f"{100 * np.median(values):.0f}"])
    return rows


def of_verdicts(runs: Runs) -> str:
    """Verdicts against accuracy, by structure and in all, with a rule by depth alone; and rank correlations."""
    said = [each["verdict"] for each in verdicts_of(runs)]
    rows = outcomes("all", said, runs)
    for structure in grouped(runs, design_of("structure")):
        some = [(run, each) for run, each in zip(runs, said, strict=True) if run["design"]["structure"] == structure]
        rows += outcomes(NAMES.get(str(structure), str(structure)), [each for _, each in some], [run for run, _ in some])
    limit = depth_rule(json.loads((RESULTS / "held_out.json").read_text())["runs"])
    by_depth = ["learns" if run["design"]["depth"] <= limit else "forgets" for run in runs]
    rows += outcomes(f"by depth alone, up to {limit} layers", by_depth, runs)
    return "\n\n".join([table(OUTCOMES, rows), _correlations(runs)])


def of_boundary(runs: Runs) -> str:
    """Verdicts against accuracy, below ten layers and from ten on."""
    said = [each["verdict"] for each in verdicts_of(runs)]
    rows = []
    for label, few in (("7 to 9 layers", True), ("10 to 20 layers", False)):
        some = [(run, each) for run, each in zip(runs, said, strict=True) if (run["design"]["depth"] < 10) is few]
        rows += outcomes(label, [each for _, each in some], [run for run, _ in some])
    return table(OUTCOMES, rows)


def _correlations(runs: Runs) -> str:
    """Spearman with accuracy, mean over seeds, of what is known before training; and given the depth."""
    theory = {json.dumps(one["design"]): one["scores"] for one in computed("new_scores")}
    rows = []
    for label in ("plain", "all"):
        networks = [some for some in of_networks(runs) if label in ("all", some[0]["design"]["structure"])]
        values = [mean_and_error(some)[0] for some in networks]
        depth = [-some[0]["design"]["depth"] for some in networks]
        coherence = [np.mean([each["coherence"] for each in verdicts_of(some)]) for some in networks]
        scores: dict[str, Sequence[Any]] = {
            "depth": depth,
            "coherence over layers": [c / -d for c, d in zip(coherence, depth, strict=True)],
        }
        if label == "plain":
            of_each = [theory[json.dumps(some[0]["design"])] for some in networks]
            scores |= {key: [each[key] for each in of_each] for key in ("persistence", "near contrast", "readability")}
        for key, each in scores.items():
            told = [agreement(each, values)] + ([] if key == "depth" else [agreement(each, values, depth)])
            cells = [
                part for found in told for part in (f"{found['spearman']:.2f}", f"{found['low']:.2f} to {found['high']:.2f}")
            ]
            rows.append([f"{label}, {len(networks)}", key, *cells, *["–"] * (4 - len(cells))])
    return table(["networks", "before training", "Spearman", "95 %", "given depth", "95 %"], rows)


def by_coherence(runs: Runs) -> Figure:
    """Accuracy of every network against layers over coherence, with the limits of the verdict on plain networks."""
    figure = new_figure(figsize=(6.6, 4.2), dpi=130, layout="constrained")
    ax = figure.subplots()
    said = verdicts_of(runs)
    for colour, structure in zip(COLOURS, grouped(runs, design_of("structure")), strict=False):
        some = [(run, each) for run, each in zip(runs, said, strict=True) if run["design"]["structure"] == structure]
        some = [(run, each) for run, each in some if each["coherence"] > 0]
        x = [run["design"]["depth"] / each["coherence"] for run, each in some]
        y, label = [100 * accuracy(run) for run, _ in some], NAMES.get(str(structure), str(structure))
        ax.plot(x, y, "o", ms=4, alpha=0.7, color=colour, label=label)
    ax.axvspan(250, 500, color="0.85", zorder=0)
    ax.axhline(100 * CHANCE, color="0.6", lw=0.8)
    ax.set(xscale="log", xlabel="layers over coherence", ylabel="test accuracy, %", ylim=(0, 92))
    ax.set_title("grey: between the limits of plain networks", fontsize=9)
    ax.legend(framealpha=1, edgecolor="none", fontsize=8)
    return figure
