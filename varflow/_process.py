"""A command as a process: signals, closed or full streams, and the exit code.

If stdout cannot be written, an error is printed once all files are written; a failed write to stderr is ignored.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from varflow._checks import VarflowError
from varflow._stopping import listen

BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 2, 130, 141  # the latter two are the shells' codes


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
