"""A campaign: where the blocks of a long computation run, and where their results are kept.

The store is one sqlite file of finished blocks, to which rows are added; they are replaced only when all is computed again.

One process writes, in a thread of its own that commits whatever is waiting: the disk's ``fsync`` (about 20 ms on a plain disk)
does not hold up the work, and many small blocks share one. A rollback journal, ``synchronous=FULL`` and short transactions
need nothing but file locks, so that network file systems serve and two runs may share a file; ``kill -9`` leaves the last
commit. Every row has a checksum of key and result, which is verified when it is read.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from varflow._checks import DomainError, called, flag, instance, integer
from varflow._progress import Progress, reporter
from varflow.campaign.block import Block, decoded, encoded, labels, timed
from varflow.campaign.work import Cluster, Processes, work

MARK, VERSION = 0x76666C77, 1  # "vflw"; of the table below
TABLE = """
CREATE TABLE blocks (
  key TEXT PRIMARY KEY, description TEXT NOT NULL, result BLOB NOT NULL, sha256 TEXT NOT NULL, seconds REAL NOT NULL);
CREATE TRIGGER no_update BEFORE UPDATE ON blocks BEGIN SELECT RAISE(ABORT, 'rows are only added'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON blocks BEGIN SELECT RAISE(ABORT, 'rows are only added'); END;
"""


class Store:
    """Finished blocks by key; a context manager, whose end waits until all is on disk.

    Raises
    ------
    DomainError
        Of the argument ``store``: for a file that cannot be written, is none of varflow's, has another version, or is damaged.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).absolute()  # a file also if its name is ":memory:"
        self._rows, self._commits = deque[tuple[Any, ...]](), deque[Future[None]]()
        self._reading, self._writer = self._opened(), ThreadPoolExecutor(1)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        with self._writer:  # an interrupt may have come before the last rows had their commit
            self._commits.append(self._writer.submit(self._commit))
        self._reading.close()
        if not error or error[0] is None:
            self._raise_failure()

    def get(self, key: str) -> tuple[Any] | None:
        """The result under this key, in a tuple; None if there is none."""
        with self._explained():
            row = self._reading.execute("SELECT result, sha256 FROM blocks WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if not isinstance(row[0], bytes) or _checksum(key, row[0]) != row[1]:
            raise self._damaged(f"block {key[:16]} has another checksum")
        try:
            return (decoded(row[0]),)
        except Exception:  # of json, zipfile or numpy
            raise self.damaged(key) from None

    def damaged(self, key: str) -> DomainError:
        """The error for a result that is none of this computation."""
        return self._damaged(f"block {key[:16]} holds no result of this computation")

    def put(self, key: str, description: str, result: bytes, seconds: float, *, replace: bool = False) -> None:
        """Add a row; the row of another run under the same key stays, unless it is to be replaced."""
        self._raise_failure()
        self._rows.append((replace, key, description, result, _checksum(key, result), seconds))
        self._commits.append(self._writer.submit(self._commit))

    def _commit(self) -> None:
        """Write what is waiting, in one transaction; nothing if an earlier one took it."""
        if not self._rows:
            return
        with self._explained(), closing(self._connection()) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(len(self._rows)):
                replace, *row = self._rows.popleft()
                rule = "REPLACE" if replace else "IGNORE"
                connection.execute(f"INSERT OR {rule} INTO blocks VALUES (?, ?, ?, ?, ?)", row)

    def _raise_failure(self) -> None:
        while self._commits and self._commits[0].done():
            self._commits.popleft().result()

    def _connection(self, prepare: Callable[[sqlite3.Connection], None] = lambda _: None) -> sqlite3.Connection:
        # ``timeout``: seconds, for another run's transaction
        connection = sqlite3.connect(self.path, timeout=60.0, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _opened(self) -> sqlite3.Connection:
        """A connection to the file, which is made if there is none."""
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self._connection(self._prepare)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        mark, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if (mark, version, tables) == (0, 0, 0):
            for statement in TABLE.strip().split(";\n"):  # executescript would commit first
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {MARK}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        elif mark != MARK:
            raise DomainError("store", str(self.path), "is another program's database: name a new file")
        elif version != VERSION:
            rule = f"is a store of version {version}, and this varflow has version {VERSION}: name a new file or move it away"
            raise DomainError("store", str(self.path), rule)
        connection.execute("COMMIT")

    def _damaged(self, what: str) -> DomainError:
        return DomainError("store", str(self.path), f"is damaged: {what}; move it away and start again")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.OperationalError) as error:
            rule = f"cannot be used: {getattr(error, 'strerror', None) or error}"
            raise DomainError("store", str(self.path), rule) from None
        except sqlite3.ProgrammingError:  # a closed connection
            raise DomainError("store", str(self.path), "is closed: use the campaign inside its with block") from None
        except UnicodeDecodeError:  # of a message with the bytes in question
            raise self._damaged("its schema is no text") from None
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from None


def _checksum(key: str, result: bytes) -> str:
    return hashlib.sha256(key.encode() + result).hexdigest()


Arrived = Callable[[int, Any], object]  # (index of the block, result)


@dataclass(frozen=True, slots=True)
class Campaign:
    """The place where the blocks of a long computation run, and the store that keeps their results.

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
        names = [] if self.store is None else labels(blocks)
        there = self._stored(names, arrived) if self.campaign.resume else set[int]()
        if self.store is not None and self.campaign.resume and self.campaign.found is not None:
            self.campaign.found(sum(blocks[index].units for index in there), sum(block.units for block in blocks))
        missing = {index: block for index, block in enumerate(blocks) if index not in there}

        def finished(index: int, result: Any, seconds: float, content: bytes | None = None) -> None:
            if self.store is not None:
                content = encoded(result) if content is None else content
                self.store.put(*names[index], content, seconds, replace=not self.campaign.resume)
            arrived(index, result)

        if self.place is not None:
            self.place.run(missing, finished=finished)
        else:
            jobs = {index: partial(timed, block) for index, block in missing.items()}
            work(jobs, threads=threads, finished=lambda index, outcome: finished(index, *outcome))

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
