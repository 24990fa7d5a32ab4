"""A fill at work: torch's generator seeded and put back, a tensor filled and taken as a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from varflow._checks import DomainError, integer, require

__all__ = ["Fill", "filled", "seeded"]

Fill = Callable[[Any], Any]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generator on the CPU, seeded and afterwards as it was; gradients off."""
    torch = require("torch", "torch")
    number = integer("seed", seed, minimum=0)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(number)  # torch.manual_seed would reach the GPUs' as well
        yield


def filled(fill: Fill, shape: tuple[int, ...]) -> np.ndarray:
    """One filled tensor, flattened to (out, fan_in), in double precision."""
    torch = require("torch", "torch")
    tensor = torch.full(shape, torch.nan)  # whatever is not filled will be seen
    returned = fill(tensor)
    weight = tensor if returned is None else returned
    if not isinstance(weight, torch.Tensor) or tuple(weight.shape) != shape:
        got = tuple(weight.shape) if isinstance(weight, torch.Tensor) else weight
        raise DomainError("fill", got, f"came back: it must fill the tensor in place or return one of shape {shape}")
    matrix = weight.detach().cpu().to(torch.float64).reshape(shape[0], -1).numpy()
    if not np.all(np.isfinite(matrix)):
        raise AssertionError(f"the fill leaves {np.count_nonzero(~np.isfinite(matrix))} of {matrix.size} weights not finite")
    return matrix
