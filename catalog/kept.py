"""What the backup server has on its disk: `backup.db` beside a `node.db` like a catalog's.

Law: the log holds every entry after `base`, without a gap, each following the one before it; a
method that changes something returns only when that is durable. Entries are never applied.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import apsw

from catalog.model import Entry, decode_entries
from catalog.record import NodeRecord
from common.database import Corrupt, Database, move_aside
from common.position import Position
from common.service import StartRefused

log = logging.getLogger("bazar")

SCHEMA = """
CREATE TABLE base (                        -- the position after which entries are kept
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL, seq INTEGER NOT NULL, hash TEXT NOT NULL
) STRICT;
INSERT INTO base VALUES (1, 0, 0, '');
CREATE TABLE log (
    seq INTEGER PRIMARY KEY NOT NULL, epoch INTEGER NOT NULL, hash TEXT NOT NULL,
    entry BLOB NOT NULL
) STRICT;
CREATE TABLE reported (                    -- the highest position that each disk has ever told
    node TEXT NOT NULL, disk TEXT NOT NULL,
    epoch INTEGER NOT NULL, seq INTEGER NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY (node, disk)
) STRICT, WITHOUT ROWID;
"""


class Kept:
    """`backup.db`. Its caller sees to it that one change is made at a time; `base` and `end` are
    what is durable.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file and verify the log; raise `Corrupt`."""
        self._db = Database(path, SCHEMA, 1)
        self._load()
        if why := self._broken():
            self._db.close()
            raise Corrupt(f"{path}: {why}")

    def _load(self) -> None:
        db = self._db.writer
        self.base = Position(*db.execute("SELECT epoch, seq, hash FROM base").get)
        last = db.execute("SELECT epoch, seq, hash FROM log ORDER BY seq DESC LIMIT 1").get
        self.end = self.base if last is None else Position(*last)

    def _broken(self) -> str | None:
        """Return why the log is no chain from its base on: SQLite cannot see a byte flipped in an
        entry.
        """
        prev = self.base
        rows = self._db.writer.execute("SELECT epoch, seq, hash, entry FROM log ORDER BY seq")
        for *row, data in rows:
            try:
                (entry,) = decode_entries(data)
            except (ValueError, TypeError):
                return f"entry {row[1]} cannot be read"
            if entry.position != Position(*row) or not entry.follows(prev):
                return f"entry {row[1]} does not follow entry {prev.seq}"
            prev = entry.position
        return None

    @contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        try:
            with self._db.write() as db:
                yield db
        finally:
            # Also after an error: a COMMIT that reports a full disk may have happened, when it was
            # the checkpoint after it that found no room.
            self._load()

    # --- the log ---

    @property
    def entries(self) -> int:
        """Return how many entries are kept."""
        return self.end.seq - self.base.seq

    @property
    def size_bytes(self) -> int:
        """Return how many bytes the entries are."""
        with self._db.read() as db:
            return int(db.execute("SELECT coalesce(sum(length(entry)), 0) FROM log").get)

    def at(self, seq: int) -> Position | None:
        """Return the position with this seq, of the base or an entry; None: it is not known
        here.
        """
        if seq == self.base.seq:
            return self.base
        row = self._db.writer.execute("SELECT epoch, seq, hash FROM log WHERE seq = ?", (seq,)).get
        return None if row is None else Position(*row)

    def after(self, seq: int, bytes_max: int) -> bytes | None:
        """Return encoded entries after `seq`, at least one if there is one; None when the log
        begins later or ends earlier.
        """
        if not self.base.seq <= seq <= self.end.seq:
            return None
        found = bytearray()
        rows = self._db.writer.execute("SELECT entry FROM log WHERE seq > ? ORDER BY seq", (seq,))
        for (data,) in rows:
            if found and len(found) + len(data) > bytes_max:
                break
            found += data
        return bytes(found)

    def append(self, entry: Entry) -> None:
        """Put an entry at the log's end; the caller has seen that it follows."""
        epoch, seq, digest = entry.position
        with self._writing() as db:
            db.execute("INSERT INTO log VALUES (?, ?, ?, ?)", (seq, epoch, digest, entry.encode()))

    def fit(self, end: Position, tail: Position) -> None:
        """Make the log one that goes on from `end`, which a new epoch begins with; beyond it only
        what leads up to `tail` can stand. Twice is as good as once.
        """
        with self._writing() as db:
            if self.at(end.seq) != end:
                _begin_at(db, end)
                return
            last = tail.seq if self.at(tail.seq) == tail else tail.seq - 1
            db.execute("DELETE FROM log WHERE seq > ?", (last,))

    def release(self) -> None:
        """Delete every entry: nobody misses them any more."""
        with self._writing() as db:
            _begin_at(db, self.end)

    # --- reports ---

    def reported(self, node: str, disk: str) -> Position | None:
        """Return the highest position that a disk has ever told."""
        row = self._db.writer.execute(
            "SELECT epoch, seq, hash FROM reported WHERE node = ? AND disk = ?", (node, disk)
        ).get
        return None if row is None else Position(*row)

    def note(self, node: str, disk: str, told: Position) -> None:
        """Remember what a disk tells of itself, if it is higher than ever before."""
        before = self.reported(node, disk)
        if before is None or told.seq > before.seq:
            with self._writing() as db:
                db.execute("REPLACE INTO reported VALUES (?, ?, ?, ?, ?)", (node, disk, *told))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _begin_at(db: apsw.Connection, base: Position) -> None:
    db.execute("DELETE FROM log")
    db.execute("UPDATE base SET epoch = ?, seq = ?, hash = ?", base)


def open_files(folder: Path, random: Random) -> tuple[NodeRecord, Kept]:
    """Open both files of a backup server; raise `StartRefused` when a person must decide.

    A disk that has lost the log it acknowledged becomes a new one: without a vote until an epoch
    names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record, path = _open_record(folder / "node.db", random), folder / "backup.db"
    try:
        if record.record is not None and not path.exists():
            raise Corrupt(f"{path} is lost")
        kept = Kept(path)
    except Corrupt as error:
        record.become_new_disk(record.cluster)  # first: it must not count if we die here
        log.error("%s: this is a new disk now, without a vote until an epoch names it", error)
        move_aside(path)
        kept = Kept(path)
    if kept.entries and not record.cluster:
        kept.close()
        record.close()
        raise StartRefused(
            f"{folder} has a backup.db whose node.db is lost: put it back, or empty the folder and"
            " the backup server begins anew"
        )
    return record, kept


def _open_record(path: Path, random: Random) -> NodeRecord:
    try:
        return NodeRecord(path, random)
    except Corrupt as error:
        raise StartRefused(
            f"{error}. It holds what this node has promised, so it is not replaced by itself: if"
            f" both catalogs have their data, empty the folder {path.parent} and start again"
        ) from error
