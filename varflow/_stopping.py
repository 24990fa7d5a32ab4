"""Stopping a command: the first Ctrl-C, SIGTERM or hang-up ends the run, and finished work is still saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}  # SIGHUP does not exist everywhere
NOTICE = b"saving finished work, then stopping\n"
_finishing: list[None] = []  # one entry per open block
_listening: list[Stop] = []  # the handler of this process, if any


class Stop:
    """A signal handler: the first signal raises KeyboardInterrupt (unless inside :func:`finishing`), later ones do not.

    Attributes
    ----------
    number : int or None
        The first signal received.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._noticed = False

    def __call__(self, number: int, frame: Any) -> None:
        if self.number is None:
            self.number = number
            if not _finishing:
                raise KeyboardInterrupt
        if not self._noticed:
            self._noticed = True
            with suppress(OSError):
                os.write(2, NOTICE)

    @property
    def word(self) -> str:
        return WORDS["SIGINT" if self.number is None else signal.Signals(self.number).name]

    @property
    def code(self) -> int:
        """The shells' exit code for this signal."""
        return 128 + (signal.SIGINT if self.number is None else self.number)


@contextmanager
def finishing() -> Iterator[None]:
    """A block that judges, draws or writes finished work: a signal to stop takes effect after it.

    Without :func:`listen`, for instance in a notebook, signals act as usual.
    """
    _finishing.append(None)
    try:
        yield
    finally:
        _finishing.pop()


def stop_wanted() -> bool:
    """True if a signal was received; to be checked after :func:`finishing`, before more work."""
    return any(stop.number is not None for stop in _listening)


def listen() -> Stop:
    """Handle signals until the process ends; signals that are ignored or already handled stay so."""
    _listening[:] = [stop := Stop()]
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in WORDS if hasattr(signal, name)):
            handler = signal.getsignal(number)
            if handler in (signal.SIG_DFL, signal.default_int_handler) or isinstance(handler, Stop):
                signal.signal(number, stop)
    return stop
