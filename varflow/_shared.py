"""What belongs to the whole process, and how threads share it: settings that the first to come changes and the last to leave
puts back, warnings, and the turn of a thread that runs a user's model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import RLock
from typing import Any

__all__ = ["ALONE", "Shared", "quiet"]

ALONE = RLock()  # held by the one thread that seeds, reads and puts back the generators of torch, numpy and Python
_warnings = RLock()


class Shared:
    """Contexts of many threads over one ``setting()`` of the process, which holds from the first entry to the last exit."""

    def __init__(self, setting: Callable[[], AbstractContextManager[Any]]):
        self._setting, self._lock, self._inside, self._held = setting, RLock(), 0, ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._inside:
                self._held.enter_context(self._setting())
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._held.close()


@contextmanager
def quiet() -> Iterator[None]:
    """A context without warnings, in one thread at a time: ``warnings`` has one list of filters for all."""
    with _warnings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
