"""Half precision: the range of weights, and ``torch.autocast``, which applies to the model but not to computations about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from varflow._checks import DomainError
from varflow.results import LayerPlan

__all__ = ["check_range", "full_precision", "in_full_precision"]

SIGMAS = 8.0  # largest weight of a layer, in standard deviations
COARSEST = 0.01  # largest step between neighbouring numbers, in standard deviations


@contextmanager
def full_precision() -> Iterator[None]:
    """A context with ``torch.autocast`` off."""
    with ExitStack() as stack:
        for device in _lowered():
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def in_full_precision(call: Callable[..., None]) -> Callable[..., None]:
    """The function, called with ``torch.autocast`` off."""

    def called(*args: Any) -> None:
        if not _lowered():
            return call(*args)
        with full_precision():
            return call(*args)

    return called


def _lowered() -> list[str]:
    return [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]


def check_range(weights: Sequence[Any], plan: Sequence[LayerPlan]) -> None:
    """Raise for weights that their precision would round to 0 or infinity."""
    for weight, layer in zip(weights, plan, strict=True):
        held = torch.finfo(weight.weight.dtype)
        if not held.smallest_normal * held.eps / COARSEST < layer.weight_std < held.max / SIGMAS:
            rule = f"needs weights of standard deviation {layer.weight_std:.3g}, beyond {held.dtype}: scale the inputs"
            raise DomainError("model", layer.name, rule)
