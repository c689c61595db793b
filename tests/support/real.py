"""A whole shop of real processes on the loopback: start, kill, pause and ask it, as outsiders do.

Law: every process it started has ended when the `with` block has, however that ended.
"""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self, TypeVar

import requests
import requests.adapters

from common.auth import Signer
from common.config import SECRETS, SECRETS_NAME, SEED_NAME, Settings, load_cluster
from common.peer import Peer, RequestsHttp
from common.secretsfile import make_secrets
from tests.support.processes import Process, free_ports
from tests.support.wait import wait_until

T = TypeVar("T")

SEED_HEADER = "sku,title,authors,topic,topics,price_cents,stock"
ANSWER_S = 10.0  # no call takes longer: purchases give up after 5 s
START_S = 30.0  # generous: a busy machine is no defect
TAIL_LINES = 40
THREADS_MAX = 256


def seed_csv(books: int = 3, stock: int = 40, price_cents: int = 500, topic: str = "Sea") -> str:
    """Return a seed catalogue of a few books, all of one topic."""
    rows = [
        f"REAL-{n},Book {n},An Author,{topic},{topic},{price_cents},{stock}"
        for n in range(1, books + 1)
    ]
    return "\n".join([SEED_HEADER, *rows]) + "\n"


class RealShop:
    """Every node of one cluster.env in a process of its own; `with` starts and ends them."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: str | None = None,
        frontends: int = 1,
        lease_s: float = 2,
        cache_capacity: int = 1024,
        backup: bool = False,
        more: str = "",
    ) -> None:
        """`more` is put at the end of the config file."""
        self.folder = folder
        self.lease_s = lease_s
        self.config = folder / "cluster.env"
        told = _cluster_env(folder, frontends, lease_s, cache_capacity, backup)
        self.config.write_text(told + more, "utf-8")
        make_secrets(folder / SECRETS_NAME, SECRETS)
        (folder / SEED_NAME).write_text(seed_csv() if seed is None else seed, "utf-8")
        self.settings: Settings = load_cluster(self.config)
        self.frontends = list(self.settings.frontends)
        self.catalogs = list(self.settings.catalogs)
        self.orders = list(self.settings.orders)
        self.backup = list(self.settings.backup)  # one, or none
        self.names = [*self.catalogs, *self.backup, *self.orders, *self.frontends]
        self.processes: dict[str, Process] = {}
        self._configs: dict[str, Path] = {}  # of nodes that are told something else
        self._http = RequestsHttp(THREADS_MAX)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=THREADS_MAX))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.close)
            self.start(*self.names)
            self.wait_ready()
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process, by force."""
        with ExitStack() as stack:
            for process in self.processes.values():
                stack.push(process)
        self._session.close()

    # --- processes ---

    def start(self, *names: str) -> None:
        """Start nodes; each appends to a log of its own."""
        for name in names:
            config = self._configs.get(name, self.config)
            arguments = ["-m", self.module(name), "--node", name, "--config", str(config)]
            self.processes[name] = Process(arguments, self.folder / f"{name}.log")

    def start_with(self, name: str, **urls: str) -> None:
        """Start a node that is told other URLs of some nodes (`catalog_1="http://.."`)."""
        text = self.config.read_text("utf-8")
        for other, url in urls.items():
            text = text.replace(self.url(other.replace("_", "-")), url)
        folder = self.folder / f"told-{name}"
        folder.mkdir(exist_ok=True)
        (folder / SECRETS_NAME).write_bytes((self.folder / SECRETS_NAME).read_bytes())
        self._configs[name] = folder / self.config.name
        self._configs[name].write_text(text, "utf-8")
        self.start(name)

    def role(self, name: str) -> str:
        """Return a node's service."""
        return name.rpartition("-")[0]

    def module(self, name: str) -> str:
        """Return what a node runs."""
        return "catalog.backup" if name in self.backup else self.role(name)

    def data(self, name: str) -> Path:
        """Return a node's data folder."""
        return self.settings.data_dir / name

    def kill(self, *names: str) -> None:
        """kill -9, and wait until they are gone."""
        for name in names:
            self.processes[name].popen.kill()
        for name in names:
            self.processes[name].popen.wait()

    # --- other disks in their place ---

    def keep_disk(self, name: str) -> None:
        """Put a copy of a node's folder aside, taken while the node stands still for a moment."""
        self.pause(name)
        shutil.copytree(self.data(name), self._kept(name), dirs_exist_ok=True)
        self.resume(name)

    def lose_disk(self, name: str) -> None:
        """Empty the folder of a dead node."""
        shutil.rmtree(self.data(name))

    def restore_disk(self, name: str) -> None:
        """Put the copy in the place of a dead node's folder."""
        self.lose_disk(name)
        self._kept(name).rename(self.data(name))

    def _kept(self, name: str) -> Path:
        return self.folder / f"{name}.kept"

    def pause(self, name: str) -> None:
        """SIGSTOP a node."""
        self.processes[name].popen.send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT a node."""
        self.processes[name].popen.send_signal(signal.SIGCONT)

    def terminate(self, name: str) -> int:
        """SIGTERM a node and return its exit code."""
        self.processes[name].popen.send_signal(signal.SIGTERM)
        return self.processes[name].ends(30)

    def alive(self) -> list[str]:
        """Return the nodes whose process has not ended."""
        return [name for name, process in self.processes.items() if process.popen.poll() is None]

    def logs(self) -> str:
        """Return the end of every node's log."""
        parts = []
        for name, process in self.processes.items():
            lines = process.logs().splitlines()[-TAIL_LINES:]
            state = "runs" if process.popen.poll() is None else f"ended {process.popen.returncode}"
            parts.append("\n".join([f"--- {name} ({state}) ---", *lines]))
        return "\n".join(parts)

    # --- waiting ---

    def wait_until(self, condition: Callable[[], T | None], timeout_s: float, what: str) -> T:
        """Return the first true value; a late one fails with the logs."""
        found = wait_until(condition, timeout_s, what, self.logs)
        assert found is not None
        return found

    def wait_ready(self, timeout_s: float = START_S) -> None:
        """Wait until reads and writes work, caches have their lease and order logs follow."""
        self.wait_until(self.is_ready, timeout_s, "a shop that is ready")

    def is_ready(self) -> bool:
        """Tell whether every node does what it is there for, as each frontend sees it."""
        return all(self._sees_all_ready(frontend) for frontend in self.frontends)

    def _sees_all_ready(self, frontend: str) -> bool:
        try:
            ready = self.get("/readyz", at=frontend).json()
            if not (ready["reads"] and ready["writes"]):
                return False
            seen = self.get("/cluster", at=frontend, operator=True).json()
        except requests.RequestException:
            return False
        states = {node["node"]: node["state"] for node in seen["nodes"]}
        wanted = {"caching", "cache off", "following", "leading", "watching"}
        return set(states.values()) <= wanted

    # --- the public API ---

    def url(self, name: str) -> str:
        """Return a node's URL."""
        return self.settings.url_of(name)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        operator: bool = False,
        at: str = "frontend-1",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_S,
    ) -> requests.Response:
        """Make a public call; `body` is sent as JSON unless it is bytes."""
        sent = dict(headers or {})
        if key is not None:
            sent["Idempotency-Key"] = key
        if operator:
            sent["Authorization"] = f"Bearer {self.settings.admin_token}"
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        response = self._session.request(
            method, self.url(at) + path, data=data, headers=sent, timeout=timeout_s
        )
        assert response.status_code != 500, f"{method} {path}: {response.text}\n{self.logs()}"
        return response

    def get(self, path: str, **options: Any) -> requests.Response:
        """Make a public call that reads."""
        return self.call("GET", path, **options)

    def look(self, book: int, **options: Any) -> dict[str, Any]:
        """Return a book as `/lookup` shows it."""
        response = self.get(f"/lookup/{book}", **options)
        assert response.status_code == 200, f"{response.text}\n{self.logs()}"
        document: dict[str, Any] = response.json()
        return document

    def ask(self, path: str, at: str = "frontend-1") -> Callable[[], dict[str, Any]]:
        """Send a read to a node that may be asleep; the result waits for its answer."""
        connection = http.client.HTTPConnection(
            self.url(at).removeprefix("http://"), timeout=ANSWER_S
        )
        connection.request("GET", path)  # when this returns it waits in the node's socket

        def answer() -> dict[str, Any]:
            with closing(connection):
                response = connection.getresponse()
                document: dict[str, Any] = json.loads(response.read())
                assert response.status == 200, document
                return document

        return answer

    def stock(self, book: int, **options: Any) -> int:
        """Return how many copies of a book are left."""
        return int(self.look(book, **options)["quantity"])

    def buy(self, book: int, quantity: int = 1, **options: Any) -> requests.Response:
        """Ask for copies of a book."""
        return self.call("POST", f"/purchase/{book}", {"quantity": quantity}, **options)

    def restock(self, book: int, quantity: int, **options: Any) -> requests.Response:
        """Receive copies of a book."""
        path = f"/books/{book}/restock"
        return self.call("POST", path, {"quantity": quantity}, operator=True, **options)

    def price(self, book: int, price_cents: int, **options: Any) -> requests.Response:
        """Change what a book costs."""
        body = {"price_cents": price_cents}
        return self.call("PATCH", f"/books/{book}", body, operator=True, **options)

    def decided(self, ask: Callable[[], requests.Response], timeout_s: float) -> requests.Response:
        """Ask again, with the same key, until the answer says what became of it."""
        return self.wait_until(lambda: _decision(ask), timeout_s, "a decision")

    def hit(self, path: str, **options: Any) -> requests.Response:
        """Read until the answer comes from the cache; return it."""

        def answer() -> requests.Response | None:
            response = self.get(path, **options)
            return response if "hit" in response.headers.get("Cache-Status", "") else None

        return self.wait_until(answer, 10, f"a hit on {path}")

    def metric(self, name: str, at: str = "frontend-1") -> float:
        """Return one number of a node's `/metrics`, labels included in its name."""
        for line in self.get("/metrics", at=at).text.splitlines():
            found, _, value = line.rpartition(" ")
            if found == name:
                return float(value)
        return 0.0

    # --- inside, with signed calls ---

    def peer(self, name: str) -> Peer:
        """Return a node for signed calls, in the name of one that is not configured."""
        signer = Signer("tester", self.settings.cluster_secret)
        return Peer(name, self.url(name), http=self._http, signer=signer, cluster=lambda: "")

    def status(self, name: str) -> dict[str, Any]:
        """Return what a node says of itself."""
        document: dict[str, Any] = self.peer(name).call("GET", "/status", timeout_s=5).json()
        return document

    def digests(self) -> dict[str, Any]:
        """Return catalog -> position and hash of all its tables."""
        return {
            name: self.peer(name)
            .call("POST", "/replication/digest", timeout_s=30, document={})
            .json()
            for name in self.catalogs
        }

    def listing(self, name: str) -> list[dict[str, Any]]:
        """Return all orders of one order server, page by page."""
        found: list[dict[str, Any]] = []
        asked: dict[str, Any] = {"limit": 200}
        while True:
            page = self.peer(name).call("GET", "/orders", timeout_s=5, query=asked).json()
            found += page["items"]
            if page["next"] is None:
                assert page["total"] == len(found)
                return found
            asked["after"] = page["next"]

    def ledger(self, name: str) -> list[dict[str, Any]]:
        """Return all orders in a catalog's ledger."""
        found: list[dict[str, Any]] = []
        while True:
            query = {"after": len(found), "limit": 1000}
            page = self.peer(name).call("GET", "/ledger", timeout_s=5, query=query).json()
            found += [row["order"] for row in page["rows"]]
            if len(found) >= page["end"]:
                return found

    def check_copies(self) -> list[dict[str, Any]]:
        """Check that both catalogs and both order logs are the same; return the orders."""

        def same_digests() -> bool:
            one, other = self.digests().values()
            return bool(one == other)

        self.wait_until(same_digests, 10, f"equal catalogs, not {self.digests()}")
        orders = self.listing(self.orders[0])
        for other in self.orders[1:]:
            assert self.listing(other) == orders, f"the order logs differ\n{self.logs()}"
        for catalog in self.catalogs:
            assert self.ledger(catalog) == orders, f"ledger and order logs differ\n{self.logs()}"
        return orders


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make all calls at the same time, each in a thread of its own; return what they returned."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        gate.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return how long it runs."""
        return time.monotonic() - self._began


def code(response: requests.Response) -> str:
    """Return the code of a problem document."""
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    document = response.json()
    assert document["status"] == response.status_code
    return str(document["code"])


UNDECIDED = (429, 503)


def _decision(ask: Callable[[], requests.Response]) -> requests.Response | None:
    """Return an answer that tells what became of a write; None: nobody could say."""
    try:
        response = ask()
    except requests.RequestException:
        return None
    if response.status_code in UNDECIDED:
        return None
    running = response.status_code == 409 and code(response) == "in-progress"
    return None if running else response


def _cluster_env(folder: Path, frontends: int, lease_s: float, capacity: int, backup: bool) -> str:
    names = {
        "FRONTENDS": [f"frontend-{n}" for n in range(1, frontends + 1)],
        "CATALOGS": ["catalog-1", "catalog-2"],
        "ORDERS": ["order-1", "order-2"],
        "BACKUP": ["backup"] if backup else [],
    }
    ports = iter(free_ports(frontends + 5))
    return "".join([
        *(f'{key}="{_nodes(nodes, ports)}"\n' for key, nodes in names.items()),
        f'DATA_DIR="{folder / "data"}"\n', "CLUSTER_SECRET=\n", "ADMIN_TOKEN=\n",
        f"CACHE_CAPACITY={capacity}\n", f"CACHE_LEASE_S={lease_s}\n",
    ])  # fmt: skip


def _nodes(names: Sequence[str], ports: Iterator[int]) -> str:
    return " ".join(f"{name}=http://127.0.0.1:{next(ports)}" for name in names)
