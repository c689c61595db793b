"""What a catalog tells of itself to be checked: totals, its history, digests of all its rows.

Law: what one answer holds is of one moment, read in a snapshot of its own, so no write waits for
it; whatever it costs, all of it together takes about a hundredth of a processor.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Any, NamedTuple

import apsw

from catalog import store
from catalog.disk import guard
from catalog.node import Node
from common.chain import Chain

HISTORY_ENTRIES = 100
HASH_CHARS = 16  # enough to tell two entries apart
PAGE_ROWS = 1000
REST, REST_S_MIN, REST_S_AGAIN = 99, 10.0, 1.0  # times as long as reading all rows took
LEDGER = """
SELECT
    CAST(group_concat(number || ' ' || order_id || ' ' || body, char(10) ORDER BY number) AS BLOB),
    sum((SELECT sum(value ->> 'quantity') FROM json_each(body, '$.items')))
FROM ledger WHERE number > ? AND number <= ?"""
TOTALS = """
SELECT (SELECT count(*) FROM books), (SELECT coalesce(sum(quantity), 0) FROM books),
    (SELECT coalesce(sum(quantity), 0) FROM movements WHERE kind = 'received')"""


class Rows(NamedTuple):
    """A table, the column it is read by, what comes before every value of that, and the columns (of
    all rows that share a key, in one).
    """

    table: str
    key: str
    before: Any
    columns: str


# Every table that is replicated or derived, but for the ledger, which only grows.
ROWS = (
    Rows(
        "books", "id", -1, "id, quote(sku), title, authors, topics, price_cents, quantity, version"
    ),
    Rows("book_topics", "topic", "", "topic, group_concat(book_id)"),
    Rows("topics", "topic", "", "topic, name"),
    Rows("movements", "number", -1, "number, book_id, at, kind, quantity, detail"),
    Rows("operations", "key", "", "key, fingerprint, status, answer"),
    Rows("counters", "name", "", "name, value"),
    Rows("topic_counts", "topic", "", "topic, books"),
    Rows("book_count", "books", -1, "books"),
)  # fmt: skip
PAGE = """
SELECT CAST(group_concat(line, char(10) ORDER BY key) AS BLOB), max(key)
FROM (
    SELECT {key} AS key, concat_ws(char(31), {columns}) AS line
    FROM {table} WHERE {key} > ? GROUP BY {key} ORDER BY {key} LIMIT {limit}
)"""


class Audit:
    """The answers, for one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ledger = Chain(LEDGER, clock=node.clock, lock=threading.Lock())
        self._lock = threading.Lock()
        self._rows: dict[str, Any] | None = None
        self._rest_until = 0.0
        self._read_at = 0.0

    def totals(self) -> dict[str, Any]:
        """Return what was received, sold and is left, and the newest part of the log."""
        with guard(self._node), self._node.db.read() as db:
            books, left, received = db.execute(TOTALS).get
            orders = store.counter(db, "ledger")
            counted = self._ledger.upto(db, orders, self._node.record.disk)
            return {
                "position": list(store.end(db)[:2]), "history": _history(db), "books": books,
                "received": received, "left": left, "orders": orders, "sold": counted.total,
                "counted": counted.upto,
            }  # fmt: skip

    def ledger(self, upto: int) -> dict[str, Any]:
        """Return the digest of the ledger's rows 1..`upto`, or of as many as there are."""
        with guard(self._node), self._node.db.read() as db:
            number = min(upto, store.counter(db, "ledger"))
            found = self._ledger.upto(db, number, self._node.record.disk)
            return {"upto": found.upto, "digest": found.digest}

    def forget(self) -> None:
        """Read again what has been read before, as far as that was not just now."""
        self._ledger.forget()
        with self._lock:
            self._rest_until = min(self._rest_until, self._read_at + REST_S_AGAIN)

    def rows(self) -> dict[str, Any]:
        """Return a digest of every row, and the position it is of: a new one, or the last one while
        a rest is due.
        """
        now = self._node.clock.now()
        with self._lock:
            if self._rows is not None and now < self._rest_until:
                return self._rows
            self._rest_until = now + REST_S_MIN  # others are given the last one meanwhile
        with guard(self._node), self._node.db.read() as db:
            found = {"position": list(store.end(db)[:2]), "digest": digest(db)}
        took_s = self._node.clock.now() - now
        with self._lock:
            self._rows, self._read_at = found, self._node.clock.now()
            self._rest_until = self._read_at + max(REST_S_MIN, REST * took_s)
        return found


def _history(db: apsw.Connection) -> list[list[Any]]:
    rows = db.execute("SELECT seq, hash FROM log ORDER BY seq DESC LIMIT ?", (HISTORY_ENTRIES,))
    return [[seq, chained[:HASH_CHARS]] for seq, chained in rows]


def digest(db: apsw.Connection) -> str:
    """Return a hash over every row but the ledger's. SQLite puts pages of rows together, and leaves
    the interpreter to others meanwhile, which `store.digest` does not.
    """
    total = hashlib.blake2b(digest_size=16)
    for rows in ROWS:
        total.update(rows.table.encode())
        page, after = PAGE.format(**rows._asdict(), limit=PAGE_ROWS), rows.before
        while (found := db.execute(page, (after,)).get)[1] is not None:
            total.update(found[0])
            after = found[1]
    return total.hexdigest()
