"""HTTP/1.1 on the event loop, ahead of the ordinary way: plain requests that come in one piece.

Laws: only a whole GET or HEAD without a body, on a connection with nothing in flight, is offered to
the service's `at_once`, or to its `again` if the same bytes were answered before. Only a plain
request that is a whole piece by itself is answered without a task; nothing that comes behind it is
parsed before. All others go the ordinary way. The answers on a connection keep the order of its
requests.

tests/unit/test_protocol.py names each of uvicorn's internals that this leans on.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from common.gate import Origin, scope_of
from common.intake import HEADER_BYTES_MAX
from common.ordinary import Ordinary
from common.plain import METHODS, READS, SPECIAL_HEADERS, is_plain, sole
from common.service import Call
from common.turn import CALLS_MAX
from common.wsgi import Answer


class Protocol(Ordinary):
    """One connection."""

    def __init__(self, config: uvicorn.Config, *others: Any, **named: Any) -> None:
        super().__init__(config, *others, **named)
        self._at_once = self._gate.at_once
        self._known = self._gate.known.get
        self._turn = self._gate.turn
        self._askers = self._turn.askers
        self.waits: Any = None  # the call in the bytes that came last, until the turn ends
        self._in_head = False  # a message has begun, and its header block has not ended
        self._head_bytes = 0  # of that header block
        self._between = True  # the last message has ended, and no other has begun
        self._piece = b""  # what is being parsed, or waits
        self._whole = False  # it is short, and begins with a message or its body
        self._begins = False  # it begins with a message
        self._begun = False  # the message at hand began in it
        self._messages = 0  # that have begun in it
        self._hit: Call | None = None  # the last one of them that was answered at once
        self._sole: Call | None = None  # what the whole of it is, to be answered without a task
        self._host: bytes | None = None  # one known to be plain
        self._used = False  # something has come or gone since the keep-alive timer was set
        self._taken: Call | None = None  # what is in flight without a task
        self._behind = bytearray()  # what has come behind it
        self._last = False  # nothing is answered after it
        self._origin: Origin

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self._origin = Origin(self.loop, self.server, self.client, self.scheme)

    def data_received(self, data: bytes) -> None:
        """Take a piece of what the client sends.

        Clients send the same bytes again and again. Between two messages a parser makes the same of
        them each time, so what was once parsed as one whole call that could be answered at once is
        remembered as that call: a third of what a hit costs.
        """
        call = self._known(data)
        if call is not None and self._between and self.waits is None and self._may_answer():
            self.waits, self._piece, self._used = call, data, True
            askers = self._askers
            if not askers:
                self.loop.call_soon(self._turn.end)
            askers.append(self)
            if len(askers) < CALLS_MAX:
                return
            self._turn.end()
        else:
            self._turn.end()
            self._take_piece(data)

    def tell(self, answer: Answer | None) -> None:
        """Answer the call that waits; None: it can be answered at once no more."""
        self.waits = None
        if answer is None:
            self._take_piece(self._piece)
        elif not self.transport.is_closing():
            self.transport.write(answer.wire)

    def _take_piece(self, data: bytes) -> None:
        if self._taken is not None:
            self._put_behind(data)
            return
        self._piece, self._begins, self._begun = data, self._between, False
        self._whole = len(data) <= HEADER_BYTES_MAX and not self._in_head
        self._messages, self._hit, self._sole, self._used = 0, None, None, True
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse("This is not HTTP/1.1.")
            return
        self._piece = b""
        if self.timeout_keep_alive_task is None:
            self._watch()
        if self._sole is not None:
            self._take(self._sole)
            self._sole = None
        elif self._in_head:
            self._bound_head(len(data))
        elif self._hit is not None and self._begins and self._between and self._messages == 1:
            self._gate.remember(data, self._hit)

    def _bound_head(self, piece_bytes: int) -> None:
        self._head_bytes += self._parsed_bytes() if self._begun else piece_bytes
        if self._head_bytes > HEADER_BYTES_MAX:
            self._refuse("The header block is too long.")

    def _parsed_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _in_flight(self) -> bool:
        return self._taken is not None or (
            self.cycle is not None and not self.cycle.response_complete
        )

    def _may_answer(self) -> bool:
        """Tell whether an answer may be written now: none is due before it, and the client reads
        (the ordinary way waits for one that does not).
        """
        cycle = self.cycle
        return (
            self._taken is None
            and (cycle is None or cycle.response_complete)
            and not self.flow.write_paused
        )

    def _refuse(self, why: str) -> None:
        """Answer 400 and close, unless answers are due to earlier requests: then close after."""
        if self._in_flight():
            self.cycle.keep_alive = False
        else:
            self.send_400_response(why)

    # The idle connection: one timer that is seldom touched, for one more per hit would cost a tenth

    def _watch(self) -> None:
        self._used = False
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, unless it was used since it was last looked at, or is in use."""
        if self._used or self._in_flight():
            self._watch()
        else:
            super().timeout_keep_alive_handler()

    # What the parser calls

    def on_message_begin(self) -> None:
        """Begin a request; its scope is made only if it goes the ordinary way."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = self._done = False
        self._in_head, self._begun, self._between = True, True, False
        self._messages += 1
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Answer at once, or keep the call for the end of the piece, or hand the request on."""
        self._in_head = False
        call = self._plain_call()
        if call is not None:
            if self._whole and call.method in READS and b"content-length" not in call.headers:
                answer = self._at_once(call)
                if answer is not None:
                    self._done, self._hit = True, call
                    self.transport.write(answer.wire)
                    return
            if self._begins and self._messages == 1:
                self._sole = sole(self._piece, call)
                if self._sole is not None:
                    self._done = True
                    return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request."""
        self._between = True
        if not self._done:
            super().on_message_complete()

    def _plain_call(self) -> Call | None:
        """Return what can be answered now, as far as its header block tells; None: it is not plain,
        or not its turn.
        """
        method = METHODS.get(self.parser.get_method())
        if method is None or not self.parser.should_keep_alive() or not self._may_answer():
            return None
        headers = dict(self.headers)
        if (
            len(headers) < len(self.headers)
            or not SPECIAL_HEADERS.isdisjoint(headers)
            or not self._plain(headers.get(b"host", b""))
            or (b"connection" in headers and self.parser.get_http_version() != "1.1")
        ):
            return None
        return Call(method, self.url, headers)

    def _plain(self, host: bytes) -> bool:
        """Tell whether a host is plain; a connection says the same one again and again."""
        if host != self._host:
            if not is_plain(host):
                return False
            self._host = host
        return True

    # Answers without a task

    def _take(self, call: Call) -> None:
        self._taken = call
        answer = self._gate.take(call, self._origin, functools.partial(self._answer, call))
        if answer is not None:
            self._answer(call, answer)

    def _answer(self, call: Call, answer: Answer) -> None:
        """Answer what is in flight, and go on with what came behind it."""
        if self._taken is not call:
            return  # nobody waits for it any more
        self._taken, self._used = None, True
        if self.transport.is_closing():
            self.connections.discard(self)
            return
        self._write(answer, call.method, keep=not self._last)
        if self._behind and not self.transport.is_closing():
            behind = bytes(self._behind)
            self._behind.clear()
            self.flow.resume_reading()
            self.data_received(behind)

    def _put_behind(self, data: bytes) -> None:
        self._behind += data
        if len(self._behind) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection; while a call of it is in flight, a stop waits for it all the same."""
        super().connection_lost(exc)
        self._behind.clear()
        if self._taken is not None:
            self.connections.add(self)

    def eof_received(self) -> None:
        """Let the transport close the connection, once what it asked is answered."""
        self._turn.end()

    def shutdown(self) -> None:
        """Close the connection, once what is in flight is answered, or a stop waits no more."""
        self._turn.end()
        if self._taken is None:
            super().shutdown()
        else:
            self._last = True
            grace_s = self.config.timeout_graceful_shutdown
            if grace_s is not None:
                self.loop.call_later(grace_s, self._give_up, self._taken)

    def _give_up(self, call: Call) -> None:
        if self._taken is call:
            self._answer(call, self._gate.given_up(scope_of(call, self._origin)))
