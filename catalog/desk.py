"""What a catalog answers to the stock desk: books by stock, all books whole, the movements of one.

These are reads like any other: a write that is under way sends the asker to the leader.
"""

from __future__ import annotations

import json
import re
from typing import Any

import apsw
from flask import Flask, Response

from catalog import store
from catalog.model import EVERY_KEY, book_key
from catalog.node import Node
from catalog.quick import written
from common import fields
from common.errors import Problem
from common.web import query

INVENTORY_ROWS_MAX = 1000
ORDERS_READ = 200_000  # the latest of the ledger: a tenth of a second, no index on every sale
MOVEMENTS_MAX = 100  # of each kind: received and edited, sold
WHOLE = "id, sku, title, authors, topics, price_cents, quantity"
SOLD = f"""
SELECT ledger.number, ledger.order_id, ledger.body ->> 'created_at', line.value ->> 'quantity'
FROM ledger, json_each(ledger.body, '$.items') AS line
WHERE ledger.number > (SELECT value FROM counters WHERE name = 'ledger') - {ORDERS_READ}
    AND instr(ledger.body, '"book_id":' || ?1 || ',') AND line.value ->> 'book_id' = ?1
ORDER BY ledger.number DESC LIMIT ?2"""
_AFTER = re.compile(r"([0-9]{1,10})-([0-9]{1,18})", re.ASCII)

Document = dict[str, Any]


def add_desk(app: Flask, node: Node) -> None:
    """Give an app these calls."""

    @app.get("/stock")
    def stock() -> Response:
        asked = query(("below", "limit", "after"))
        below, limit = fields.count(asked, "below", 1), fields.limit(asked.get("limit"))
        after = _after(asked.get("after", "0-0"))
        return _answer(node, EVERY_KEY, lambda db: low_stock(db, below, limit, after))

    @app.get("/inventory")
    def inventory() -> Response:
        asked = query(("limit", "after"))
        limit = fields.count(asked, "limit", INVENTORY_ROWS_MAX)
        after = fields.count(asked, "after", 0)
        return _answer(
            node, EVERY_KEY, lambda db: whole_books(db, min(limit, INVENTORY_ROWS_MAX), after)
        )

    @app.get("/books/<int:book_id>/movements")
    def movements(book_id: int) -> Response:
        query(())
        if book_id > fields.ID_MAX:
            raise Problem("not-found", f"there is no book {book_id}")
        return _answer(node, book_key(book_id), lambda db: movements_of(db, book_id))


def low_stock(db: apsw.Connection, below: int, limit: int, after: tuple[int, int]) -> Document:
    """Return books with fewer than `below` copies, fewest first; `after` is (copies, id)."""
    rows = db.execute(
        f"SELECT {WHOLE} FROM books WHERE quantity < ? AND (quantity, id) > (?, ?)"
        " ORDER BY quantity, id LIMIT ?",
        (below, *after, limit + 1),
    ).fetchall()
    items = [store.book_document(row) for row in rows[:limit]]
    total = db.execute("SELECT count(*) FROM books WHERE quantity < ?", (below,)).get
    following = f"{items[-1]['quantity']}-{items[-1]['id']}" if len(rows) > limit else None
    return {"items": items, "total": total, "next": following}


def whole_books(db: apsw.Connection, limit: int, after: int) -> Document:
    """Return books as they are looked up, by id; `next` is the id to go on after."""
    rows = db.execute(
        f"SELECT {WHOLE} FROM books WHERE id > ? ORDER BY id LIMIT ?", (after, limit + 1)
    ).fetchall()
    items = [store.book_document(row) for row in rows[:limit]]
    total = db.execute("SELECT books FROM book_count").get
    return {"items": items, "total": total, "next": items[-1]["id"] if len(rows) > limit else None}


def movements_of(db: apsw.Connection, book_id: int) -> Document:
    """Return a book, what was received and sold of it, and its latest movements, newest first."""
    book = store.book(db, book_id)
    if book is None:
        raise Problem("not-found", f"there is no book {book_id}")
    by_hand = db.execute(
        "SELECT at, kind, quantity, detail FROM movements WHERE book_id = ?"
        " ORDER BY number DESC LIMIT ?",
        (book_id, MOVEMENTS_MAX),
    )
    found = [
        {"at": at, "kind": kind, "quantity": quantity, **json.loads(detail)}
        for at, kind, quantity, detail in by_hand
    ]
    sold = db.execute(SOLD, (book_id, MOVEMENTS_MAX))
    found += [
        {"at": at, "kind": "sold", "quantity": -quantity, "order_id": order_id}
        for _, order_id, at, quantity in sold
    ]
    received = db.execute(
        "SELECT coalesce(sum(quantity), 0) FROM movements WHERE book_id = ?", (book_id,)
    ).get
    found.sort(key=lambda movement: movement["at"], reverse=True)
    return {"book": book, "received": received, "movements": found[:MOVEMENTS_MAX]}


def _after(text: str) -> tuple[int, int]:
    found = _AFTER.fullmatch(text)
    if found is None:
        raise fields.invalid("after", "must be copies and an id, such as 3-17")
    return int(found[1]), int(found[2])


def _answer(node: Node, key: str, read: Any) -> Response:
    body, headers = written(node, node.read(key, read))
    return Response(body, content_type="application/json", headers=headers)
