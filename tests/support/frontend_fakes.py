"""One frontend with everything around it pretended: a clock that is advanced, nodes that say what
they are told to say, tasks that run at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from common import wsgi
from common.auth import Signer
from common.config import Settings
from common.errors import Problem
from common.peer import NoAnswer, NotSent, Request, Response
from common.service import Call, Service, service_of
from frontend.app import create_app

SECRET, TOKEN, CLUSTER = "s" * 40, "t" * 40, "cluster-a"
Reply = Callable[[Request], Response]


class FakeClock:
    """Stands still until it is advanced."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def wall(self) -> datetime:
        return datetime(2026, 1, 31, tzinfo=UTC) + timedelta(seconds=self._now)

    def advance(self, seconds: float) -> None:
        self._now += seconds


class FakeEvent:
    """A flag for which nobody really waits: waiting for one that is down takes its whole time."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._up = False

    def set(self) -> None:
        self._up = True

    def clear(self) -> None:
        self._up = False

    def wait(self, timeout_s: float | None = None) -> bool:
        if not self._up:
            assert timeout_s is not None, "this would wait for ever"
            self._clock.advance(timeout_s)
        return self._up


class InlineTasks:
    """Runs what is spawned at once, at the caller's."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        run()

    def event(self) -> FakeEvent:
        return FakeEvent(self._clock)

    def pause(self, seconds: float) -> None:
        self._clock.advance(seconds)


class FakeHttp:
    """Hands each request to the pretended node it is for, and remembers it."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.sent: list[Request] = []
        self.nodes: dict[str, Reply] = {}

    def send(self, request: Request) -> Response:
        self.sent.append(request)
        return self.nodes[request.to](request)

    def asked(self, path: str = "") -> list[str]:
        """Return who was asked for paths that begin like this, in order."""
        return [request.to for request in self.sent if request.target.startswith(path)]


def answer(document: Any, status: int = 200, **headers: str) -> Response:
    """Return an answer; a header's name is written with underscores."""
    lowered = {name.lower().replace("_", "-"): value for name, value in headers.items()}
    labelled = {"bazar-cluster": CLUSTER} | lowered
    return Response(status, labelled, json.dumps(document).encode())


def refusal(code: str, detail: str = "for a test", **members: Any) -> Reply:
    """Reply with a problem."""
    problem = Problem(code, detail, **members)
    return lambda request: answer(problem.body(), problem.status)


def dead(request: Request) -> Response:
    """Refuse the connection."""
    raise NotSent(f"{request.to}: connection refused")


class Silent:
    """Does not answer: the whole timeout goes by."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def __call__(self, request: Request) -> Response:
        self._clock.advance(request.timeout_s)
        raise NoAnswer(f"{request.to}: no answer")


def broken(request: Request) -> Response:
    """Break the connection off in the middle."""
    raise NoAnswer(f"{request.to}: connection reset")


def in_turn(*replies: Reply) -> Reply:
    """Reply with one after the other, then with the last for ever."""
    waiting = list(replies)
    return lambda request: (waiting.pop(0) if len(waiting) > 1 else waiting[0])(request)


@dataclass
class FakeCatalog:
    """A catalog node: two books, one topic; leads or says who does."""

    name: str
    leader: str = "catalog-1"
    epoch: int = 1
    as_of: int = 10
    price: int = 500
    cluster: str = CLUSTER
    lease_s: float = 2.0
    floors: dict[str, int] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    surrendered: list[str] = field(default_factory=list)
    granted: int = 0
    ready: bool = True
    over: dict[str, Reply] = field(default_factory=dict)  # path prefix -> what is said instead

    def __call__(self, request: Request) -> Response:
        path = request.target.partition("?")[0]
        for prefix, reply in self.over.items():
            if path.startswith(prefix):
                return reply(request)
        if path.startswith("/sessions"):
            return self._session(path)
        if path == "/readyz":
            leads = self.ready and self.leader == self.name
            found = {"reads": self.ready, "writes": leads, "why": f"{self.name}'s why"}
            return answer(found, 200 if self.ready else 503)
        if path == "/status":
            return answer({"node": self.name, "role": "catalog", "state": "serving"})
        if path == "/operations":
            return self._operate(json.loads(request.body))
        return self._read(path, request.target)

    def _session(self, path: str) -> Response:
        if self.leader != self.name:
            return refusal("not-leader", leader=self.leader)(None)  # type: ignore[arg-type]
        parts = path.split("/")
        if len(parts) == 2:
            self.granted += 1
            session = f"{self.name}/{self.granted}".replace("/", "-")
            self.sessions.add(session)
            granted = {"session": session, "epoch": self.epoch, "lease_s": self.lease_s}
            return answer(granted | {"floors": self.floors, "leader": self.name})
        if parts[3] == "surrender":
            self.surrendered.append(parts[2])
            self.sessions.discard(parts[2])
            return answer({})
        if parts[2] not in self.sessions:
            return refusal("unknown-session")(None)  # type: ignore[arg-type]
        return answer({"lease_s": self.lease_s})

    def _operate(self, operation: dict[str, Any]) -> Response:
        if self.leader != self.name:
            return refusal("not-leader", leader=self.leader)(None)  # type: ignore[arg-type]
        done = {"id": 7, "kind": operation["kind"], "body": operation["body"]}
        status = 201 if operation["kind"] == "add" else 200
        return answer({"status": status, "answer": done})

    def _read(self, path: str, target: str) -> Response:
        if path.startswith("/books/") and path not in ("/books/1", "/books/2"):
            return refusal("not-found")(None)  # type: ignore[arg-type]
        if path == "/topics":
            document: dict[str, Any] = {"items": [{"topic": "Art", "books": 2}]}
        elif path in ("/search", "/books"):
            items = [{"id": 1, "title": "A Book", "authors": [], "price_cents": self.price}]
            document = {"items": items, "total": 1, "next": None, "asked": target}
            document |= {"topic": "Art"} if path == "/search" else {}
        else:
            document = {"id": int(path.rsplit("/", 1)[1]), "price_cents": self.price}
        return answer(
            document,
            bazar_cluster=self.cluster,
            bazar_epoch=str(self.epoch),
            bazar_as_of=str(self.as_of),
            bazar_node=self.name,
            etag=f'"{path}-{self.price}"',
        )


ORDER_ID = "0123456789abcdef0123456789abcdef"


def sold(*orders: dict[str, Any]) -> Response:
    """Return the answer of an order server that sold everything in a message."""
    return answer([{"status": 201, "answer": order} for order in orders])


def order_server(request: Request) -> Response:
    """Sell everything asked for, and know one order."""
    path = request.target.partition("?")[0]
    if path == "/sales":
        order = {"order_id": ORDER_ID, "total_cents": 0}
        return sold(*[order | {"items": sale["items"]} for sale in json.loads(request.body)])
    if path == "/status":
        return answer({"node": request.to, "role": "order", "state": "following"})
    if path == f"/orders/{ORDER_ID}":
        return answer({"order_id": ORDER_ID})
    if path == "/orders":
        return answer({"items": [], "total": 0, "next": None, "asked": request.target})
    return refusal("not-found")(request)


class World:
    """A frontend, two catalogs, two order servers."""

    def __init__(
        self,
        *,
        capacity: int = 64,
        seed: int = 1,
        tasks: type[InlineTasks] = InlineTasks,
        demo: str = "",
    ) -> None:
        self.clock = FakeClock()
        self.http = FakeHttp(self.clock)
        self.first, self.second = FakeCatalog("catalog-1"), FakeCatalog("catalog-2")
        self.http.nodes = {
            "catalog-1": self.first,
            "catalog-2": self.second,
            "order-1": order_server,
            "order-2": order_server,
        }
        self.tasks = tasks(self.clock)
        self.app: Flask = create_app(
            replace(settings(capacity), demo=demo), clock=self.clock, http=self.http,
            tasks=self.tasks, random=Random(seed),
        )  # fmt: skip
        self.service: Service = service_of(self.app)
        self.client: FlaskClient = self.app.test_client()

    def silent(self) -> Silent:
        """Return a reply that takes all the time it is given."""
        return Silent(self.clock)

    def tick(self, times: int = 1, seconds: float = 0.2) -> None:
        """Run the tickers, and let a heartbeat go by after each."""
        for _ in range(times):
            for ticker in self.service.tickers:
                ticker.run()
            self.clock.advance(seconds)

    def get(self, path: str, **headers: str) -> TestResponse:
        """Ask for a page; a header's name is written with underscores."""
        return self.client.get(path, headers=_named(headers))

    def operator(self, method: str, path: str, **options: Any) -> TestResponse:
        """Make a call with the operator's token."""
        headers = {"Authorization": f"Bearer {TOKEN}"} | options.pop("headers", {})
        return self.client.open(path, method=method, headers=headers, **options)

    def signed(self, method: str, path: str, document: Any = None) -> TestResponse:
        """Make a call as the catalog's leader would."""
        body = b"" if document is None else json.dumps(document).encode()
        signer = Signer("catalog-1", SECRET)
        headers = signer.headers("frontend-1", method, path, CLUSTER, body)
        return self.client.open(path, method=method, headers=headers, data=body)

    def invalidate(self, seq: int, *keys: str, session: str = "", epoch: int = 1) -> bool:
        """Send an invalidation, to the session held unless told otherwise; return the answer."""
        told = {"session": session or self.held(), "epoch": epoch, "seq": seq, "hash": "h"}
        found = self.signed("POST", "/internal/invalidate", told | {"keys": list(keys)})
        assert found.status_code == 200, found.text
        acknowledged: bool = found.get_json()["acknowledged"]
        return acknowledged

    def held(self) -> str:
        """Return the session that the leader granted last."""
        leader = self.first if self.first.leader == "catalog-1" else self.second
        return f"{leader.name}-{leader.granted}"

    def metrics(self) -> str:
        """Return what Prometheus would read."""
        return self.get("/metrics").text


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def settings(capacity: int = 64) -> Settings:
    """Return what frontend-1 of a small cluster is told."""
    return Settings(
        role="frontend",
        node="frontend-1",
        frontends={"frontend-1": "http://f1:8000"},
        catalogs={"catalog-1": "http://c1:8101", "catalog-2": "http://c2:8102"},
        orders={"order-1": "http://o1:8201", "order-2": "http://o2:8202"},
        backup={},
        data_dir=Path("unused"),
        cluster_secret=SECRET,
        admin_token=TOKEN,
        cache_capacity=capacity,
        cache_lease_s=2.0,
        listen_host="localhost",
        listen_port=8000,
        seed_file=None,
    )


# --- ahead of Flask ---


def call(target: str, method: str = "GET", body: bytes = b"", **headers: str) -> Call:
    """Return a call; a header's name is written with underscores."""
    named = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
    return Call(method, target.encode("latin-1"), {b"host": b"shop"} | named, body)


def by_flask(app: Flask, asked: Call) -> wsgi.Answer:
    """Answer a call as the gate has Flask answer it, but for the id of its trace."""
    path, _, query = asked.target.partition(b"?")
    scope: dict[str, Any] = {
        "method": asked.method, "raw_path": path, "query_string": query, "http_version": "1.1",
        "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1234),
        "headers": list(asked.headers.items()),
    }  # fmt: skip
    return untraced(wsgi.call(app.wsgi_app, wsgi.environ_of(scope, asked.body)))


def untraced(answer: wsgi.Answer) -> wsgi.Answer:
    """Return an answer without the id of its trace: not every request is traced."""
    headers = [(name, value) for name, value in answer.headers if name != b"trace-id"]
    return replace(answer, headers=headers)


def counted(world: World) -> list[str]:
    """Return what is counted, but for when counting began."""
    return sorted(line for line in world.metrics().splitlines() if "_created" not in line)
