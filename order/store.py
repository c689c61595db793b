"""`orders.db`: the orders this server knows, and how far it has followed which cluster's ledger.

Law: the cursor moves only together with the rows it passes, in one transaction; a stored order
never changes; a log and a ledger that differ are never mixed. All of it is a copy of the ledger: a
damaged file is put aside and a new one filled, and what a power loss takes, since no commit waits
for the disk, is followed once more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

from common.chain import Chain, Digested
from common.database import Corrupt, Database, move_aside
from order.model import Malformed, Order, Page, Refused

log = logging.getLogger("bazar.order")

SCHEMA_VERSION = 1


class NotStored(Exception):
    """Nothing was stored: the disk is full, or the file locked. It can be read; try again."""


class StorageBroken(Exception):
    """The disk failed or the file is damaged: answer nothing more from it, restart and refill."""


class Place(NamedTuple):
    """Up to which row this log holds the ledger of a cluster without gaps."""

    cluster: str
    number: int


def open_database(path: Path) -> Database:
    """Open or create the file; move a damaged one aside and begin an empty one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    try:
        return Database(path, schema, SCHEMA_VERSION, is_a_copy=True)
    except Corrupt as error:
        log.critical("DAMAGED: %s; moved to %s, starting empty", error, move_aside(path).name)
        return Database(path, schema, SCHEMA_VERSION, is_a_copy=True)


class Store:
    """The one owner of the database: its writer is behind one lock, readers have their own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._broken: str | None = None
        self._place = Place(*database.writer.execute("SELECT cluster, number FROM cursor").get)

    @property
    def place(self) -> Place:
        """Return the committed cursor."""
        return self._place

    @property
    def broken(self) -> str | None:
        """Return how the disk failed, or None."""
        return self._broken

    def find(self, order_id: str) -> str | None:
        """Return the body of an order stored here, by a sale or by the follower."""
        with self._failures(), self._database.read() as db:
            row = db.execute("SELECT body FROM orders WHERE order_id = ?", (order_id,)).get
            return None if row is None else str(row)

    def listing(self, after: int, limit: int) -> tuple[list[Order], int]:
        """Return orders by number, from `after` up to the cursor, and the cursor of that moment."""
        with self._failures(), self._database.read() as db:
            end = int(db.execute("SELECT number FROM cursor").get)
            rows = db.execute(
                "SELECT order_id, number, body FROM orders WHERE number > ? AND number <= ?"
                " ORDER BY number LIMIT ?",
                (after, end, limit),
            )
            return [Order(*row) for row in rows], end

    def newest(self, limit: int, before: int | None) -> tuple[list[Order], int]:
        """Return the latest orders (before a number), newest first, and the cursor of then."""
        with self._failures(), self._database.read() as db:
            end = int(db.execute("SELECT number FROM cursor").get)
            rows = db.execute(
                "SELECT order_id, number, body FROM orders WHERE number <= ? AND number < ?"
                " ORDER BY number DESC LIMIT ?",
                (end, end + 1 if before is None else before, limit),
            )
            return [Order(*row) for row in rows], end

    def digest(self, chain: Chain, upto: int) -> tuple[Digested, int]:
        """Return the digest of orders 1..`upto`, as far as they are here, and the cursor."""
        with self._failures(), self._database.read() as db:
            end = int(db.execute("SELECT number FROM cursor").get)
            return chain.upto(db, min(upto, end)), end

    def record(self, orders: Sequence[Order], cluster: str) -> None:
        """Store orders this server has just sold; the cursor stays where it is.

        Raises `Refused`, `NotStored`, `StorageBroken`.
        """
        with self._lock:
            with self._transaction() as db:
                place = self._joined(db, cluster)
                for order in orders:
                    _put(db, order)
            self._place = place

    def follow(self, page: Page) -> int:
        """Store a page of the ledger and move the cursor over it; return how many rows it moved.

        The cursor may have passed the page since it was asked for: then nothing moves.
        Raises `Malformed` (a gap), `Refused`, `NotStored`, `StorageBroken`.
        """
        with self._lock:
            with self._transaction() as db:
                place = self._joined(db, page.cluster)
                if page.since > place.number:
                    raise Malformed(
                        f"a page from {page.since} on, with the cursor at {place.number}"
                    )
                for order in page.orders:
                    _put(db, order)
                moved = max(page.last - place.number, 0)
                # Not `number + moved`: a COMMIT that reported an error may have moved it already.
                db.execute("UPDATE cursor SET number = ?", (place.number + moved,))
            self._place = Place(place.cluster, place.number + moved)
        return moved

    def _joined(self, db: apsw.Connection, cluster: str) -> Place:
        """Return the cursor; a log joins the first cluster it hears of, and no other ever after."""
        place = self._place
        if place.cluster == cluster:
            return place
        if place.cluster:
            raise Refused(f"this log is of cluster {place.cluster}, the answer of {cluster or '?'}")
        db.execute("UPDATE cursor SET cluster = ?", (cluster,))
        return Place(cluster, place.number)

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        """Commit what is done inside, all or nothing (the caller holds the lock)."""
        db = self._database.writer
        with self._failures():
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Tell a full disk from a broken one: after an I/O error nobody knows what is stored."""
        if self._broken is not None:
            raise StorageBroken(self._broken)
        try:
            yield
        except (apsw.FullError, apsw.BusyError) as error:
            raise NotStored(str(error)) from error
        except (apsw.IOError, apsw.CorruptError, apsw.NotADBError) as error:
            self._broken = f"{type(error).__name__}: {error}"
            log.critical("STORAGE FAILED: %s", self._broken)
            raise StorageBroken(self._broken) from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _put(db: apsw.Connection, order: Order) -> None:
    """Insert an order, or see that the very same one is there; fill in a missing number."""
    names = {"id": order.order_id, "number": order.number, "body": order.body}
    db.execute("INSERT INTO orders VALUES (:id, :number, :body) ON CONFLICT DO NOTHING", names)
    if db.changes():
        return
    there = db.execute(
        "SELECT order_id, number, body FROM orders WHERE order_id = :id OR number = :number", names
    )
    for stored in [Order(*row) for row in there]:
        if not order.same(stored):
            raise Refused(
                f"DIVERGED: {order.order_id} at {order.number} came, but here is"
                f" {stored.order_id} at {stored.number}, with another number or content"
            )
    db.execute("UPDATE orders SET number = :number WHERE order_id = :id AND number IS NULL", names)
