"""Reads a request that comes in pieces, on the event loop: whole, within bounds and in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from common.errors import Problem
from common.wsgi import Scope

HEADER_BYTES_MAX = 16 * 1024
BODY_TIMEOUT_S = 10.0
DISCARD_BYTES_MAX = 16 * 1024 * 1024  # of a body that is too large: read on, or few would hear it

Receive = Callable[[], Awaitable[Any]]


class Gone(Exception):
    """The client went away before its request was here."""


class Unread(Problem):
    """A refusal with the body not read to its end: the connection cannot be used again."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return a header's first value."""
    return next((value for key, value in scope["headers"] if key == name), None)


def check_headers(scope: Scope) -> None:
    """Refuse a header block that is too long (the protocol refuses only what comes in pieces), and
    a request without a host (RFC 9112, section 3.2).
    """
    size = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    if size + len(scope["raw_path"]) + len(scope["query_string"]) > HEADER_BYTES_MAX:
        raise Unread("too-large", f"a header block holds at most {HEADER_BYTES_MAX} bytes")
    hosts = sum(name == b"host" for name, _ in scope["headers"])
    if hosts > 1 or (hosts == 0 and scope["http_version"] != "1.0"):
        raise Unread("invalid-request", "a request of HTTP/1.1 has one Host header")


def too_large(bytes_max: int) -> Problem:
    """Return the refusal of a body that is here."""
    return Problem("too-large", f"a body holds at most {bytes_max} bytes")


async def read_body(scope: Scope, receive: Receive, bytes_max: int, timeout_s: float) -> bytes:
    """Return a body; raise a problem, or `Gone`."""
    length = header(scope, b"content-length")
    if length is None and header(scope, b"transfer-encoding") is None:
        return b""
    waits = (header(scope, b"expect") or b"").lower() == b"100-continue"
    if waits and length is not None and int(length) > bytes_max:
        raise Unread("too-large", f"a body holds at most {bytes_max} bytes")
    try:
        async with asyncio.timeout(timeout_s):
            return await _receive_body(receive, bytes_max)
    except TimeoutError:
        raise Unread("invalid-request", f"the body did not arrive within {timeout_s:g} s") from None


async def _receive_body(receive: Receive, bytes_max: int) -> bytes:
    """Return the body; one that is too large is read on and thrown away.

    A connection closed on what the client still sends is reset, and the client never sees why.
    """
    body, size, more = bytearray(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        more = message.get("more_body", False)
        size += len(message["body"])
        if size <= bytes_max:
            body += message["body"]
        elif size > bytes_max + DISCARD_BYTES_MAX:
            raise Unread("too-large", f"a body holds at most {bytes_max} bytes")
    if size > bytes_max:
        raise too_large(bytes_max)
    return bytes(body)
