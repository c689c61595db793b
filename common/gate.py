"""What stands in front of a service: reads a request whole, runs it in its lane, answers.

Laws: a slow client never holds a worker, since a lane gets a request only when all of it is here; a
full lane refuses at once; whatever goes wrong, the answer is a problem document and never a 500.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from common.errors import Problem, unexpected
from common.service import Call, Lane, Service
from common.wsgi import Answer, Scope, call, environ_of, of_problem, path_of

log = logging.getLogger("bazar")

HEADER_BYTES_MAX = 16 * 1024
BODY_TIMEOUT_S = 10.0
REMEMBERED_MAX, REMEMBERED_BYTES_MAX = 4096, 1024
DISCARD_BYTES_MAX = 16 * 1024 * 1024  # of a body that is too large: read on, or few would hear it

Receive = Callable[[], Awaitable[Any]]


class _Gone(Exception):
    """The client went away before its request was here."""


class _Unread(Problem):
    """A refusal with the body not read to its end: the connection cannot be used again."""


class Gate:
    """Serves a service to `protocol.py`; all of it runs on one event loop but the WSGI calls."""

    def __init__(self, service: Service, *, body_timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._call = functools.partial(call, service.flask.wsgi_app)
        self._at_once = service.at_once
        self._later = service.later
        self._direct = service.direct
        self._lane_of = service.lane_of
        self._pools = {name: _Pool(name, lane) for name, lane in service.lanes.items()}
        self._body_timeout_s = body_timeout_s
        self.calls: dict[bytes, Call] = {}  # by the bytes they came in: see `Protocol`

    async def __call__(self, scope: Scope, receive: Receive) -> Answer | None:
        """Answer one request, its scope and body as ASGI has them; None: the client has gone."""
        try:
            _check_headers(scope)
            path = "/" + path_of(scope).decode("utf-8", "replace").lstrip("/")  # as Werkzeug has it
            pool = self._pools[self._lane_of(scope["method"], path)]
            body = await _read_body(scope, receive, pool.body_bytes_max, self._body_timeout_s)
            call = _call_of(scope, body)
            if call is not None and (answering := self._answering(call)) is not None:
                return await answering
            return await pool.run(self._serve, (scope, body, call))
        except Problem as problem:
            close = [("Connection", "close")] if isinstance(problem, _Unread) else []
            return of_problem(problem, *close)
        except asyncio.CancelledError:  # at the end of a stop; left alone it would become a 500
            log.error("%s %s did not end in time", scope["method"], scope["path"])
        except _Gone:
            return None
        except Exception:
            log.exception("unexpected error in %s %s", scope["method"], scope["path"])
        key = _header(scope, b"idempotency-key")
        return of_problem(unexpected(scope["method"], key.decode("latin-1") if key else None))

    def at_once(self, call: Call) -> Answer | None:
        """Return what the service answers on the event loop; None: ask in the ordinary way."""
        try:
            return self._at_once(call)
        except Exception:
            log.exception("unexpected error in %s %r, answered at once", call.method, call.target)
            return None

    def remember(self, data: bytes, call: Call) -> None:
        """Remember what some bytes mean."""
        if len(data) <= REMEMBERED_BYTES_MAX:
            if len(self.calls) >= REMEMBERED_MAX:
                self.calls.clear()
            self.calls[data] = call

    def _serve(self, asked: tuple[Scope, bytes, Call | None]) -> Answer:
        """Answer in a worker, by Flask if need be."""
        scope, body, call = asked
        answer = None if call is None else self._direct(call)
        return self._call(environ_of(scope, body)) if answer is None else answer

    def _answering(self, call: Call) -> asyncio.Future[Answer] | None:
        """Return the answer to come, if the service takes this call ahead of Flask."""
        loop = asyncio.get_running_loop()
        answering: asyncio.Future[Answer] = loop.create_future()

        def reply(answer: Answer) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(_give, answering, answer)

        return answering if self._later(call, reply) else None

    def close(self) -> int:
        """Take no more calls; return how many are still running."""
        for pool in self._pools.values():
            pool.executor.shutdown(wait=False, cancel_futures=True)
        return sum(pool.inside for pool in self._pools.values())


class _Pool:
    """The workers of a lane, and who is inside: running or waiting."""

    def __init__(self, name: str, lane: Lane) -> None:
        self.body_bytes_max = lane.body_bytes_max
        self.inside = 0
        self.executor = ThreadPoolExecutor(lane.workers, thread_name_prefix=name)
        self._inside_max = lane.workers + lane.waiting_max
        self._name = name

    async def run(self, work: Callable[[Any], Answer], argument: Any) -> Answer:
        """Return what `work` returns in a worker; raise `rate-limited` if the lane is full."""
        if self.inside >= self._inside_max:
            raise Problem("rate-limited", f"too many requests wait in the lane {self._name!r}")
        self.inside += 1
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self.executor, work, argument)
        running.add_done_callback(self._leave)
        return await asyncio.shield(running)  # giving up the wait does not end the work

    def _leave(self, _: object) -> None:
        self.inside -= 1


def _call_of(scope: Scope, body: bytes) -> Call | None:
    """Return a request as a service gets it ahead of Flask; None: Flask is to say what it means."""
    headers = dict(scope["headers"])
    if len(headers) < len(scope["headers"]) or not is_plain(headers.get(b"host", b"")):
        return None
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    return Call(scope["method"], target, headers, body)


def _give(answering: asyncio.Future[Answer], answer: Answer) -> None:
    if not answering.done():
        answering.set_result(answer)


PLAIN_HOST = re.compile(
    rb"(?:(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}|\[[0-9A-Fa-f:]+\])(?::([1-9][0-9]{0,4}))?"
)


def is_plain(host: bytes) -> bool:
    """Tell whether no router objects to a Host header (Werkzeug refuses some, ignores others)."""
    found = PLAIN_HOST.fullmatch(host)
    return found is not None and int(found[1] or 80) < 2**16


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)


def _check_headers(scope: Scope) -> None:
    """Refuse a header block that is too long (the protocol refuses only what comes in pieces), and
    a request without a host (RFC 9112, section 3.2).
    """
    size = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    if size + len(scope["raw_path"]) + len(scope["query_string"]) > HEADER_BYTES_MAX:
        raise _Unread("too-large", f"a header block holds at most {HEADER_BYTES_MAX} bytes")
    hosts = sum(name == b"host" for name, _ in scope["headers"])
    if hosts > 1 or (hosts == 0 and scope["http_version"] != "1.0"):
        raise _Unread("invalid-request", "a request of HTTP/1.1 has one Host header")


async def _read_body(scope: Scope, receive: Receive, bytes_max: int, timeout_s: float) -> bytes:
    length = _header(scope, b"content-length")
    if length is None and _header(scope, b"transfer-encoding") is None:
        return b""
    waits = (_header(scope, b"expect") or b"").lower() == b"100-continue"
    if waits and length is not None and int(length) > bytes_max:
        raise _Unread("too-large", f"a body holds at most {bytes_max} bytes")
    try:
        async with asyncio.timeout(timeout_s):
            return await _receive_body(receive, bytes_max)
    except TimeoutError:
        raise _Unread(
            "invalid-request", f"the body did not arrive within {timeout_s:g} s"
        ) from None


async def _receive_body(receive: Receive, bytes_max: int) -> bytes:
    """Return the body; one that is too large is read on and thrown away.

    A connection closed on what the client still sends is reset, and the client never sees why.
    """
    body, size, more = bytearray(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        more = message.get("more_body", False)
        size += len(message["body"])
        if size <= bytes_max:
            body += message["body"]
        elif size > bytes_max + DISCARD_BYTES_MAX:
            raise _Unread("too-large", f"a body holds at most {bytes_max} bytes")
    if size > bytes_max:
        raise Problem("too-large", f"a body holds at most {bytes_max} bytes")
    return bytes(body)
