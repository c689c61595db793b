"""Digests of rows that are numbered 1, 2, 3, ... and never change: a block of them at a time.

Law: the digest of rows 1..n depends on nothing but those rows, whoever makes it and in whatever
steps. What has been digested is believed for a while, then read again: so to ask once more costs
the newest rows, and one that was changed behind our back is found all the same.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass

import apsw

from common.clock import Clock

BLOCK_ROWS = 1000
BLOCKS_MAX = 100  # of one call: some tenths of a second at most
BELIEVED_S = 600.0


@dataclass(frozen=True)
class Digested:
    """Rows 1..`upto`: their digest, and the sum of what is counted in them."""

    upto: int
    digest: str
    total: int


START = Digested(0, "", 0)


class Chain:
    """The digests of one table. `query` takes two numbers and returns, of the rows after the first
    up to the second, their contents as one blob and the sum of what is counted.
    """

    def __init__(self, query: str, *, clock: Clock, lock: AbstractContextManager[object]) -> None:
        self._query = query
        self._clock = clock
        self._lock = lock
        self._life = ""
        self._begun_at = 0.0
        self._points = [START]

    def upto(self, db: apsw.Connection, number: int, life: str = "") -> Digested:
        """Return what is known of rows 1..`number`, or of as many as one call may read.

        `life` names the disk: another one is read from its first row.
        """
        with self._lock:  # over reading: who asks at the same time would only do the same again
            if life != self._life or self._clock.now() - self._begun_at > BELIEVED_S:
                self._begin(life)
            blocks, limit = number // BLOCK_ROWS, len(self._points) + BLOCKS_MAX
            while len(self._points) <= min(blocks, limit - 1):
                last = self._points[-1]
                self._points.append(self._read(db, last, last.upto + BLOCK_ROWS))
            if blocks >= limit:
                return self._points[-1]
            return self._read(db, self._points[blocks], number)

    def forget(self) -> None:
        """Believe nothing any more."""
        with self._lock:
            self._begin(self._life)

    def _begin(self, life: str) -> None:
        self._life, self._begun_at, self._points = life, self._clock.now(), [START]

    def _read(self, db: apsw.Connection, before: Digested, number: int) -> Digested:
        if number == before.upto:
            return before
        try:
            blob, total = db.execute(self._query, (before.upto, number)).get
        except apsw.SQLError as error:  # a body that is no JSON any more
            blob, total = f"cannot be read: {error}".encode(), 0
        digest = hashlib.blake2b(before.digest.encode() + b"\n", digest_size=16)
        digest.update(blob or b"")
        return Digested(number, digest.hexdigest(), before.total + (total or 0))
