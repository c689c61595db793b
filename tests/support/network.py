"""A pretend network: calls between nodes as scheduled deliveries that can be late, lost, repeated
or cut off.

A node here is a WSGI app in the same process; each delivered request runs as a job of its own at
the receiver.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from common.peer import NoAnswer, NotSent, PeerDown, Request, Response
from common.service import Call, service_of
from common.tasks import Tasks
from common.wsgi import Answer
from tests.support.calls import TaskCalls
from tests.support.scheduler import Scheduler, SimEvent

TOLD_MAX = 300  # bytes of a body in the story of a run


@dataclass
class Weather:
    """How bad the network is: chances per message, and times in seconds."""

    delay_s: tuple[float, float] = (0.0002, 0.002)
    lost: float = 0.0  # request never arrives
    reply_lost: float = 0.0
    repeated: float = 0.0
    held_back: float = 0.0  # delayed by up to `held_back_s`
    held_back_s: float = 2.0


@dataclass
class Network:
    """Delivers calls between named nodes."""

    scheduler: Scheduler
    weather: Weather = field(default_factory=Weather)
    apps: dict[str, tuple[object, Any]] = field(
        default_factory=dict
    )  # name -> (incarnation, WSGI app)
    cuts: set[tuple[str, str]] = field(default_factory=set)  # (from, to) that lose everything
    in_flight: list[tuple[str, Callable[[Response | None], None]]] = field(default_factory=list)
    mute: set[object] = field(default_factory=set)  # incarnations that are dead and not yet gone
    watch: Callable[[str, Request], None] = lambda sender, request: None
    hold: Callable[[str, Request], float] = lambda sender, request: (
        0.0
    )  # extra delay of the request
    hold_reply: Callable[[str, Request], float] = lambda sender, request: 0.0
    telling: bool = False  # whether each message goes into the script

    def port(self, sender: str, incarnation: object = None) -> Port:
        """Return the `Http` of one node."""
        return Port(self, sender, incarnation)

    def _chance(self, probability: float) -> bool:
        return probability > 0 and self.scheduler.random.random() < probability

    def _delay(self) -> float:
        random = self.scheduler.random
        delay = random.uniform(*self.weather.delay_s)
        if self._chance(self.weather.held_back):
            delay += random.uniform(0, self.weather.held_back_s)
        return delay

    def break_connections(self, node: str) -> None:
        """Let every call waiting for a node that died fail at once, as its operating system
        would.
        """
        waiting = [reply for to, reply in self.in_flight if to == node]
        for reply in waiting:
            reply(None)

    def send(self, sender: str, request: Request) -> Response:
        """Carry one call; the sender's job waits here."""
        if not self.telling:
            return self._send(sender, request)
        what = f"{sender} -> {request.to}: {request.method} {request.target}"
        self.scheduler.note(f"{what} {_told(request.body)}")
        try:
            response = self._send(sender, request)
        except PeerDown as error:
            self.scheduler.note(f"{what}: {error}")
            raise
        self.scheduler.note(f"{what}: {response.status} {_told(response.body)}")
        return response

    def _send(self, sender: str, request: Request) -> Response:
        self.watch(sender, request)
        if request.to not in self.apps and (sender, request.to) not in self.cuts:
            self.scheduler.sleep(self._delay())
            raise NotSent(f"{request.to} refused the connection")
        arrived = SimEvent(self.scheduler)
        box: list[Response] = []
        broken: list[bool] = []

        def reply(response: Response | None) -> None:
            if response is None:
                broken.append(True)
            else:
                box.append(response)
            arrived.set()

        mine = (request.to, reply)
        self.in_flight.append(mine)
        times = 2 if self._chance(self.weather.repeated) else 1
        for _ in range(times):
            self._deliver(sender, request, reply)
        arrived.wait(request.timeout_s)
        self.in_flight.remove(mine)
        if box:
            return box[0]
        raise NoAnswer(f"{request.to} {'broke off' if broken else 'did not answer in time'}")

    def _deliver(
        self, sender: str, request: Request, reply: Callable[[Response | None], None]
    ) -> None:
        if (sender, request.to) in self.cuts or self._chance(self.weather.lost):
            return
        delay = self._delay() + self.hold(sender, request)
        self.scheduler.at(self.scheduler.now + delay, lambda: self._arrive(sender, request, reply))

    def _arrive(
        self, sender: str, request: Request, reply: Callable[[Response | None], None]
    ) -> None:
        if request.to not in self.apps or (sender, request.to) in self.cuts:
            return
        incarnation, app = self.apps[request.to]

        def serve() -> None:
            response = self._ahead(app, request) or call_wsgi(app, request)
            if incarnation in self.mute:
                return
            back = (request.to, sender) in self.cuts or self._chance(self.weather.reply_lost)
            if not back:
                delay = self._delay() + self.hold_reply(sender, request)
                self.scheduler.at(self.scheduler.now + delay, lambda: reply(response))

        self.scheduler.spawn(f"{request.to} {request.method} {request.target}", incarnation, serve)

    def _ahead(self, app: Any, request: Request) -> Response | None:
        """Answer a request ahead of the app, at once or later, if the service does that."""
        service, answers, call = service_of(app), list[Answer](), _call_of(request)
        if request.method in ("GET", "HEAD") and not request.body:
            answer = service.at_once(call)
        else:
            told = SimEvent(self.scheduler)

            def reply(answer: Answer) -> None:
                answers.append(answer)
                told.set()

            if service.later(call, reply):
                told.wait()
            answer = answers[0] if answers else service.direct(call)
        if answer is None:
            return None
        named = {name.decode(): value.decode() for name, value in answer.headers}
        return Response(answer.status, named, answer.body)


def _told(body: bytes) -> str:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return f"({len(body)} bytes)"
    return text if len(text) <= TOLD_MAX else text[:TOLD_MAX] + "..."


@dataclass
class Port:
    """One node's way into the network (`common.peer.CallsHttp`)."""

    network: Network
    sender: str
    incarnation: object

    def send(self, request: Request) -> Response:
        if self.incarnation in self.network.mute:
            self.network.scheduler.sleep(None)
        return self.network.send(self.sender, request)

    def calls(self, tasks: Tasks) -> TaskCalls:
        return TaskCalls(self, tasks)


def _call_of(request: Request) -> Call:
    headers = {name.lower().encode(): value.encode() for name, value in request.headers.items()}
    headers |= {b"host": request.to.encode()}
    return Call(request.method, request.target.encode(), headers, request.body)


def call_wsgi(app: Any, request: Request) -> Response:
    """Run one request through a WSGI app."""
    path, _, query = request.target.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method, "SCRIPT_NAME": "",
        "PATH_INFO": unquote(path, "latin-1") if "%" in path else path,
        "QUERY_STRING": query, "RAW_URI": request.target, "SERVER_NAME": request.to,
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": io.StringIO(), "wsgi.multithread": True, "wsgi.multiprocess": False,
        "wsgi.run_once": False, "CONTENT_LENGTH": str(len(request.body)), "HTTP_HOST": request.to,
    }  # fmt: skip
    for name, value in request.headers.items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    head: list[Any] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], *_: Any
    ) -> Callable[[bytes], Any]:
        head[:] = [int(status.split()[0]), {name.lower(): value for name, value in headers}]
        return lambda data: None

    chunks = app(environ, start_response)
    body = b"".join(chunks)
    if hasattr(chunks, "close"):
        chunks.close()
    return Response(head[0], head[1], body)
