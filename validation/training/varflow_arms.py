"""Trainings of the twelve pairs that begin with a call of varflow, and the learning rate that its audit advises."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event
from typing import Any

import torch
from torch import nn

import varflow as vf
from validation.training.twelve import BEGINNINGS, TASKS, begun, inputs_of, learned

__all__ = ["BATCH", "USUAL", "advised", "initialised"]

USUAL = 1e-3
BATCH = 64  # inputs that varflow sees


def advised(name: str, beginning: str, seed: int, *, folder: str) -> dict[str, float | None]:
    """The learning rate that ``vf.audit(…, optimizer=Adam)`` advises for a model as it begins, to two digits, if it does."""
    torch.set_num_threads(1)
    x, y = (part[:BATCH] for part in inputs_of(TASKS[name], folder)[:2])
    model = begun(TASKS[name], beginning if beginning in BEGINNINGS else "torch", seed)
    if beginning not in BEGINNINGS:
        vf.init.init_model(model, x, rate=0.2, generator=torch.Generator().manual_seed(seed))
    optimizer = torch.optim.Adam(model.parameters(), lr=USUAL)
    step = vf.audit(model, x, nn.functional.cross_entropy, targets=y, optimizer=optimizer).step
    assert step is not None
    return {"rate": None if step.rate is None else float(f"{step.rate:.2g}")}


def initialised(
    name: str,
    rate: float,
    seed: int,
    *,
    options: Mapping[str, Any],
    folder: str,
    stop: Event | None = None,
) -> dict[str, Any]:
    """Train a task's model once from what ``vf.init.init_model`` makes of it."""
    torch.set_num_threads(1)
    task = TASKS[name]
    model = begun(task, "torch", seed)
    x = inputs_of(task, folder)[0][:BATCH]
    vf.init.init_model(model, x, generator=torch.Generator().manual_seed(seed), **options)
    return learned(model, task, rate, seed, folder, stop=stop)
