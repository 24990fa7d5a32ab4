"""A model's state, kept and put back: everything that can be reached from it, and the random number generators.

That is the attributes of modules and of plain objects, the contents of containers, and the numbers in tensors and arrays,
parameters included: a forward pass may clamp its own weights. Only what has changed is written to.
"""

from __future__ import annotations

import copyreg
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from types import NoneType
from typing import Any, TypeVar

import numpy as np

from varflow._checks import require
from varflow._shared import ALONE

__all__ = ["all_or_nothing", "at_rest", "kept", "to_the_end"]

ATOMS = {bool, int, float, complex, str, bytes, NoneType}
# Not state: loggers, locks, files, functions, … and what torch and numpy keep for themselves. Namespaces are.
MACHINERY = (sys.stdlib_module_names | {"torch", "numpy"}) - {"types", "collections", "argparse"}
T = TypeVar("T")


def kept(root: Any, work: Callable[[], T]) -> T:
    """What ``work()`` returns; whatever happens in it, all that can be reached from ``root`` is then as before."""
    with ALONE:
        return _undoing(_Snapshot(root).undo, work)


def all_or_nothing(root: Any, work: Callable[[], T]) -> T:
    """The same, but only where ``work`` fails or is interrupted: what it has done stays when it ends."""
    with ALONE:
        undo = _Snapshot(root).undo

        def to_its_end() -> T:
            done = work()
            undo.clear()
            return done

        return _undoing(undo, to_its_end)


def _undoing(undo: list[Callable[[], Any]], work: Callable[[], T]) -> T:
    try:
        try:
            return work()
        finally:
            to_the_end(undo)
    finally:
        to_the_end(undo)  # where an interrupt came between the end of the work and the first of these


def to_the_end(calls: list[Callable[[], Any]]) -> None:
    """Take calls off a list, from its end, once each is done. One that is interrupted is made again; it must allow that. What
    went wrong is raised when the list is empty.
    """
    wrong: BaseException | None = None
    while calls:
        try:
            calls[-1]()
            calls.pop()
        except Exception as error:
            calls.pop()
            wrong = wrong or error
        except BaseException as interrupt:
            wrong = interrupt
    if wrong is not None:
        raise wrong


class _Snapshot:
    """``undo`` are the calls that bring back what was found from ``root`` on; each can be repeated."""

    def __init__(self, root: Any):
        self.torch = require("torch", "torch")
        self.undo: list[Callable[[], Any]] = [
            self.torch.clear_autocast_cache,  # at the end: it would go on with other weights
            partial(random.setstate, random.getstate()),
            partial(np.random.set_state, np.random.get_state()),  # noqa: NPY002
        ]
        self.found: dict[int, Any] = {}  # held, so that no other object gets the id of one that is dropped
        waiting = [root, self.torch.default_generator]
        while waiting:
            value = waiting.pop()
            if type(value) not in ATOMS and id(value) not in self.found:
                self.found[id(value)] = value
                waiting += self._held(value)
        for device in {value.device for value in self.found.values() if isinstance(value, self.torch.Tensor)}:
            if device.type == "cuda":
                self.undo.append(partial(self.torch.cuda.set_rng_state, self.torch.cuda.get_rng_state(device), device))

    def _held(self, value: Any) -> Iterable[Any]:
        """Note how to bring a value back; what it holds in turn."""
        torch = self.torch
        match value:
            case torch.Tensor():
                return self._tensor(value)
            case dict():
                contents = list(value), list(value.values())
                self.undo.append(partial(_refill_dict, value, *contents))
                return contents[1]
            case list() | set() | deque():
                contents = list(value)
                self.undo.append(partial(_refill, value, contents))
                return contents
            case tuple() | frozenset():
                return value
            case torch.Generator():
                self.undo.append(partial(value.set_state, value.get_state()))
            case random.Random():
                self.undo.append(partial(value.setstate, value.getstate()))
            case np.random.RandomState():
                self.undo.append(partial(value.set_state, value.get_state()))
            case np.random.Generator():
                return [value.bit_generator]
            case np.random.BitGenerator():
                self.undo.append(partial(setattr, value, "state", value.state))
            case np.ndarray() if value.flags.writeable and not isinstance(value, np.memmap):
                self.undo.append(partial(np.copyto, value, value.copy()))
            case _ if isinstance(value, torch.nn.Module) or _is_plain(value):
                return self._object(value)
        return ()

    def _object(self, value: Any) -> Iterable[Any]:
        slots = {name: getattr(value, name) for name in _slot_names(type(value)) if hasattr(value, name)}
        if slots:
            self.undo.append(partial(_refill_slots, value, slots))
        return [*slots.values(), getattr(value, "__dict__", None)]

    def _tensor(self, tensor: Any) -> Iterable[Any]:
        inner = [vars(tensor)]
        if tensor.is_sparse:
            return [*inner, tensor._indices(), tensor._values()]
        if tensor.layout is not self.torch.strided:
            return inner
        of_leaf = (tensor.requires_grad, tensor.grad) if tensor.is_leaf else None
        self.undo.append(partial(self._rewrite, tensor, tensor.data, _distinct(tensor.data).clone(), of_leaf))
        return inner if of_leaf is None else [*inner, tensor.grad]

    def _rewrite(self, tensor: Any, data: Any, numbers: Any, of_leaf: tuple[bool, Any] | None) -> None:
        """The same memory with the same numbers; past autograd, as the graphs that hold the tensor saw these."""
        with self.torch.inference_mode(data.is_inference()), self.torch.no_grad():
            if of_leaf and not tensor.is_leaf:
                tensor.detach_()
            if _place(tensor) != _place(data):
                tensor.data = data
            if not _distinct(data).equal(numbers):
                _distinct(data).copy_(numbers)
            if of_leaf and (tensor.requires_grad is not of_leaf[0] or tensor.grad is not of_leaf[1]):
                tensor.requires_grad_(of_leaf[0]).grad = of_leaf[1]


def _is_plain(value: Any) -> bool:
    """Whether an object is data with names: of no class of :data:`MACHINERY`, and without threads and locks of its own."""
    if isinstance(value, type) or type(value).__module__.partition(".")[0] in MACHINERY:
        return False
    held = getattr(value, "__dict__", {}).values()
    return not any(type(each).__module__ in ("_thread", "threading") for each in held)


def _place(tensor: Any) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.dtype, tensor.device, tensor.shape, tensor.stride()


def _distinct(tensor: Any) -> Any:
    """The same memory, with one entry for all that an expanded axis repeats."""
    for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        if stride == 0 and size > 1:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _refill(container: Any, contents: list[Any]) -> None:
    if not _same(list(container), contents):
        container.clear()
        (container.update if isinstance(container, set) else container.extend)(contents)


def _refill_dict(container: Any, keys: list[Any], values: list[Any]) -> None:
    if not (_same(list(container), keys) and _same(list(container.values()), values)):
        container.clear()
        for key, value in zip(keys, values, strict=True):
            container[key] = value


def _refill_slots(value: Any, slots: dict[str, Any]) -> None:
    for name in _slot_names(type(value)):
        if name not in slots and hasattr(value, name):
            object.__delattr__(value, name)
        elif name in slots and getattr(value, name, slots) is not slots[name]:
            object.__setattr__(value, name, slots[name])


def at_rest(modules: list[Any]) -> None:
    """Spiking modules and those inside them start with empty membranes, by the call that their library has for it."""
    for module in (part for each in modules for part in each.modules()):
        for call in ("reset_mem", "reset_states", "reset"):
            method = getattr(module, call, None)
            if callable(method):
                method()
                break


def _slot_names(kind: type) -> list[str]:
    """Names of the slots of a class and its bases, as copying an object finds them."""
    return copyreg._slotnames(kind)  # pyright: ignore[reportAttributeAccessIssue]
