"""Tables of what trains: thirty plain layers, and verdicts of the audit against accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from validation.training.figures import accuracy, grouped, mean_and_error, name
from validation.training.rates import Runs, table

__all__ = ["of_thirty"]


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
