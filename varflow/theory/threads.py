"""Threads: tasks of numpy side by side, and linear algebra without them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from varflow._shared import Shared


@Shared
def one_thread() -> AbstractContextManager[Any]:
    """Linear algebra on one thread: for small matrices the others cost more than they do, most of all on a busy machine."""
    return _controller().limit(limits=1, user_api="blas")


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
