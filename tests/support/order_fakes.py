"""Fakes for the order server: a shop in memory, greenlets that wait in turn, a disk that fails."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import greenlet
from flask import Flask
from werkzeug.test import TestResponse

from common.auth import Signer
from common.config import Settings
from common.database import Database
from common.errors import Problem
from common.peer import TIMEOUT_HEADER, Http, NotSent, Peer, Request, Response
from common.tasks import Tasks
from order.app import create_app

SECRET = "a secret that only the tests know of"
CLUSTER_ID = "shop"
URLS = {"catalog-1": "http://127.0.0.1:8101", "catalog-2": "http://127.0.0.1:8102"}

Document = dict[str, Any]


class FakeClock:
    """A clock that stands still until somebody moves it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def wall(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class GreenEvent:
    """A flag that greenlets wait for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout_s: float | None = None) -> bool:
        until = None if timeout_s is None else self._hub.clock.now() + timeout_s
        self._hub.park(lambda: self._is_set, until)
        return self._is_set


class Hub:
    """`Tasks` of greenlets: one runs until it waits; the clock moves only when all of them wait."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self._main = greenlet.getcurrent()
        self._ready: deque[greenlet.greenlet] = deque()
        self._parked: list[tuple[greenlet.greenlet, Callable[[], bool], float | None]] = []

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        self._ready.append(greenlet.greenlet(run, parent=self._main))

    def event(self) -> GreenEvent:
        return GreenEvent(self)

    def pause(self, seconds: float) -> None:
        self.park(lambda: False, self.clock.now() + seconds)

    def park(self, is_over: Callable[[], bool], until: float | None) -> None:
        """Let others run until the condition holds or the time has come."""
        self._parked.append((greenlet.getcurrent(), is_over, until))
        self._main.switch()

    def run(self) -> None:
        """Run until nobody is ready; never move the clock."""
        while self._wake():
            self._ready.popleft().switch()

    def run_all(self) -> None:
        """Run to the end; when everybody waits, move the clock to the earliest deadline."""
        self.run()
        while deadlines := [until for _, _, until in self._parked if until is not None]:
            self.clock.seconds = max(self.clock.seconds, min(deadlines))
            self.run()

    def _wake(self) -> bool:
        now = self.clock.now()
        for parked in list(self._parked):
            waiting, is_over, until = parked
            if is_over() or (until is not None and now >= until):
                self._parked.remove(parked)
                self._ready.append(waiting)
        return bool(self._ready)


class FakeHttp:
    """`Http` that hands each request to its node; one that is missing refuses connections."""

    def __init__(self, nodes: Mapping[str, Callable[[Request], Response]]) -> None:
        self.nodes = dict(nodes)
        self.sent: list[Request] = []

    def send(self, request: Request) -> Response:
        self.sent.append(request)
        node = self.nodes.get(request.to)
        if node is None:
            raise NotSent(f"{request.to}: connection refused")
        try:
            return node(request)
        except Problem as problem:
            return Response(problem.status, {}, json.dumps(problem.body()).encode())

    def calls(self) -> list[str]:
        """Return what was sent: `node METHOD /path`."""
        return [f"{sent.to} {sent.method} {urlsplit(sent.target).path}" for sent in self.sent]


def answer(document: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return a 200 of a node of the cluster."""
    labels = {"bazar-cluster": CLUSTER_ID} | dict(headers or {})
    return Response(200, labels, json.dumps(document).encode())


def order(number: int) -> Document:
    """Return the public document of an order."""
    line = {"book_id": 1, "title": f"Kätzchen {number}", "quantity": 1, "price_cents": 500}
    created_at = "2026-01-01T00:00:00.000Z"
    order_id = f"order-{number}"
    return {"order_id": order_id, "items": [line], "total_cents": 500, "created_at": created_at}


class Shop:
    """The catalogs: one ledger, the outcomes by key, and who leads."""

    def __init__(self) -> None:
        self.orders: list[Document] = []
        self.outcomes: dict[str, Document] = {}
        self.leader = "catalog-1"
        self.cluster = CLUSTER_ID
        self.page_rows_max = 500

    def node(self, name: str) -> Callable[[Request], Response]:
        """Return one catalog of the shop as `FakeHttp` wants it."""
        return lambda request: self._answer(name, request)

    def sell(self) -> Document:
        """Add a sale to the ledger."""
        self.orders.append(order(len(self.orders) + 1))
        return self.orders[-1]

    def sell_many(self, count: int) -> None:
        """Add sales to the ledger."""
        for _ in range(count):
            self.sell()

    def _answer(self, name: str, request: Request) -> Response:
        path = urlsplit(request.target).path
        labels = {"bazar-cluster": self.cluster, "bazar-epoch": "3", "bazar-as-of": "17"}
        if path == "/ledger":
            return answer(self._ledger(request), labels)
        if path == "/status":
            return answer({"node": name, "leader": self.leader}, labels)
        if name != self.leader:
            raise Problem("not-leader", f"{self.leader} leads", leader=self.leader)
        return answer([self._operation(one) for one in json.loads(request.body)], labels)

    def _ledger(self, request: Request) -> Document:
        query = parse_qs(urlsplit(request.target).query)
        after, limit = int(query["after"][0]), int(query["limit"][0])
        rows = self.orders[after : after + min(limit, self.page_rows_max)]
        numbered = [{"number": after + at, "order": body} for at, body in enumerate(rows, 1)]
        return {"end": len(self.orders), "rows": numbered}

    def _operation(self, operation: Document) -> Document:
        key = operation["key"]
        if key not in self.outcomes:
            sold = self.sell()
            document = {"status": 201, "answer": sold | {"number": len(self.orders)}}
            self.outcomes[key] = document
        return self.outcomes[key]


def network(shop: Shop) -> FakeHttp:
    """Return a network with both catalogs of a shop."""
    return FakeHttp({name: shop.node(name) for name in URLS})


def peers(http: Http, cluster: Callable[[], str] = lambda: "") -> dict[str, Peer]:
    """Return both catalogs as an order server calls them."""
    signer = Signer("order-1", SECRET)
    return {
        name: Peer(name, url, http=http, signer=signer, cluster=cluster)
        for name, url in URLS.items()
    }


def settings(data_dir: Path) -> Settings:
    """Return the settings of order-1."""
    return Settings(
        role="order",
        node="order-1",
        frontends={"frontend-1": "http://127.0.0.1:8000"},
        catalogs=URLS,
        orders={"order-1": "http://127.0.0.1:8201", "order-2": "http://127.0.0.1:8202"},
        backup={},
        data_dir=data_dir,
        cluster_secret=SECRET,
        admin_token="",
        cache_capacity=0,
        cache_lease_s=2.0,
        listen_host="127.0.0.1",
        listen_port=8201,
        seed_file=None,
    )


@dataclass(frozen=True)
class Told:
    """The status and document of one sale."""

    status: int
    json: Document


class OrderServer:
    """One order server in this process, called as a frontend calls it."""

    def __init__(
        self, data_dir: Path, http: Http, clock: FakeClock, tasks: Tasks | None = None
    ) -> None:
        self.app: Flask = create_app(
            settings(data_dir), clock=clock, http=http, tasks=tasks or Hub(clock), random=Random(1)
        )
        self._signer = Signer("frontend-1", SECRET)

    def call(
        self, method: str, target: str, document: Any = None, *,
        cluster: str = "", timeout_s: float = 2.4, body: bytes = b"",
    ) -> TestResponse:  # fmt: skip
        """Send one signed call."""
        data = body if document is None else json.dumps(document).encode()
        signed = self._signer.headers("order-1", method, target, cluster, data)
        headers = signed | {TIMEOUT_HEADER: str(int(timeout_s * 1000))}
        return self.app.test_client().open(target, method=method, data=data, headers=headers)

    def buy(self, key: str = "k1", **options: Any) -> Told:
        """Buy one copy of book 1; return what is said of it, or of the message."""
        sale = {"key": key, "items": [{"book_id": 1, "quantity": 1}]}
        response = self.call("POST", "/sales", [sale], **options)
        if response.status_code != 200:
            return Told(response.status_code, response.get_json())
        (told,) = response.get_json()
        return Told(told["status"], told.get("answer", told))

    def tick(self) -> None:
        """Let the follower have its turn."""
        self.app.extensions["bazar.follower"].tick()

    def close(self) -> None:
        """Close the files."""
        self.app.extensions["bazar"].close()


class TellingWriter:
    """A database's writer that tells each statement before it runs: where a disk can fail."""

    def __init__(self, database: Database, before: Callable[[str], None]) -> None:
        self._writer = database.writer
        self._before = before
        database.writer = self  # type: ignore[assignment]

    def execute(self, sql: str, *values: Any) -> Any:
        self._before(sql)
        return self._writer.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


def copy_as_after_a_crash(path: Path, into: Path) -> Path:
    """Copy a database's files as they lie there now: what the next process would find."""
    into.mkdir(parents=True)
    for companion in path.parent.glob(path.name + "*"):
        if not companion.name.endswith("-shm"):
            shutil.copy(companion, into / companion.name)
    return into / path.name
