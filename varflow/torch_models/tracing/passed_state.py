"""State that a model takes and returns, ``output, state = model(x, state)``, passed on from call to call. Where a model may
have one that is not recognised, more than one call is refused.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from inspect import Parameter, Signature
from typing import Any

import torch

from varflow._checks import DomainError
from varflow.torch_models.tracing.provenance import tensors_in

__all__ = ["PassedState"]

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
            given = {name: value for name, value in bound.arguments.items() if value is not None}
            self.names = self._names(given, output)
            states = self._states(output)
            if any(_shapes(given.get(name)) not in ([], _shapes(state)) for name, state in states.items()):
                raise self._refusal(output)
        bound.arguments |= self._states(output)
        self.args, self.kwargs = bound.args, bound.kwargs

    def _names(self, given: dict[str, Any], output: Any) -> list[str]:
        """Names of the arguments that are state; DomainError if it may be in others."""
        entry, returned = next(iter(given), None), _shapes(output)
        further = [each for each in self.signature.parameters.values() if each.name != entry or each.kind in ANY]
        further = [each for each in further if not _is_option(each)]
        names = [each.name for each in further if _named_as_state(each)]
        if any(name not in given for name in names) or all(map(_spikes, names)):
            names = [name for name in names if not (_spikes(name) and name in given)]  # those are inputs
        values = [None if each.kind in ANY else given.get(each.name, each.default) for each in further]
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
