"""Parts of a demo in one event loop: a node that echoes, a shop that sells, a place to run them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from common.demo.layout import Layout
from common.demo.links import HOST
from tests.support.processes import free_ports

T = TypeVar("T")

DEADLINE_S = 20.0
LOOK_S = 0.005


def run(testing: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine; a test that hangs fails."""

    async def bounded() -> T:
        async with asyncio.timeout(3 * DEADLINE_S):
            return await testing

    return asyncio.run(bounded())


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something to come true."""
    late = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < late, f"not within {DEADLINE_S:g} s: {what}"
        await asyncio.sleep(LOOK_S)


def free_range() -> int:
    """Return the first of as many free ports in a row as a demo needs."""
    for port in free_ports(50):
        if not Layout(Path("unused"), port).taken_ports():
            return port
    raise AssertionError("no free range of ports")


def state_of(pid: int | None) -> str:
    """Return the letter that Linux has for what a process does; none: there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except FileNotFoundError:
        return ""


def gone(pid: int) -> bool:
    """Tell whether a process has ended; one that nobody has waited for yet has."""
    return state_of(pid) in ("", "Z")


@asynccontextmanager
async def echo(port: int) -> AsyncIterator[None]:
    """Listen on a port, and send back whatever comes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError), closing(writer):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    async with await asyncio.start_server(serve, HOST, port):
        yield


class Caller:
    """A connection to a link, and all that came back over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._reading = asyncio.create_task(self._read(reader))
        self.heard = b""
        self.closed = False

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                self.heard += data
        self.closed = True

    def say(self, data: bytes) -> None:
        """Send something."""
        self._writer.write(data)

    async def hears(self, data: bytes) -> None:
        """Wait until exactly this has come back in all."""
        await until(lambda: len(self.heard) >= len(data), f"{data[:40]!r}, not {self.heard[:40]!r}")
        assert self.heard == data

    async def hang_up(self) -> None:
        """Close the connection."""
        self._writer.close()
        await asyncio.gather(self._reading, self._writer.wait_closed(), return_exceptions=True)


async def call(port: int) -> Caller:
    """Connect to a port."""
    return Caller(*await asyncio.open_connection(HOST, port))


class PretendShop:
    """A frontend that sells; a test may have it forget orders, sell twice, or not answer."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.sold: dict[str, str] = {}  # key -> order
        self.stock = 100
        self.restocked = 0
        self.refuse_next: list[tuple[int, str]] = []  # (status, code) of the next purchases
        self.sells_twice = False
        self.asked: list[str] = []

    def answer(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, Any]:
        """Answer one call."""
        path = target.partition("?")[0]
        self.asked.append(f"{method} {path}")
        if path.startswith("/purchase/"):
            return self._sell(headers["idempotency-key"])
        if path.endswith("/restock"):
            assert headers["authorization"] == "Bearer token"
            self.restocked += 1
            self.stock = 100
            return 200, {}
        if path == "/orders":
            assert headers["authorization"] == "Bearer token"
            items = [{"order_id": order} for order in self.orders]
            return 200, {"items": items, "total": len(items), "next": None}
        if path.startswith("/orders/"):
            known = path.removeprefix("/orders/") in self.orders
            return (200, {}) if known else (404, {"code": "not-found"})
        if path == "/topics":
            return 200, {"items": [{"topic": "a/b & c", "books": 1}]}
        return 200, {"quantity": self.stock, "items": []}

    def _sell(self, key: str) -> tuple[int, Any]:
        if self.refuse_next:
            status, code = self.refuse_next.pop(0)
            return status, {"code": code}
        if key not in self.sold or self.sells_twice:
            self.sold[key] = f"order-{len(self.orders)}"
            self.orders.append(self.sold[key])
        return 201, {"order_id": self.sold[key]}

    @asynccontextmanager
    async def open(self, port: int) -> AsyncIterator[None]:
        """Listen on a port."""
        async with await asyncio.start_server(self._serve, HOST, port):
            yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError), closing(writer):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
                await reader.readexactly(int(headers.get("content-length", "0")))
                method, target, _ = first.split()
                status, document = self.answer(method, target, headers)
                body = json.dumps(document).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
                writer.write(body)
