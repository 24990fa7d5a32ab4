"""Blocks on a Dask cluster, by the address of its scheduler. Dask replaces workers that die and runs their blocks again."""

from __future__ import annotations

import logging
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from typing import Any

from varflow._checks import ConvergenceError, DomainError, require, said
from varflow.campaign.block import Block
from varflow.campaign.work import Finished, spread

PATIENCE = 10.0  # seconds to reach the scheduler


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
        except CancelledError:
            raise ConvergenceError(f"the scheduler at {self._scheduler} is lost: start again to continue") from None
        finally:
            pool.shutdown(wait=False)
