"""Blocks at work: in threads of this process that stop soon when asked to, or handed to an executor, so many at a time.

Results come in the order in which they are finished, and every error is passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, as_completed, wait
from threading import Event
from typing import Any

from varflow.campaign.block import Block, computed

Job = Callable[[Event], Any]
Finished = Callable[[int, bytes, float], object]  # (index, encoded result, seconds)
Running = dict[Future[tuple[bytes, float]], int]


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


def spread(
    pool: Executor,
    blocks: dict[int, Block],
    *,
    window: int,
    finished: Finished,
    running: Running,
) -> None:
    """Compute the blocks on a pool; ``running`` names those that are out, also after an error."""
    waiting = iter(blocks.items())
    _hand_out(pool, waiting, window, running)
    while running:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            content, seconds = future.result()
            finished(running.pop(future), content, seconds)
            _hand_out(pool, waiting, window, running)


def _hand_out(pool: Executor, waiting: Iterable[tuple[int, Block]], window: int, running: Running) -> None:
    while len(running) < window and (item := next(iter(waiting), None)):
        index, block = item
        running[pool.submit(computed, block, block.version)] = index
