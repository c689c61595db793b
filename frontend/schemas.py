"""PURE: the documents of the public API as JSON Schema, and its errors by status.

Law: no limit, pattern or code stands here: they are those of `common.fields` and `common.errors`,
which check what these describe.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from common import fields
from common.errors import MEDIA_TYPE, PUBLIC

Schema = dict[str, Any]
JSON = "application/json"


def ref(name: str) -> Schema:
    """Return a reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def content(schema: Schema, media_type: str = JSON) -> Schema:
    """Return the contents of an answer or of a request."""
    return {media_type: {"schema": schema}}


def text(chars_max: int, about: str = "") -> Schema:
    """Return a line of text as `fields.text` takes it."""
    described = {"description": about} if about else {}
    pattern = fields.TEXT_PATTERN
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": chars_max,
        "pattern": pattern,
    } | described


def whole(low: int, high: int | None = None, about: str = "") -> Schema:
    """Return a whole number in low..high."""
    schema: Schema = {"type": "integer", "minimum": low}
    if high is not None:
        schema |= {"maximum": high, "format": "int64"}
    return schema | ({"description": about} if about else {})


def listed(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    """Return a list."""
    schema: Schema = {"type": "array", "items": items}
    if least:
        schema["minItems"] = least
    return schema if most is None else schema | {"maxItems": most}


def given(members: Mapping[str, Schema], required: Iterable[str], **more: Any) -> Schema:
    """Return what a client sends: an object without any other member."""
    return {
        "type": "object", "properties": dict(members), "required": list(required),
        "additionalProperties": False,
    } | more  # fmt: skip


def told(members: Mapping[str, Schema], **more: Any) -> Schema:
    """Return what a client is sent: an object with all of these members."""
    schema = {"type": "object", "properties": dict(members), "required": list(members)}
    return schema | more


def shown(example: Any) -> Schema:
    """Return what the page of the API shows in a place."""
    return {"examples": [example]}


def or_null(schema: Schema) -> Schema:
    """Return a schema that takes null as well."""
    return schema | {"type": [schema["type"], "null"]}


BOOK_ID = whole(1, fields.ID_MAX) | shown(1)
QUANTITY = whole(1, fields.QUANTITY_MAX) | shown(1)
PRICE = whole(0, fields.PRICE_CENTS_MAX, "in cents") | shown(1900)
TITLE = text(fields.TITLE_CHARS_MAX) | shown("Distributed systems for the night train")
AUTHORS = listed(text(fields.AUTHOR_CHARS_MAX) | shown("Lamport, L."), most=fields.AUTHORS_MAX)
TOPIC = shown("Distributed systems")
TOPICS = listed(text(fields.TOPIC_CHARS_MAX) | TOPIC, 1, fields.TOPICS_MAX)
SKU = text(fields.SKU_CHARS_MAX, "its name in files; no two books share one") | shown("DS-1900")
REASON = text(fields.REASON_CHARS_MAX, "kept beside the change") | shown("delivery")
COUNT = whole(0)
WORD = {"type": "string"}
NEXT = or_null(WORD) | {"description": "`after` of the next page; null on the last one"}

ON_A_LIST = {"id": BOOK_ID, "title": TITLE, "authors": AUTHORS, "price_cents": PRICE}
A_PAGE = {"total": COUNT, "next": NEXT}
LINE = {"book_id": BOOK_ID, "quantity": QUANTITY | {"default": 1}}
SOLD = {"book_id": BOOK_ID, "title": TITLE, "quantity": QUANTITY, "price_cents": PRICE}
NEW_BOOK = {
    "title": "Distributed systems for the night train", "authors": ["Lamport, L."],
    "topics": ["Distributed systems"], "price_cents": 1900, "quantity": 12,
}  # fmt: skip

SCHEMAS: dict[str, Schema] = {
    "Book": told({
        "id": BOOK_ID, "sku": or_null(SKU), "title": TITLE, "authors": AUTHORS, "topics": TOPICS,
        "price_cents": PRICE, "quantity": COUNT | {"description": "copies left"},
    }),
    "BookPage": told({"items": listed(told(ON_A_LIST)), **A_PAGE}),
    "TopicPage": told({"topic": WORD | TOPIC, "items": listed(told(ON_A_LIST)), **A_PAGE}),
    "Topics": told({"items": listed(told({"topic": WORD | TOPIC, "books": whole(1)}))}),
    "NewBook": given(
        {
            "title": TITLE, "authors": AUTHORS, "topics": TOPICS, "price_cents": PRICE,
            "quantity": whole(0, fields.STOCK_MAX), "sku": or_null(SKU),
        },
        ("title", "authors", "topics", "price_cents", "quantity"),
        examples=[NEW_BOOK],
    ),
    "BookChanges": given(
        {
            "title": TITLE, "authors": AUTHORS, "topics": TOPICS, "price_cents": PRICE,
            "reason": REASON,
        },
        (),
        anyOf=[{"required": [name]} for name in ("title", "authors", "topics", "price_cents")],
        examples=[{"price_cents": 2599, "reason": "a new edition"}],
    ),
    "Restock": given(
        {"quantity": QUANTITY, "reason": or_null(REASON)}, ("quantity",),
        examples=[{"quantity": 5, "reason": "delivery"}],
    ),
    "Purchase": given({"quantity": QUANTITY | {"default": 1}}, (), examples=[{"quantity": 1}]),
    "Basket": given(
        {
            "items": listed(given(LINE, ("book_id",)), 1, fields.BASKET_LINES_MAX)
            | {"description": "each book on one line only"},
        },
        ("items",),
        examples=[{"items": [{"book_id": 1, "quantity": 1}, {"book_id": 2, "quantity": 2}]}],
    ),
    "Order": told({
        "order_id": WORD | shown("4-B7Qm2x0Kc9vYp1"),
        "items": listed(told(SOLD), 1, fields.BASKET_LINES_MAX),
        "total_cents": COUNT, "created_at": {"type": "string", "format": "date-time"},
    }),
    "OrderPage": told({"items": listed(ref("Order")), **A_PAGE}),
    "Node": told({
        "node": WORD, "service": WORD, "up": {"type": "boolean"}, "role": or_null(WORD),
        "epoch": or_null(COUNT), "position": or_null(listed(COUNT)), "lag": or_null(COUNT),
        "lease": {"type": ["number", "null"]} | {"description": "seconds left"},
        "state": or_null(WORD), "leader": or_null(WORD), "why": or_null(WORD),
    }),
    "Cluster": told({
        "seen_by": WORD, "leader": or_null(WORD), "nodes": listed(ref("Node")),
    }),
    "Alive": told({"alive": {"const": True}}),
    "Readiness": told({"reads": {"type": "boolean"}, "writes": {"type": "boolean"}, "why": WORD}),
}  # fmt: skip


def problem(codes: Iterable[str]) -> Schema:
    """Return the problem document (RFC 9457) of some codes, which share a status."""
    codes = list(codes)
    status, _ = PUBLIC[codes[0]]
    return told(
        {
            "type": WORD, "title": {"enum": [PUBLIC[code][1] for code in codes]},
            "status": {"const": status}, "code": {"enum": codes},
            "detail": WORD | {"description": "for people"},
        },
    )  # fmt: skip


def problems(codes: Iterable[str]) -> dict[str, Schema]:
    """Return the error answers, by status, of a call that may be refused with these codes."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in PUBLIC:
        if code in set(codes):
            by_status[PUBLIC[code][0]].append(code)
    return {
        str(status): {
            "description": "; ".join(f"`{code}`: {PUBLIC[code][1]}" for code in together),
            "content": content(problem(together), MEDIA_TYPE),
        } | ({"headers": HEADERS_OF[status]} if status in HEADERS_OF else {})
        for status, together in sorted(by_status.items())
    }  # fmt: skip


HEADERS_OF: dict[int, Schema] = {
    401: {"WWW-Authenticate": {"schema": {"const": "Bearer"}, "required": True}},
    **{
        status: {"Retry-After": {"schema": whole(1, about="seconds"), "required": True}}
        for status in (429, 503)
    },
}
