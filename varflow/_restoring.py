"""A model's state, kept and put back: everything that can be reached from it, the random number generators, and settings of
the process.

That is the attributes of modules, of plain objects and of the user's own classes, the contents of containers and buffers, the
numbers and hooks of tensors and arrays, parameters included (a forward pass may clamp its own weights), and what closures,
defaults, partial functions and bound methods hold. Only what has changed is written to. Not followed are globals, attributes of
classes of installed packages, and what the standard library, torch and numpy keep for themselves.
"""

from __future__ import annotations

import copyreg
import random
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import BytesIO, IOBase, StringIO
from operator import setitem
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, NoneType
from typing import Any, TypeVar

import numpy as np

from varflow._checks import require
from varflow._shared import alone, exact_matmul, known_by_name

ATOMS = {bool, int, float, complex, str, bytes, NoneType}
# Not state: loggers, locks, files, functions, … and what torch and numpy keep for themselves. Namespaces are.
MACHINERY = (sys.stdlib_module_names | {"torch", "numpy"}) - {"types", "collections", "argparse", "weakref", "_weakrefset"}
STATEFUL = ("torch.optim.", "torch.quasirandom", "torch.distributions.")
QUEUES = {"queue", "_queue", "asyncio.queues", "multiprocessing.queues"}
T = TypeVar("T")


def kept(root: Any, work: Callable[[], T]) -> T:
    """The value of ``work()``; whatever happens in it, all that can be reached from ``root`` is then as before."""
    return alone(lambda: _undoing(root, work, keep=False))


def rewinding(root: Any, but: Iterable[Any] = ()) -> Callable[[], None]:
    """A function that puts everything back at each call, but for some objects and what only they hold; to begin passes alike
    within :func:`kept`.
    """
    undo = _Snapshot(root, but).undo
    return lambda: to_the_end([*undo])


def all_or_nothing(root: Any, work: Callable[[], T]) -> T:
    """The value of ``work()``, whose changes stay; if it fails or is interrupted, all is as before, as by :func:`kept`."""
    return alone(lambda: _undoing(root, work, keep=True))


def lost(root: Any) -> list[str]:
    """Names of what is reached from ``root`` but cannot be put back, with its type."""
    return alone(lambda: _Snapshot(root).lost)


def _undoing(root: Any, work: Callable[[], T], *, keep: bool) -> T:
    undo = _Snapshot(root).undo
    try:
        try:
            done = work()
            if keep:
                undo.clear()
            return done
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
    """``undo``: calls that bring back what was found from ``root`` on; each can be repeated. ``lost`` names what has none."""

    def __init__(self, root: Any, but: Iterable[Any] = ()):
        self.torch = require("torch", "torch")
        self.undo: list[Callable[[], Any]] = [
            self.torch.clear_autocast_cache,  # at the end: it would go on with other weights
            partial(random.setstate, random.getstate()),
            partial(np.random.set_state, np.random.get_state()),  # noqa: NPY002
            *(partial(_set_back, get, put, get()) for get, put in _settings(self.torch)),
        ]
        self.lost: list[str] = []
        # held, so that no other object gets the id of one that is dropped
        self.found: dict[int, Any] = {id(each): each for each in but}
        waiting = [("", value) for value in (root, self.torch.default_generator, *_hooks_of_all_modules(self.torch))]
        while waiting:
            name, value = waiting.pop()
            if type(value) not in ATOMS and id(value) not in self.found:
                self.found[id(value)] = value
                names = value if type(value) is dict else ()
                held = list(self._held(value, name))
                waiting += zip((_joined(name, key) for key in names) if names else [name] * len(held), held, strict=True)
        for device in {value.device for value in self.found.values() if isinstance(value, self.torch.Tensor)}:
            if device.type == "cuda":
                self.undo.append(partial(self.torch.cuda.set_rng_state, self.torch.cuda.get_rng_state(device), device))

    def _held(self, value: Any, name: str) -> Iterable[Any]:
        """Note how to bring a value back; what it holds in turn."""
        torch = self.torch
        match value:
            case torch.Tensor():
                return self._tensor(value)
            case dict():
                contents = list(value), list(value.values())
                self.undo.append(partial(_refill_dict, value, *contents))
                return [*contents[1], *_attributes(value)]
            case list() | set() | deque():
                contents = list(value)
                self.undo.append(partial(_refill, value, contents))
                return [*contents, *_attributes(value)]
            case tuple() | frozenset():
                return [*value, *_attributes(value)]
            case np.ndarray():
                return self._array(value, name)
            case FunctionType() if value.__module__ is None or _top(value.__module__) not in MACHINERY:
                return [value.__defaults__, value.__kwdefaults__, vars(value), *(value.__closure__ or ())]
            case CellType():
                contents = _content(value)
                self.undo.append(partial(_refill_cell, value, contents))
                return contents
            case MethodType() | BuiltinFunctionType():
                return [value.__self__, getattr(value, "__func__", None)]
            case partial():
                return [value.func, value.args, value.keywords, vars(value)]
            case staticmethod() | classmethod():
                return [value.__func__]
            case type() if known_by_name(value.__module__) is None:
                return self._class(value)
        return self._stateful(value, name)

    def _stateful(self, value: Any, name: str) -> Iterable[Any]:
        """Note how to bring back generators of random numbers, buffers and objects; what they hold in turn."""
        torch = self.torch
        match value:
            case torch.Generator() | np.random.RandomState():
                self.undo.append(partial(value.set_state, value.get_state()))
            case random.Random():
                self.undo.append(partial(value.setstate, value.getstate()))
            case np.random.Generator():
                return [value.bit_generator]
            case np.random.BitGenerator():
                self.undo.append(partial(setattr, value, "state", value.state))
            case bytearray() | array():
                self.undo.append(partial(setitem, value, slice(None), value[:]))
            case BytesIO() | StringIO() if not value.closed:
                self.undo.append(partial(_rewrite_file, value, value.getvalue(), value.tell()))
            case torch.nn.Module():
                return self._object(value)
            case _ if _cannot_be_put_back(value):
                self.lost.append(f"{name or 'the model'} holds a {type(value).__name__}")
            case _ if _is_plain(value):
                return self._object(value)
        return ()

    def _object(self, value: Any) -> Iterable[Any]:
        slots = _in_slots(value)
        self.undo.append(partial(_refill_attributes, object, value, _in_slots, slots))
        return [*slots.values(), *_attributes(value), *type(value).__mro__]

    def _class(self, kind: type) -> Iterable[Any]:
        attributes = _of_class(kind)
        self.undo.append(partial(_refill_attributes, type, kind, _of_class, attributes))
        return attributes.values()

    def _array(self, value: Any, name: str) -> Iterable[Any]:
        if isinstance(value, np.memmap) and value.flags.writeable:
            self.lost.append(f"{name or 'the model'} holds a {type(value).__name__}")
        elif value.flags.writeable:
            self.undo.append(partial(np.copyto, value, value.copy()))
        return [*_attributes(value), *(value.ravel().tolist() if value.dtype == object else ())]

    def _tensor(self, tensor: Any) -> Iterable[Any]:
        inner = [vars(tensor)]
        for hooks in ("_backward_hooks", "_post_accumulate_grad_hooks"):
            self.undo.append(partial(_refill_hooks, tensor, hooks, getattr(tensor, hooks)))
            inner.append(getattr(tensor, hooks))
        if tensor.is_sparse:
            return [*inner, tensor._indices(), tensor._values()]
        if tensor.layout is not self.torch.strided:
            return inner
        of_leaf = (tensor.requires_grad, tensor.grad) if tensor.is_leaf else None
        self.undo.append(partial(self._rewrite, tensor, tensor.data, _distinct(tensor.data).clone(), of_leaf))
        return inner if of_leaf is None else [*inner, tensor.grad]

    def _rewrite(self, tensor: Any, data: Any, numbers: Any, of_leaf: tuple[bool, Any] | None) -> None:
        """Write the earlier numbers into the same memory; past autograd, as the graphs that hold the tensor saw these."""
        with self.torch.inference_mode(data.is_inference()), self.torch.no_grad():
            if of_leaf and not tensor.is_leaf:
                tensor.detach_()
            if _place(tensor) != _place(data):
                tensor.data = data
            if not _distinct(data).equal(numbers):
                _distinct(data).copy_(numbers)
            if of_leaf and (tensor.requires_grad is not of_leaf[0] or tensor.grad is not of_leaf[1]):
                tensor.requires_grad_(of_leaf[0]).grad = of_leaf[1]


def _settings(torch: Any) -> Iterator[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Functions that read and that write settings of the process, or of this thread in it."""
    yield torch.get_default_dtype, torch.set_default_dtype
    yield torch.get_num_threads, torch.set_num_threads
    yield torch.is_grad_enabled, torch.set_grad_enabled
    yield torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms
    anomalies = torch.is_anomaly_enabled, torch.is_anomaly_check_nan_enabled
    yield lambda: [of() for of in anomalies], lambda before: torch.autograd.set_detect_anomaly(*before)
    yield np.geterr, lambda before: np.seterr(**before)
    if not exact_matmul.inside:  # a simulation beside this one puts it back itself
        yield torch.get_float32_matmul_precision, torch.set_float32_matmul_precision


def _hooks_of_all_modules(torch: Any) -> list[dict[Any, Any]]:
    of_torch = vars(torch.nn.modules.module).items()
    return [hooks for name, hooks in of_torch if name.startswith("_global_") and isinstance(hooks, dict)]


def _set_back(get: Callable[[], Any], put: Callable[[Any], Any], before: Any) -> None:
    if get() != before:
        put(before)


def _top(module: str) -> str:
    return module.partition(".")[0]


def _joined(name: str, key: Any) -> str:
    """The name of what is held under a key, as a path through attributes."""
    if not isinstance(key, str) or key in ("_modules", "_parameters", "_buffers"):
        return name
    return f"{name}.{key}" if name else key


def _is_plain(value: Any) -> bool:
    """True for data with names: objects of no class of :data:`MACHINERY`, but for those with a state of their own."""
    module = type(value).__module__
    return not isinstance(value, type) and (_top(module) not in MACHINERY or module.startswith(STATEFUL))


def _cannot_be_put_back(value: Any) -> bool:
    """True for iterators, queues, and what threads change (objects with a lock)."""
    if not _is_plain(value):
        return type(value).__module__ in QUEUES or (hasattr(type(value), "__next__") and not isinstance(value, IOBase))
    return any(type(item).__module__ in ("_thread", "threading") for held in _attributes(value) for item in held.values())


def _attributes(value: Any) -> list[Any]:
    """The dict of an object's attributes, if it has one."""
    attributes = getattr(value, "__dict__", None)
    return [attributes] if type(attributes) is dict else []


def _in_slots(value: Any) -> dict[str, Any]:
    """Contents of the slots of a class and its bases, which copying an object finds too."""
    names = copyreg._slotnames(type(value))  # pyright: ignore[reportAttributeAccessIssue]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _of_class(kind: type) -> dict[str, Any]:
    """Attributes of a class itself, but those of Python."""
    return {name: value for name, value in vars(kind).items() if not name.startswith("__")}


def _content(cell: CellType) -> list[Any]:
    """The contents of a variable of a closure; none before it is set, when it equals an empty one."""
    return [] if cell == CellType() else [cell.cell_contents]


def _place(tensor: Any) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.dtype, tensor.device, tensor.shape, tensor.stride()


def _distinct(tensor: Any) -> Any:
    """A view of the same memory, with one entry for all that an expanded axis repeats."""
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


def _refill_cell(cell: CellType, contents: list[Any]) -> None:
    if not contents and _content(cell):
        del cell.cell_contents
    elif not _same(_content(cell), contents):
        (cell.cell_contents,) = contents


def _refill_hooks(tensor: Any, name: str, hooks: Any) -> None:
    if (now := getattr(tensor, name)) is not hooks:
        now.clear()  # which autograd goes on reading
        setattr(tensor, name, hooks)


def _refill_attributes(kind: Any, owner: Any, held: Callable[[Any], dict[str, Any]], before: dict[str, Any]) -> None:
    """``kind``: object or type, whose own methods write, past those of the user."""
    now = held(owner)
    for name in now.keys() - before.keys():
        kind.__delattr__(owner, name)
    for name, value in before.items():
        if now.get(name, before) is not value:
            kind.__setattr__(owner, name, value)


def _rewrite_file(file: Any, content: Any, place: int) -> None:
    if file.getvalue() != content:
        file.seek(0)
        file.truncate()
        file.write(content)
    file.seek(place)


def at_rest(modules: list[Any]) -> None:
    """Spiking modules and those inside them start with empty membranes, by the call that their library has for it."""
    for module in (inner for root in modules for inner in root.modules()):
        for call in ("reset_mem", "reset_states", "reset"):
            method = getattr(module, call, None)
            if callable(method):
                method()
                break
