"""Blocks handed to an executor: a window of them at a time, results in the order in which they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

from varflow.campaign.block import Block, computed

Finished = Callable[[int, bytes, float], object]  # (index, encoded result, seconds)
Running = dict[Future[tuple[bytes, float]], int]


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
