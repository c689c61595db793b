"""The catalog's HTTP for others: reads at any node, operations and sessions at the leader.

See docs/wire.md for shapes. Every call here is signed; `common/web.py` has checked that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from flask import Flask, Response, g, request

from catalog import store
from catalog.admission import Admission, Told
from catalog.model import (
    LEDGER_KEY,
    TEXT_KEY,
    TOPICS_KEY,
    Operation,
)  # fmt: skip
from catalog.node import Node, Reading
from catalog.quick import look_up, search, written
from catalog.sessions import Renewal
from common import bundle, fields
from common.cursor import read_cursor, write_cursor
from common.direct import Asked
from common.errors import Problem
from common.openspan import AnySpan
from common.service import Call, Reply
from common.tracer import Tracer
from common.web import direct_of, json_answer, query, strict_json

ANSWER_MARGIN_S = 0.05  # answer before the caller stops waiting
LEDGER_ROWS_MAX = 1000
OPERATIONS = "/operations"
BRIEF_BYTES_MAX = 16 * 1024  # parsed in less time than it takes to wake a worker
QUEUED_MAX = 512  # with more in the queue calls wait in their lane, which refuses too many
IMPORT_ROWS_MAX = 1000


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


CHECKS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "sell": lambda body: {"items": fields.sale_lines(body.get("items"))},
    "add": fields.book,
    "edit": lambda body: {"book_id": _book_id(body), **fields.changes(_without_id(body))},
    "restock": lambda body: {"book_id": _book_id(body), **fields.restock(_without_id(body))},
    "import": lambda body: {"rows": [_row(row) for row in _rows(body)]},
}


def _book_id(body: Mapping[str, Any]) -> int:
    return fields.integer("book_id", body.get("book_id"), 1, fields.ID_MAX)


def _without_id(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "book_id"}


def _rows(body: Mapping[str, Any]) -> list[Any]:
    rows = body.get("rows", [])
    if not isinstance(rows, list) or len(rows) > IMPORT_ROWS_MAX:
        raise fields.invalid("rows", f"must be a list of at most {IMPORT_ROWS_MAX} books")
    return rows


def _row(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise fields.invalid("rows", "must be a list of books")
    book = fields.book(row)
    if book["sku"] is None:
        raise fields.invalid("sku", "is missing")
    return book


def _operation(document: Any) -> Operation:
    if not isinstance(document, dict):
        raise Problem("invalid-request", "an operation is an object, or one of a list of them")
    key = fields.idempotency_key(document.get("key"))
    kind, body = document.get("kind"), document.get("body")
    if key is None or not isinstance(kind, str) or kind not in CHECKS or not isinstance(body, dict):
        raise Problem("invalid-request", "needs key, kind and body")
    return Operation(key, kind, CHECKS[kind](body))


def _said(told: Told) -> str:
    if isinstance(told, Problem):
        return bundle.problem_text(told)
    return bundle.recorded_text(told.status, told.answer)


class Writes:
    """The operations, which only the leader does."""

    def __init__(self, app: Flask, admission: Admission, tracer: Tracer) -> None:
        """Add them to an app."""
        self._admission = admission
        self._tracer = tracer
        self._direct = direct_of(app)
        self._direct.post(app, OPERATIONS)(self._operate)

    def take(self, call: Call, reply: Reply) -> bool:
        """Take a brief call in order ahead of Flask, and without a worker that waits for it."""
        if (
            call.target.partition(b"?")[0] != OPERATIONS.encode() or call.method != "POST"
            or len(call.body) > BRIEF_BYTES_MAX or len(self._admission.queue) >= QUEUED_MAX
        ):  # fmt: skip
            return False
        asked = self._direct.asked(call)
        if asked is None:
            return False
        try:
            operations, many = _operations(asked.body)
        except Problem:
            return False

        span = self._direct.continued(call)

        def done(told: list[Told]) -> None:
            _end(span, told)
            reply(self._direct.answered(lambda: _text(told, many)))

        with self._tracer.within(span.contexts):
            self._admission.begin(operations, *_limits(asked), done)
        return True

    def _operate(self, asked: Asked) -> str:
        operations, many = _operations(asked.body)
        return _text(self._admission.submit(operations, *_limits(asked)), many)


def _end(span: AnySpan, told: list[Told]) -> None:
    """End the span of a message; what it says of a refusal is the first one."""
    if span:
        for problem in told:
            if isinstance(problem, Problem):
                span.note("error.type", problem.code)
                break
        span.answered(200)
        span.end()


def _operations(body: bytes) -> tuple[list[Operation], bool]:
    """Return what is asked for, and whether it is a list."""
    document = strict_json(body)
    if isinstance(document, list):
        return list(map(_operation, bundle.writes_in(document))), True
    return [_operation(document)], False


def _limits(asked: Asked) -> tuple[float, str]:
    """Return until when a call waits, and the name of its message."""
    return asked.until - ANSWER_MARGIN_S, bundle.attempt_in(asked.query)


def _text(told: list[Told], many: bool) -> str:
    """Return what was told; raise the problem of an operation that came alone."""
    if many:
        return bundle.list_text(map(_said, told))
    if isinstance(told[0], Problem):
        raise told[0]
    return _said(told[0])


def add_sessions(app: Flask, node: Node, frontends: Collection[str]) -> None:
    """Add the sessions of the frontends configured, which only the leader grants."""

    @app.post("/sessions")
    def register() -> Response:
        now, epoch = node.clock.now(), _leading(node)
        if g.sender not in frontends:  # it could never be told what to forget
            raise Problem("invalid-request", f"{g.sender} is no frontend of {node.name}'s settings")
        session = f"{node.random.getrandbits(96):024x}"
        floors = node.sessions.register(session, g.sender, epoch, now)
        try:
            lease_s = _lease_s(
                node
            )  # after it counts: who hands over looks for it before that ends
        except Problem:
            node.sessions.surrender(session)
            raise
        return json_answer({
            "session": session, "epoch": epoch, "lease_s": lease_s, "floors": floors,
            "leader": node.name,
        })  # fmt: skip

    @app.post("/sessions/<session>/renew")
    def renew(session: str) -> Response:
        epoch = _leading(node)
        if node.yielding_to:  # it is given back at once, and asked for again at the next leader
            raise Problem("unknown-session", f"{node.name} hands over to {node.yielding_to}")
        renewal = node.sessions.renew(session, epoch, node.clock.now())
        if renewal is Renewal.UNKNOWN:
            raise Problem("unknown-session", renewal.value)
        if renewal is Renewal.UNACKNOWLEDGED:
            raise Problem("unavailable", renewal.value)
        return json_answer({"lease_s": _lease_s(node)})

    @app.post("/sessions/<session>/surrender")
    def surrender(session: str) -> Response:
        node.sessions.surrender(session)
        return json_answer({})


def _lease_s(node: Node) -> float:
    """Return how long a cache may be used: never longer than this node itself may answer."""
    if node.yielding_to:
        raise Problem("unavailable", f"{node.name} hands over to {node.yielding_to}")
    left_s = node.lease_left_s
    if left_s <= 0:
        raise Problem("unavailable", f"{node.name} has no read lease itself")
    return min(node.lease_s, left_s)


def _leading(node: Node) -> int:
    """Return the epoch this node leads; raise `not-leader`."""
    with node.lock:
        if not node.leads:
            raise Problem("not-leader", f"{node.name} is {node.status}", leader=node.leader)
        return node.epoch
