"""One forward pass of a model, from rest: its random numbers, its precision, and the state that it takes and returns.

State, ``output, state = model(x, state)``, is passed on from call to call. Where a model may have one that is not recognised,
more than one call is refused.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from inspect import Parameter, Signature
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import CheckpointFunction

from varflow._checks import DomainError, integer, said
from varflow._progress import Report, unreported
from varflow._restoring import at_rest
from varflow._shared import Shared
from varflow.torch_models.tracing.origins import tensors_in

LONGEST = 200  # characters of an error that a model raised


def generators() -> tuple[Any, ...]:
    """The states of the generators that all share, those of Python, numpy and torch, to be compared."""
    _, key, place, *_ = np.random.get_state()  # noqa: NPY002
    cards = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    of_torch = [state.numpy().tobytes() for state in (torch.get_rng_state(), *cards)]
    return random.getstate(), np.asarray(key).tobytes(), place, *of_torch


def reseed(number: int) -> None:
    """Seed the shared generators by the number of a pass; the first, 0, draws what the user would get."""
    if number:
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        torch.manual_seed(number)


@contextmanager
def full_precision() -> Iterator[None]:
    """A context, and a decorator, with ``torch.autocast`` off: it applies to the model, not to computations about it."""
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


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
        if "not tuple" in words:
            words += "; within a Sequential, neurons of snnTorch must hold their state: Leaky(…, init_hidden=True)"
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
    return mapped(tree, lambda tensor: tensor.detach().clone())


def mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """A tree of tensors with ``change(tensor)`` in their places."""
    if hasattr(tree, "detach"):
        return change(tree)
    if isinstance(tree, (tuple, list)):
        items = [mapped(item, change) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return {key: mapped(item, change) for key, item in tree.items()} if isinstance(tree, dict) else tree


SPIKES = {"spk", "spike", "spikes"}  # which recurrent neurons of snnTorch take back, before their membranes
NAMES = SPIKES | {
    *("state", "states", "hidden", "hiddens", "carry", "cell", "hx", "cx", "h", "s", "v", "u", "prev", "previous"),
    *("mem", "mems", "membrane", "membranes", "voltage", "potential", "syn", "syns", "synapse", "synapses"),
}
FLAGS = {"return", "output", "use", "with", "detach", "reset", "keep", "get", "is", "save", "store", "record", "n", "num"}
ANY = {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}


class PassedState:
    """Arguments of the calls of a model that leaves the loop over time to its caller, from those of the first.

    An argument besides the input is state if its name says so. It is looked up by that name where the output has names; else
    the output is ``(output, *states)`` or ``(output, (*states))``, in the order of the arguments.
    """

    def __init__(self, model: Any, inputs: Any, steps: int):
        several = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
        self.args, self.kwargs = ((), inputs) if isinstance(inputs, dict) else (several, {})
        self.signature, self.steps = _signature(model), steps
        self.names: list[str] | None = None

    def receive(self, output: Any) -> None:
        """Take the state from the output of a call."""
        bound = self.signature.bind_partial(*self.args, **self.kwargs)
        if self.names is None:
            first = {name: value for name, value in bound.arguments.items() if value is not None}
            self.names = self._names(first, output)
            states = self._states(output)
            if any(_shapes(first.get(name)) not in ([], _shapes(state)) for name, state in states.items()):
                raise self._refusal(output)
        bound.arguments |= self._states(output)
        self.args, self.kwargs = bound.args, bound.kwargs

    def _names(self, arguments: dict[str, Any], output: Any) -> list[str]:
        """Names of the arguments that are state; DomainError if it may be in others."""
        entry, returned = next(iter(arguments), None), _shapes(output)
        further = [each for each in self.signature.parameters.values() if each.name != entry or each.kind in ANY]
        further = [each for each in further if not _is_option(each)]
        names = [each.name for each in further if _named_as_state(each)]
        if any(name not in arguments for name in names) or all(map(_spikes, names)):
            names = [name for name in names if not (_spikes(name) and name in arguments)]  # those are inputs
        values = [None if each.kind in ANY else arguments.get(each.name, each.default) for each in further]
        unknown = [value for value in values if not isinstance(value, (int, float, str))]
        if not names and len(returned) > 1 and any(_shapes(value) in ([], returned[1:]) for value in unknown):
            raise self._refusal(output)
        return names

    def _states(self, output: Any) -> dict[str, Any]:
        """States in an output, by name."""
        names = self.names
        if not names or (isinstance(output, torch.Tensor) and not _spikes(names[0])):
            return {}
        named: Any = getattr(output, "_asdict", lambda: output)()
        if isinstance(named, Mapping) and set(names) <= set(named):
            return {name: named[name] for name in names}
        parts = list(output) if isinstance(output, (tuple, list)) else []
        states = parts if _spikes(names[0]) else parts[1:]
        if len(states) == 1 < len(names) and isinstance(states[0], (tuple, list)):
            states = states[0]
        if len(states) != len(names):
            raise self._refusal(output)
        return dict(zip(names, states, strict=True))

    def _refusal(self, output: Any) -> DomainError:
        size = f" of {len(output)}" if isinstance(output, (tuple, list)) else ""
        call = f"forward({', '.join(self.signature.parameters)}) returns a {type(output).__name__}{size}"
        rule = (
            f"may lose a state between calls: {call}, in which none is recognised. Name the argument state and return (output, "
            "state), the state in the form of one that is given, or wrap the model in a module whose forward makes the steps"
        )
        return DomainError("steps", self.steps, rule)


def _signature(model: Any) -> Signature:
    """Arguments of a model, or of the one in a wrapper of torch that takes any, as of ``torch.compile``."""
    signature = inspect.signature(model.forward)
    wraps = type(model).__module__.startswith("torch.") and {each.kind for each in signature.parameters.values()} <= ANY
    return _signature(next(model.children())) if wraps else signature


def _is_option(argument: Parameter) -> bool:
    return isinstance(argument.default, (bool, str)) or not FLAGS.isdisjoint(_words(argument.name)[:1])


def _named_as_state(argument: Parameter) -> bool:
    return argument.kind not in ANY and not NAMES.isdisjoint(_words(argument.name))


def _spikes(name: str) -> bool:
    return not SPIKES.isdisjoint(_words(name))


def _words(name: str) -> list[str]:
    return re.findall("[a-z]+", name.lower())


def _shapes(state: Any) -> list[torch.Size]:
    return [tensor.shape for tensor in tensors_in(state)]
