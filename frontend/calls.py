"""What is said of each public call, by the name of its view: what it takes and may answer.

The rest of its description comes from the code: its address and method from the url map, its words
from the view's docstring, its fields and errors from `frontend/schemas.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from common import fields
from frontend.incoming import CURSOR_CHARS_MAX, ORDER_ID_PATTERN
from frontend.schemas import BOOK_ID, JSON, WORD, Schema, content, ref, text, whole

HOMES = ("frontend.api", "frontend.operator_calls", "frontend.apidocs", "common.web")  # of views
READING, BUYING, RUNNING, HEALTH = "Reading", "Buying", "Running the shop", "Health"
TAGS = {
    READING: "Books, topics and what is in them: cached, and never stale.",
    BUYING: "A purchase happens once for its `Idempotency-Key`, however often it is sent.",
    RUNNING: "For operators, with the token.",
    HEALTH: "What a load balancer and a monitor ask.",
}

# The errors of each kind of call; a call that needs the token also has `unauthorized`.
READ = ("invalid-request", "rate-limited", "unavailable")
FOUND = (*READ, "not-found")
WRITE = (
    "invalid-request", "too-large", "in-progress", "idempotency-mismatch", "rate-limited",
    "writes-unavailable", "outcome-unknown",
)  # fmt: skip
CHANGE = (*WRITE, "not-found")
SALE = (*WRITE, "not-found", "sold-out")


@dataclass(frozen=True)
class Call:
    """One call: `answer` is its document and `status` that of a success."""

    tag: str
    summary: str
    answer: Schema
    errors: tuple[str, ...]
    status: int = 200
    media_type: str = JSON
    parameters: tuple[Schema, ...] = ()
    body: Schema | None = None
    body_required: bool = True
    operator: bool = False
    cached: bool = False
    located: bool = False
    more: Schema = field(default_factory=dict)  # further answers, by status
    leads_to: Schema = field(default_factory=dict)  # links (OpenAPI 3.1, 4.8.20)


def asked(name: str, schema: Schema, about: str) -> Schema:
    """Return a parameter of the query."""
    return {"name": name, "in": "query", "schema": schema} | (
        {"description": about} if about else {}
    )


def header(schema: Schema, *, always: bool = True) -> Schema:
    """Return a header of an answer."""
    return {"schema": schema, "required": always}


PATHS: dict[str, Schema] = {  # what stands in an address, by its name in the url map
    "book": {"schema": BOOK_ID, "description": "the book's id", "example": 1},
    "topic": {
        "schema": text(fields.TOPIC_CHARS_MAX),
        "description": "matched whatever its case and blanks; slashes in it may stand as they are",
        "example": "distributed systems",
    },
    "order_id": {"schema": WORD | {"pattern": ORDER_ID_PATTERN}, "description": "the order's id"},
}
LIMIT = asked(
    "limit", whole(1, fields.LIMIT_MAX) | {"default": fields.LIMIT_DEFAULT}, "items on the page"
)
AFTER = asked(
    "after", WORD | {"minLength": 1, "maxLength": CURSOR_CHARS_MAX}, "`next` of the page before it"
)
WORDS = asked(
    "q", text(fields.TEXT_QUERY_CHARS_MAX), "words of titles and authors; the last one may be begun"
)
KEY: Schema = {
    "name": "Idempotency-Key", "in": "header",
    "schema": WORD | {"pattern": fields.KEY_PATTERN, "maxLength": fields.KEY_CHARS_MAX},
    "description": "the same key and body: the same answer again, and nothing done twice",
}  # fmt: skip
KNOWN: Schema = {
    "name": "If-None-Match", "in": "header", "schema": WORD,
    "description": "the `ETag` of what you have: 304 if it is still that",
}  # fmt: skip
KEY_BACK = {"Idempotency-Key": header(WORD)}
LOCATION = {"Location": header({"type": "string", "format": "uri-reference"})}
READ_LABELS = {
    "Cache-Status": header({"enum": ["bazar; hit", "bazar; fwd=miss"]}),
    "X-Served-By": header(WORD | {"description": "the node that answered"}),
    "ETag": header(WORD),
}

BOOK, ORDER = ref("Book"), ref("Order")
BOOK_CHANGED = {"operationId": "look_up", "parameters": {"book": "$response.body#/id"}}
ORDER_MADE = {"operationId": "order", "parameters": {"order_id": "$response.body#/order_id"}}

CALLS: dict[str, Call] = {
    "search": Call(
        READING, "A topic's books", ref("TopicPage"), READ, parameters=(LIMIT, AFTER), cached=True,
    ),
    "look_up": Call(READING, "One book", BOOK, FOUND, cached=True),
    "books": Call(
        READING, "All books, or those with some words", ref("BookPage"), READ,
        parameters=(WORDS, LIMIT, AFTER), cached=True,
    ),
    "topics": Call(READING, "All topics", ref("Topics"), READ, cached=True),
    "purchase": Call(
        BUYING, "Buy copies of a book", ORDER, SALE, 201, body=ref("Purchase"),
        body_required=False, located=True, leads_to={"the order": ORDER_MADE},
    ),
    "basket": Call(
        BUYING, "Buy a basket: all of it or nothing", ORDER, SALE, 201, body=ref("Basket"),
        located=True, leads_to={"the order": ORDER_MADE},
    ),
    "order": Call(BUYING, "An order", ORDER, FOUND),
    "orders": Call(
        RUNNING, "All orders, as they were sold", ref("OrderPage"), READ, operator=True,
        parameters=(LIMIT, AFTER),
    ),
    "add": Call(
        RUNNING, "Add a book", BOOK, WRITE, 201, body=ref("NewBook"), operator=True, located=True,
        leads_to={"the book": BOOK_CHANGED},
    ),
    "edit": Call(
        RUNNING, "Change a book", BOOK, CHANGE, body=ref("BookChanges"), operator=True,
        leads_to={"the book": BOOK_CHANGED},
    ),
    "restock": Call(
        RUNNING, "Receive copies of a book", BOOK, CHANGE, body=ref("Restock"), operator=True,
        leads_to={"the book": BOOK_CHANGED},
    ),
    "cluster": Call(
        RUNNING, "Every node as this frontend sees it", ref("Cluster"),
        ("invalid-request", "rate-limited"), operator=True,
    ),
    "livez": Call(HEALTH, "Whether the process lives", ref("Alive"), ("rate-limited",)),
    "readyz": Call(
        HEALTH, "Whether reads and writes are possible", ref("Readiness"), ("rate-limited",),
        more={"503": {"description": "No reads now", "content": content(ref("Readiness"))}},
    ),
    "metrics": Call(
        HEALTH, "What this frontend counts, for Prometheus", WORD, ("rate-limited",),
        media_type="text/plain",
    ),
    "openapi": Call(
        HEALTH, "This description", {"type": "object"}, ("invalid-request", "rate-limited")
    ),
}  # fmt: skip


def of(view: str, method: str) -> tuple[Any, ...]:
    """Return the parameters that a call of this method has besides its own."""
    if CALLS[view].cached:
        return (KNOWN,)
    return (KEY,) if method != "GET" else ()
