"""`Http` between services: kept connections, one call at a time on each, parsed by httptools.

Law: bytes leave only on a connection that was open a moment ago; an error before them is `NotSent`,
any error after the first of them `NoAnswer`, and nothing is ever sent a second time.

It stands in for `requests` where a call is one of thousands a second: about a fifth of the
processor time (docs/decisions/0009).
"""

from __future__ import annotations

import socket
import threading
import time
from collections import defaultdict
from urllib.parse import urlsplit

import httptools
from urllib3.util.wait import wait_for_read

from common.peer import CONNECT_TIMEOUT_S, NoAnswer, NotSent, Request, Response

KEPT_MAX = 128  # idle connections to one node
READ_BYTES = 65536


class Connections:
    """`Http` for the threads of a node."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, list[_Connection]] = defaultdict(list)

    def send(self, request: Request) -> Response:
        """Return the answer; raise `NotSent` or `NoAnswer`."""
        until = time.monotonic() + request.timeout_s
        data = _written(request)
        connection = self._take(request.url) or _open(request)
        try:
            response = connection.exchange(data, until)
        except (OSError, httptools.HttpParserError) as error:
            connection.close()
            raise NoAnswer(f"{request.to} did not answer ({type(error).__name__})") from error
        self._keep(request.url, connection)
        return response

    def close(self) -> None:
        """Close what is kept; calls under way keep theirs."""
        with self._lock:
            idle = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def _take(self, url: str) -> _Connection | None:
        """Return a connection that is still open: the one used last, so that few stay in use."""
        while True:
            with self._lock:
                if not self._idle[url]:
                    return None
                connection = self._idle[url].pop()
            if connection.is_quiet():
                return connection
            connection.close()

    def _keep(self, url: str, connection: _Connection) -> None:
        if connection.may_be_kept:
            with self._lock:
                if len(self._idle[url]) < KEPT_MAX:
                    self._idle[url].append(connection)
                    return
        connection.close()


def _open(request: Request) -> _Connection:
    parts = urlsplit(request.url)
    address = (parts.hostname or "", parts.port or 80)
    try:
        timeout_s = min(CONNECT_TIMEOUT_S, request.timeout_s)
        opened = socket.create_connection(address, timeout_s)
    except OSError as error:
        raise NotSent(f"{request.to} cannot be reached") from error
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _Connection(opened)


def _written(request: Request) -> bytes:
    """Return the request as it goes over the wire; nothing in it may begin a line of its own."""
    host = request.url.removeprefix("http://")
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if request.body or request.method not in ("GET", "HEAD"):
        lines.append(f"Content-Length: {len(request.body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a request's head")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + request.body


class _Connection:
    """One open socket."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self.may_be_kept = True

    def is_quiet(self) -> bool:
        """Tell whether nothing waits to be read: no end, no answer that nobody asked for."""
        return not wait_for_read(self._socket, 0)

    def close(self) -> None:
        self._socket.close()

    def exchange(self, data: bytes, until: float) -> Response:
        """Send a request and read its answer; raise OSError or a parser's error."""
        self._wait_at_most(until)
        self._socket.sendall(data)
        answer = _Answer()
        while not answer.complete:
            self._wait_at_most(until)
            received = self._socket.recv(READ_BYTES)
            if not received:
                raise ConnectionResetError("closed before the answer was here")
            answer.feed(received)
        self.may_be_kept = answer.kept_alive
        return answer.response()

    def _wait_at_most(self, until: float) -> None:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)


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
