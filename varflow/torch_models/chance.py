"""Models that draw random numbers in their forward, such as random encoders: noticed, and measured in several passes.

Noticed are the generators that all share: those of Python, numpy and torch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from varflow.torch_models.tracing.watch import Watched

__all__ = ["PASSES", "averaged", "generators", "reseed", "words_of_chance"]

PASSES = 5  # of a model that draws random numbers


def generators() -> tuple[Any, ...]:
    """The states of the shared generators, to be compared."""
    _, key, place, *_ = np.random.get_state()  # noqa: NPY002
    cards = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    own = [state.numpy().tobytes() for state in (torch.get_rng_state(), *cards)]
    return random.getstate(), np.asarray(key).tobytes(), place, *own


def reseed(number: int) -> None:
    """Other random numbers for every pass but the first, 0."""
    if number:
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        torch.manual_seed(number)


def averaged(passes: Sequence[dict[str, Watched]]) -> dict[str, Watched]:
    """Means over passes, of layers that ran in all."""
    return {name: _mean([each[name] for each in passes if name in each]) for name in passes[0]}


def _mean(of: Sequence[Watched]) -> Watched:
    steps = len(of[0].firing_rate)
    over_steps = {name: [_of_steps(getattr(each, name), steps) for each in of] for name in ("firing_rate", "variance", "mean")}
    names = ("alive", "dead_fraction", "saturated_fraction", "raster_overlap")
    values = over_steps | {name: [getattr(each, name) for each in of] for name in names}
    return replace(of[0], **{name: np.mean(each, axis=0) for name, each in values.items()})


def _of_steps(values: np.ndarray, steps: int) -> np.ndarray:
    """Values at so many steps, early to early and late to late, of a pass that made other numbers of them."""
    return values[np.linspace(0, len(values) - 1, steps).round().astype(int)]


def words_of_chance(late_rates: Sequence[dict[str, float]]) -> str:
    """A note, from the late rates of the layers in each pass."""
    names = [name for name in late_rates[0] if all(name in each for each in late_rates)]
    values = np.array([[each[name] for name in names] for each in late_rates])
    errors = values.std(axis=0, ddof=1) / len(values) ** 0.5
    worst = int(np.argmax(errors))
    largest = f"{errors[worst]:.2g} of {values[:, worst].mean():.3g} in {names[worst]}"
    return f"the model draws random numbers: means of {len(values)} passes, standard error of a late rate at most {largest}"
