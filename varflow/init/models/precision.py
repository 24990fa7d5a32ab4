"""Half precision: what weights of it cannot hold, models whose neurons do not keep it, and ``torch.autocast``, which holds for
the model and not for what is computed about it.

SpikingJelly and Norse's box step in the precision of the currents. snnTorch's neurons return spikes in single precision, and
the next layer of a model in half precision then refuses them: such models run under ``torch.autocast``, or with casts of their
own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from varflow._checks import DomainError
from varflow.init.models.plan import LayerPlan

__all__ = ["advised", "check_range", "full_precision", "in_full_precision"]

SIGMAS = 8.0  # that the largest weight of a layer may be from 0
COARSEST = 0.01  # step between neighbouring numbers, in standard deviations


@contextmanager
def full_precision(torch: Any) -> Iterator[None]:
    """As if ``torch.autocast`` were off."""
    with ExitStack() as stack:
        for device in _lowered(torch):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def in_full_precision(torch: Any, call: Callable[..., None]) -> Callable[..., None]:
    """The same function, called as if ``torch.autocast`` were off."""

    def called(*args: Any) -> None:
        if not _lowered(torch):
            return call(*args)
        with full_precision(torch):
            return call(*args)

    return called


def _lowered(torch: Any) -> list[str]:
    return [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]


@contextmanager
def advised(model: Any) -> Iterator[None]:
    """Say what to do where a model does not run because its layers have different precisions."""
    try:
        yield
    except DomainError as error:
        narrow = {parameter.dtype for parameter in model.parameters() if parameter.dtype.itemsize < 4}
        if error.argument != "inputs" or "dtype" not in error.rule or not narrow:
            raise
        held = f"the model's weights are {' and '.join(sorted(map(str, narrow)))}, its neurons or inputs are not"
        advice = "take a float32 copy, copy.deepcopy(model).float(), with inputs.float(), or torch.autocast"
        raise DomainError("inputs", error.value, f"{error.rule} ({held}: {advice})") from error


def check_range(torch: Any, weights: Sequence[Any], plan: Sequence[LayerPlan]) -> None:
    """Refuse weights that their precision rounds to 0 or to infinity."""
    for weight, layer in zip(weights, plan, strict=True):
        held = torch.finfo(weight.weight.dtype)
        if not held.smallest_normal * held.eps / COARSEST < layer.weight_std < held.max / SIGMAS:
            rule = f"needs weights of standard deviation {layer.weight_std:.3g}, beyond {held.dtype}: scale the inputs"
            raise DomainError("model", layer.name, rule)
