"""The stock desk: what runs low, one book and its movements, copies that arrive, prices, CSV out.

Law: whatever is changed here is an operation like any other, under a key that the page keeps, so a
double click or a repeated try counts once.
"""

from __future__ import annotations

import csv
import io
from random import Random
from typing import Any

from flask import Response

from common import fields
from common.clock import Clock
from common.errors import Problem
from common.web import json_answer, json_body, query
from frontend import incoming
from frontend.control.room import Room
from frontend.gateway import READ_WHOLE_S, Group
from frontend.writes import Operations

FOUND_MAX = 20
COLUMNS = ("sku", "title", "authors", "topics", "price_cents", "stock")  # as `make import` reads


class Stock:
    """The page `/ops/stock`, its data and its actions."""

    def __init__(
        self, catalogs: Group, operations: Operations, *, clock: Clock, random: Random
    ) -> None:
        self._catalogs = catalogs
        self._operations = operations
        self._clock = clock
        self._random = random

    def register(self, room: Room) -> None:
        """Add the tab."""
        room.tab("stock", "Stock")
        room.data("stock", self.low)
        room.data("books", self.find)
        room.data("books/<book>", self.book)
        room.data("inventory", self.inventory)
        room.action("restock", self.restock)
        room.action("price", self.price)

    def low(self) -> Response:
        """Answer the books with fewest copies."""
        return json_answer(self._read("/stock", query(("below", "limit", "after"))))

    def find(self) -> Response:
        """Answer the books that an id, a sku or words of a title or author mean."""
        text = fields.text("q", query(("q",)).get("q", ""), fields.TEXT_QUERY_CHARS_MAX)
        by_sku: dict[str, Any] = {"items": []}
        if len(text) <= fields.SKU_CHARS_MAX:
            by_sku = self._read("/books", {"sku": text})
        if fields.parse_id(text) is not None and not by_sku["items"]:
            by_sku = self._by_id(text)
        return json_answer(
            by_sku if by_sku["items"] else self._read("/books", {"q": text, "limit": FOUND_MAX})
        )

    def _by_id(self, text: str) -> dict[str, Any]:
        try:
            return {"items": [self._read(f"/books/{text}", {})]}
        except Problem as problem:
            if problem.code != "not-found":
                raise
            return {"items": []}

    def book(self, book: str) -> Response:
        """Answer a book and its movements."""
        query(())
        return json_answer(self._read(f"/books/{incoming.book_id(book)}/movements", {}))

    def inventory(self) -> Response:
        """Answer a part of all books as CSV, and where to go on."""
        asked = query(("after",))
        found = self._read("/inventory", asked)
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if "after" not in asked:
            rows.writerow(COLUMNS)
        rows.writerows(map(_row, found["items"]))
        return json_answer({
            "csv": text.getvalue(), "books": len(found["items"]), "total": found["total"],
            "next": found["next"],
        })  # fmt: skip

    def restock(self) -> Response:
        """Add copies of a book."""
        return self._run("restock", fields.restock)

    def price(self) -> Response:
        """Change a book's price."""
        return self._run("edit", fields.changes)

    def _run(self, kind: str, checked: Any) -> Response:
        key = incoming.write_key(self._random)
        query(())
        body = json_body()
        number = fields.integer("book_id", body.pop("book_id", None), 1, fields.ID_MAX)
        _, book = self._operations.run(kind, {"book_id": number} | checked(body), key)
        return json_answer(book)

    def _read(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        answered = self._catalogs.read(path, asked, self._clock.now() + READ_WHOLE_S)
        found: dict[str, Any] = answered.response.json()
        return found


def _row(book: dict[str, Any]) -> tuple[Any, ...]:
    return (
        book["sku"] or "", book["title"], "; ".join(book["authors"]), "|".join(book["topics"]),
        book["price_cents"], book["quantity"],
    )  # fmt: skip
