"""Blocks at work: in threads of this process, over local processes with one thread each, or on a Dask cluster.

Results come in the order in which they are finished, and every error is passed on. Processes that die are replaced, and their
blocks run again: ``concurrent.futures`` gives up a pool when one of its processes dies, without saying which block that had.
The blocks that were out then run in a new pool, and those that were out repeatedly run alone: so a block that kills its process
is found, and no other is blamed. Dask replaces workers that die and runs their blocks again.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Event
from typing import Any

from varflow._checks import ConvergenceError, DomainError, require, said
from varflow.campaign.block import Block, computed, decoded

Job = Callable[[Event], Any]
Finished = Callable[[int, Any, float, bytes], object]  # (index, result, seconds, encoded result)
Running = dict[Future[tuple[bytes, float]], int]
ATTEMPTS = 3  # at one block, each ended by the death of a process: the last one alone
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PATIENCE = 10.0  # seconds to reach the scheduler


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
            for done in futures.as_completed(tuple(indices)):
                finished(indices.pop(done), done.result())
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def spread(pool: Executor, blocks: dict[int, Block], *, window: int, finished: Finished, running: Running) -> None:
    """Compute the blocks on a pool; ``running`` names those that are out, also after an error."""
    waiting = iter(blocks.items())
    while True:
        for index, block in islice(waiting, window - len(running)):
            running[pool.submit(computed, block, block.version)] = index
        if not running:
            return
        for future in futures.wait(running, return_when=futures.FIRST_COMPLETED).done:
            content, seconds = future.result()
            finished(running.pop(future), decoded(content), seconds, content)


class Processes:
    """Processes that stay for further blocks; a context manager that ends them on exit.

    They start on entry if there are ``modules`` for them to import, which takes seconds, while the work is still being planned;
    otherwise with the first block.
    """

    def __init__(self, workers: int, modules: tuple[str, ...] = ()):
        self._workers, self._modules = workers, modules
        self._pool: _SpawnedPool | None = None
        self._starting: list[Future[int]] = []

    def __enter__(self) -> Processes:
        try:
            if self._modules:
                self._started()
        except BaseException:
            self._end(at_once=True)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._end(at_once=not all(start.done() for start in self._starting))

    def run(self, blocks: dict[int, Block], *, finished: Finished) -> None:
        """Compute the blocks by index, in any order. An error stops all processes and their blocks.

        Raises
        ------
        DomainError
            If a block kills its process ``ATTEMPTS`` times, or cannot be sent to one.
        """
        left, deaths = dict(blocks), Counter[int]()

        def arrived(index: int, *outcome: Any) -> None:
            del left[index]
            finished(index, *outcome)

        while left:
            suspects = [index for index in left if deaths[index] >= ATTEMPTS - 1]
            some = {suspects[0]: left[suspects[0]]} if suspects else dict(left)
            running: dict[Future[Any], int] = {}
            try:
                spread(self._started(), some, window=2 * self._workers, finished=arrived, running=running)
            except BrokenProcessPool:
                self._end(at_once=True)
                deaths.update(running.values())
                for index in running.values():
                    if deaths[index] >= ATTEMPTS:
                        raise _fatal(left[index], self._workers) from None
            except BaseException:
                self._end(at_once=True)
                raise

    def _started(self) -> _SpawnedPool:
        if self._pool is None:
            self._pool = _SpawnedPool(self._workers, self._modules)
            self._starting = [self._pool.submit(os.getpid) for _ in range(self._workers if self._modules else 0)]
        return self._pool

    def _end(self, *, at_once: bool = False) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        processes = list((pool._processes or {}).values())  # there is no public way to end one that computes
        if at_once:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()
                process.join()
        pool.shutdown(wait=True)


_starting = threading.Lock()  # of processes, one campaign at a time: os.environ is changed for it


class _SpawnedPool(ProcessPoolExecutor):
    """Its processes start when blocks are submitted: with one thread for linear algebra, and ignoring Ctrl-C from the start."""

    def __init__(self, workers: int, modules: tuple[str, ...]):
        self.workers = workers
        with _allowed(workers):
            super().__init__(workers, get_context("spawn"), _begin, (modules,))
            queue: Any = vars(self)["_call_queue"]
            queue._start_thread()  # the pool's own thread does so later, and would die unseen where it cannot

    def submit(self, *call: Any, **options: Any) -> Future[Any]:
        with _allowed(self.workers), _starting, _one_thread_each(), _without_interrupts():
            return super().submit(*call, **options)


@contextmanager
def _allowed(workers: int) -> Iterator[None]:
    """A DomainError where the limits of the user or of a container allow no further process or thread."""
    try:
        yield
    except BrokenProcessPool:
        raise
    except (OSError, RuntimeError) as error:
        rule = f"cannot be started: {error}; the system allows no further process or thread"
        raise DomainError("workers", workers, rule) from None


def _fatal(block: Block, workers: int) -> DomainError:
    rule = (
        f"do not survive a block of {block.name}: {ATTEMPTS} processes died with it. It may need more memory; in a script, "
        'start the work under if __name__ == "__main__":'
    )
    return DomainError("workers", workers, rule)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started here read it when numpy loads."""
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


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C waits here; processes started here leave it to their parent, also while they import."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(modules: tuple[str, ...]) -> None:
    """Begin a process: leave Ctrl-C to the parent, end when the parent does, even by ``kill -9``, and import the modules."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for module in modules:
        with suppress(ImportError):  # a block that needs it raises it again
            import_module(module)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class Cluster:
    """The workers of the scheduler at this address; a context manager that connects on entry.

    Raises
    ------
    MissingExtraError
        Without Dask.
    DomainError
        If the scheduler does not answer.
    """

    def __init__(self, scheduler: str):
        self._scheduler = scheduler
        self._client: Any = None
        self._open = ExitStack()

    def __enter__(self) -> Cluster:
        distributed = require("distributed", "distributed")
        with ExitStack() as opened:
            names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
            for logger in map(logging.getLogger, names):
                opened.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL)  # each has its own; errors are reported below, in one line
            try:
                self._client = distributed.Client(self._scheduler, timeout=PATIENCE, set_as_default=False)
            except Exception as error:  # each transport raises its own
                reason = said(error, str) or type(error).__name__
                raise DomainError("scheduler", self._scheduler, f"cannot be reached: {reason}") from None
            opened.callback(self._client.close, timeout=PATIENCE)
            self._open = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def run(self, blocks: dict[int, Block], *, finished: Finished) -> None:
        """Compute the blocks by index, in any order.

        Raises
        ------
        DomainError
            If workers have another version of varflow, or a block kills several of them.
        ConvergenceError
            If the scheduler is lost; results that have arrived are kept.
        """
        running: dict[Future[Any], int] = {}
        pool = self._client.get_executor(pure=False)
        try:
            # blocks are handed to the scheduler so many at a time
            spread(pool, blocks, window=1000, finished=finished, running=running)
        except require("distributed", "distributed").KilledWorker as error:
            rule = f"lost several workers to one block: {' '.join(str(error).split())}"
            raise DomainError("scheduler", self._scheduler, rule) from None
        except futures.CancelledError:
            raise ConvergenceError(f"the scheduler at {self._scheduler} is lost: start again to continue") from None
        finally:
            pool.shutdown(wait=False)
