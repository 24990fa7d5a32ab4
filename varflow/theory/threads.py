"""Tasks of numpy side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def in_threads(task: Callable[[int], Any], count: int) -> list[Any]:
    """``[task(0), …]``, computed in threads (numpy releases the lock); it pays where single operations take milliseconds."""
    given = os.environ.get("OMP_NUM_THREADS", "")  # as for BLAS and torch
    workers = min(count, int(given) if given.isdecimal() and int(given) else os.cpu_count() or 1)
    if workers == 1:
        return [task(index) for index in range(count)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(task, range(count)))
