"""What a user would pick instead: a Flask shop on PostgreSQL, as one would write it with care.

A purchase is one transaction: the order first, under its unique key (a repeated key finds the order
that is there), then the stock, whose row is locked only for the end. Served by gunicorn:
`gunicorn 'bench.rival:create_app()'` with `RIVAL_DSN` and `RIVAL_POOL` in its environment.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from flask import Flask, Response, jsonify, request
from psycopg import Connection
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

Row = dict[str, Any]

BOOK = "SELECT id, sku, title, authors, topics, price_cents, quantity FROM books WHERE id = %s"
PAGE = """
SELECT b.id, b.title, b.authors, b.price_cents
FROM book_topics t JOIN books b ON b.id = t.book_id
WHERE t.topic = %s AND t.book_id > %s ORDER BY t.book_id LIMIT %s
"""
TOPIC = "SELECT name, books FROM topics WHERE topic = %s"
ORDER = """
INSERT INTO orders (order_id, key, book_id, title, quantity, price_cents)
SELECT %(order_id)s, %(key)s, id, title, %(quantity)s, price_cents FROM books WHERE id = %(book)s
ON CONFLICT (key) DO NOTHING
RETURNING order_id, book_id, title, quantity, price_cents, created_at
"""
ORDER_OF_KEY = """
SELECT order_id, book_id, title, quantity, price_cents, created_at FROM orders WHERE key = %s
"""
SELL = "UPDATE books SET quantity = quantity - %s WHERE id = %s AND quantity >= %s"


def create_app() -> Flask:
    """Build the shop."""
    app = Flask(__name__)
    size = int(os.environ["RIVAL_POOL"])
    pool: ConnectionPool[Connection[Row]] = ConnectionPool(
        os.environ["RIVAL_DSN"], min_size=size, max_size=size, open=True,
        kwargs={"row_factory": dict_row},
    )  # fmt: skip

    @app.get("/livez")
    def livez() -> Response:
        return jsonify(ok=True)

    @app.get("/lookup/<int:book>")
    def look_up(book: int) -> tuple[Response, int]:
        with pool.connection() as connection:
            row = connection.execute(BOOK, (book,)).fetchone()
        return (jsonify(row), 200) if row else (jsonify(error="no such book"), 404)

    @app.get("/search/<path:topic>")
    def search(topic: str) -> Response:
        after, limit = request.args.get("after", 0, int), request.args.get("limit", 50, int)
        key = topic.casefold()
        with pool.connection() as connection:
            items = connection.execute(PAGE, (key, after, limit)).fetchall()
            found = connection.execute(TOPIC, (key,)).fetchone()
        name, total = (found["name"], found["books"]) if found else (topic, 0)
        following = str(items[-1]["id"]) if len(items) == limit else None
        return jsonify(topic=name, items=items, total=total, next=following)

    @app.post("/purchase/<int:book>")
    def purchase(book: int) -> tuple[Response, int]:
        quantity = (request.get_json(force=True, silent=True) or {}).get("quantity", 1)
        key = request.headers.get("Idempotency-Key") or secrets.token_hex(16)
        with pool.connection() as connection:
            order = _buy(connection, key, book, quantity)
        return (jsonify(order), 201) if order else (jsonify(error="sold out"), 409)

    return app


def _buy(connection: Connection[Row], key: str, book: int, quantity: int) -> Row | None:
    """Sell, in the pool's transaction; None, and nothing changed, when there are too few."""
    asked = {"order_id": secrets.token_hex(12), "key": key, "book": book, "quantity": quantity}
    order = connection.execute(ORDER, asked).fetchone()
    if order is None:
        known: Row | None = connection.execute(ORDER_OF_KEY, (key,)).fetchone()
        return known
    if connection.execute(SELL, (quantity, book, quantity)).rowcount == 0:
        connection.rollback()
        return None
    sold: Row = order
    return sold
