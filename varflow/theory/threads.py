"""Threads: tasks of numpy side by side, and linear algebra without them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["in_threads", "one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra on one thread: for small matrices the others cost more than they do, most of all on a busy machine.

    The limit is that of the process: the thread that has set it puts it back, and those beside it leave it alone.
    """
    if not _limiting.acquire(blocking=False):
        yield
        return
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        _limiting.release()


_limiting = Lock()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def in_threads(task: Callable[[int], Any], count: int) -> list[Any]:
    """``[task(0), …]``, computed in threads (numpy releases the lock); it pays where single operations take milliseconds."""
    workers = min(count, _allowed())
    if workers == 1:
        return [task(index) for index in range(count)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(task, range(count)))


def _allowed() -> int:
    """``OMP_NUM_THREADS``, as for BLAS and torch; the number of processors if it is not set."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else os.cpu_count() or 1
