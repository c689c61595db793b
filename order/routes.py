"""The order server's signed calls (docs/wire.md, "Order" and "Status") as Flask routes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, g

from common import bundle
from common.compact import compact
from common.cursor import read_cursor, write_cursor
from common.direct import Asked
from common.errors import Problem
from common.fields import idempotency_key, invalid, known, limit, sale_lines
from common.tracer import Tracer
from common.web import direct_of, json_answer, problem_response, query, strict_json
from order.follower import Follower
from order.model import Outcome
from order.sales import Sale, Sales
from order.store import NotStored, StorageBroken, Store

LIST = "orders"
ORDER_ID_CHARS_MAX = 100
READ_MARGIN_S = 0.02  # for the way back


def add_routes(
    app: Flask,
    *,
    sales: Sales,
    tracer: Tracer,
    follower: Follower,
    store: Store,
    status: Callable[[], Mapping[str, Any]],
) -> None:
    """Give an app the order server's calls."""

    @direct_of(app).post(app, "/sales")
    def sell(asked: Asked) -> str:
        baskets = [_sale(document) for document in bundle.writes_in(strict_json(asked.body))]
        for place, context in tracer.contexts.items():
            if place < len(baskets):
                baskets[place].trace = context
        attempt = bundle.attempt_in(asked.query)
        return bundle.list_text(map(_told, sales.buy(baskets, asked.until, attempt)))

    @app.get("/orders/<order_id>")
    def order(order_id: str) -> Response:
        query(())
        return Response(_find(store, follower, order_id), content_type="application/json")

    @app.get("/orders")
    def orders() -> Response:
        asked = query(("limit", "after"))
        return json_answer(_listing(store, follower, limit(asked.get("limit")), asked.get("after")))

    @app.get("/status")
    def node_status() -> Response:
        return json_answer(status())

    @app.errorhandler(StorageBroken)
    @app.errorhandler(NotStored)
    def storage_failed(error: Exception) -> Response:
        return problem_response(Problem("unavailable", f"this order server's disk: {error}"))


def _sale(document: Any) -> Sale:
    if not isinstance(document, dict):
        raise Problem("invalid-request", "a sale is an object with key and items")
    known(document, ("key", "items"))
    key = idempotency_key(document.get("key"))
    if key is None:
        raise invalid("key", "is missing")
    return Sale(key, sale_lines(document.get("items")))


def _told(outcome: Outcome | Problem) -> str:
    """Write what the leader decided: the order, or the refusal; or why nobody can say."""
    if isinstance(outcome, Problem):
        return bundle.problem_text(outcome)
    if outcome.order:
        return bundle.recorded_text(outcome.status, outcome.order.body)
    return bundle.recorded_text(outcome.status, compact(outcome.answer))


def _find(store: Store, follower: Follower, order_id: str) -> str:
    """Return an order's body: own table, else catch up and look again; then "not found" is true."""
    if not _may_be_an_id(order_id):
        raise _not_found()
    _check(follower)
    body = store.find(order_id)
    if body is None:
        follower.catch_up(g.until - READ_MARGIN_S)
        body = store.find(order_id)
    if body is None:
        raise _not_found()
    return body


def _listing(store: Store, follower: Follower, rows: int, after: str | None) -> dict[str, Any]:
    """Return a page of all orders as they were sold, up to a cursor that has just caught up."""
    _check(follower)
    follower.catch_up(g.until - READ_MARGIN_S)
    cluster = store.place.cluster
    found, total = store.listing(read_cursor(LIST, cluster, after), rows)
    last = (found[-1].number if found else None) or total
    return {
        "items": [json.loads(order.body) for order in found],
        "total": total,
        "next": write_cursor(LIST, cluster, last) if last < total else None,
    }


def _check(follower: Follower) -> None:
    if follower.refusing is not None:
        raise Problem("unavailable", f"this order log is out of service: {follower.refusing}")


def _may_be_an_id(text: str) -> bool:
    return len(text) <= ORDER_ID_CHARS_MAX and text.isascii() and text.isprintable()


def _not_found() -> Problem:
    return Problem("not-found", "there is no such order")
