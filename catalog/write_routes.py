"""The operations as they come in, which only the leader does. Shapes: docs/wire.md.

Law: an operation is checked whole before it is asked for; each gets an answer of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask

from catalog.admission import Admission, Told
from catalog.model import Operation
from common import bundle, fields
from common.direct import Asked
from common.errors import Problem
from common.openspan import AnySpan
from common.service import Call, Reply
from common.tracer import Tracer
from common.web import direct_of, strict_json

ANSWER_MARGIN_S = 0.05  # answer before the caller stops waiting
OPERATIONS = "/operations"
BRIEF_BYTES_MAX = 16 * 1024  # parsed in less time than it takes to wake a worker
QUEUED_MAX = 512  # with more in the queue calls wait in their lane, which refuses too many
IMPORT_ROWS_MAX = 1000

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
