"""A connection to a service, without a socket: pieces of bytes in, bytes out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable

import uvicorn
from flask import Flask, Response, request
from uvicorn.server import ServerState

from common.errors import Problem
from common.gate import Gate
from common.protocol import Protocol
from common.service import Call, Lane, Reply, Service
from common.web import problem_response
from common.wsgi import Answer, answer_of

BODY_BYTES_MAX = 40_000
SMALL_BODY_BYTES_MAX = 100
WAIT_S = 10.0
GRACE_S = 5.0
POLL_S = 0.001


class Transport(asyncio.Transport):
    """Remembers what is written; `lose` is how a client goes away."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.2", 1234)})
        self.written: list[bytes] = []
        self.closed = self.paused = False
        self.on_write: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written.append(data)
        self.on_write()

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Shop:
    """A service with a route for each way a call can go, and workers that can be held."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.entered: list[str] = []
        self.app = Flask("line")
        self.app.register_error_handler(Problem, problem_response)
        self.app.config["PROPAGATE_EXCEPTIONS"] = True  # so that what fails leaves Flask
        self.app.add_url_rule("/<path:path>", "view", self._view, methods=[
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
        ])  # fmt: skip
        lanes = {
            "wide": Lane(workers=4, waiting_max=64, body_bytes_max=BODY_BYTES_MAX),
            "narrow": Lane(workers=1, waiting_max=1, body_bytes_max=SMALL_BODY_BYTES_MAX),
        }
        service = Service(
            self.app, lanes, self._lane_of,
            at_once=self._at_once, later=self._later, direct=self._direct,
        )  # fmt: skip
        self.gate = Gate(service)

    def _lane_of(self, method: str, path: str) -> str:
        if path == "/no-lane":
            raise LookupError(path)
        return "narrow" if path.startswith("/narrow") else "wide"

    def _at_once(self, call: Call) -> Answer | None:
        body = b"" if call.method == "HEAD" else b"at once"
        headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", "7")]
        return answer_of(200, headers, body) if call.target == b"/at-once" else None

    def _later(self, call: Call, reply: Reply) -> bool:
        if call.target == b"/later-broken":
            reply(told(call, b"too late"))
            raise RuntimeError("nobody foresaw this")
        if call.target != b"/later":
            return False
        threading.Thread(target=reply, args=(told(call, b"later"),)).start()
        return True

    def _direct(self, call: Call) -> Answer | None:
        if call.target == b"/exit":
            raise SystemExit(3)
        if call.target == b"/direct-problem":
            raise Problem("not-found", "no such thing")
        return told(call, b"direct") if call.target == b"/direct" else None

    def _view(self, path: str) -> Response | str:
        self.entered.append(path)
        if path.endswith("hold"):
            self.free.wait(WAIT_S)
        if path == "at-once":
            return "at once"
        if path == "broken":
            raise RuntimeError("nobody foresaw this")
        if path == "close":
            return Response("bye", headers={"Connection": "close"})
        shown = {name: value for name, value in request.environ.items() if is_shown(name, value)}
        return f"{sorted(shown.items())} {request.get_data()!r}"

    def line(self, grace_s: float = GRACE_S) -> Line:
        """Open a connection."""
        return Line(self.gate, grace_s)

    def close(self) -> None:
        """Let everybody go."""
        self.free.set()
        self.gate.close()


def told(call: Call, by: bytes) -> Answer:
    body = b"%s %r" % (by, (call.method, call.target, sorted(call.headers.items()), call.body))
    return answer_of(200, [("X-By", by.decode())], body, head=call.method == "HEAD")


def is_shown(name: str, value: object) -> bool:
    return isinstance(value, str) and not name.startswith(("werkzeug.", "flask."))


class Line:
    """A connection, and its other end."""

    def __init__(self, gate: Gate, grace_s: float) -> None:
        config = uvicorn.Config(
            gate, http=Protocol, ws="none", lifespan="off", log_config=None,
            timeout_graceful_shutdown=grace_s,  # type: ignore[arg-type]
        )  # fmt: skip
        self.state = ServerState()
        self.protocol = Protocol(config, self.state, {}, asyncio.get_running_loop())
        self.transport = Transport()
        self.protocol.connection_made(self.transport)

    @property
    def heard(self) -> bytes:
        return b"".join(self.transport.written)

    @property
    def tasks(self) -> int:
        return len(self.state.tasks)

    def send(self, *pieces: bytes) -> None:
        """Send some pieces at once, as far as somebody listens."""
        for piece in pieces:
            if not self.transport.closed:
                self.protocol.data_received(piece)

    def lose(self) -> None:
        """Go away."""
        self.transport.closed = True
        self.protocol.connection_lost(None)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something is so; each turn of the loop may bring it about."""
        end = asyncio.get_running_loop().time() + WAIT_S
        while not condition():
            assert asyncio.get_running_loop().time() < end, f"{what}; heard {self.heard!r}"
            await asyncio.sleep(POLL_S)

    async def answers(self, count: int) -> bytes:
        """Return what was heard once there are so many answers."""
        await self.until(lambda: self.heard.count(b"HTTP/1.1 ") >= count, f"{count} answers")
        return self.heard

    async def end(self) -> bytes:
        """Return what was heard until the connection was closed."""
        await self.until(lambda: self.transport.closed, "the end")
        return self.heard

    async def drained(self) -> None:
        """Wait until no task is left."""
        if self.state.tasks:
            await asyncio.wait(self.state.tasks, timeout=WAIT_S)


async def heard(shop: Shop, pieces: Iterable[bytes], *, patient: bool = False) -> bytes:
    """Return all that is answered to pieces, the last of which ends the connection.

    Patient: no piece is sent before there is nothing in flight.
    """
    line = shop.line()
    for piece in pieces:
        line.send(piece)
        if patient:
            await line.until(
                lambda: line.transport.closed or not line.protocol._in_flight(), "peace"
            )
    whole = await line.end()
    await line.drained()
    line.lose()
    return whole
