"""A port in front of a node's own, behind which chosen requests or answers are held back."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self
from urllib.parse import urlsplit

from tests.support.processes import free_ports

CHUNK_BYTES = 65_536


class Held:
    """What is held back: requests that begin with `start`, or the answers to them."""

    def __init__(self, start: bytes, *, answers: bool, delay_s: float | None) -> None:
        self.start = start
        self.answers = answers
        self.count = 0  # how many have been held so far
        self.over = 0  # how many of those have been let go
        self._delay_s = delay_s
        self._released = threading.Event()

    def wait(self) -> None:
        """Wait like what is held: until the release, or for the delay."""
        self.count += 1
        self._released.wait(self._delay_s)
        self.over += 1

    def release(self) -> None:
        """Let go of all of it, and hold nothing more."""
        self._released.set()


class Proxy:
    """Passes bytes on between whoever connects to `url` and the node at `to`; `with` ends it."""

    def __init__(self, to: str) -> None:
        self._to = (urlsplit(to).hostname, urlsplit(to).port)
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._listener = socket.create_server(("127.0.0.1", port))
        self._held: list[Held] = []
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._held:
            held.release()
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        for connection in self._sockets:
            connection.close()

    def hold_answers(self, start: bytes, delay_s: float | None = None) -> Held:
        """Hold back the answers to requests that begin like this (`b"GET /books/1 "`)."""
        return self._hold(Held(start, answers=True, delay_s=delay_s))

    def hold_requests(self, start: bytes) -> Held:
        """Hold back requests that begin like this: the node does not see them."""
        return self._hold(Held(start, answers=False, delay_s=None))

    def _hold(self, held: Held) -> Held:
        self._held.append(held)
        return held

    def _spawn(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._to)
            except OSError:
                near.close()
                continue
            self._sockets += [near, far]
            answers: list[Held] = []  # to be held on this connection
            self._spawn(self._pass_requests, near, far, answers)
            self._spawn(self._pass_answers, far, near, answers)

    def _pass_requests(self, near: socket.socket, far: socket.socket, answers: list[Held]) -> None:
        with contextlib.suppress(OSError):
            while chunk := near.recv(CHUNK_BYTES):
                for held in [held for held in self._held if chunk.startswith(held.start)]:
                    answers.append(held) if held.answers else held.wait()
                far.sendall(chunk)
            far.shutdown(socket.SHUT_RDWR)

    def _pass_answers(self, far: socket.socket, near: socket.socket, answers: list[Held]) -> None:
        with contextlib.suppress(OSError):
            while chunk := far.recv(CHUNK_BYTES):
                while answers:
                    answers.pop().wait()
                near.sendall(chunk)
            near.shutdown(socket.SHUT_RDWR)
