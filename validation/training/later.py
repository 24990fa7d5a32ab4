"""What is computed of networks besides training them: scores, verdicts, learning rates by rules, and first steps of Adam."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

import varflow as vf
from validation.training.data import load
from validation.training.experiments import EXPERIMENTS, SHORTCUT, WIDE, Run
from validation.training.networks import Design, build, size_of
from validation.training.predictors import readability, scored
from validation.training.training import Schedule

__all__ = ["COMPUTED", "RULES", "Computation", "advised", "first_step"]

SEEN = 64  # images from which theory takes overlaps and sizes
STEP = 100  # images of an audit, every second of which makes the step

RULES = {
    "D = 0.147": math.nan,
    "1/√(nL)": 0.111,
    "1/(nL)": 3.2,
    "1/n": 0.512,
    "loss/‖g‖₁": 0.46,  # the loss falls by this in a first step, to first order
    "constant": 4.0e-3,
}
"""Rules for the learning rate with their constants, fixed on the eight settings of a pilot: by least regret, that of 1/(nL)
as a geometric mean. ``D`` is that of :func:`varflow.learning_rate`."""


@dataclass(frozen=True, slots=True)
class Computation:
    """A function of some settings of runs, once for each of the runs that differ in them."""

    function: Callable[..., Mapping[str, Any]]
    runs: Callable[[], tuple[Run, ...]]
    settings: tuple[str, ...]


def advised(design: Design, schedule: Schedule, data: str, seed: int, images: int | None, folder: str) -> dict[str, float]:
    """The learning rate by each of the ``RULES``."""
    whole = load(data, Path(folder)).first(images or 10**9, 0)
    x, y = torch.from_numpy(whole.x), torch.from_numpy(whole.y)
    network = build(design, x, whole.shape, whole.classes, torch.Generator().manual_seed(seed))
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[: schedule.batch]
    nn.functional.cross_entropy(network(x[chosen]), y[chosen]).backward()
    size = sum(float(each.grad.abs().sum()) for each in network.parameters() if each.grad is not None)
    n, depth = design.width, design.depth
    units = (math.nan, (n * depth) ** -0.5, 1 / (n * depth), 1 / n, 1 / size, 1.0)
    rates = {rule: constant * unit for (rule, constant), unit in zip(RULES.items(), units, strict=True)}
    return rates | {"D = 0.147": vf.learning_rate(design.driven(whole.x[:SEEN], size_of(x))).rate}


def first_step(design: Design, data: str, seed: int, folder: str) -> dict[str, float]:
    """``D`` of Adam's first step at the advised rate, by formula, and measured by an audit of the network."""
    whole = load(data, Path(folder)).first(10**4, 0)
    x, y = torch.from_numpy(whole.x), torch.from_numpy(whole.y)
    rates = vf.learning_rate(design.driven(whole.x[:SEEN], size_of(x)))
    network = build(design, x, whole.shape, whole.classes, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.Adam(network.parameters(), lr=rates.rate)
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:STEP]
    images, loss = x[chosen].expand(design.steps, -1, -1), cast(Any, nn.functional.cross_entropy)
    audit = vf.audit(network, images, optimizer=optimizer, loss=loss, targets=y[chosen])
    assert audit.step is not None
    formula, measured = (float(np.linalg.norm(each)) for each in (rates.direct, audit.step.direct))
    return {"formula": formula, "measured": measured}


def judged(design: Design, data: str, seed: int, images: int | None, folder: str) -> dict[str, Any]:
    """The audit's verdict on a network before training, ``dead`` where it has none, and the coherence of gradients."""
    whole = load(data, Path(folder)).first(images or 10**9, 0)
    x = torch.from_numpy(whole.x)
    network = build(design, x, whole.shape, whole.classes, torch.Generator().manual_seed(seed))
    learning = vf.audit(network, x[:SEEN].expand(design.steps, -1, -1)).learning
    if learning is None:
        return {"verdict": "dead", "structure": None, "coherence": 0.0}
    return {"verdict": learning.verdict, "structure": learning.structure, "coherence": learning.mean_coherence}


def scored_by_theory(design: Design, data: str, folder: str) -> dict[str, float]:
    """Scores of a plain network that theory has."""
    return {**scored(design), "readability": readability(design, data, folder)}


def _first_steps() -> tuple[Run, ...]:
    plain = partial(Design, initialisation="in_time")
    shortcut = partial(plain, structure="membrane_shortcut", gain=SHORTCUT)
    digits = [
        plain(3, 64),
        plain(6, 128, decay=0.3),
        plain(10, 128, surrogate=WIDE),
        plain(4, 384, decay=0.8),
        plain(8, 192, steps=8),
        plain(6, 96, biases=True),
        plain(6, 256, threshold=0.7),
        shortcut(6, 128),
        shortcut(10, 192, decay=0.8),
        shortcut(12, 64, steps=8),
    ]
    settings = [(design, "digits") for design in digits]
    settings += [(design, "fashion_mnist") for design in (plain(6, 128), shortcut(6, 128))]
    return tuple(Run(design, Schedule(), data, seed) for seed, (design, data) in product(range(6), settings))


COMPUTED: Mapping[str, Computation] = {
    "scores": Computation(scored, lambda: EXPERIMENTS["held_out"].runs, ("design",)),
    "verdicts": Computation(
        judged, lambda: EXPERIMENTS["new"].runs + EXPERIMENTS["boundary"].runs, ("design", "data", "seed", "images")
    ),
    "new_scores": Computation(
        scored_by_theory,
        lambda: tuple(run for run in EXPERIMENTS["new"].runs if run.design.structure == "plain"),
        ("design", "data"),
    ),
    "advice": Computation(
        advised, lambda: EXPERIMENTS["learning_rates"].runs[::7], ("design", "schedule", "data", "seed", "images")
    ),
    "first_steps": Computation(first_step, _first_steps, ("design", "data", "seed")),
}
"""By name."""
