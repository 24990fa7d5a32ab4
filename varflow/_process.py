"""A command as a process: signals, closed or full streams, and the exit code.

The first Ctrl-C, SIGTERM or hang-up ends the run, and finished work is still saved. If stdout cannot be written, an error is
printed once all files are written; a failed write to stderr is ignored.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from varflow._checks import VarflowError

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}  # SIGHUP does not exist everywhere
NOTICE = b"saving finished work, then stopping\n"
_finishing: list[None] = []  # one entry per open block
_listening: list[Stop] = []  # the handler of this process, if any
BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 2, 130, 141  # the latter two are the shells' codes


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


def run_command(name: str, command: Callable[[], tuple[str, int]]) -> NoReturn:
    """Run a command and end the process with its final message (on stderr, if any) and exit code."""
    _open_closed_streams()
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Guarded(sys.stdout, needed=True), _Guarded(sys.stderr, needed=False)
    stop = listen()
    message, code = "", 0
    try:
        message, code = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        message, code = stop.word, INTERRUPTED
    except Unshown as error:
        message, code = _unshown(error, message)
    if message:
        print(f"{name}: {message}", file=sys.stderr)
    sys.stderr.flush()
    sys.stdout, sys.stderr = streams
    sys.exit(code if stop.number is None else stop.code)


def outcome(command: Callable[[], int]) -> tuple[str, int]:
    """Message and exit code of a command: an error of varflow is a message, and the input was bad."""
    try:
        return "", command()
    except VarflowError as error:
        return str(error), BAD_INPUT


class Unshown(Exception):
    """stdout is closed, or its disk is full."""


class _Guarded:
    """A stream that, if ``needed``, raises :class:`Unshown` on a failed write and on each later one; else these do nothing."""

    def __init__(self, stream: Any, *, needed: bool):
        self._stream, self._needed = stream, needed
        self._failed: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> Any:
        return self._tried(self._stream.write, text)

    def close(self) -> None:
        """Flush: only the end of the process closes it."""
        self.flush()

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def _tried(self, call: Callable[..., Any], *arguments: Any) -> Any:
        if self._failed is None:
            try:
                return call(*arguments)
            except OSError as error:
                self._failed = error
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # so that the last flush succeeds
        if self._needed:
            raise Unshown(self._failed)


def _unshown(error: Unshown, message: str) -> tuple[str, int]:
    """The final message and exit code: silent if the reader closed the pipe; an earlier error is kept."""
    cause, earlier = error.args[0], error.__context__
    words = [message or str(earlier)] if message or isinstance(earlier, VarflowError) else []
    if cause.errno != errno.EPIPE:
        words.append(f"stdout cannot be written: {cause.strerror or cause}")
    return "; ".join(words), BAD_INPUT if words else PIPE_CLOSED


def _open_closed_streams() -> None:
    """Open a read-only null device if a shell closed stdout; else the next opened file would take its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDONLY)
                if number:
                    setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
