"""`node.db`: what this disk is and what it has promised. Never part of a snapshot.

Law: persist, then speak: every method that changes something returns only when it is durable.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from catalog.replication import Promise, Record
from common.database import Database

SCHEMA = """
CREATE TABLE node (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    disk TEXT NOT NULL,
    cluster TEXT NOT NULL,
    promised INTEGER NOT NULL,
    candidate TEXT NOT NULL,
    record TEXT                            -- JSON; null = empty, or to be refilled
) STRICT;
"""


class NodeRecord:
    """The disk's identity, its cluster, its promise, and the record of the last epoch it
    entered.
    """

    def __init__(self, path: Path, random: Random) -> None:
        self._db = Database(path, SCHEMA, 1)
        self._random = random
        if self._db.writer.execute("SELECT 1 FROM node").get is None:
            self._write("INSERT INTO node VALUES (1, ?, '', 0, '', NULL)", self._fresh())
        self._load()

    def _fresh(self) -> str:
        return f"{self._random.getrandbits(64):016x}"

    def _write(self, sql: str, *values: object) -> None:
        try:
            self._db.writer.execute(sql, values)
        finally:
            self._load()  # also after an error: a full disk may be told of after the commit

    def _load(self) -> None:
        row = self._db.writer.execute(
            "SELECT disk, cluster, promised, candidate, record FROM node"
        ).get
        self.disk: str = row[0]
        self.cluster: str = row[1]
        self.promise = Promise(row[2], row[3])
        self.record: Record | None = None if row[4] is None else Record(**json.loads(row[4]))

    def agree(self, promise: Promise) -> None:
        """Promise an epoch to a candidate."""
        self._write("UPDATE node SET promised = ?, candidate = ?", promise.epoch, promise.candidate)

    def enter(self, cluster: str, record: Record) -> None:
        """Enter an epoch."""
        promise = max(self.promise, Promise(record.epoch, record.leader), key=lambda p: p.epoch)
        self._write(
            "UPDATE node SET cluster = ?, record = ?, promised = ?, candidate = ?",
            cluster, json.dumps(record.document()), promise.epoch, promise.candidate,
        )  # fmt: skip

    def become_new_disk(self, cluster: str) -> None:
        """Give up this disk's identity: it holds nothing that counts until it has been refilled."""
        self._write(
            "UPDATE node SET disk = ?, cluster = ?, promised = 0, candidate = '', record = NULL",
            self._fresh(), cluster,
        )  # fmt: skip

    def filled_from(self, record: Record, promise: Promise) -> None:
        """Take over the peer's record and promise after a refill (it does not name this disk: no
        vote yet).
        """
        text = json.dumps(record.document())
        self._write("UPDATE node SET record = ?, promised = ?", text, promise.epoch)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
