"""The sections of docs/twelve_models.md on the twelve pairs of a task and a model, from their results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from validation.training.twelve import TASKS
from validation.training.twelve_runs import TWELVE

__all__ = ["compared", "of_larger_weights", "of_normalised", "of_twelve"]

OTHERS = {"torch": "torch's default", "kaiming": "Kaiming", "batch_norm": "BatchNorm", "init_model": "`rate=0.2`"}
CALLS = {"one call": "one call", "surrogate": "surrogate", "rate": "learning rate", "all": "both"}
Runs = Sequence[dict[str, Any]]


def compared(others: Runs, calls: Runs) -> list[dict[str, Any]]:
    """Of each task: accuracies of all ways by seed, the best other way, and the lead of the call over it; smallest leads first.

    Other ways have the better of two learning rates, by the mean over seeds. The call is that with surrogate and learning rate,
    with the advice on structure for seeds that get one. The standard error of a lead is that of a difference of two means, with
    the variance of an accuracy between seeds pooled over the tasks and over both.
    """
    rows = [_row(task, others, calls) for task in dict.fromkeys(run["task"] for run in calls)]
    pairs = [(accuracies(row["runs"][row["best"]]), accuracies(row["runs"]["final"])) for row in rows]
    deviations = np.concatenate([each - each.mean() for pair in pairs for each in pair])
    variance = float(np.square(deviations).sum()) / sum(len(each) - 1 for pair in pairs for each in pair)
    error = math.sqrt(variance * sum(1 / len(each) for each in pairs[0]))
    return sorted((row | {"error": error} for row in rows), key=lambda row: row["lead"])


def _row(task: str, others: Runs, calls: Runs) -> dict[str, Any]:
    made = {
        way: max(_by_rate([run for run in others if (run["task"], run["way"]) == (task, way)]), key=_mean)
        for way in OTHERS
        if way != "batch_norm" or not TASKS[task].normalised
    }
    best = max(made, key=lambda way: _mean(made[way]))
    own = [run for run in calls if run["task"] == task]
    made |= {way: [run for run in own if run["way"] == way] for way in CALLS}
    followed = {run["seed"]: run for run in own if run["way"] == "advice"}
    made["final"] = [followed.get(run["seed"], run) for run in made["all"]]
    row = {"task": task, "runs": made, "best": best, "lead": _mean(made["final"]) - _mean(made[best])}
    return row | {"followed": len(followed), "failed": sum(run["problem"] is not None for run in made["all"])}


def _by_rate(runs: Runs) -> list[Runs]:
    """Runs at 10⁻³, and those at the advised rate, for which seeds without advice have 10⁻³."""
    usual, advised = [run for run in runs if not run["advised"]], {run["seed"]: run for run in runs if run["advised"]}
    return [usual, [advised.get(run["seed"], run) for run in usual]]


def accuracies(runs: Runs, epoch: int | None = None) -> np.ndarray:
    """After all epochs, or after this one, by seed."""
    ordered = sorted(runs, key=lambda run: run["seed"])
    return np.array([run["accuracy"][str(epoch or max(map(int, run["accuracy"])))] for run in ordered])


def _mean(runs: Runs) -> float:
    return float(accuracies(runs).mean())


def of_twelve(others: Runs, calls: Runs) -> str:
    """The section: what came out first, then the table, losses on top."""
    rows = compared(others, calls)
    error, behind = rows[0]["error"], [row for row in rows if row["lead"] < -2 * row["error"]]
    ahead = [row for row in rows if row["lead"] > 0]
    header = ["task and model", *OTHERS.values(), *CALLS.values(), "lead"]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|", *map(_line, rows)]
    parts = [f"## {TWELVE['one_call'].title}", _said(rows, behind, ahead), "\n".join(lines)]
    seeds = {len(rows[0]["runs"][way]) for way in ("torch", "final")}
    return "\n\n".join(
        [*parts, HOW.format(error=100 * error, seeds=" and ".join(map(str, sorted(seeds, reverse=True)))), _early(rows)]
    )


def _said(rows: Sequence[dict[str, Any]], behind: Sequence[dict[str, Any]], ahead: Sequence[dict[str, Any]]) -> str:
    lost = ", ".join(f"{TASKS[row['task']].words} ({100 * row['lead']:+.1f} %)" for row in behind)
    first = (
        f"**Behind the best of the others by more than two standard errors in {len(behind)} of {len(rows)}: {lost}.** "
        if behind
        else f"In none of {len(rows)} tasks is the call behind the best of the other ways by more than two standard errors. "
    )
    return f"{first}It is ahead of all of them in {len(ahead)}, by more than two standard errors in {_clear(rows)}."


def _clear(rows: Sequence[dict[str, Any]]) -> int:
    return sum(row["lead"] > 2 * row["error"] for row in rows)


def _line(row: dict[str, Any]) -> str:
    task, cells = TASKS[row["task"]], []
    for way in (*OTHERS, *CALLS):
        runs = row["runs"].get(way)
        mark = "**" if way == row["best"] else ""
        cells.append(f"{mark}{100 * _mean(runs):.1f}{mark}" if runs else "as torch's")
    lead = f"{100 * row['lead']:+.1f}{' (call failed)' * bool(row['failed'])}{' (advice followed)' * bool(row['followed'])}"
    return f"| {task.words} ({LIBRARIES[task.library]}) | {' | '.join(cells)} | {lead} |"


LIBRARIES = {"snntorch": "snnTorch", "spikingjelly": "SpikingJelly", "norse": "Norse"}


def _early(rows: Sequence[dict[str, Any]]) -> str:
    """Mean accuracies over the tasks, after 1, 5 and all epochs."""
    lines = ["| mean over the tasks, % | 1 epoch | 5 epochs | all |", "|---|---|---|---|"]
    for way, words in (OTHERS | CALLS).items():
        runs = [row["runs"].get(way) or row["runs"]["torch"] for row in rows]
        cells = [100 * float(np.mean([accuracies(some, epoch) for some in runs])) for epoch in (1, 5, None)]
        lines.append(f"| {words} | {' | '.join(f'{cell:.1f}' for cell in cells)} |")
    return "\n".join(lines)


HOW = """\
Test accuracies in % after all epochs (6 to 12), means over seeds ({seeds}). A lead has a standard error of {error:.1f},
with the variance between seeds pooled over the tasks. The data sets are small (512 to 1437 inputs); Adam has a constant
learning rate.

- **The first four columns** are the other ways. Each has the better of 10⁻³ and the learning rate that `vf.audit(…,
  optimizer=…)` advises, chosen by these accuracies, which favours the best of them (bold). *BatchNorm*: torch's default
  weights, and a BatchNorm before every layer of neurons. *`rate=0.2`*: `vf.init.init_model(model, batch, rate=0.2)` in an
  earlier version, which also drew weights before a BatchNorm.
- **The next four columns** are the call. *One call*: `vf.init.init_model(model, batch)` and a learning rate of 10⁻³.
  *Surrogate*: with `surrogate="set"`. *Learning rate*: with `learning_rate=True`, or the audit's advised rate where this
  does not support the model. *Both*: with surrogate and learning rate.
- **The lead** is that of *both* over the best other way, following the audit's advice on structure if there is any (a
  shortcut of currents; BatchNorm for convolutions).

Tasks, sizes, seeds and the other ways were fixed before these runs. The call was changed after a first round with seed 0,
in which it was clearly behind in four tasks: it gave no advice on structure where a network learns, left the recall
network's rates as they were, failed for the Spikformer, and set surrogates behind BatchNorm. The changes were chosen on
fifteen other small models; still, seed 0 of these tasks is not new to them. The call does not advise a larger learning rate
behind BatchNorm; that is the effect of Kaiming's larger weights in the first two rows."""


def of_larger_weights(others: Runs) -> str:
    """The section on models with BatchNorm: what was lost by setting rates, and how much of it was the learning rate."""
    lines = ["| task and model | torch's, 10⁻³ | torch's, advised | `rate=0.2`, 10⁻³ | `rate=0.2`, advised |", "|---" * 5 + "|"]
    for name in dict.fromkeys(run["task"] for run in others):
        task, some = TASKS[name], [run for run in others if run["task"] == name]
        if task.normalised and any(run["advised"] for run in some):
            cells = []
            for way in ("torch", "init_model"):
                usual, advised = _by_rate([run for run in some if run["way"] == way])
                cells += [_with_error(usual), f"{_with_error(advised)} at {np.mean([run['rate'] for run in advised]):.2g}"]
            lines.append(f"| {task.words} | {' | '.join(cells)} |")
    return "\n\n".join([f"## {TWELVE['normalised'].title}", "\n".join(lines), LARGER])


LARGER = """\
The earlier `init_model(rate=0.2)` lowered accuracy behind BatchNorm, for two reasons. First, it drew weights four times as
large. BatchNorm removes this factor from the currents, but Adam's steps become four times smaller relative to the weights
(D of a step of 10⁻³ is .016 instead of .063). A learning rate four times as large restores the accuracy; today weights
before a γ are not changed. Second, a larger γ itself costs accuracy: six convolutions on moving bars, with torch's weights
and γ scaled to a rate, learn less the more they fire, at the advised learning rate 87 % at .05 and 64 % at .3. The only
number before training that differs is the slope of the surrogate, which falls at .3."""


def of_normalised(runs: Runs) -> str:
    """The section on γ: what a rate costs."""
    header = ["γ", "γ by layer", "late rates", "ψ", "coherence", "D at 10⁻³", "10⁻³", "advised rate"]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    ways = list(dict.fromkeys((run["way"], run["rate"]) for run in runs))
    for way, rate in ways:
        some = [run for run in runs if (run["way"], run["rate"]) == (way, rate)]
        usual = [run for run in some if run["learning_rate"] == 1e-3]
        advised = [run for run in some if run["learning_rate"] != 1e-3]
        before = [run["before"] for run in usual]
        words = ("1" if rate is None else f"for rate {rate:g}") + ", weights 4 times as large" * (way == "larger")
        spans = [np.mean([each[key] for each in before], axis=0) for key in ("gamma", "rate", "slope")]
        cells = [f"{span.min():.2g} to {span.max():.2g}" for span in spans]
        cells += [f"{np.mean([each[key] for each in before]):.2g}" for key in ("coherence", "D")]
        cells += [_with_error(usual), f"{_with_error(advised)} at {np.mean([run['learning_rate'] for run in advised]):.2g}"]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n\n".join(["### γ for a rate, and larger weights", "\n".join(lines)])


def _with_error(runs: Runs) -> str:
    found = 100 * accuracies(runs)
    return f"{found.mean():.1f} ± {found.std(ddof=1) / math.sqrt(len(found)):.1f}"
