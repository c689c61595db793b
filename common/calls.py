"""`Calls` over kept connections: the thread that has them sends, waits and reads itself.

Laws: as of `Connections`, whose connections these are. Nothing here blocks: where none is kept, to
find and reach the other side is a task's. A connection whose answer nobody waits for any more is
closed, so a late answer is never taken for another call's.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from common.exchange import BROKEN, Connection, written
from common.peer import Answered, NoAnswer, PeerDown, Request, Response
from common.tasks import Tasks

log = logging.getLogger("bazar")

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Pool(Protocol):
    """Where connections are kept."""

    def send(self, request: Request) -> Response:
        """Return the answer; raise `NotSent` or `NoAnswer`."""

    def take(self, url: str) -> Connection | None:
        """Return a connection that is still open, if one is kept."""

    def keep(self, url: str, connection: Connection) -> None:
        """Take a connection back whose answer has been read."""


@dataclass(eq=False)
class _Call:
    """One call under way: on a connection of its own, or else in a task."""

    request: Request
    done: Callable[[Answered], None]
    until: float
    connection: Connection | None


class KeptCalls:
    """The calls of one thread; tasks only put what they have heard into `_ended`, and ring."""

    def __init__(self, pool: Pool, tasks: Tasks) -> None:
        self._pool = pool
        self._tasks = tasks
        self._under_way: set[_Call] = set()
        self._ended: deque[tuple[_Call, Answered]] = deque()
        self._selector = selectors.DefaultSelector()
        self._bell, self._rung = socket.socketpair()
        for end in (self._bell, self._rung):
            end.setblocking(False)
        self._selector.register(self._rung, READ)

    def begin(self, request: Request, done: Callable[[Answered], None]) -> None:
        """Send a request; `done` gets its answer once, from `wait`."""
        data, until = written(request), time.monotonic() + request.timeout_s
        call = _Call(request, done, until, self._pool.take(request.url))
        self._under_way.add(call)
        if call.connection is None:
            self._tasks.spawn(f"call {request.to}", partial(self._send, call))
            return
        self._selector.register(call.connection, READ, call)
        self._go_on(call, partial(call.connection.begin, data))

    def wait(self, timeout_s: float) -> None:
        """Wait until a call ends or the time is over, and give those that have ended to `done`."""
        until = time.monotonic() + timeout_s
        while not self._ended and (now := time.monotonic()) < until:
            first = min((call.until for call in self._on_connections()), default=until)
            self._look(min(first, until) - now)
        while self._ended:
            call, answered = self._ended.popleft()
            if call in self._under_way:
                self._under_way.remove(call)
                self._tell(call, answered)

    def abandon(self) -> None:
        """Forget what is under way: nobody waits for these answers any more."""
        for call in self._on_connections():
            self._release(call).close()
        self._under_way.clear()

    def close(self) -> None:
        """Close everything; call it when the thread waits no more."""
        self.abandon()
        self._selector.close()
        self._bell.close()
        self._rung.close()

    def _on_connections(self) -> list[_Call]:
        return [call for call in self._under_way if call.connection is not None]

    def _look(self, timeout_s: float) -> None:
        for key, events in self._selector.select(max(0.0, timeout_s)):
            if key.data is None:
                self._rung.recv(4096)
            else:
                self._proceed(key.data, events)
        now = time.monotonic()
        for call in self._on_connections():
            if call.until <= now:
                self._break_off(call, TimeoutError())

    def _proceed(self, call: _Call, events: int) -> None:
        connection = call.connection
        assert connection is not None  # it has just been waited for
        if events & WRITE:
            self._go_on(call, connection.send_more)
        if events & READ and call.connection is not None:
            self._go_on(call, connection.receive)

    def _go_on(self, call: _Call, act: Callable[[], Response | None]) -> None:
        """Let an exchange go one step on, and end the call if that was the last one."""
        connection = call.connection
        assert connection is not None
        try:
            response = act()
        except BROKEN as error:
            self._break_off(call, error)
            return
        if response is not None:
            self._pool.keep(call.request.url, self._release(call))
            self._ended.append((call, lambda: response))
        else:
            self._selector.modify(connection, READ if connection.is_sent else READ | WRITE, call)

    def _break_off(self, call: _Call, error: Exception) -> None:
        self._release(call).close()
        failed = NoAnswer(f"{call.request.to} did not answer ({type(error).__name__})")
        self._ended.append((call, partial(_fail, failed)))

    def _release(self, call: _Call) -> Connection:
        connection, call.connection = call.connection, None
        assert connection is not None
        self._selector.unregister(connection)
        return connection

    def _send(self, call: _Call) -> None:
        """Make a call in a task."""
        try:
            response = self._pool.send(call.request)
            self._ended.append((call, lambda: response))
        except PeerDown as error:
            self._ended.append((call, partial(_fail, error)))
        with suppress(OSError):  # it has been rung often enough, or all is closed
            self._bell.send(b"\0")

    def _tell(self, call: _Call, answered: Answered) -> None:
        try:
            call.done(answered)
        except Exception:
            log.exception("the answer of %s to %s", call.request.to, call.request.target)


def _fail(error: PeerDown) -> Response:
    raise error
