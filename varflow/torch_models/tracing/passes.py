"""One forward pass of a model, from rest; and checks of models and inputs before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointFunction

from varflow._checks import DomainError, integer, said
from varflow._progress import Report, unreported
from varflow._restoring import at_rest
from varflow._shared import Shared
from varflow.torch_models.tracing.passed_state import PassedState
from varflow.torch_models.tracing.provenance import tensors_in

LONGEST = 200  # characters of an error that a model raised

__all__ = ["check_inputs", "check_model", "check_neurons", "copied", "forward", "in_short"]


def check_model(model: Any) -> None:
    """Raise unless ``model`` is a module with numbers (not lazy, not on the meta device)."""
    if not isinstance(model, torch.nn.Module):
        raise DomainError("model", type(model).__name__, "must be a torch.nn.Module")
    for name, parameter in model.named_parameters():
        if isinstance(parameter, torch.nn.parameter.UninitializedParameter):
            raise DomainError("model", name, "belongs to a lazy module without a weight yet: run one batch through it first")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise DomainError(
                "model", name, "is on the meta device, without numbers: materialise the model with to_empty first"
            )


def check_neurons(neurons: Any) -> None:
    """Raise unless ``neurons`` is a dict or None."""
    if not isinstance(neurons, Mapping | None):
        raise DomainError("neurons", neurons, "must be a dict from a class, name or module to its neuron: {Mine: vf.Neuron(…)}")


def check_inputs(inputs: Any) -> None:
    """Raise unless every tensor of the inputs holds finite numbers."""
    if isinstance(inputs, (torch.utils.data.DataLoader, torch.utils.data.Dataset)):
        rule = "is no batch: give one without its labels, next(iter(loader))[0]"
        raise DomainError("inputs", type(inputs).__name__, rule)
    for tensor in tensors_in(inputs):
        shape = f"shape {tuple(tensor.shape)}"
        if tensor.is_meta:
            raise DomainError("inputs", shape, "is on the meta device, without numbers: give a batch of data")
        if not tensor.numel():
            raise DomainError("inputs", shape, "is empty: give a batch of data")
        if not bool(torch.isfinite(tensor).all()):
            raise DomainError("inputs", shape, "holds numbers that are not finite")


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
