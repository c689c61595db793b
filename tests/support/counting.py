"""What a piece of work costs, counted and never timed: messages, syncs, SQL, bytes, function calls.

Law: a figure is a function of the code that is measured. So no clock is read, every message takes
the same time, and while something is measured no node does anything by itself.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import apsw

from common.peer import Request, Response
from common.wsgi import answer_of
from tests.support.cluster import Cluster
from tests.support.network import Network, Weather

HOP_S = 0.001  # one way; a whole purchase is eight of them, less than the 0.1 s of a stuck message
LEASE_S = 60.0  # nobody renews while something is measured
ECHO_S = 0.5  # for what comes after the answer


# --- calls of functions ---


def calls_of(run: Callable[..., Any], *arguments: Any) -> int:
    """Return how many functions, in Python and in C, are called by `run` in this thread, itself
    included.

    The collector is off meanwhile: what it runs, and when, has nothing to do with `run`.
    """
    count = 0

    def see(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before, collecting = sys.getprofile(), gc.isenabled()
    gc.disable()
    sys.setprofile(see)
    try:
        run(*arguments)
    finally:
        sys.setprofile(before)
        if collecting:
            gc.enable()
    return count - 1  # the call that ended it


# --- SQL ---


@dataclass(frozen=True)
class Statement:
    """One statement that was run, with what SQLite counted of it."""

    node: str
    sql: str
    steps: int  # of SQLite's virtual machine
    scanned: int  # rows stepped to in a scan of a whole table
    sorted: int  # sorts, and indexes that were made for this statement only


class Statements:
    """What is run on every database opened between `open` and `close`; what SQLite runs by itself,
    to record and to apply changesets, is among it.
    """

    def __init__(self) -> None:
        self.run: list[Statement] = []

    def open(self) -> None:
        """Watch every connection from here on."""
        apsw.connection_hooks.append(self._watch)

    def close(self) -> None:
        """Watch no more connections."""
        apsw.connection_hooks.remove(self._watch)

    def _watch(self, connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._ended)

    def _ended(self, event: dict[str, Any]) -> None:
        node = Path(event["connection"].filename).parent.name
        status = {
            name.removeprefix("SQLITE_STMTSTATUS_"): n for name, n in event["stmt_status"].items()
        }
        made = status["SORT"] + status["AUTOINDEX"]
        self.run.append(
            Statement(node, event["sql"], status["VM_STEP"], status["FULLSCAN_STEP"], made)
        )


# --- messages ---


@dataclass
class Message:
    """A call that was sent, and its size with its answer's as they go over the wire."""

    sender: str
    to: str
    what: str
    size: int


@dataclass
class Wire(Network):
    """The pretend network, which keeps a list of what is sent; jobs in `silent` cannot send."""

    silent: frozenset[str] = frozenset()
    sent: list[Message] = field(default_factory=list)

    def send(self, sender: str, request: Request) -> Response:
        if self.scheduler.running.name in self.silent:
            self.scheduler.sleep(None)
        path = request.target.partition("?")[0]
        message = Message(sender, request.to, f"{request.method} {path}", _size(request))
        self.sent.append(message)
        response = super().send(sender, request)
        message.size += len(
            answer_of(response.status, response.headers.items(), response.body).wire
        )
        return response


def _size(request: Request) -> int:
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {request.to}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return len("\r\n".join((*lines, "", ""))) + len(request.body)


# --- a cluster ---


@dataclass(frozen=True)
class Cost:
    """What something took, at every node."""

    sent: list[Message]  # from node to node; a client's own calls are not among them
    syncs: Counter[str]  # node -> how often its disk was waited for
    run: list[Statement]

    @property
    def messages(self) -> Counter[str]:
        """Return kind of message -> how many."""
        return Counter(f"{_role(one.sender)} to {_role(one.to)}: {one.what}" for one in self.sent)

    @property
    def size(self) -> int:
        """Return the bytes of all messages and of their answers."""
        return sum(one.size for one in self.sent)

    def sql(self, *nodes: str) -> list[str]:
        """Return what was run at some nodes, or at all."""
        return [one.sql for one in self.run if not nodes or one.node in nodes]

    def steps(self, *nodes: str) -> int:
        """Return the steps of SQLite's virtual machine at some nodes, or at all."""
        return sum(one.steps for one in self.run if not nodes or one.node in nodes)

    @property
    def slow(self) -> list[Statement]:
        """Return the statements that read a whole table, or sorted."""
        return [one for one in self.run if one.scanned or one.sorted]


def _role(node: str) -> str:
    return node.rpartition("-")[0]


class Counted(Cluster):
    """A cluster that counts, of books that are never sold out."""

    def __post_init__(self) -> None:
        self.lease_s = LEASE_S
        super().__post_init__()
        mute = self.network.mute  # the keeper has it, too
        self.network = self._wire = Wire(self.scheduler, Weather((HOP_S, HOP_S)), mute=mute)
        self._statements = Statements()
        self._syncs: Counter[str] = Counter()
        self._statements.open()
        for name in (name for names in self.names.values() for name in names):
            self._count_syncs(name)

    def _count_syncs(self, name: str) -> None:
        disk = self.disks.of(name)

        def synced() -> None:
            self._syncs[name] += 1
            disk.at("sync", "", synced)

        disk.at("sync", "", synced)

    def close(self) -> None:
        """End everything."""
        self._statements.close()
        super().close()

    def open(self) -> None:
        """Start all nodes, open the shop, and let everybody fall silent who is not asked."""
        self.start()
        self.run(self.ready, 10)
        self.run_for(ECHO_S)
        self._wire.silent = frozenset(self._jobs())
        self.run_for(ECHO_S)

    def _jobs(self) -> Iterable[str]:
        for name, running in self.running.items():
            yield from (f"{name} {loop}" for loop in running.service.loops)
            yield from (f"{name} {ticker.name}" for ticker in running.service.tickers)

    def cost_of(self, act: Callable[[], Any]) -> Cost:
        """Do something, and return what it took, with what comes after its answer."""
        self.run_for(ECHO_S)
        self._wire.sent.clear()
        self._statements.run.clear()
        self._syncs.clear()
        act()
        self.run_for(ECHO_S)
        nodes = {name for names in self.names.values() for name in names}
        sent = [message for message in self._wire.sent if message.sender in nodes]
        return Cost(sent, Counter(self._syncs), list(self._statements.run))


def write_books(path: Path, books: int, *topics: str, stock: int = 1000) -> Path:
    """Write a seed catalogue of books; the topics take turns."""
    named = [(n, topics[(n - 1) % len(topics)]) for n in range(1, books + 1)]
    rows = [f"C-{n},Book {n},An Author,{topic},{topic},500,{stock}" for n, topic in named]
    header = "sku,title,authors,topic,topics,price_cents,stock"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path
