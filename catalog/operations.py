"""What each kind of write does inside the leader's transaction, and which keys it makes dirty.

Law: an operation either changes rows and returns its answer, or raises `Refused` and changes
nothing; both are recorded under its key. Rows are read before and after inside the transaction,
never assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import apsw

from catalog import store
from catalog.model import LEDGER_KEY, TEXT_KEY, TOPICS_KEY, Operation, book_key, topic_page_key
from common.compact import compact
from common.errors import Problem
from common.fields import topic_key

Document = dict[str, Any]


class Refused(Exception):
    """The shop says no, for ever, to this key."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


@dataclass
class Transaction:
    """What an operation may use: the open transaction, the seq it will have, the date, and a fresh
    order id.
    """

    db: apsw.Connection
    seq: int
    at: str
    new_order_id: Callable[[], str]
    keys: set[str] = field(default_factory=set)

    def next_number(self, counter: str) -> int:
        """Count one up (a replicated counter: AUTOINCREMENT's own is not in a changeset)."""
        return int(
            self.db.execute(
                "UPDATE counters SET value = value + 1 WHERE name = ? RETURNING value", (counter,)
            ).get
        )


def run(tx: Transaction, operation: Operation) -> tuple[int, Document]:
    """Do one operation; return its public status and document, or raise `Refused`."""
    return KINDS[operation.kind](tx, **operation.body)


def sell(tx: Transaction, items: list[dict[str, int]]) -> tuple[int, Document]:
    """Take stock and record the sale, all lines or none."""
    lines = [_sell_line(tx, **item) for item in items]
    number = tx.next_number("ledger")
    order = {
        "order_id": tx.new_order_id(),
        "items": lines,
        "total_cents": sum(line["price_cents"] * line["quantity"] for line in lines),
        "created_at": tx.at,
    }
    body = compact(order)
    tx.db.execute("INSERT INTO ledger VALUES (?, ?, ?)", (number, order["order_id"], body))
    tx.keys.add(LEDGER_KEY)
    return 201, order | {"number": number}


def _sell_line(tx: Transaction, book_id: int, quantity: int) -> Document:
    row = tx.db.execute(
        "SELECT title, price_cents, quantity FROM books WHERE id = ?", (book_id,)
    ).get
    if row is None:
        raise Refused(Problem("not-found", f"there is no book {book_id}", book_id=book_id))
    title, price_cents, left = row
    if left < quantity:
        why = f"{left} of book {book_id} left, {quantity} asked for"
        raise Refused(Problem("sold-out", why, book_id=book_id, quantity_left=left))
    tx.db.execute(
        "UPDATE books SET quantity = quantity - ?, version = ? WHERE id = ?",
        (quantity, tx.seq, book_id),
    )
    tx.keys.add(book_key(book_id))
    return {"book_id": book_id, "title": title, "quantity": quantity, "price_cents": price_cents}


def add(tx: Transaction, sku: str | None, **fields: Any) -> tuple[int, Document]:
    """Add a book that is not here yet."""
    taken = None if sku is None else _id_of(tx, sku)
    if taken is not None:
        raise Refused(
            Problem("invalid-request", f"sku: {sku} is book {taken}", field="sku", book_id=taken)
        )
    return 201, _existing(tx, _insert(tx, sku=sku, **fields))


def edit(
    tx: Transaction, book_id: int, reason: str | None = None, **changes: Any
) -> tuple[int, Document]:
    """Change a book's title, authors, topics or price."""
    before = _existing(tx, book_id)
    _update(tx, before, changes)
    _moved(tx, book_id, "edited", 0, {"reason": reason, "fields": sorted(changes)})
    return 200, _existing(tx, book_id)


def restock(
    tx: Transaction, book_id: int, quantity: int, reason: str | None
) -> tuple[int, Document]:
    """Receive copies."""
    _existing(tx, book_id)
    tx.db.execute(
        "UPDATE books SET quantity = quantity + ?, version = ? WHERE id = ?",
        (quantity, tx.seq, book_id),
    )
    _moved(tx, book_id, "received", quantity, {"reason": reason})
    tx.keys.add(book_key(book_id))
    return 200, _existing(tx, book_id)


def load(tx: Transaction, rows: list[Document]) -> tuple[int, Document]:
    """Upsert books by sku; a file's stock counts only for a book that is new."""
    counts = {"added": 0, "changed": 0, "unchanged": 0}
    for row in rows:
        counts[_load_row(tx, **row)] += 1
    return 200, counts


def _load_row(tx: Transaction, sku: str, quantity: int, **fields: Any) -> str:
    book_id = _id_of(tx, sku)
    if book_id is None:
        _insert(tx, sku=sku, quantity=quantity, **fields)
        return "added"
    before = _existing(tx, book_id)
    fields["topics"] = _named(tx, fields["topics"])
    changes = {name: value for name, value in fields.items() if before[name] != value}
    if not changes:
        return "unchanged"
    _update(tx, before, changes)
    _moved(tx, book_id, "edited", 0, {"reason": "import", "fields": sorted(changes)})
    return "changed"


KINDS: dict[str, Callable[..., tuple[int, Document]]] = {
    "sell": sell, "add": add, "edit": edit, "restock": restock, "import": load,
}  # fmt: skip


def _id_of(tx: Transaction, sku: str) -> int | None:
    found = tx.db.execute("SELECT id FROM books WHERE sku = ?", (sku,)).get
    return None if found is None else int(found)


def _existing(tx: Transaction, book_id: int) -> Document:
    found = store.book(tx.db, book_id)
    if found is None:
        raise Refused(Problem("not-found", f"there is no book {book_id}", book_id=book_id))
    return found


def _insert(
    tx: Transaction, *, sku: str | None, title: str, authors: list[str], topics: list[str],
    price_cents: int, quantity: int,
) -> int:  # fmt: skip
    book_id = tx.next_number("book")
    named = _named(tx, topics)
    row = (book_id, sku, title, compact(authors), compact(named), price_cents, quantity, tx.seq)
    tx.db.execute("INSERT INTO books VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    _file_under(tx, book_id, named)
    _moved(tx, book_id, "received", quantity, {"reason": "new"})
    tx.keys |= {book_key(book_id), TEXT_KEY, TOPICS_KEY, *map(_page_of, named)}
    return book_id


def _update(tx: Transaction, before: Document, changes: Document) -> None:
    book_id = before["id"]
    if "topics" in changes:
        changes = changes | {"topics": _named(tx, changes["topics"])}
        gone = [(topic_key(topic), book_id) for topic in before["topics"]]
        tx.db.executemany("DELETE FROM book_topics WHERE topic = ? AND book_id = ?", gone)
        _file_under(tx, book_id, changes["topics"])
        tx.keys |= {TOPICS_KEY, *map(_page_of, changes["topics"])}
    for name, value in changes.items():  # the names come from common/fields.py, never from a client
        stored = compact(value) if isinstance(value, list) else value
        tx.db.execute(f"UPDATE books SET {name} = ? WHERE id = ?", (stored, book_id))
    tx.db.execute("UPDATE books SET version = ? WHERE id = ?", (tx.seq, book_id))
    tx.keys |= {book_key(book_id), TEXT_KEY, *map(_page_of, before["topics"])}


def _named(tx: Transaction, topics: Iterable[str]) -> list[str]:
    """Return topics in the first spelling stored, storing this one where it is the first."""
    named = []
    for topic in topics:
        key = topic_key(topic)
        name = tx.db.execute("SELECT name FROM topics WHERE topic = ?", (key,)).get
        if name is None:
            tx.db.execute("INSERT INTO topics VALUES (?, ?)", (key, topic))
        named.append(name or topic)
    return named


def _file_under(tx: Transaction, book_id: int, topics: Iterable[str]) -> None:
    rows = [(topic_key(topic), book_id) for topic in topics]
    tx.db.executemany("INSERT INTO book_topics VALUES (?, ?)", rows)


def _moved(tx: Transaction, book_id: int, kind: str, quantity: int, detail: Document) -> None:
    row = (tx.next_number("movement"), book_id, tx.at, kind, quantity, compact(detail))
    tx.db.execute("INSERT INTO movements VALUES (?, ?, ?, ?, ?, ?)", row)


def _page_of(topic: str) -> str:
    return topic_page_key(topic_key(topic))
