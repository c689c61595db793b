"""What the catalog's tests share: a database with a writer of its own, views to draw, and two
catalogs in one process.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import apsw
from flask import Flask
from hypothesis import strategies as st

from catalog import operations, store
from catalog.app import create_app
from catalog.disk import open_catalog
from catalog.model import REPLICATED, Entry, Operation, Outcome
from catalog.node import Node
from catalog.replication import Promise, Record, View
from common.auth import Signer
from common.config import Settings
from common.peer import TIMEOUT_HEADER, NoAnswer, NotSent, Request, Response
from common.position import ORIGIN, Position
from common.service import Service, service_of
from common.tasks import Tasks
from tests.support.calls import TaskCalls
from tests.support.network import call_wsgi
from tests.support.scheduler import Scheduler, SimClock, SimTasks

SECRET = "a secret that only the tests know of"
ONE, TWO = "catalog-1", "catalog-2"
FRONTEND = "frontend-1"
AT = "2026-01-01T00:00:00.000Z"

Document = dict[str, Any]


# --- one database, written as a leader does ---


def book(**changed: Any) -> Document:
    """Return the canonical fields of a new book."""
    fields: Document = {
        "sku": None,
        "title": "A Book",
        "authors": ["A. Author"],
        "topics": ["Systems"],
        "price_cents": 1000,
        "quantity": 5,
    }
    return fields | changed


def sale(*lines: tuple[int, int]) -> Document:
    """Return the canonical body of a sale of (book id, quantity) lines."""
    return {"items": [{"book_id": book_id, "quantity": quantity} for book_id, quantity in lines]}


@dataclass
class Decided:
    """What one operation came to."""

    status: int
    answer: Document
    keys: frozenset[str]


class Shop:
    """A catalog database with a writer that numbers, decides and logs as a leader's does."""

    def __init__(self, path: Path) -> None:
        self.database = open_catalog(path)
        self.db = self.database.writer
        self.db.pragma("synchronous", "off")  # no test here pulls the plug
        self.log: list[Entry] = []
        self._count = 0

    def do(self, kind: str, body: Mapping[str, Any]) -> Decided:
        """Decide one operation in an entry of its own."""
        return self.batch((kind, body))[0]

    def add(self, **changed: Any) -> int:
        """Add a book; return its id."""
        return int(self.do("add", book(**changed)).answer["id"])

    def batch(self, *bodies: tuple[str, Mapping[str, Any]]) -> list[Decided]:
        """Decide operations in one entry, and commit it."""
        decided: list[Decided] = []
        names: list[str] = []
        with self.db as db:
            prev = store.end(db)
            with closing(apsw.Session(db, "main")) as session:
                for table in REPLICATED:
                    session.attach(table)
                for kind, body in bodies:
                    operation = Operation(self._name("op"), kind, body)
                    names.append(operation.key)
                    decided.append(self._decide(operation, prev.seq + 1))
                changeset = session.changeset()
            keys = sorted({key for one in decided for key in one.keys})
            entry = Entry.build(1, prev, tuple(keys), tuple(names), changeset)
            store.append(db, entry)
        self.log.append(entry)
        return decided

    def _name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}-{self._count}"

    def _decide(self, operation: Operation, seq: int) -> Decided:
        tx = operations.Transaction(self.db, seq, AT, lambda: self._name("order"))
        try:
            with self.db:
                status, document = operations.run(tx, operation)
                keys = frozenset(tx.keys)
        except operations.Refused as refused:
            status, document, keys = refused.problem.status, refused.problem.body(), frozenset()
        row = (operation.key, operation.fingerprint, status, json.dumps(document))
        self.db.execute("INSERT INTO operations VALUES (?, ?, ?, ?)", row)
        return Decided(status, document, keys)

    # --- looking ---

    def book(self, book_id: int) -> Document | None:
        return store.book(self.db, book_id)

    def left(self, book_id: int) -> int:
        """Return a book's stock."""
        found = self.book(book_id)
        assert found is not None
        return int(found["quantity"])

    def search(self, text: str) -> list[int]:
        """Return the ids that a text search finds."""
        page = store.text_page(self.db, text, 200, 0, str)
        found = [item["id"] for item in page["items"]]
        assert page["total"] == len(found)
        return found

    def topics(self) -> dict[str, int]:
        """Return topic -> number of books, as the public list has it."""
        return {item["topic"]: item["books"] for item in store.topics(self.db)["items"]}

    def digest(self) -> str:
        return store.digest(self.db)

    def digest_of_books(self) -> str:
        """Return a hash over all that operations change, but for the record of what was decided."""
        tables = [table for table in REPLICATED if table != "operations"]
        rows = [
            self.db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables
        ]
        counts = self.db.execute("SELECT * FROM topic_counts ORDER BY 1").fetchall()
        return repr((rows, counts))

    def apply(self, entry: Entry) -> None:
        """Apply an entry as a replica does."""
        with self.db as db:
            store.apply(db, entry)

    def close(self) -> None:
        self.database.close()


@contextmanager
def shops(count: int) -> Iterator[list[Shop]]:
    """Yield fresh databases (for properties: a fixture would be shared by all examples)."""
    folder = Path(tempfile.mkdtemp(prefix="bazar-"))
    opened = [Shop(folder / f"{number}.db") for number in range(count)]
    try:
        yield opened
    finally:
        for shop in opened:
            shop.close()
        shutil.rmtree(folder)


WORDS = ("graph", "Гoд", "λόγος", "東京", "café", "كتاب", "a", "AND")
TOPICS = ("Systems", "SYSTEMS", "Systèmes", "ML/AI", "東京")
SKUS = ("s1", "s2", "s3")


def _fields() -> dict[str, st.SearchStrategy[Any]]:
    texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
    return {
        "title": texts,
        "authors": st.lists(texts, max_size=2),
        "topics": st.lists(st.sampled_from(TOPICS), min_size=1, max_size=3, unique_by=str.casefold),
        "price_cents": st.integers(0, 5000),
    }


def some_operations(
    min_size: int = 1, max_size: int = 12
) -> st.SearchStrategy[list[tuple[str, Document]]]:
    """Draw operations over few books, so that they meet."""
    ids = st.integers(1, 5)
    lines = st.lists(
        st.tuples(ids, st.integers(1, 3)), min_size=1, max_size=3, unique_by=lambda line: line[0]
    )
    stock = st.integers(0, 4)
    rows = st.fixed_dictionaries(_fields() | {"sku": st.sampled_from(SKUS), "quantity": stock})
    new = st.fixed_dictionaries(
        _fields() | {"sku": st.none() | st.sampled_from(SKUS), "quantity": stock}
    )
    edits = st.fixed_dictionaries(
        {"book_id": ids}, optional=_fields() | {"reason": st.just("because")}
    )
    received = st.fixed_dictionaries(
        {"book_id": ids, "quantity": st.integers(1, 4), "reason": st.none()}
    )
    one = st.one_of(
        st.tuples(st.just("add"), new),
        st.tuples(st.just("import"), st.lists(rows, max_size=4).map(lambda rows: {"rows": rows})),
        st.tuples(st.just("edit"), edits),
        st.tuples(st.just("restock"), received),
        st.tuples(st.just("sell"), lines.map(lambda drawn: sale(*drawn))),
    )
    return st.lists(one, min_size=min_size, max_size=max_size)


# --- views of nodes ---


def position(seq: int, content: str = "", epoch: int = 1) -> Position:
    """Return a made-up position; other content, other hash."""
    return ORIGIN if seq == 0 else Position(epoch, seq, f"hash-{seq}{content}")


def record(epoch: int = 1, leader: str = ONE, lease_s_max: float = 2.0, **disks: str) -> Record:
    """Return an epoch record whose members are the first disks of both nodes, or those given
    (one=.., two=..).
    """
    members = {ONE: disks.get("one", "disk-1"), TWO: disks.get("two", "disk-2")}
    return Record(epoch, leader, members, lease_s_max)


def view(node: str = ONE, **changed: Any) -> View:
    """Return a member of epoch 1 at entry 3, with nothing prepared."""
    fields: Document = {
        "node": node,
        "disk": "disk-1" if node == ONE else "disk-2",
        "cluster": "shop",
        "record": record(),
        "promise": Promise(1, ONE),
        "end": position(3),
        "prepared": None,
        "schema": 1,
        "status": "recovering",
        "checked": True,
    }
    return View(**(fields | changed))


def empty(node: str, **changed: Any) -> View:
    """Return a node that never was part of a cluster."""
    nothing: Document = {
        "cluster": "",
        "record": None,
        "promise": Promise(0, ""),
        "end": ORIGIN,
        "checked": False,
    }
    return view(node, **(nothing | changed))


# --- two catalogs in one process ---


def settings(
    folder: Path, node: str, seed_file: Path | None = None, lease_s: float = 2.0
) -> Settings:
    """Return what a catalog node is told."""
    return Settings(
        role="catalog",
        node=node,
        frontends={FRONTEND: "http://frontend-1"},
        catalogs={ONE: "http://catalog-1", TWO: "http://catalog-2"},
        orders={},
        backup={},
        data_dir=folder / node,
        cluster_secret=SECRET,
        admin_token="",
        cache_capacity=0,
        cache_lease_s=lease_s,
        listen_host="",
        listen_port=0,
        seed_file=seed_file,
    )


class Line:
    """`CallsHttp` that calls the other node directly; a test can put itself in between."""

    def __init__(self, apps: Mapping[str, Flask]) -> None:
        self.apps = apps
        self.before: list[Callable[[Request], Response | None]] = []  # may answer, raise, or pass
        self.sent: list[Request] = []

    def send(self, request: Request) -> Response:
        self.sent.append(request)
        for act in self.before:
            answer = act(request)
            if answer is not None:
                return answer
        app = self.apps.get(request.to)
        if app is None:
            raise NotSent(f"{request.to} refused the connection")
        return call_wsgi(app, request)

    def calls(self, tasks: Tasks) -> TaskCalls:
        return TaskCalls(self, tasks)


@dataclass
class Frontend:
    """A frontend's side of INVALIDATE: acknowledges all, or whatever the test makes of it."""

    answer: Callable[[Request], Response | None] | None = None
    told: list[Document] = field(default_factory=list)

    def __call__(self, request: Request) -> Response | None:
        if request.to != FRONTEND:
            return None
        message = json.loads(request.body)
        self.told.append(message)
        if self.answer is not None and (answer := self.answer(request)) is not None:
            return answer
        reply = {"acknowledged": True, "seq": message["seq"], "hash": message["hash"]}
        return Response(200, {}, json.dumps(reply).encode())


@dataclass
class Answered:
    """An answer to a signed call."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["code"])


class Catalogs:
    """Both catalog nodes with a simulated clock: the scheduler runs their writers, the test runs
    their tickers.
    """

    def __init__(self, folder: Path, seed_file: Path | None = None, lease_s: float = 2.0) -> None:
        self.folder = folder
        self.scheduler = Scheduler(1)
        self.clock = SimClock(self.scheduler, offset_s=100.0)
        self.apps: dict[str, Flask] = {}
        self.line = Line(self.apps)
        self.frontend = Frontend()
        self.line.before.append(self.frontend)
        self._seed_file, self._lease_s = seed_file, lease_s
        self._random = Random(1)

    # --- life ---

    def start(self, *names: str) -> None:
        """Start nodes and their writers."""
        for name in names or (ONE, TWO):
            app = create_app(
                settings(self.folder, name, self._seed_file, self._lease_s),
                clock=self.clock,
                http=self.line,
                tasks=SimTasks(self.scheduler, name),
                random=Random(self._random.getrandbits(64)),
            )
            self.apps[name] = app
            for loop, run in service_of(app).loops.items():
                self.scheduler.spawn(f"{name} {loop}", name, run)

    def kill(self, name: str) -> None:
        """End a node as kill -9 does."""
        app = self.apps.pop(name)
        service_of(app).close()
        self.scheduler.kill(name)

    def lose_disk(self, name: str) -> None:
        """Empty a dead node's folder."""
        assert name not in self.apps
        shutil.rmtree(self.folder / name)

    def close(self) -> None:
        for name in list(self.apps):
            self.kill(name)

    def node(self, name: str = ONE) -> Node:
        node = self.apps[name].extensions["bazar.node"]
        assert isinstance(node, Node)
        return node

    def service(self, name: str) -> Service:
        return service_of(self.apps[name])

    # --- time ---

    def run_for(self, seconds: float) -> None:
        """Let simulated time pass."""
        end = self.scheduler.now + seconds
        self.scheduler.at(end, lambda: None)
        self.scheduler.run(lambda: self.scheduler.now >= end, seconds + 1)

    def do(self, call: Callable[[], Any], limit_s: float = 60.0) -> Any:
        """Run a call that may wait; return its result."""
        box: list[Any] = []
        job = self.scheduler.spawn("test", "test", lambda: box.append(call()))
        self.scheduler.run(lambda: job.done, limit_s)
        return box[0]

    def tick(self, *names: str) -> None:
        """Let each node take one step of its recovery, or send its heartbeat."""
        for name in names or tuple(self.apps):
            self.do(self.service(name).tickers[0].run)

    def open(self) -> None:
        """Start both nodes and bring them to where the shop is open."""
        self.start()
        self.settle()

    def settle(self) -> None:
        """Tick until one leads with the other following and the first entry written."""
        for _ in range(40):
            self.tick()
            self.run_for(0.2)
            if self.is_open():
                return
        raise AssertionError(
            f"never open: {[(n, self.node(n).status, self.node(n).why) for n in self.apps]}"
        )

    def is_open(self) -> bool:
        return len(self.apps) == 2 and any(
            node.leads and node.peer_following and node.end().seq
            for node in map(self.node, self.apps)
        )

    # --- calls ---

    def call(
        self,
        method: str,
        target: str,
        document: Any = None,
        *,
        to: str = ONE,
        sender: str = "order-1",
        body: bytes = b"",
        cluster: str = "",
        timeout_s: float = 2.0,
        secret: str = SECRET,
    ) -> Answered:
        """Send one signed call; it must not have to wait (else: inside `do`)."""
        data = body if document is None else json.dumps(document).encode()
        signed = Signer(sender, secret).headers(to, method, target, cluster, data)
        headers = signed | {TIMEOUT_HEADER: str(int(timeout_s * 1000))}
        request = Request(to, "", method, target, headers, data, timeout_s)
        response = call_wsgi(self.apps[to], request)
        return Answered(response.status, response.headers, response.body)

    def get(self, target: str, to: str = ONE) -> Answered:
        return self.call("GET", target, to=to)

    def operate(
        self, key: str, kind: Any, body: Any, *, to: str = ONE, timeout_s: float = 2.0
    ) -> Answered:
        """Send an operation and wait for what the catalog says."""
        document = {"key": key, "kind": kind, "body": body}
        answered = self.do(
            lambda: self.call("POST", "/operations", document, to=to, timeout_s=timeout_s)
        )
        assert isinstance(answered, Answered)
        return answered

    def operate_at_once(
        self, operations: Sequence[tuple[str, str, Document]], *, timeout_s: float = 2.0
    ) -> list[Answered]:
        """Send operations at the same time; return the answers in their order."""
        answers: dict[int, Answered] = {}

        def sending(number: int, key: str, kind: str, body: Document) -> Callable[[], None]:
            document = {"key": key, "kind": kind, "body": body}

            def send() -> None:
                answers[number] = self.call("POST", "/operations", document, timeout_s=timeout_s)

            return send

        jobs = [
            self.scheduler.spawn(key, "test", sending(number, key, kind, body))
            for number, (key, kind, body) in enumerate(operations)
        ]
        self.scheduler.run(lambda: all(job.done for job in jobs), 60.0)
        return [answers[number] for number in range(len(operations))]


def silent(name: str) -> Callable[[Request], Response | None]:
    """Return an act for `Line.before`: calls to a node are lost."""

    def lose(request: Request) -> Response | None:
        if request.to == name:
            raise NoAnswer(f"{name} did not answer in time")
        return None

    return lose


def outcome_of(answer: Document, status: int = 200) -> Outcome:
    """Return an outcome."""
    return Outcome("fingerprint", status, json.dumps(answer))
