"""Blocks over local processes, one thread each. Processes that die are replaced, and their blocks run again.

``concurrent.futures`` gives up a pool when one of its processes dies, without saying which block that had. The blocks that were
out then run in a new pool, and those that were out repeatedly run alone: so a block that kills its process is found, and no
other is blamed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from typing import Any

from varflow._checks import DomainError
from varflow.campaign.block import Block
from varflow.campaign.spread import Finished, spread

__all__ = ["ATTEMPTS", "over_processes"]

ATTEMPTS = 3  # at one block, each ended by the death of a process: the last one alone
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def over_processes(blocks: dict[int, Block], *, workers: int, finished: Finished) -> None:
    """Compute the blocks by index, in any order.

    Raises
    ------
    DomainError
        If a block ends its process ``ATTEMPTS`` times, or cannot be sent to one.
    """
    left, deaths = dict(blocks), Counter[int]()

    def arrived(index: int, content: bytes, seconds: float) -> None:
        del left[index]
        finished(index, content, seconds)

    while left:
        suspects = [index for index in left if deaths[index] >= ATTEMPTS - 1]
        some = {suspects[0]: left[suspects[0]]} if suspects else dict(left)
        running: dict[Future[Any], int] = {}
        try:
            with _pool(min(workers, len(some))) as pool:
                spread(pool, some, window=2 * workers, finished=arrived, running=running)
        except BrokenProcessPool:
            deaths.update(running.values())
            for index in running.values():
                if deaths[index] >= ATTEMPTS:
                    raise _fatal(left[index], workers) from None


def _fatal(block: Block, workers: int) -> DomainError:
    rule = (
        f"do not survive a block of {block.function}: {ATTEMPTS} processes died with it. It may need more memory; in a script, "
        'start the work under if __name__ == "__main__":'
    )
    return DomainError("workers", workers, rule)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """New processes, which end with the block: at once, if by an error."""
    before = set(active_children())
    with _one_thread_each():
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin)
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(active_children()) - before:
                process.kill()
                process.join()
            raise
        finally:
            pool.shutdown(wait=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started here have one thread for linear algebra, which is read when numpy loads."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin() -> None:
    """In a new process: leave Ctrl-C to the parent, and end when the parent does, even by ``kill -9``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
