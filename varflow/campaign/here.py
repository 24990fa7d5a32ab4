"""Blocks in this process: threads that take jobs in order, stop soon when asked to, and pass on every error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

__all__ = ["Cancelled", "work"]

Job = Callable[[Event], Any]


class Cancelled(Exception):
    """Raised inside a job that was asked to stop."""


def work(jobs: Sequence[Job], *, threads: int, finished: Callable[[int, Any], None]) -> None:
    """Run every job, calling ``finished(index, result)`` in this thread as each one ends; without threads, run them in turn.

    The first error of a job, an error of ``finished`` or Ctrl-C sets the event that jobs check, waits for them to stop, and is
    then raised.
    """
    if not threads:
        for index, job in enumerate(jobs):
            finished(index, job(Event()))
        return
    stop, pending, outcomes = Event(), SimpleQueue(), SimpleQueue()
    for job in enumerate(jobs):
        pending.put(job)
    workers = [Thread(target=_take, args=(pending, outcomes, stop), daemon=True) for _ in range(min(threads, len(jobs)))]
    try:
        for worker in workers:
            worker.start()
        for _ in jobs:
            outcome = outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            finished(*outcome)
    finally:
        stop.set()
        for worker in workers:
            if worker.ident is not None:
                worker.join()


def _take(pending: SimpleQueue, outcomes: SimpleQueue, stop: Event) -> None:
    try:
        while not stop.is_set():
            index, job = pending.get_nowait()
            outcomes.put((index, job(stop)))
    except (Empty, Cancelled):
        pass
    except BaseException as error:
        outcomes.put(error)
