"""What any catalog node that may answer reads answers. Shapes: docs/wire.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, request

from catalog import store
from catalog.model import LEDGER_KEY, TEXT_KEY, TOPICS_KEY
from catalog.node import Node, Reading
from catalog.quick import look_up, search, written
from common import fields
from common.cursor import read_cursor, write_cursor
from common.web import json_answer, query

LEDGER_ROWS_MAX = 1000


def add_reads(app: Flask, node: Node) -> None:
    """Add what any node that may answer answers."""

    def page(kind: str) -> tuple[int, int, Callable[[int], str]]:
        cluster = node.record.cluster
        after = read_cursor(kind, cluster, request.args.get("after"))
        return (
            fields.limit(request.args.get("limit")),
            after,
            lambda last: write_cursor(kind, cluster, last),
        )

    @app.get("/books/<int:book_id>")
    def book(book_id: int) -> Response:
        return _answer(node, look_up(node, book_id))

    @app.get("/search")
    def search_topic() -> Response:
        given = query(("topic", "limit", "after"))
        asked = given.get("topic", ""), given.get("limit"), given.get("after")
        return _answer(node, search(node, *asked))

    @app.get("/books")
    def books() -> Response:
        given = query(("q", "sku", "limit", "after"))
        if "sku" in given:
            return _answer(node, _by_sku(node, given))
        text = given.get("q")
        limit, after, cursor = page("books")
        if text is None:
            return _answer(
                node, node.read(TEXT_KEY, lambda db: store.books_page(db, limit, after, cursor))
            )
        return _answer(
            node, node.read(TEXT_KEY, lambda db: store.text_page(db, text, limit, after, cursor))
        )

    @app.get("/topics")
    def topics() -> Response:
        return _answer(node, node.read(TOPICS_KEY, store.topics))

    @app.get("/ledger")
    def ledger() -> Response:
        given = query(("after", "limit"))
        after, limit = (
            fields.count(given, "after", 0),
            min(fields.count(given, "limit", 500), LEDGER_ROWS_MAX),
        )
        return _answer(node, node.read(LEDGER_KEY, lambda db: store.ledger(db, after, limit)))

    @app.get("/status")
    def status() -> Response:
        return json_answer(_status(node))


def _by_sku(node: Node, given: Mapping[str, str]) -> Reading:
    fields.known(given, ("sku",))
    sku = fields.text("sku", given["sku"], fields.SKU_CHARS_MAX)
    return node.read(TEXT_KEY, lambda db: store.sku_page(db, sku))


def _answer(node: Node, reading: Reading) -> Response:
    body, headers = written(node, reading)
    return Response(body, content_type="application/json", headers=headers)


def _status(node: Node) -> dict[str, Any]:
    view, ready, left_s = node.view(), node.readiness(), node.lease_left_s
    return {
        "node": node.name, "role": "leader" if node.leads else "replica", "epoch": node.epoch,
        "position": list(view.end[:2]), "lag": 0 if view.prepared is None else 1,
        "lease": None if left_s == math.inf else max(0.0, left_s), "state": node.status,
        "why": node.why, "leader": node.leader, "disk": view.disk, "reads": ready.reads,
        "writes": ready.writes, "voters": sorted(view.record.voters) if view.record else [],
    }  # fmt: skip
