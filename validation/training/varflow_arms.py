"""Trainings of the twelve pairs that begin with a call of varflow, and the learning rate that its audit advises."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event
from typing import Any

import torch
from torch import nn

import varflow as vf
from validation.training.twelve import BEGINNINGS, TASKS, Task, begun, inputs_of, learned

__all__ = ["USUAL", "advised", "initialised", "trained_after"]

USUAL = 1e-3
BATCH = 64  # inputs that varflow sees
FOLLOWED: dict[str, dict[str, Any]] = {
    "a shortcut of currents around every layer": {"structure": "membrane_shortcut"},
    "batch normalisation between its convolutions and neurons": {"normalised": True},
}
"""The audit's advice on structure, as arguments of the model."""


def advised(name: str, beginning: str, seed: int, *, folder: str) -> dict[str, float | None]:
    """The learning rate that ``vf.audit(…, optimizer=Adam)`` advises for a model as it begins, to two digits, if it does."""
    torch.set_num_threads(1)
    task, asked = TASKS[name], {} if beginning in BEGINNINGS else {"rate": 0.2}
    model = begun(task, beginning, seed) if beginning in BEGINNINGS else initialised(task, seed, folder, asked)[0]
    return {"rate": _of_step(model, task, folder)[0]}


def initialised(task: Task, seed: int, folder: str, options: Mapping[str, Any], **changes: Any) -> tuple[nn.Module, Any]:
    """A task's model after ``vf.init.init_model``, and the plan."""
    model = begun(task, "torch", seed, **changes)
    x = inputs_of(task, folder)[0][:BATCH]
    return model, vf.init.init_model(model, x, generator=torch.Generator().manual_seed(seed), **options)


def _of_step(model: nn.Module, task: Task, folder: str) -> tuple[float | None, float | None]:
    """Learning rate that an audit of Adam's step advises, alone for all layers, to two digits."""
    x, y = (part[:BATCH] for part in inputs_of(task, folder)[:2])
    optimizer = torch.optim.Adam(model.parameters(), lr=USUAL)
    step = vf.audit(model, x, nn.functional.cross_entropy, targets=y, optimizer=optimizer).step
    assert step is not None
    return _rounded(step.rate), None


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else float(f"{rate:.2g}")


def trained_after(name: str, rate: float, seed: int, *, folder: str, stop: Event | None = None) -> dict[str, Any]:
    """Train a task's model once from ``vf.init.init_model(model, batch, rate=0.2)``."""
    torch.set_num_threads(1)
    task = TASKS[name]
    return learned(initialised(task, seed, folder, {"rate": 0.2})[0], task, rate, seed, folder, stop=stop)


def called(name: str, seed: int, surrogate: str, *, folder: str, stop: Event | None = None) -> dict[str, Any]:
    """What one call, ``vf.init.init_model(model, batch, surrogate=…, learning_rate=True)``, brings: at 10⁻³ and at its rates.

    Where no rate comes with the plan, it is that of an audit of Adam's step, as the plan says. If the call fails, the model
    stays as it was, and ``problem`` says so. If the audit advises a shortcut or batch normalisation, the model gets it.
    """
    torch.set_num_threads(1)
    task, options = TASKS[name], {"surrogate": surrogate, "learning_rate": True}
    model, plan, problem = _after_call(task, seed, folder, options)
    learning = vf.audit(model, inputs_of(task, folder)[0][:BATCH]).learning
    advice = next((words for words in learning.remedies if words in FOLLOWED), None) if learning is not None else None
    told = {"verdict": None if learning is None else learning.verdict, "problem": problem, "advice": advice}
    start = {key: value.clone() for key, value in model.state_dict().items()}

    def run(rate: float, first_rate: float | None) -> dict[str, Any]:
        rates = {"rate": rate, "first_rate": first_rate}
        return rates | learned(model, task, rate, seed, folder, stop=stop, first_rate=first_rate)

    rates = _rates(model, plan, task, folder)
    runs = {"usual": run(USUAL, None)}
    model.load_state_dict(start)
    runs["advised"] = run(*rates)
    if advice is not None and surrogate == "set":
        model, plan, told["problem"] = _after_call(task, seed, folder, options, **FOLLOWED[advice])
        runs["followed"] = run(*_rates(model, plan, task, folder))
    return told | {"runs": runs}


def _after_call(
    task: Task, seed: int, folder: str, options: Mapping[str, Any], **changes: Any
) -> tuple[nn.Module, Any, str | None]:
    """The model after the call, the plan, and why there is none."""
    try:
        return *initialised(task, seed, folder, options, **changes), None
    except vf.DomainError as error:
        return begun(task, "torch", seed, **changes), None, str(error)


def _rates(model: nn.Module, plan: Any, task: Task, folder: str) -> tuple[float, float | None]:
    """Learning rates of all layers, or of all but the first and of the first, by the plan or else by an audit."""
    known = None if plan is None else plan.learning_rate
    if known is None:
        return _of_step(model, task, folder)[0] or USUAL, None
    if known.first_layer_rate is not None:
        return float(f"{known.other_rate:.2g}"), _rounded(known.first_layer_rate)
    return float(f"{known.rate:.2g}"), None
