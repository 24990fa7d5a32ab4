"""One forward pass of a model, from rest; its random numbers and its precision."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import CheckpointFunction

from varflow._checks import DomainError, integer, said
from varflow._progress import Report, unreported
from varflow._restoring import at_rest
from varflow._shared import Shared
from varflow.torch_models.tracing.passed_state import PassedState
from varflow.torch_models.tracing.provenance import tensors_in

LONGEST = 200  # characters of an error that a model raised

__all__ = ["copied", "forward", "full_precision", "generators", "in_full_precision", "in_short", "reseed"]


def generators() -> tuple[Any, ...]:
    """The states of the generators that all share, those of Python, numpy and torch, to be compared."""
    _, key, place, *_ = np.random.get_state()  # noqa: NPY002
    cards = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    of_torch = [state.numpy().tobytes() for state in (torch.get_rng_state(), *cards)]
    return random.getstate(), np.asarray(key).tobytes(), place, *of_torch


def reseed(number: int) -> None:
    """Set other random numbers for every pass but the first, 0."""
    if number:
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        torch.manual_seed(number)


@contextmanager
def full_precision() -> Iterator[None]:
    """A context with ``torch.autocast`` off: it applies to the model, not to computations about it."""
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


def forward(
    model: Any,
    inputs: Any,
    steps: int | None = None,
    spiking: list[Any] | None = None,
    report: Report = unreported,
    where: Callable[[], str] = str,
) -> Any:
    """The model's output from reset membranes, without dropout; with ``steps``, that of the last call, each with the state that
    the one before returned. ``where`` says which module was running if it fails.
    """
    at_rest(spiking or [])
    for module in model.modules():
        _uncompile(module)
        if "Dropout" in type(module).__name__:
            module.training = False
    out, calls = None, 1 if steps is None else integer("steps", steps, minimum=1)
    state = PassedState(model, inputs, calls)
    try:
        for called in range(1, 1 + calls):
            if called > 1:
                state.receive(out)
            with _checkpoints_run_once():
                out = model(*state.args, **state.kwargs)
            report(called)
        return out
    except DomainError:
        raise
    except Exception as error:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors_in(inputs))
        words = in_short(error)
        if _labelled(inputs):
            words += "; if these are labels, drop them: give inputs[0]"
        rule = f"do not go through the model{where()}: {words}"
        raise DomainError("inputs", f"shape {shapes}" if shapes else type(inputs).__name__, rule) from error


def in_short(error: Exception) -> str:
    """The message of an error that a model raised, in one line."""
    words = said(error, str)
    if not words or isinstance(error, LookupError):  # whose message is only the key
        words = f"{type(error).__name__} {words}".strip()
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}…"


def _labelled(inputs: Any) -> bool:
    """True for inputs that look like a batch of a data set: a tensor, and whole numbers, one for each input."""
    if not isinstance(inputs, (tuple, list)) or len(inputs) != 2 or not isinstance(inputs[0], torch.Tensor):
        return False
    x, y = inputs
    if isinstance(y, int):
        return True
    try:
        numbers = torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError):
        return False
    return not (numbers.is_floating_point() or numbers.is_complex()) and numbers.dim() == 1 and len(numbers) in x.shape[:2]


def _uncompile(module: Any) -> None:
    """Let a compiled module run uncompiled, so that hooks and labels work."""
    if type(module).__name__ == "OptimizedModule":
        module.__dict__["forward"] = module._orig_mod
    if module.__dict__.get("_compiled_call_impl"):
        module.__dict__["_compiled_call_impl"] = None


@Shared
@contextmanager
def _checkpoints_run_once() -> Iterator[None]:
    """Replace torch's function for reentrant checkpoints, which ``torch.autograd.grad`` refuses, and which warns in passes
    without gradients: the part runs once, with gradients if one of its inputs requires them, as there. Other threads, which run
    no pass meanwhile, get torch's own.
    """
    this_one = get_ident()

    def apply(part: Callable[..., Any], preserve_random_state: bool, *inputs: Any) -> Any:
        if get_ident() != this_one:
            return super(CheckpointFunction, CheckpointFunction).apply(part, preserve_random_state, *inputs)
        required = any(isinstance(each, torch.Tensor) and each.requires_grad for each in inputs)
        with torch.set_grad_enabled(required and torch.is_grad_enabled()):
            return part(*inputs)

    CheckpointFunction.apply = staticmethod(apply)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        del CheckpointFunction.apply


def copied(tree: Any) -> Any:
    """A tree of tensors with copies of them, so that the user's are not changed."""
    if hasattr(tree, "detach"):
        return tree.detach().clone()
    if isinstance(tree, (tuple, list)):
        items = [copied(item) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return {key: copied(item) for key, item in tree.items()} if isinstance(tree, dict) else tree
