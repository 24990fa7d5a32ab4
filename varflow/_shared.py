"""State of the whole process: settings that the first thread to come changes and the last to leave puts back, warnings, the
turn of a thread that runs a user's model, and which modules are a user's own.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

T = TypeVar("T")
ALONE = RLock()  # held by the one thread that seeds, reads and puts back the generators of torch, numpy and Python
_warnings = RLock()
INSTALLED = {"site-packages", "dist-packages"}


def alone(work: Callable[[], T]) -> T:
    """The result of ``work()``, done while no other thread is :data:`ALONE`."""
    with ALONE:
        return work()


class Shared:
    """Contexts of many threads over one ``setting()`` of the process, which holds from the first entry to the last exit."""

    def __init__(self, setting: Callable[[], AbstractContextManager[Any]]):
        self._setting, self._lock, self.inside, self._held = setting, RLock(), 0, ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        entered = False  # an interrupt may come before, and between the entry and the yield
        try:
            with self._lock:
                if not self.inside:
                    self._held.enter_context(self._setting())
                self.inside, entered = self.inside + 1, True
            yield
        finally:
            with self._lock:
                self.inside -= entered
                if not self.inside:
                    self._held.close()


@contextmanager
def quiet() -> Iterator[None]:
    """A context without warnings, in one thread at a time: ``warnings`` has one list of filters for all."""
    with _warnings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@Shared
@contextmanager
def exact_matmul() -> Iterator[None]:
    """Products of float32 matrices in full precision."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@Shared
def one_thread() -> AbstractContextManager[Any]:
    """Linear algebra on one thread: for small matrices the others cost more than they do, most of all on a busy machine."""
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def known_by_name(module: str | None) -> str | None:
    """The version of an installed package (empty for varflow and the standard library), by the name of a module in it; None for
    a user's own module.
    """
    top = (module or "builtins").partition(".")[0]
    if top == "varflow" or top in sys.stdlib_module_names:
        return ""
    loaded = sys.modules.get(top)
    file = getattr(loaded, "__file__", None)
    return str(getattr(loaded, "__version__", "")) if file and INSTALLED.intersection(Path(file).parts) else None
