"""A server on a real socket that answers as a test tells it, and the calls to it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from common.peer import Request

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: "7"\r\n\r\nok'
Act = Callable[[socket.socket, bytes], bool]  # (connection, request) -> whether to read on


class Server:
    """Takes connections and hands each whole request to `act`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.act: Act = answer(ANSWER)
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):  # whoever called may have gone
            going = True
            while going and (request := read_request(connection)):
                self.requests.append(request)
                going = self.act(connection, request)
        self.closed += 1


def read_request(connection: socket.socket) -> bytes:
    """Return a whole request, or nothing when the connection ends."""
    data = bytearray()
    while (head := data.find(b"\r\n\r\n")) < 0 or len(data) < head + 4 + length_of(data[:head]):
        received = connection.recv(1 << 20)
        if not received:
            return b""
        data += received
    return bytes(data)


def length_of(head: bytes | bytearray) -> int:
    _, found, after = head.partition(b"Content-Length: ")
    return int(after.partition(b"\r\n")[0]) if found else 0


def answer(*pieces: bytes, then_close: bool = False) -> Act:
    def act(connection: socket.socket, request: bytes) -> bool:
        for piece in pieces:
            connection.sendall(piece)
        return not then_close

    return act


def reset(connection: socket.socket, request: bytes) -> bool:
    """Close with an RST, as a killed process may."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def call(
    url: str, *, method: str = "GET", target: str = "/x", body: bytes = b"",
    timeout_s: float = 10, **headers: str,
) -> Request:  # fmt: skip
    return Request("catalog-1", url, method, target, headers, body, timeout_s)
