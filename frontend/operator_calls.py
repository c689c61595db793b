"""The operator's calls: books, prices, stock, all orders, the cluster; each needs the token."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from flask import Flask, Response

from common import fields
from common.clock import Clock
from common.errors import MEDIA_TYPE
from common.web import json_answer, json_body, query
from frontend import incoming
from frontend.api import orders_answer
from frontend.cluster import Cluster
from frontend.gateway import Group
from frontend.writes import Operations


class OperatorCalls:
    """The operator's calls as views."""

    def __init__(
        self,
        operations: Operations,
        orders: Group,
        cluster: Cluster,
        *,
        token: str,
        clock: Clock,
        random: Random,
    ) -> None:
        self._operations = operations
        self._orders = orders
        self._cluster = cluster
        self._token = token
        self._clock = clock
        self._random = random

    def register(self, app: Flask) -> None:
        """Give an app the operator's calls."""
        app.post("/books")(self.add)
        app.patch("/books/<book>")(self.edit)
        app.post("/books/<book>/restock")(self.restock)
        app.get("/orders")(self.orders)
        app.get("/cluster")(self.cluster)

    def add(self) -> Response:
        """Add a book."""
        key = self._key()
        query(())
        response = self._run("add", fields.book(json_body()), key)
        if response.status_code == 201:
            response.headers["Location"] = f"/lookup/{response.get_json()['id']}"
        return response

    def edit(self, book: str) -> Response:
        """Change what a book is called, where it stands, or what it costs."""
        key = self._key()
        number = incoming.book_id(book)
        query(())
        return self._run("edit", {"book_id": number} | fields.changes(json_body()), key)

    def restock(self, book: str) -> Response:
        """Add copies of a book to the stock."""
        key = self._key()
        number = incoming.book_id(book)
        query(())
        return self._run("restock", {"book_id": number} | fields.restock(json_body()), key)

    def orders(self) -> Response:
        """Answer one page of all orders, as they were sold."""
        incoming.require_operator(self._token)
        _, _, asked = incoming.page_asked()
        return orders_answer(self._orders, "/orders", asked, self._clock)

    def cluster(self) -> Response:
        """Answer every node as this frontend sees it."""
        incoming.require_operator(self._token)
        query(())
        return json_answer(self._cluster.seen())

    def _key(self) -> str:
        key = incoming.write_key(self._random)
        incoming.require_operator(self._token)
        return key

    def _run(self, kind: str, body: Mapping[str, Any], key: str) -> Response:
        status, answer = self._operations.run(kind, body, key)
        response = json_answer(answer, status)
        if status >= 400:
            response.content_type = MEDIA_TYPE
        return response
