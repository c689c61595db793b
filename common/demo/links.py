"""Links between nodes: each a port that passes bytes on to one node, and can be cut and delayed.

Laws: what was sent arrives once and in order, however late. A cut link swallows nothing and refuses
nothing: bytes and new connections wait until it is mended, as TCP has it. A link to a dead node
refuses, as that node's machine would.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

HOST = "127.0.0.1"
HELD_BYTES_MAX = 1_000_000  # then a sender has to wait


class Link:
    """One way to call one node; `delay_s` is added to each message, to answers as well."""

    def __init__(self, port: int, to_port: int) -> None:
        self.cut = False
        self.delay_s = 0.0
        self._port = port
        self._to_port = to_port
        self._server: asyncio.Server | None = None
        self._ends: set[_End] = set()

    async def open(self) -> None:
        """Accept connections."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(partial(_End, self), HOST, self._port)

    def refuse(self) -> None:
        """Accept no more connections; those that are there go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def close(self) -> None:
        """Break everything off."""
        self.refuse()
        for end in list(self._ends):
            end.abort()

    def change(self, *, cut: bool, delay_s: float) -> None:
        """Cut or mend the link, and say how long a message takes from now on."""
        self.cut, self.delay_s = cut, delay_s
        for end in list(self._ends):
            end.flush()

    def joined(self, end: _End) -> None:
        """Know a connection's end."""
        self._ends.add(end)

    def left(self, end: _End) -> None:
        """Forget it."""
        self._ends.discard(end)

    async def connect(self, end: _End) -> _End:
        """Connect to the node, as soon as the link lets it; raise OSError."""
        loop = asyncio.get_running_loop()
        _, far = await loop.create_connection(partial(_End, self, end), HOST, self._to_port)
        return far


class _End(asyncio.Protocol):
    """One end of a connection: what comes in here leaves at the other end."""

    def __init__(self, link: Link, other: _End | None = None) -> None:
        self._link = link
        self._other = other  # None: this is the caller's end, and nobody is connected to yet
        self._transport: asyncio.Transport | None = None
        self._held: deque[tuple[float, bytes | None]] = deque()  # (due, bytes; None: the end)
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None

    # --- as asyncio calls them ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._link.joined(self)
        if self._other is None:
            self._hold(b"")  # the wish to connect takes its time, too

    def data_received(self, data: bytes) -> None:
        self._hold(data)
        self._heed_limit()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._hold(None)

    def pause_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other._heed_limit()

    # --- on to the other end ---

    def _hold(self, data: bytes | None) -> None:
        link = self._link
        if data and self._other is not None and not (self._held or link.cut or link.delay_s):
            self._other.write(data)
            return
        due = asyncio.get_running_loop().time() + link.delay_s
        self._held.append((due, data))
        self._held_bytes += len(data or b"")
        self.flush()

    def flush(self) -> None:
        """Pass on what is due, unless the link is cut."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._held and not self._link.cut:
            due, data = self._held[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self.flush)
                return
            if self._other is None:
                self._begin_to_connect()
                return
            self._held.popleft()
            self._held_bytes -= len(data or b"")
            self._pass_on(self._other, data)
        self._heed_limit()

    def _pass_on(self, other: _End, data: bytes | None) -> None:
        if data is None:
            self._link.left(self)
            other.finish()
        elif data:
            other.write(data)

    def _begin_to_connect(self) -> None:
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            self._other = await self._link.connect(self)
        except OSError:
            self._link.left(self)
            if self._transport is not None:
                self._transport.abort()
            return
        self.flush()

    def _heed_limit(self) -> None:
        """Have the sender wait while too much is held."""
        if self._transport is not None and not self._transport.is_closing():
            if self._held_bytes > HELD_BYTES_MAX:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # --- as the other end calls them ---

    def write(self, data: bytes) -> None:
        """Send to whoever this end is connected to."""
        if self._transport is not None:
            self._transport.write(data)

    def finish(self) -> None:
        """Send what is left, then close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Break the connection off."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()
