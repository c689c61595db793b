"""What a request from outside says, and how a read is answered: keys, tokens, pages, conditions."""

from __future__ import annotations

import hmac
import re
from random import Random
from urllib.parse import quote

from flask import Response, g, request
from werkzeug.http import parse_etags

from common.errors import Problem
from common.fields import idempotency_key, invalid, limit, parse_id
from common.web import query
from frontend.reads import Answer

CURSOR_CHARS_MAX = 500
ORDER_ID_PATTERN = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,99}$"
_ORDER_ID = re.compile(ORDER_ID_PATTERN, re.ASCII)


def book_id(text: str) -> int:
    """Return the id in a path; raise `not-found` unless it is a canonical one."""
    number = parse_id(text)
    if number is None:
        raise Problem("not-found", f"{text[:100]!r} is not a book's id")
    return number


def may_be_an_order_id(text: str) -> bool:
    """Tell whether an order may have this id: then it means the same in a path, escaped or not."""
    return _ORDER_ID.fullmatch(text) is not None


def page_asked() -> tuple[int, str | None, dict[str, str]]:
    """Return limit, cursor and all parameters of a list."""
    return _page(query(("limit", "after")))


def searched_page_asked() -> tuple[int, str | None, dict[str, str]]:
    """Return limit, cursor and all parameters of a list that may be searched with `q`."""
    return _page(query(("q", "limit", "after")))


def _page(asked: dict[str, str]) -> tuple[int, str | None, dict[str, str]]:
    after = asked.get("after")
    if after is not None and not (after.isascii() and 0 < len(after) <= CURSOR_CHARS_MAX):
        raise invalid("after", "not a cursor; take `next` from the previous page")
    return limit(asked.get("limit")), after, asked


def location_of(order_id: str) -> str:
    """Return where an order is found."""
    return f"/orders/{quote(order_id, safe='')}"


def write_key(random: Random) -> str:
    """Return the write's idempotency key, made here if need be; every answer returns it."""
    given = idempotency_key(request.headers.get("Idempotency-Key"))
    key = f"{random.getrandbits(128):032x}" if given is None else given
    g.idempotency_key = key
    return key


def return_key(response: Response) -> Response:
    """Put the write's key into its answer, whatever the answer is."""
    if "idempotency_key" in g:
        response.headers["Idempotency-Key"] = g.idempotency_key
    return response


def require_operator(token: str) -> None:
    """Raise `unauthorized` unless the call carries the operator's token."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    if not (token and same and scheme.lower() == "bearer"):
        raise Problem(
            "unauthorized", "give the operator's token: Authorization: Bearer ADMIN_TOKEN"
        )


def read_answer(answer: Answer) -> Response:
    """Write a read's answer, or 304 when the client has it already (RFC 9110, section 13.1.2)."""
    known = is_known(answer.page.etag, request.headers.get("If-None-Match"))
    response = Response(status=304) if known else _json(answer.page.body)
    for name, value in answer.headers().items():
        response.headers[name] = value
    return response


def _json(body: bytes) -> Response:
    return Response(body, content_type="application/json")


def is_known(etag: str, if_none_match: str | None) -> bool:
    """Tell whether a client has what carries this tag."""
    if if_none_match is None:
        return False
    return parse_etags(if_none_match).contains_weak(etag.removeprefix("W/").strip('"'))
