"""Our shop for the benchmark: real nodes, an import, and frontends that come and go."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

from bench.books import Book, write_csv
from bench.children import run
from common.errors import Problem
from common.peer import PeerDown
from tests.support.processes import Process
from tests.support.real import SEED_HEADER, START_S, RealShop

FRONTENDS_MAX = 8
IMPORT_S = 300
READY_STATES = {"caching", "cache off", "following", "leading"}
MAIN = "frontend-1"


class Shop(RealShop):
    """A shop that opens empty with five nodes; more frontends are configured, not started."""

    def __init__(self, folder: Path, *, capacity: int) -> None:
        folder.mkdir()
        super().__init__(
            folder, seed=SEED_HEADER + "\n", frontends=FRONTENDS_MAX, cache_capacity=capacity
        )
        self.names = [*self.catalogs, *self.orders, MAIN]

    @property
    def main(self) -> str:
        """Return the URL of the frontend that always runs."""
        return self.url(MAIN)

    def start(self, *names: str, capacity: int | None = None) -> None:
        """Start nodes, with a cache of another size if need be."""
        environ = {} if capacity is None else {"CACHE_CAPACITY": str(capacity)}
        for name in names:
            arguments = ["-m", self.role(name), "--node", name, "--config", str(self.config)]
            self.processes[name] = Process(arguments, self.folder / f"{name}.log", environ)

    def restart(self) -> float:
        """End and start the five nodes; return how long it took until all are ready, in s."""
        for name in reversed(self.alive()):  # the frontend first: it gives its lease back
            self.terminate(name)
        began = time.monotonic()
        self.start(*self.names)
        self.wait_ready()
        return time.monotonic() - began

    @contextmanager
    def frontend(self, name: str, capacity: int) -> Iterator[str]:
        """Run one more frontend; yield its URL."""
        self.start(name, capacity=capacity)
        try:
            self.wait_ready()
            yield self.url(name)
        finally:
            self.terminate(name)
            del self.processes[name]

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Stop a node as if its machine had vanished, then let it go on and all get well."""
        self.pause(name)
        try:
            yield
        finally:
            self.resume(name)
        self.wait_ready()

    @contextmanager
    def killed(self, name: str) -> Iterator[None]:
        """kill -9 a node, then start it again and let all get well."""
        self.kill(name)
        try:
            yield
        finally:
            self.start(name)
        self.wait_ready()

    def load(self, books: Sequence[Book]) -> float:
        """Import books as `make import` does; return how long it took, in seconds."""
        path = self.folder / "books.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            write_csv(books, file)
        command = [sys.executable, "-m", "catalog.importer", str(path)]
        began = time.monotonic()
        run([*command, "--config", str(self.config)], timeout=IMPORT_S)
        return time.monotonic() - began

    def pids(self) -> dict[str, int]:
        """Return node -> process of those that run."""
        return {name: self.processes[name].popen.pid for name in self.alive()}

    def wait_ready(self, timeout_s: float = START_S) -> None:
        """Wait until each node that runs does what it is there for."""
        self.wait_until(self.is_ready, timeout_s, "a shop that is ready")

    def is_ready(self) -> bool:
        """Tell whether reads and writes work, and each node is in the state for it."""
        return all(self._node_is_ready(name) for name in self.processes)

    def _node_is_ready(self, name: str) -> bool:
        assert self.processes[name].popen.poll() is None, f"{name} has ended\n{self.logs()}"
        try:
            if self.role(name) == "frontend":
                ready = self.get("/readyz", at=name).json()
                if not (ready["reads"] and ready["writes"]):
                    return False
            return self.status(name)["state"] in READY_STATES
        except (requests.RequestException, PeerDown, Problem):
            return False


@contextmanager
def shop(
    folder: Path, books: Sequence[Book], capacity: int, say: Callable[[str], None]
) -> Iterator[Shop]:
    """Run a shop with books in it."""
    say(f"starting a shop with {len(books):,} books")
    with Shop(folder, capacity=capacity) as started:
        started.load(books)
        yield started
