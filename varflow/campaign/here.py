"""Blocks in this process: threads that take jobs in order, stop soon when asked to, and pass on every error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import Any

Job = Callable[[Event], Any]


class Cancelled(Exception):
    """Raised inside a job that was asked to stop."""


def work(jobs: Mapping[int, Job], *, threads: int, finished: Callable[[int, Any], None]) -> None:
    """Run every job, calling ``finished(index, result)`` in this thread as each one ends; without threads, run them in turn.

    The first error of a job, an error of ``finished`` or Ctrl-C sets the event that jobs check, waits for them to stop, and is
    then raised.
    """
    stop = Event()
    if not threads:
        for index, job in jobs.items():
            finished(index, job(stop))
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            indices = {pool.submit(job, stop): index for index, job in jobs.items()}
            for done in as_completed(tuple(indices)):
                finished(indices.pop(done), done.result())
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
