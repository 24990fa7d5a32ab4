"""Calling a fill: with torch's generator seeded and restored, a tensor filled and returned as a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from varflow._checks import DomainError, integer, require
from varflow._shared import ALONE

Fill = Callable[[Any], Any]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A context with torch's CPU generator seeded, and restored afterwards; without gradients."""
    torch = require("torch", "torch")
    number = integer("seed", seed, minimum=0)
    with ALONE, torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(number % 2**64)  # torch.manual_seed would also seed GPUs
        yield


def filled(fill: Fill, shape: tuple[int, ...]) -> np.ndarray:
    """A filled tensor, reshaped to (out, fan_in), in double precision."""
    torch = require("torch", "torch")
    tensor = torch.full(shape, torch.nan)  # so that weights left unfilled are noticed
    returned = fill(tensor)
    weight = tensor if returned is None else returned
    if not isinstance(weight, torch.Tensor) or tuple(weight.shape) != shape:
        got = tuple(weight.shape) if isinstance(weight, torch.Tensor) else weight
        raise DomainError("fill", got, f"was returned: it must fill the tensor in place or return one of shape {shape}")
    matrix = weight.detach().cpu().to(torch.float64).reshape(shape[0], -1).numpy()
    if not np.all(np.isfinite(matrix)):
        raise AssertionError(f"the fill leaves {np.count_nonzero(~np.isfinite(matrix))} of {matrix.size} weights not finite")
    return matrix
