"""A model's state, kept and put back: what a forward pass leaves behind in buffers, membranes, random numbers and hooks.

Parameters are not copied: a forward pass without gradients does not write to them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from varflow._checks import require

__all__ = ["at_rest", "kept"]


@contextmanager
def kept(model: Any) -> Iterator[None]:
    """Whatever happens inside, the model, its hooks and the random number generators are as before."""
    torch = require("torch", "torch")
    held = [_Held(module) for module in model.modules()]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=_devices(torch, model)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        with torch.no_grad():
            for each in held:
                each.put_back()


def _devices(torch: Any, model: Any) -> list[int]:
    found = {tensor.device for tensor in [*model.parameters(), *model.buffers()]}
    return sorted({device.index or 0 for device in found if device.type == "cuda"}) if torch.cuda.is_available() else []


class _Held:
    """One module's attributes, with the contents of its containers and of its tensors that are no parameters."""

    def __init__(self, module: Any):
        self.module = module
        self.attributes = dict(vars(module))
        self.containers = [(c, c.copy() if c else None) for c in self.attributes.values() if isinstance(c, (dict, list, set))]
        self.tensors = []
        inner = [item for c, _ in self.containers if c for item in (c.values() if isinstance(c, dict) else c)]
        for value in (*self.attributes.values(), *inner):
            if hasattr(value, "copy_") and hasattr(value, "equal") and not _is_parameter(value):
                self.tensors.append((value, value.detach().clone()))

    def put_back(self) -> None:
        state = vars(self.module)
        for name in [name for name in state if name not in self.attributes]:
            del state[name]
        state.update(self.attributes)
        for container, contents in self.containers:
            if container:
                container.clear()
            if contents:
                container.extend(contents) if isinstance(container, list) else container.update(contents)
        for tensor, contents in self.tensors:
            if not tensor.equal(contents):  # written to only where it must be: it may belong to a graph of gradients
                tensor.detach().copy_(contents)


def _is_parameter(value: Any) -> bool:
    return type(value).__name__ in ("Parameter", "UninitializedParameter", "UninitializedBuffer")


def at_rest(modules: list[Any]) -> None:
    """Spiking modules start with empty membranes, by the call that their library has for it."""
    for module in modules:
        for call in ("reset_mem", "reset_states", "reset"):
            method = getattr(module, call, None)
            if callable(method):
                method()
                break
