"""HTTP/1.1 on the event loop: uvicorn's httptools protocol, between it and a service's gate.

Laws: only a whole GET or HEAD without a body, on a connection with nothing in flight, is offered to
the service's `at_once`; whatever that does not answer takes the ordinary way, through the gate. The
answers on a connection keep the order of its requests.

tests/unit/test_protocol.py names each of uvicorn's internals that this leans on.
"""

from __future__ import annotations

from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from common.gate import HEADER_BYTES_MAX, Gate, is_plain
from common.service import Call
from common.wsgi import Answer

METHODS = {b"GET": "GET", b"HEAD": "HEAD"}
SPECIAL_HEADERS = frozenset((b"content-length", b"transfer-encoding", b"expect", b"upgrade"))
CLOSE = (b"connection", b"close")
CLOSE_LINES = b"connection: close\r\n\r\n"
VERSIONS = ("1.0", "1.1")


class Protocol(HttpToolsProtocol):
    """One connection; `config.app` is the gate of the service."""

    def __init__(self, config: uvicorn.Config, *others: Any, **named: Any) -> None:
        super().__init__(config, *others, **named)
        gate = config.app
        assert isinstance(gate, Gate)
        self._gate = gate
        self._at_once = gate.at_once
        self._in_head = False  # a message has begun, and its header block has not ended
        self._whole = False  # the piece at hand is short, and begins with a message or its body
        self._begun = False  # it began in the piece at hand
        self._head_bytes = 0  # of that header block
        self._host: bytes | None = None  # one known to be plain
        self._used = False  # something has come since the keep-alive timer was set
        self._done = False  # nothing of the message at hand goes the ordinary way
        self._between = True  # the last message has ended, and no other has begun
        self._messages = 0  # that have begun in the piece at hand
        self._call: Call | None = None  # the last one of them that was answered at once

    def data_received(self, data: bytes) -> None:
        """Take a piece of what the client sends.

        Clients send the same bytes again and again. Between two messages a parser makes the same of
        them each time, so what was once parsed as one whole call that could be answered at once is
        remembered as that call: a third of what a hit costs.
        """
        call = self._gate.calls.get(data)
        if call is not None and self._between and self._may_answer():
            answer = self._at_once(call)
            if answer is not None:
                self._used = True
                self.transport.write(answer.wire)
                return
        self._whole = len(data) <= HEADER_BYTES_MAX and not self._in_head
        self._begun, self._used = False, True
        begins, self._messages, self._call = self._between, 0, None
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse("This is not HTTP/1.1.")
            return
        if begins and self._between and self._messages == 1 and self._call is not None:
            self._gate.remember(data, self._call)
        if self._in_head:
            self._head_bytes += self._parsed_bytes() if self._begun else len(data)
            if self._head_bytes > HEADER_BYTES_MAX:
                self._refuse("The header block is too long.")
        if self.timeout_keep_alive_task is None:
            self._watch()

    def _feed(self, piece: bytes | memoryview) -> None:
        """Parse, as if nobody asked for another protocol: for who does, llhttp skips the body."""
        while True:
            try:
                self.parser.feed_data(piece)
                return
            except httptools.HttpParserUpgrade as upgrade:
                piece = memoryview(piece)[upgrade.args[0] :]
                self.parser.feed_data(self._head_without_upgrade())

    def _head_without_upgrade(self) -> bytes:
        lines = [b"%s %s HTTP/1.1" % (self.parser.get_method(), self.url)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join((*lines, b"", b""))

    def _parsed_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _in_flight(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

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
        self.expect_100_continue = False
        self._in_head, self._begun, self._done = True, True, False
        self._between = False
        self._messages += 1
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Answer at once, or hand the request on."""
        self._in_head = False
        answer = self._answer()
        if answer is not None:
            self._done = True
            self.transport.write(answer.wire)
            return
        version = self.parser.get_http_version()
        if version not in VERSIONS or self.parser.get_method() == b"CONNECT":
            raise ValueError(f"HTTP/{version}")  # the parser fails, and the client hears it
        if self.parser.should_upgrade():
            self._done = True  # `_feed` parses it once more
        else:
            self._hand_on()

    def _answer(self) -> Answer | None:
        method = METHODS.get(self.parser.get_method())
        if (
            method is None
            or not self._whole
            or not self.parser.should_keep_alive()
            or not self._may_answer()
        ):
            return None
        headers = dict(self.headers)
        if (
            len(headers) < len(self.headers)
            or not SPECIAL_HEADERS.isdisjoint(headers)
            or not self._plain(headers.get(b"host", b""))
            or (b"connection" in headers and self.parser.get_http_version() != "1.1")
        ):
            return None
        call = Call(method, self.url, headers)
        answer = self._at_once(call)
        if answer is not None:
            self._call = call
        return answer

    def _may_answer(self) -> bool:
        """Tell whether an answer may be written now: none is due before it, and the client reads
        (the ordinary way waits for one that does not).
        """
        return not (self._in_flight() or self.flow.write_paused)

    def _plain(self, host: bytes) -> bool:
        """Tell whether a host is plain; a connection says the same one again and again."""
        if host != self._host:
            if not is_plain(host):
                return False
            self._host = host
        return True

    def _hand_on(self) -> None:
        url, expects = self.url, self.expect_100_continue
        headers = [(name, value.rstrip(b" \t")) for name, value in self.headers]
        super().on_message_begin()  # makes the scope
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()
        # The target as it was sent (an absolute one, too): that is what is signed.
        self.scope["raw_path"], _, self.scope["query_string"] = url.partition(b"?")

    # The ordinary way

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: object) -> None:
        task = self.loop.create_task(self._run(cycle))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _run(self, cycle: RequestResponseCycle) -> None:
        """Answer in one piece: head and body apart would wake the client twice."""
        answer = await self._gate(cycle.scope, cycle.receive)
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if answer is None or cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        body = b"" if cycle.scope["method"] == "HEAD" else answer.body
        if CLOSE in answer.headers or cycle.keep_alive:
            self.transport.write(answer.head + body)
        else:
            self.transport.write(answer.head[:-2] + CLOSE_LINES + body)
        if CLOSE in answer.headers or not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        if not self._done:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._between = True
        if not self._done:
            super().on_message_complete()
