"""How a command is stopped: the first Ctrl-C, SIGTERM or hang-up ends the run, and what is finished is saved all the same."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Stop", "finishing", "listen", "stop_wanted"]

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}  # the last is not known to every system
NOTICE = b"stopping as soon as what is finished is saved\n"
_finishing: list[None] = []  # an entry for each block that is open
_listening: list[Stop] = []  # the one of this process, once there is one


class Stop:
    """A handler of signals: the first raises KeyboardInterrupt unless something is being finished, later ones never do.

    Attributes
    ----------
    number : int or None
        The first signal that came.
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
        """The exit code, as shells have it."""
        return 128 + (signal.SIGINT if self.number is None else self.number)


@contextmanager
def finishing() -> Iterator[None]:
    """Inside, what is finished is judged, drawn or written: a command that is told to stop does so afterwards.

    Without :func:`listen`, in a notebook for instance, signals do what they always do.
    """
    _finishing.append(None)
    try:
        yield
    finally:
        _finishing.pop()


def stop_wanted() -> bool:
    """Whether a signal has come; to be asked after :func:`finishing`, before more work."""
    return any(stop.number is not None for stop in _listening)


def listen() -> Stop:
    """Handle signals from here to the end of the process; those that are ignored, or handled by another, stay so."""
    _listening[:] = [stop := Stop()]
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in WORDS if hasattr(signal, name)):
            handler = signal.getsignal(number)
            if handler in (signal.SIG_DFL, signal.default_int_handler) or isinstance(handler, Stop):
                signal.signal(number, stop)
    return stop
