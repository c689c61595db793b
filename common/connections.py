"""`Http` between services: kept connections, one call at a time on each.

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

from common.calls import KeptCalls
from common.exchange import BROKEN, Connection, written
from common.peer import CONNECT_TIMEOUT_S, NoAnswer, NotSent, Request, Response
from common.tasks import Tasks

KEPT_MAX = 128  # idle connections to one node


class Connections:
    """`CallsHttp` for the threads of a node."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, list[Connection]] = defaultdict(list)
        self._calls: list[KeptCalls] = []

    def send(self, request: Request) -> Response:
        """Return the answer; raise `NotSent` or `NoAnswer`."""
        until = time.monotonic() + request.timeout_s
        data = written(request)
        connection = self.take(request.url) or _open(request)
        try:
            response = connection.exchange(data, until)
        except BROKEN as error:
            connection.close()
            raise NoAnswer(f"{request.to} did not answer ({type(error).__name__})") from error
        self.keep(request.url, connection)
        return response

    def calls(self, tasks: Tasks) -> KeptCalls:
        """Return a way for one thread to have calls under way on connections that are kept."""
        made = KeptCalls(self, tasks)
        self._calls.append(made)
        return made

    def close(self) -> None:
        """Close what is kept; calls under way in other threads keep theirs."""
        for calls in self._calls:
            calls.close()
        with self._lock:
            idle = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def take(self, url: str) -> Connection | None:
        """Return a connection that is still open: the one used last, so that few stay in use."""
        while True:
            with self._lock:
                if not self._idle[url]:
                    return None
                connection = self._idle[url].pop()
            if connection.is_quiet():
                return connection
            connection.close()

    def keep(self, url: str, connection: Connection) -> None:
        """Take a connection back whose answer has been read."""
        if connection.may_be_kept:
            with self._lock:
                if len(self._idle[url]) < KEPT_MAX:
                    self._idle[url].append(connection)
                    return
        connection.close()


def _open(request: Request) -> Connection:
    parts = urlsplit(request.url)
    address = (parts.hostname or "", parts.port or 80)
    try:
        timeout_s = min(CONNECT_TIMEOUT_S, request.timeout_s)
        opened = socket.create_connection(address, timeout_s)
    except OSError as error:
        raise NotSent(f"{request.to} cannot be reached") from error
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(opened)
