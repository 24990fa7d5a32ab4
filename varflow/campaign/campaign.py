"""A campaign: where the blocks of a long computation run, and where their results are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from varflow._checks import DomainError, called, flag, instance, integer
from varflow._progress import Progress, reporter
from varflow.campaign.block import Block, decoded, encoded, labels, timed
from varflow.campaign.store import Store
from varflow.campaign.work import Cluster, Processes, work

Arrived = Callable[[int, Any], object]  # (index of the block, result)


@dataclass(frozen=True, slots=True)
class Campaign:
    """The place where the blocks of a long computation run, and that where their results are kept.

    A computation is cut into blocks of about a second. Results do not depend on where, in which order and in how many runs
    the blocks were computed: they are the same bits, on one kind of CPU.

    Parameters
    ----------
    store : str or Path, optional
        File for finished blocks, made if there is none. After ``kill -9``, a full disk or a crash the same call continues
        from there. Blocks are recognised by their settings and by the code that computes them, that of your own classes and
        functions and the versions of numpy, scipy and torch included, so that several computations and runs may share a file.
        By default nothing is kept.
    workers : int
        Processes on this machine, one thread each; with 1 the work is done in this process. A script that uses more starts
        its work under ``if __name__ == "__main__":``, as for every use of ``multiprocessing``.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tcp://10.0.0.1:8786``, whose workers do the work instead (extra
        ``distributed``).
    resume : bool
        Whether blocks in the store are used; if not, all are computed again and replace those in the store.
    found : callable, optional
        Called as ``found(stored, total)`` once it is known how much of the work is in the store.

    Raises
    ------
    DomainError
        For a value outside its domain. When the work begins: for a store that is damaged, of another version, or cannot be
        written, and for a scheduler that does not answer.
    MissingExtraError
        When the work begins, without the extra that it needs.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.phase_diagram(threshold=[0.85, 1.0], width=100, campaign=vf.Campaign("phases.blocks"))  # doctest: +SKIP

    Several computations in the same processes:

    >>> with vf.Campaign("all.blocks", workers=8).opened() as campaign:  # doctest: +SKIP
    ...     table = vf.corrected_gain_table(campaign=campaign)
    ...     experiment = vf.validate(campaign=campaign)
    """

    store: str | Path | None = None
    workers: int = 1
    scheduler: str | None = None
    resume: bool = True
    found: Callable[[int, int], object] | None = None

    def __post_init__(self) -> None:
        named = isinstance(self.store, (str, Path)) and str(self.store) and "\0" not in str(self.store)
        if self.store is not None and not named:
            raise DomainError("store", self.store, "must be the name of a file")
        object.__setattr__(self, "workers", integer("workers", self.workers, minimum=1))
        if self.scheduler is not None and not (isinstance(self.scheduler, str) and self.scheduler):
            raise DomainError("scheduler", self.scheduler, "must be an address such as tcp://10.0.0.1:8786")
        if self.scheduler is not None and self.workers > 1:
            raise DomainError("workers", self.workers, "conflicts with scheduler, whose workers do the work: give one of them")
        flag("resume", self.resume)
        if self.found is not None:
            called("found", self.found)

    @contextmanager
    def opened(self, *modules: str) -> Iterator[Run]:
        """The open campaign: its store is open and its scheduler connected before any work.

        Pass it as ``campaign`` to several computations, which then share its processes. These import ``modules``, if any are
        named, at once: loading torch takes a second or two, in which the work can be planned.
        """
        with ExitStack() as stack:
            place = self._place(modules)
            if place is not None:
                stack.enter_context(place)
            store = None if self.store is None else stack.enter_context(Store(self.store))
            yield Run(self, store, place)

    def _place(self, modules: tuple[str, ...]) -> Cluster | Processes | None:
        if self.scheduler is not None:
            return Cluster(self.scheduler)
        return Processes(self.workers, modules) if self.workers > 1 else None


def campaign_of(value: Any) -> Campaign | Run:
    """The given campaign, open or not; by default one in this process that stores nothing."""
    if value is None:
        return Campaign()
    return value if isinstance(value, Run) else instance("campaign", value, Campaign)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """An open campaign."""

    campaign: Campaign
    store: Store | None
    place: Cluster | Processes | None  # None: this process

    def opened(self, *modules: str) -> AbstractContextManager[Run]:
        """This run, which stays open; its processes import modules with the blocks that need them."""
        return nullcontext(self)

    def results(self, blocks: Sequence[Block], *, progress: Progress = False, what: str = "blocks") -> list[Any]:
        """The results of all blocks, in their order; progress in their units."""
        results: list[Any] = [None] * len(blocks)
        done = 0
        with reporter(progress, sum(block.units for block in blocks), what) as report:

            def arrived(index: int, result: Any) -> None:
                nonlocal done
                results[index] = result
                done += blocks[index].units
                report(done)

            self.run(blocks, arrived)
        return results

    def run(self, blocks: Sequence[Block], arrived: Arrived, *, threads: int = 0) -> None:
        """Call ``arrived`` with index and result of every block, in any order: those in the store, then those computed.

        In this process ``threads`` of them are computed at a time; with 0, in the calling thread.
        """
        if self.store is None:
            names, there = [], set[int]()
        else:
            names = labels(blocks)
            there = self._stored(names, arrived) if self.campaign.resume else set()
            if self.campaign.resume and self.campaign.found is not None:
                self.campaign.found(sum(blocks[index].units for index in there), sum(block.units for block in blocks))
        missing = {index: block for index, block in enumerate(blocks) if index not in there}

        def keep(index: int, content: bytes, seconds: float) -> None:
            if self.store is not None:
                self.store.put(*names[index], content, seconds, replace=not self.campaign.resume)

        def finished(index: int, content: bytes, seconds: float) -> None:
            keep(index, content, seconds)
            arrived(index, decoded(content))

        if self.place is not None:
            self.place.run(missing, finished=finished)
        else:

            def done(index: int, outcome: tuple[Any, float]) -> None:
                result, seconds = outcome
                if self.store is not None:
                    keep(index, encoded(result), seconds)
                arrived(index, result)

            work({index: partial(timed, block) for index, block in missing.items()}, threads=threads, finished=done)

    def _stored(self, names: Sequence[tuple[str, str]], arrived: Arrived) -> set[int]:
        """Hand over the results that are in the store; the indices of their blocks."""
        there = set()
        for index, (key, _) in enumerate(names):
            if self.store is not None and (stored := self.store.get(key)) is not None:
                there.add(index)
                try:
                    arrived(index, *stored)
                except (AttributeError, LookupError, TypeError, ValueError):
                    raise self.store.damaged(key) from None
        return there
