"""The store: one sqlite file of finished blocks, to which rows are added; they are replaced only when all is computed again.

One process writes, in a thread of its own that commits whatever is waiting: the disk's ``fsync`` (about 20 ms on a plain disk)
does not hold up the work, and many small blocks share one. A rollback journal, ``synchronous=FULL`` and short transactions
need nothing but file locks, so that network file systems serve and two runs may share a file; ``kill -9`` leaves the last
commit. Every row has a checksum of key and result, which is verified when it is read.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from varflow._checks import DomainError
from varflow.campaign.block import decoded

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
        self._rows: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._failed: BaseException | None = None
        self._reading = self._opened()
        self._writer = Thread(target=self._write, daemon=True)
        self._writer.start()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self._rows.put(None)
        self._writer.join()
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
        self._rows.put((replace, key, description, result, _checksum(key, result), seconds))

    def _write(self) -> None:
        """Write what is waiting, in one transaction after another, until there is None."""
        try:
            with self._explained():
                connection = self._connection()
                try:
                    while rows := _waiting(self._rows):
                        with connection:
                            connection.execute("BEGIN IMMEDIATE")
                            for replace, *row in (row for row in rows if row is not None):
                                rule = "REPLACE" if replace else "IGNORE"
                                connection.execute(f"INSERT OR {rule} INTO blocks VALUES (?, ?, ?, ?, ?)", row)
                        if None in rows:
                            return
                finally:
                    connection.close()
        except BaseException as error:
            self._failed = error

    def _raise_failure(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _connection(self) -> sqlite3.Connection:
        # ``timeout``: seconds, for another run's transaction
        connection = sqlite3.connect(self.path, timeout=60.0, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _opened(self) -> sqlite3.Connection:
        """A connection to the file, which is made if there is none."""
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = self._connection()
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            return connection

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


def _waiting(rows: SimpleQueue[Any]) -> list[Any]:
    """Everything in the queue, at least one item."""
    rows_waiting = [rows.get()]
    while True:
        try:
            rows_waiting.append(rows.get_nowait())
        except Empty:
            return rows_waiting
