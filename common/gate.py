"""What stands in front of a service: reads a request whole, runs it in its lane, answers.

Laws: a slow client never holds a worker, since a lane gets a request only when all of it is here; a
full lane refuses at once; whatever goes wrong, the answer is a problem document and never a 500.
A call that came in one piece (`take`) and a request that did not (`__call__`) are answered alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from common.errors import Problem, unexpected
from common.intake import (
    BODY_TIMEOUT_S,
    Gone,
    Receive,
    Unread,
    check_headers,
    header,
    read_body,
    too_large,
)
from common.lanes import Workers
from common.plain import is_plain
from common.service import Again, Call, Reply, Service
from common.turn import Turn
from common.wsgi import Answer, Scope, call, environ_of, of_problem, path_of

log = logging.getLogger("bazar")

REMEMBERED_MAX, REMEMBERED_BYTES_MAX = 4096, 1024

_Asked = tuple[Scope, bytes, Call | None]  # a request, its body, and both as a call if plain


class Origin(NamedTuple):
    """The connection that a call came by, and the loop it is on."""

    loop: asyncio.AbstractEventLoop
    server: tuple[str, int | None] | None
    client: tuple[str, int] | None
    scheme: str | None


class Gate:
    """Serves a service to `protocol.py`; all of it runs on one event loop but the WSGI calls."""

    def __init__(self, service: Service, *, body_timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._call = functools.partial(call, service.flask.wsgi_app)
        self._at_once = service.at_once
        self._later = service.later
        self._direct = service.direct
        self._explained = service.explained
        self._lane_of = service.lane_of
        self._lanes = {name: Workers(name, lane) for name, lane in service.lanes.items()}
        self._body_timeout_s = body_timeout_s
        self._again = service.again or OneByOne(service.at_once)
        self.known: dict[bytes, Any] = {}  # calls by the bytes they came in: see `Protocol`
        self.turn = Turn(self._all_at_once)

    async def __call__(self, scope: Scope, receive: Receive) -> Answer | None:
        """Answer one request, its scope and body as ASGI has them; None: the client has gone."""
        try:
            check_headers(scope)
            lane = self._lane(scope)
            body = await read_body(scope, receive, lane.body_bytes_max, self._body_timeout_s)
            loop = asyncio.get_running_loop()
            answering: asyncio.Future[Answer] = loop.create_future()
            call = _call_of(scope, body)
            self._begin(lane, loop, (scope, body, call), functools.partial(_give, answering))
            return await answering
        except Problem as problem:
            close = [("Connection", "close")] if isinstance(problem, Unread) else []
            return self._refused(problem, scope, *close)
        except asyncio.CancelledError:  # at the end of a stop; left alone it would become a 500
            return self.given_up(scope)
        except Gone:
            return None
        except Exception:
            return self._unforeseen(scope)

    def take(self, call: Call, origin: Origin, reply: Reply) -> Answer | None:
        """Answer a call whose headers are in order; None: `reply` gets its answer, on the loop,
        later.
        """
        scope = scope_of(call, origin)
        try:
            lane = self._lane(scope)
            if len(call.body) > lane.body_bytes_max:
                raise too_large(lane.body_bytes_max)
            self._begin(lane, origin.loop, (scope, call.body, call), reply)
            return None
        except Problem as problem:
            return self._refused(problem, scope)
        except Exception:
            return self._unforeseen(scope)

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
            if len(self.known) >= REMEMBERED_MAX:
                self.known.clear()
            self.known[data] = self._again.asked(call)

    def _all_at_once(self, calls: Sequence[Any]) -> Sequence[Answer | None]:
        try:
            return self._again.answers(calls)
        except Exception:
            log.exception("unexpected error in %d calls, answered at once", len(calls))
            return [None] * len(calls)

    def close(self) -> int:
        """Take no more calls; return how many are still running."""
        return sum(lane.close() for lane in self._lanes.values())

    def _lane(self, scope: Scope) -> Workers:
        path = "/" + path_of(scope).decode("utf-8", "replace").lstrip("/")  # as Werkzeug has it
        return self._lanes[self._lane_of(scope["method"], path)]

    def _begin(
        self, lane: Workers, loop: asyncio.AbstractEventLoop, asked: _Asked, reply: Reply
    ) -> None:
        """Let the service take a request ahead of Flask, or else give it to a worker."""
        call = asked[2]
        if call is None or not self._later(call, functools.partial(_tell, loop, reply)):
            lane.put(loop, functools.partial(self._serve, *asked), reply)

    def _serve(self, scope: Scope, body: bytes, call: Call | None) -> Answer:
        """Answer in a worker, by Flask if need be."""
        try:
            answer = None if call is None else self._direct(call)
            return self._call(environ_of(scope, body)) if answer is None else answer
        except Problem as problem:
            return self._refused(problem, scope)
        except BaseException:  # SystemExit, too: a worker does not end before its service does
            return self._unforeseen(scope)

    def given_up(self, scope: Scope) -> Answer:
        """Return what to answer when a service ends before its answer is there."""
        log.error("%s %s did not end in time", scope["method"], _shown(scope))
        return self._unknown(scope)

    def _unforeseen(self, scope: Scope) -> Answer:
        log.exception("unexpected error in %s %s", scope["method"], _shown(scope))
        return self._unknown(scope)

    def _unknown(self, scope: Scope) -> Answer:
        key = header(scope, b"idempotency-key")
        problem = unexpected(scope["method"], key.decode("latin-1") if key else None)
        return self._refused(problem, scope)

    def _refused(self, problem: Problem, scope: Scope, *more: tuple[str, str]) -> Answer:
        """Answer with a problem, in the words of the service where it has some."""
        answer = self._explained(problem, _shown(scope), header(scope, b"accept") or b"")
        if answer is None:
            return of_problem(problem, *more)
        raw = [(name.lower().encode(), value.encode()) for name, value in more]
        return Answer(answer.status, [*answer.headers, *raw], answer.body)


class OneByOne(Again):
    """Calls that come again, of a service that has no shorter way for them."""

    def __init__(self, at_once: Callable[[Call], Answer | None]) -> None:
        self._at_once = at_once

    def asked(self, call: Call) -> Call:
        return call

    def answers(self, asked: Sequence[Call]) -> list[Answer | None]:
        return [self._at_once(call) for call in asked]


def _shown(scope: Scope) -> str:
    return path_of(scope).decode("utf-8", "replace")


def scope_of(call: Call, origin: Origin) -> Scope:
    """Return the part of a call's ASGI scope that is of use here."""
    path, _, query = call.target.partition(b"?")
    return {
        "method": call.method,
        "raw_path": path,
        "query_string": query,
        "http_version": "1.1",
        "headers": list(call.headers.items()),
        "server": origin.server,
        "client": origin.client,
        "scheme": origin.scheme,
    }


def _tell(loop: asyncio.AbstractEventLoop, reply: Reply, answer: Answer) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
        loop.call_soon_threadsafe(reply, answer)


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
