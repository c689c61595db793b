"""HTTP/1.1 on the event loop, the ordinary way: uvicorn's protocol, with a task for each request.

Law: whatever httptools takes more loosely than HTTP/1.1 has it is refused, or read as we mean it.

tests/unit/test_protocol.py names each of uvicorn's internals that this leans on.
"""

from __future__ import annotations

from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from common.gate import Gate
from common.wsgi import Answer

CLOSE = (b"connection", b"close")
CLOSE_LINES = b"connection: close\r\n\r\n"
VERSIONS = ("1.0", "1.1")


class Ordinary(HttpToolsProtocol):
    """One connection; `config.app` is the gate of the service."""

    def __init__(self, config: uvicorn.Config, *others: Any, **named: Any) -> None:
        super().__init__(config, *others, **named)
        gate = config.app
        assert isinstance(gate, Gate)
        self._gate = gate
        self._done = False  # nothing of the message at hand goes this way

    # What is read

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

    def on_headers_complete(self) -> None:
        """Hand the request on."""
        version = self.parser.get_http_version()
        if version not in VERSIONS or self.parser.get_method() == b"CONNECT":
            raise ValueError(f"HTTP/{version}")  # the parser fails, and the client hears it
        if self.parser.should_upgrade():
            self._done = True  # `_feed` parses it once more
        else:
            self._hand_on()

    def _hand_on(self) -> None:
        url, expects = self.url, self.expect_100_continue
        headers = [(name, value.rstrip(b" \t")) for name, value in self.headers]
        super().on_message_begin()  # makes the scope
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()
        # The target as it was sent (an absolute one, too): that is what is signed.
        self.scope["raw_path"], _, self.scope["query_string"] = url.partition(b"?")

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        if not self._done:
            super().on_body(body)

    # What is answered

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: object) -> None:
        task = self.loop.create_task(self._run(cycle))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _run(self, cycle: RequestResponseCycle) -> None:
        answer = await self._gate(cycle.scope, cycle.receive)
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if answer is None or cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        self._write(answer, cycle.scope["method"], keep=cycle.keep_alive)
        cycle.on_response()

    def _write(self, answer: Answer, method: str, *, keep: bool) -> None:
        """Answer in one piece: head and body apart would wake the client twice."""
        says_close = CLOSE in answer.headers
        head = answer.head if keep or says_close else answer.head[:-2] + CLOSE_LINES
        self.transport.write(head if method == "HEAD" else head + answer.body)
        if says_close or not keep:
            self.transport.close()
