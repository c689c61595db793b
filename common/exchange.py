"""A request and its answer on one open connection: all at once, or as far as it goes without
waiting; parsed by httptools.
"""

from __future__ import annotations

import socket
import time

import httptools
from urllib3.util.wait import wait_for_read

from common.peer import Request, Response

READ_BYTES = 65536
BROKEN = (OSError, httptools.HttpParserError)  # what an exchange ends with that has no answer


def written(request: Request) -> bytes:
    """Return the request as it goes over the wire; nothing in it may begin a line of its own."""
    host = request.url.removeprefix("http://")
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if request.body or request.method not in ("GET", "HEAD"):
        lines.append(f"Content-Length: {len(request.body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a request's head")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + request.body


class Connection:
    """One open socket."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._unsent = memoryview(b"")
        self._answer = _Answer()
        self.may_be_kept = True

    def is_quiet(self) -> bool:
        """Tell whether nothing waits to be read: no end, no answer that nobody asked for."""
        return not wait_for_read(self._socket, 0)

    def close(self) -> None:
        self._socket.close()

    # --- waiting ---

    def exchange(self, data: bytes, until: float) -> Response:
        """Send a request and read its answer; raise one of `BROKEN`."""
        self._wait_at_most(until)
        self._socket.sendall(data)
        self._answer = _Answer()
        while (response := self._received()) is None:
            self._wait_at_most(until)
        return response

    def _wait_at_most(self, until: float) -> None:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)

    # --- not waiting ---

    def fileno(self) -> int:
        """Return what to wait for with a selector."""
        return self._socket.fileno()

    def begin(self, data: bytes) -> None:
        """Send what goes of a request; raise one of `BROKEN`."""
        self._socket.setblocking(False)
        self._unsent, self._answer = memoryview(data), _Answer()
        self.send_more()

    @property
    def is_sent(self) -> bool:
        """Tell whether the request has left whole."""
        return not self._unsent

    def send_more(self) -> None:
        """Send what goes of the rest; raise one of `BROKEN`."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return

    def receive(self) -> Response | None:
        """Read what is here; return the answer once all of it is. Raise one of `BROKEN`."""
        try:
            return self._received()
        except BlockingIOError:
            return None

    def _received(self) -> Response | None:
        received = self._socket.recv(READ_BYTES)
        if not received:
            raise ConnectionResetError("closed before the answer was here")
        answer = self._answer
        answer.feed(received)
        if not answer.complete:
            return None
        self.may_be_kept = answer.kept_alive and self.is_sent
        return answer.response()


class _Answer:
    """One answer as it arrives (the methods' names are httptools')."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self.complete = False
        self.kept_alive = False

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def response(self) -> Response:
        return Response(self._parser.get_status_code(), self._headers, b"".join(self._body))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.complete = True
        self.kept_alive = self._parser.should_keep_alive()
