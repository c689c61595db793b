"""One SQLite file: WAL, synced at each commit, one writer connection, a pool of readers.

Law: a reader never uses the writer's connection (it would see what is not committed), and nothing
but this module opens one. SQLite comes with apsw, because the SQLite inside many Pythons can
corrupt a WAL database.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import apsw

from common.service import StartRefused

BUSY_TIMEOUT_MS = 5_000
READER_CACHE_KIB = 4_096
REWRITE_BYTES = 64 * 1024  # SQLite writes less than 128 KiB at a time


class Corrupt(Exception):
    """The file is damaged, or is not a database of ours."""


class OtherVersion(StartRefused):
    """The file is sound, but another version of this program wrote it."""


def _rewrite(log: Path) -> None:
    """Write the log that the last process left once more, as it reads now, and sync it.

    A process whose sync failed ends, but what it had written may still be in the system's cache,
    which calls it clean: the next process would build on frames that the disk does not have, and
    lose with them all that follows, acknowledged or not (Rebello et al., "Can Applications Recover
    from fsync Failures?", USENIX ATC 2020).
    """
    if not log.exists():
        return
    flags = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE  # as a WAL only SQLite opens one
    file = apsw.VFSFile("", str(log), [flags, 0])
    try:
        size = file.xFileSize()
        for offset in range(0, size, REWRITE_BYTES):
            file.xWrite(file.xRead(min(REWRITE_BYTES, size - offset), offset), offset)
        if size:
            file.xSync(apsw.SQLITE_SYNC_FULL)
    finally:
        file.xClose()


class Database:
    """A file that this process alone has open: `writer` for its one writer, `read()` for everybody
    else.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        schema_version: int,
        functions: Mapping[str, Callable[..., str]] | None = None,
        *,
        is_a_copy: bool = False,
    ) -> None:
        """Open or create the file and verify it; raise `Corrupt` when it cannot be trusted.

        `functions` are SQL functions of one text that the schema's triggers call. What `is_a_copy`
        may lose its last transactions with the power, in order, and is sound after that.
        """
        self.path = path
        self._functions = functions or {}
        self._lock = threading.Lock()
        self._idle: list[apsw.Connection] = []
        self._open: list[apsw.Connection] = []
        try:
            _rewrite(Path(f"{path}-wal"))
            self.writer = self._connect()
            self.writer.pragma("journal_mode", "wal")
            self.writer.pragma("synchronous", "normal" if is_a_copy else "full")
            self._prepare_schema(schema, schema_version)
            self._verify()
        except (apsw.CorruptError, apsw.NotADBError) as error:
            self.close()
            raise Corrupt(f"{path}: {error}") from error
        except BaseException as error:
            self.close()
            if isinstance(error, apsw.SQLError) and "unsupported file format" in str(error):
                raise Corrupt(f"{path}: {error}") from error  # a flipped byte in the header
            raise

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.path))
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("cache_size", -READER_CACHE_KIB)
        for name, function in self._functions.items():
            connection.create_scalar_function(name, function, 1, deterministic=True)
        self._open.append(connection)
        return connection

    def _prepare_schema(self, schema: str, version: int) -> None:
        found = self.writer.pragma("user_version")
        if found == 0 and self.writer.execute("SELECT count(*) FROM sqlite_schema").get:
            raise Corrupt(f"{self.path}: it has tables, but no schema version")
        if found == 0:
            with self.write() as db:
                db.execute(schema)
                db.pragma("user_version", version)
        elif found != version:
            raise OtherVersion(
                f"{self.path} has schema version {found}, this program {version}: run the program"
                " that wrote it"
            )

    def _verify(self) -> None:
        verdict = self.writer.execute("PRAGMA integrity_check(1)").get
        if verdict != "ok":
            raise Corrupt(f"{self.path}: {verdict}")

    @contextmanager
    def read(self) -> Iterator[apsw.Connection]:
        """Yield a connection inside one read transaction: everything read in it is of one
        moment.
        """
        with self._lock:
            connection = self._idle.pop() if self._idle else self._connect()
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            with self._lock:
                self._idle.append(connection)

    @contextmanager
    def write(self) -> Iterator[apsw.Connection]:
        """Yield the writer inside one transaction, for its owner: all of it happens, or nothing.

        apsw's own `with connection` will not do: on a full disk SQLite has rolled back already, and
        then that fails with an error that hides why.
        """
        self.writer.execute("BEGIN IMMEDIATE")
        try:
            yield self.writer
            self.writer.execute("COMMIT")
        finally:
            if self.writer.in_transaction:
                self.writer.execute("ROLLBACK")

    def copy_to(self, path: Path) -> None:
        """Write what is committed now into a new file, in one step."""
        path.unlink(missing_ok=True)
        target = apsw.Connection(str(path))
        try:
            with self.read() as source, target.backup("main", source, "main") as backup:
                backup.step(-1)
        finally:
            target.close()
        _sync_file(path)

    def replace_by(self, path: Path) -> None:
        """Make this database a copy of another file, in one step: readers see the old or the
        new.
        """
        source = apsw.Connection(str(path))
        try:
            with self.writer.backup("main", source, "main") as backup:
                backup.step(-1)
        finally:
            source.close()
        self.writer.pragma("journal_mode", "wal")

    def close(self) -> None:
        """Close every connection; what is not committed is gone."""
        with self._lock:
            for connection in self._open:
                connection.close(True)
            self._open.clear()
            self._idle.clear()


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_aside(path: Path) -> Path:
    """Rename a damaged database with its journal files; return where it lies now."""
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm", ""):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(aside.with_name(aside.name + suffix))
    return aside
